//! Lanes: which processes share a row of the timeline.
//!
//! In go operations, out come lists of processes. A worker whose operation had an unknown end goes
//! on under a fresh id, its old one plus the number of workers (Jepsen's rule), so that one client
//! thread may have hundreds of ids; a row for each would hide what that thread did.
//!
//! Invariants:
//! - every process stands in exactly one lane, and lanes are ordered by their first process;
//! - processes are joined only if all of a history agrees with the rule: each one that is not among
//!   the first had a predecessor, which crashed before it began. Otherwise each has a lane alone.

use std::collections::BTreeMap;

use crate::history::{Operation, Outcome};

/// How many numbers of workers are tried. A history that fits none of so many fits none at all.
const TRIES_MAX: usize = 1000;

/// What the rule asks about a process.
#[derive(Clone, Copy)]
struct Life {
    first: u64,
    last: u64,
    crashed: bool,
}

/// The processes of each lane, in the order in which they follow each other.
pub(super) fn of(operations: &[Operation]) -> Vec<Vec<u64>> {
    let mut lives: BTreeMap<u64, Life> = BTreeMap::new();
    for operation in operations {
        let (at, crashed) = (operation.invoked, operation.outcome == Outcome::Info);
        let life = lives.entry(operation.process).or_insert(Life { first: at, last: at, crashed });
        life.last = at.max(life.last);
        life.crashed = crashed;
    }
    let alone = || lives.keys().map(|process| vec![*process]).collect();
    let Some(workers) = workers(&lives) else { return alone() };
    let mut lanes: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let base = lives.keys().next().copied().unwrap_or_default();
    for process in lives.keys() {
        lanes.entry((process - base) % workers).or_default().push(*process);
    }
    lanes.into_values().collect()
}

/// The smallest number of workers that explains all ids, if some process has a successor.
fn workers(lives: &BTreeMap<u64, Life>) -> Option<u64> {
    let base = *lives.keys().next()?;
    let (crashed, _) = lives.iter().find(|(_, life)| life.crashed)?;
    let later = lives.range(crashed + 1..).map(|(process, _)| process - crashed);
    later.take(TRIES_MAX).find(|workers| {
        let follow = |(process, life): (&u64, &Life)| {
            let before = process.checked_sub(*workers).filter(|before| *before >= base);
            let Some(before) = before else { return true };
            let before = lives.get(&before);
            before.is_some_and(|before| before.crashed && before.last <= life.first)
        };
        lives.iter().all(follow)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Completion, Recorder, Value, pairing};

    fn lanes(rounds: &[(u64, bool)], workers: u64) -> Vec<Vec<u64>> {
        let recorder = Recorder::new(workers);
        let mut all: Vec<_> = (0..workers).map(|number| recorder.worker(number)).collect();
        for (number, crash) in rounds {
            let worker = all.iter_mut().find(|w| w.process() % workers == *number).unwrap();
            worker.invoke("write", Value::Int(1));
            let end = match crash {
                true => Completion::Info("lost".to_owned()),
                false => Completion::Ok(Value::Int(1)),
            };
            worker.complete(end, None, None);
        }
        of(&pairing::pair(&recorder.events()).unwrap().1)
    }

    #[test]
    fn the_ids_of_one_worker_share_a_lane() {
        let rounds =
            [(0, false), (1, true), (2, true), (1, true), (0, false), (1, false), (2, false)];
        assert_eq!(lanes(&rounds, 3), [vec![0], vec![1, 4, 7], vec![2, 5]]);
    }

    #[test]
    fn processes_that_did_not_crash_stay_apart() {
        assert_eq!(lanes(&[(0, false), (1, false), (2, true)], 3), [[0], [1], [2]]);
    }
}
