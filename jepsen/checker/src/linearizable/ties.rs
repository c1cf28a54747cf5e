//! What a clock is too coarse to tell: a process that calls in the instant in which its last call
//! returned.
//!
//! The calls of one process have an order all the same, while touching calls of different processes are
//! concurrent. Where at an instant one process alone does this, its events can be told apart from all
//! others: theirs begin before and end after. Where several do, no ranks can say so, and their pairs are
//! listed instead.
//!
//! In go the calls of one object; out come ranks that replace their times, and the pairs that ranks do
//! not order.

use std::collections::BTreeMap;

use super::object::NEVER;

/// Ranks in place of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranks {
    /// By call: when it begins and ends.
    pub(super) spans: Vec<(u64, u64)>,
    /// By call: the one of its process before it, where the ranks do not say so.
    pub(super) before: BTreeMap<u32, u32>,
}

/// Ranks the calls; `calls` holds process, invocation and return, those of a process in their order.
pub(super) fn rank(calls: &[(u64, u64, u64)]) -> Ranks {
    let mut last: BTreeMap<u64, u32> = BTreeMap::new();
    // By instant: the pairs of calls that touch there.
    let mut touching: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
    for (at, &(process, invoked, returned)) in (0_u32..).zip(calls) {
        if let Some(before) = last.get(&process)
            && calls[*before as usize].2 == invoked
        {
            touching.entry(invoked).or_default().push((*before, at));
        }
        // Nothing waits for a call that may never happen.
        if returned != NEVER {
            last.insert(process, at);
        }
    }
    let mut before = BTreeMap::new();
    let mut alone: BTreeMap<u64, u64> = BTreeMap::new();
    for (instant, pairs) in touching {
        let process = calls[pairs[0].0 as usize].0;
        match pairs.iter().all(|(call, _)| calls[*call as usize].0 == process) {
            true => drop(alone.insert(instant, process)),
            false => before.extend(pairs.into_iter().map(|(first, second)| (second, first))),
        }
    }
    Ranks { spans: spans(calls, &alone), before }
}

/// Numbers the events. At an instant others' calls come first and their returns last; between them
/// those of the process that is alone in touching itself there, in its order.
fn spans(calls: &[(u64, u64, u64)], alone: &BTreeMap<u64, u64>) -> Vec<(u64, u64)> {
    let mut events = Vec::with_capacity(2 * calls.len());
    for (at, &(process, invoked, returned)) in calls.iter().enumerate() {
        let own = |time: u64| alone.get(&time) == Some(&process);
        let turn = |time: u64, otherwise: u8| if own(time) { 1 } else { otherwise };
        events.push((invoked, turn(invoked, 0), at, false));
        if returned != NEVER {
            events.push((returned, turn(returned, 2), at, true));
        }
    }
    events.sort_unstable();
    let mut spans = vec![(0, NEVER); calls.len()];
    let (mut rank, mut last) = (0, (0, 0));
    for (time, turn, at, returns) in events {
        // In the middle each event has a rank of its own; the others of an instant share one.
        if (time, turn) != last || turn == 1 {
            rank += 1;
            last = (time, turn);
        }
        match returns {
            false => spans[at].0 = rank,
            true => spans[at].1 = rank,
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn precedes(ranks: &Ranks, one: usize, other: usize) -> bool {
        ranks.spans[one].1 < ranks.spans[other].0
            || ranks.before.get(&u32::try_from(other).unwrap())
                == Some(&u32::try_from(one).unwrap())
    }

    /// At instant 5 process 1 ends a call and begins another; process 2 begins one and 3 ends one.
    #[test]
    fn one_process_that_touches_itself_is_told_apart_from_all_others() {
        let calls = [(1, 0, 5), (3, 1, 5), (2, 5, 9), (1, 5, 7)];
        let ranks = rank(&calls);
        assert!(ranks.before.is_empty());
        assert!(precedes(&ranks, 0, 3));
        for (one, other) in [(0, 2), (1, 2), (1, 3)] {
            assert!(!precedes(&ranks, one, other) && !precedes(&ranks, other, one), "{ranks:?}");
        }
    }

    #[test]
    fn two_that_do_are_listed() {
        let calls = [(1, 0, 5), (2, 0, 5), (1, 5, 9), (2, 5, 9)];
        let ranks = rank(&calls);
        assert!(precedes(&ranks, 0, 2) && precedes(&ranks, 1, 3));
        assert!(!precedes(&ranks, 0, 3) && !precedes(&ranks, 1, 2));
        assert_eq!(ranks.before.len(), 2);
    }
}
