//! Whole lives of a log, with every fault of its disk: no promise is broken, unless a bug is planted.
//!
//! After each life the log must hold what it held after one of the writes, and not one before the last
//! that was promised. With a bug, some life shows that it does not.

use rand::RngExt;

use super::*;
use crate::sim::world::Stream;

fn below(end: u64) -> u64 {
    world::draw(Stream::Load, |rng| rng.random_range(0..end))
}

/// What a node could write next.
fn next_write(lab: &Lab) -> Write {
    let state = lab.log.state();
    let term = state.vote.map_or(1, |vote| vote.term);
    let next = state.last.map_or(0, |last| last.index + 1);
    let from = state.purged.map_or(0, |purged| purged.index + 1);
    let stored = lab.log.read(from + below(4)..u64::MAX, 0).unwrap();
    match (below(10), stored.first()) {
        (0, _) => Write::Vote(vote(term + 1)),
        (1, Some(entry)) => Write::Truncate(Some(entry.id)),
        (2, Some(entry)) => Write::Committed(entry.id),
        (3, Some(entry)) => Write::Purge(entry.id),
        (4, _) => Write::Append(Vec::new()),
        _ => Write::Append(entries(term, next..next + 1 + below(4))),
    }
}

/// One life, and what follows it.
async fn live(bug: Option<LogBug>) -> Result<(), String> {
    let mut lab = Lab::new(bug);
    let fault_at = below(20);
    for step in 0..20 {
        if step == fault_at {
            match below(4) {
                0 => lab.disk.fail_next_sync(),
                1 => lab.disk.fill(below(200)),
                2 => lab.disk.crash_after(u32::try_from(below(8)).unwrap()),
                _ => lab.disk.slow(4),
            }
        }
        let write = next_write(&lab);
        lab.write(write);
        SimRuntime::sleep(Duration::from_micros(below(6_000))).await;
    }
    let told = lab.told();
    let numbers: Vec<usize> = told.iter().map(|(number, _)| *number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "each once and in order: {told:?}");
    let durable = told.iter().position(|(_, durable)| !durable).unwrap_or(told.len());
    assert!(told[durable..].iter().all(|(_, durable)| !durable), "the first error is final");
    if world::is_alive(1) {
        lab.restart(below(2) == 0).map_err(|refused| refused.to_string())?;
    } else {
        world::boot(1);
        lab.disk.heal();
        lab.disk.boot();
        lab.log = SimLog::open(1, &lab.disk, bug).map_err(|refused| refused.to_string())?;
    }
    match lab.holds() {
        true => Ok(()),
        false => Err(format!("{} were promised, {:?} found", lab.promised(), lab.found())),
    }
}

/// How many of so many lives broke a promise.
fn broken(bug: Option<LogBug>, lives: u64) -> Vec<(u64, String)> {
    let life = |seed| run(seed, live(bug)).0.err().map(|reason| (seed, reason));
    (0..lives).filter_map(life).collect()
}

#[test]
fn no_life_of_a_log_breaks_a_promise() {
    let broken = broken(None, 1_000);
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn lives_come_by_every_fault() {
    let mut ends = BTreeSet::new();
    let mut reached = BTreeSet::new();
    for seed in 0..200 {
        let (alive, _, traces) = run(seed, async {
            live(None).await.unwrap();
            world::now()
        });
        assert!(alive < Duration::from_millis(120));
        ends.insert(traces.hash);
        reached.extend(traces.reached.into_keys());
    }
    assert_eq!(ends.len(), 200, "each life is another");
    assert_eq!(reached, BTreeSet::from(["a log failed", "a torn tail was found"]));
}

#[test]
fn every_planted_bug_breaks_a_promise_in_some_life() {
    for bug in [
        LogBug::UnsyncedLog,
        LogBug::UnsyncedVote,
        LogBug::TornTailAccepted,
        LogBug::SyncErrorIgnored,
        LogBug::EnospcSwallowed,
        LogBug::TruncateForgets,
    ] {
        let broken = broken(Some(bug), 300);
        assert!(!broken.is_empty(), "nobody notices {bug:?}");
        assert!(broken.len() < 300, "{bug:?} needs no fault at all to be noticed");
    }
}

/// A bug that stands in for another one proves nothing about its own.
#[test]
fn each_bug_breaks_its_own_promise_and_no_other() {
    let found_after = |bug, writes: Vec<Write>, break_it: fn(&SimDisk)| {
        let lives = (0..100).map(|seed| {
            let life = run(seed, async {
                let mut lab = Lab::new(bug);
                lab.write(Write::Append(entries(1, 0..2)));
                lab.settle().await;
                break_it(&lab.disk);
                for write in writes.clone() {
                    lab.write(write);
                    SimRuntime::sleep(Duration::from_millis(1)).await;
                }
                let promised = lab.promised();
                lab.restart(true).is_ok_and(|()| lab.found().iter().any(|at| *at >= promised))
            });
            life.0
        });
        lives.filter(|kept| *kept).count()
    };
    let append = vec![Write::Append(entries(1, 2..4))];
    let vote = vec![Write::Vote(vote(1))];
    let nothing = |_: &SimDisk| {};
    assert!(found_after(Some(LogBug::UnsyncedLog), append.clone(), nothing) < 100);
    assert_eq!(found_after(Some(LogBug::UnsyncedLog), vote.clone(), nothing), 100);
    assert!(found_after(Some(LogBug::UnsyncedVote), vote, nothing) < 100);
    assert_eq!(found_after(Some(LogBug::UnsyncedVote), append.clone(), nothing), 100);
    assert!(found_after(Some(LogBug::TornTailAccepted), append.clone(), nothing) < 100);
    let settled = |bug, writes, break_it: fn(&SimDisk), power| {
        run(1, async {
            let mut lab = Lab::new(bug);
            lab.write(Write::Append(entries(1, 0..4)));
            lab.settle().await;
            break_it(&lab.disk);
            lab.write(writes);
            lab.settle().await;
            let promised = lab.promised();
            let refused = lab.restart(power).is_err();
            (promised, refused || lab.found() != [promised])
        })
        .0
    };
    let append = Write::Append(entries(1, 4..6));
    for power in [false, true] {
        let fails = |disk: &SimDisk| disk.fail_next_sync();
        assert_eq!(
            settled(Some(LogBug::SyncErrorIgnored), append.clone(), fails, power),
            (2, true)
        );
        assert_eq!(settled(None, append.clone(), fails, power), (1, false));
        let full = |disk: &SimDisk| disk.fill(0);
        assert_eq!(settled(Some(LogBug::EnospcSwallowed), append.clone(), full, power), (2, true));
        assert_eq!(settled(None, append.clone(), full, power), (1, false));
        let cut = Write::Truncate(Some(id(1, 1)));
        assert_eq!(settled(Some(LogBug::TruncateForgets), cut.clone(), |_| {}, power), (2, true));
        assert_eq!(settled(None, cut, |_| {}, power), (2, false));
    }
}
