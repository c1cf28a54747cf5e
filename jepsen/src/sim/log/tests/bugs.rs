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
    let every_fault = [
        "a disk was full",
        "a log failed",
        "a sync failed",
        "a torn tail was found",
        "power failed during a disk operation",
    ];
    assert_eq!(reached, BTreeSet::from(every_fault));
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

/// In how many of a hundred lives a power loss, a moment after this was written, breaks a promise.
fn lost_in_a_moment(bug: Option<LogBug>, next: &Write) -> usize {
    let life = |seed| {
        let next = next.clone();
        let lost = run(seed, async {
            let mut lab = Lab::new(bug);
            lab.write(Write::Append(entries(1, 0..2)));
            lab.settle().await;
            lab.write(next);
            SimRuntime::sleep(Duration::from_millis(1)).await;
            lab.restart(true).is_err() || !lab.holds()
        });
        lost.0
    };
    (0..100).filter(|seed| life(*seed)).count()
}

/// A bug that stood in for another one would prove nothing about its own.
#[test]
fn each_bug_breaks_its_own_promise_and_no_other() {
    let (append, vote) = (Write::Append(entries(1, 2..4)), Write::Vote(vote(1)));
    assert!(lost_in_a_moment(Some(LogBug::UnsyncedLog), &append) > 10);
    assert_eq!(lost_in_a_moment(Some(LogBug::UnsyncedLog), &vote), 0);
    assert!(lost_in_a_moment(Some(LogBug::UnsyncedVote), &vote) > 10);
    assert_eq!(lost_in_a_moment(Some(LogBug::UnsyncedVote), &append), 0);
    assert!(lost_in_a_moment(Some(LogBug::TornTailAccepted), &append) > 10);
    for bug in [None, Some(LogBug::SyncErrorIgnored), Some(LogBug::EnospcSwallowed)] {
        assert_eq!(lost_in_a_moment(bug, &append), 0, "{bug:?}");
        assert_eq!(lost_in_a_moment(bug, &vote), 0, "{bug:?}");
    }
}

type Fault = fn(&SimDisk);

/// How many writes were promised of two, and whether the next process finds just those.
fn settled(bug: Option<LogBug>, fault: Fault, next: Write, power: bool) -> (usize, bool) {
    let life = run(1, async {
        let mut lab = Lab::new(bug);
        lab.write(Write::Append(entries(1, 0..4)));
        lab.settle().await;
        fault(&lab.disk);
        lab.write(next);
        lab.settle().await;
        let promised = lab.promised();
        (promised, lab.restart(power).is_ok() && lab.found() == [promised])
    });
    life.0
}

#[test]
fn a_bug_that_hides_a_fault_promises_what_the_next_process_does_not_find() {
    let append = Write::Append(entries(1, 4..6));
    let cut = Write::Truncate(Some(id(1, 1)));
    let cases: [(LogBug, Fault, Write, usize); 3] = [
        (LogBug::SyncErrorIgnored, SimDisk::fail_next_sync, append.clone(), 1),
        (LogBug::EnospcSwallowed, |disk| disk.fill(0), append, 1),
        (LogBug::TruncateForgets, |_| {}, cut, 2),
    ];
    for (bug, fault, next, promised) in cases {
        for power in [false, true] {
            let wrong = settled(Some(bug), fault, next.clone(), power);
            assert_eq!(wrong, (2, false), "{bug:?}");
            let right = settled(None, fault, next.clone(), power);
            assert_eq!(right, (promised, true), "without {bug:?}");
        }
    }
}
