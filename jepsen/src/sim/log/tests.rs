//! The log as its node meets it: what is promised, when, and what is there after a restart.
//!
//! Host 1 writes, and each test runs in a world of its own.

use std::{collections::BTreeSet, iter};

use bytes::Bytes;

use super::*;
use crate::sim::{
    SimRuntime,
    world::{Settings, Traces, World},
};
use sixbells::runtime::AsyncRuntime;

mod bugs;
mod frames;

/// The numbers of the writes that are done, and whether they were durable.
type Told = Arc<Mutex<Vec<(usize, bool)>>>;

/// A log under test, and what it said.
struct Lab {
    disk: SimDisk,
    log: SimLog,
    bug: Option<LogBug>,
    told: Told,
    /// Everything that was written since the disk was empty, in order.
    writes: Vec<Write>,
}

fn ms(from: u64, to: u64) -> Range<Duration> {
    Duration::from_millis(from)..Duration::from_millis(to)
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

/// Entries of a term, each with words of its own.
fn entries(term: u64, range: Range<u64>) -> Vec<Record> {
    let words = |index| Bytes::from(format!("entry {index} of {term}").repeat(3));
    range.map(|index| Record { id: id(term, index), payload: words(index) }).collect()
}

fn vote(term: u64) -> Vote {
    Vote { term, voted_for: 1, committed: term.is_multiple_of(2) }
}

impl Lab {
    fn new(bug: Option<LogBug>) -> Self {
        world::boot(1);
        let disk = SimDisk::new(1, ms(2, 8));
        let log = SimLog::open(1, &disk, bug).unwrap();
        Self { disk, log, bug, told: Told::default(), writes: Vec::new() }
    }

    /// Writes as the node does, and notes when it is done.
    fn write(&mut self, write: Write) {
        self.writes.push(write.clone());
        let (number, told) = (self.writes.len(), self.told.clone());
        let done: Done = Box::new(move |done| told.lock().unwrap().push((number, done.is_ok())));
        let log = &self.log;
        world::on(1, || match write {
            Write::Append(records) => log.append(records, done),
            Write::Vote(vote) => log.save_vote(vote, done),
            Write::Committed(upto) => log.save_committed(upto),
            Write::Truncate(last) => log.truncate_after(last, done),
            Write::Purge(upto) => log.purge(upto, done),
        });
    }

    async fn settle(&self) {
        SimRuntime::sleep(Duration::from_secs(1)).await;
    }

    fn told(&self) -> Vec<(usize, bool)> {
        self.told.lock().unwrap().clone()
    }

    /// How many writes it has promised.
    fn promised(&self) -> usize {
        let told = self.told();
        told.iter().filter(|(_, durable)| *durable).map(|(number, _)| *number).max().unwrap_or(0)
    }

    /// Ends the process, and its power if so, and opens the log again.
    fn restart(&mut self, power: bool) -> Result<(), StartError> {
        world::kill(1);
        match power {
            true => self.disk.crash(),
            false => self.disk.exit(),
        }
        self.disk.heal();
        world::boot(1);
        self.disk.boot();
        self.log = SimLog::open(1, &self.disk, self.bug)?;
        Ok(())
    }

    /// What it holds after which numbers of writes.
    fn found(&self) -> Vec<usize> {
        let found = (self.log.state(), self.log.read(0..u64::MAX, u64::MAX).unwrap());
        let mut content = Content::default();
        let mut matching = Vec::new();
        for number in 0..=self.writes.len() {
            if let Some(write) = number.checked_sub(1).and_then(|at| self.writes.get(at)) {
                content.carry_out(write);
            }
            if (content.state, content.read(0..u64::MAX, u64::MAX)) == found {
                matching.push(number);
            }
        }
        matching
    }

    /// What the log holds is what was promised, or more of what was written, and nothing else.
    fn holds(&self) -> bool {
        let promised = self.promised();
        self.found().iter().any(|number| *number >= promised)
    }
}

fn run<T>(seed: u64, main: impl Future<Output = T>) -> (T, Vec<Observation>, Traces) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let observer = Box::new(move |_, observation: &Observation| {
        noted.lock().unwrap().push(observation.clone());
        false
    });
    let settings = Settings { seed, observer: Some(observer), ..Settings::default() };
    let (result, traces) = World::run(settings, main);
    let seen = seen.lock().unwrap().clone();
    (result.unwrap(), seen, traces)
}

#[test]
fn a_promise_comes_after_the_sync_and_not_from_within_the_call() {
    let (early, seen, _) = run(1, async {
        let mut lab = Lab::new(None);
        lab.write(Write::Append(entries(1, 0..2)));
        lab.write(Write::Vote(vote(1)));
        assert_eq!(lab.log.state().last, Some(id(1, 1)), "what is not durable is read, too");
        assert_eq!(lab.log.read(0..9, 0).unwrap(), entries(1, 0..1), "at least one");
        assert_eq!(lab.log.read_recent(1..9, 999), Some(entries(1, 1..2)));
        SimRuntime::sleep(Duration::from_millis(1)).await;
        let early = lab.told();
        lab.settle().await;
        assert_eq!(lab.told(), [(1, true), (2, true)]);
        early
    });
    assert_eq!(early, [], "no sync takes a millisecond");
    let first = LogState { last: Some(id(1, 1)), ..LogState::default() };
    let both = LogState { vote: Some(vote(1)), ..first };
    let log = entries(1, 0..2).iter().map(logged).collect();
    assert_eq!(
        seen,
        [
            Observation::Started { node: 1, state: LogState::default(), log: Vec::new() },
            Observation::Appended { node: 1, entries: log },
            Observation::Voted { node: 1, vote: vote(1) },
            Observation::Synced { node: 1, state: first },
            Observation::Promised { node: 1, state: first },
            Observation::Synced { node: 1, state: both },
            Observation::Promised { node: 1, state: both },
        ]
    );
}

#[test]
fn one_sync_is_under_way_and_serves_all_that_was_written_when_it_began() {
    for seed in 0..50 {
        let ((), seen, _) = run(seed, async {
            let mut lab = Lab::new(None);
            for index in 0..20 {
                lab.write(Write::Append(entries(1, index..index + 1)));
            }
            lab.settle().await;
            let all: Vec<(usize, bool)> = (1..=20).map(|number| (number, true)).collect();
            assert_eq!(lab.told(), all, "each once, and in order");
        });
        let synced = |seen: &&Observation| matches!(seen, Observation::Synced { .. });
        assert_eq!(seen.iter().filter(synced).count(), 2, "the first, and one for all others");
    }
}

#[test]
fn a_committed_position_waits_for_the_next_write() {
    for (barrier, kept) in [(false, None), (true, Some(id(1, 1)))] {
        let ((), seen, _) = run(1, async {
            let mut lab = Lab::new(None);
            lab.write(Write::Append(entries(1, 0..2)));
            lab.settle().await;
            lab.write(Write::Committed(id(1, 1)));
            if barrier {
                lab.write(Write::Append(Vec::new()));
            }
            lab.settle().await;
            assert_eq!(lab.log.state().committed, Some(id(1, 1)));
            lab.restart(true).unwrap();
            assert_eq!(lab.log.state().committed, kept);
            assert_eq!(lab.log.state().last, Some(id(1, 1)));
        });
        let synced = |seen: &&Observation| matches!(seen, Observation::Synced { .. });
        assert_eq!(seen.iter().filter(synced).count(), 1 + usize::from(barrier));
        assert!(seen.contains(&Observation::Committed { node: 1, upto: id(1, 1) }));
    }
}

#[test]
fn truncations_purges_votes_and_positions_are_read_back() {
    let ((), seen, _) = run(1, async {
        let mut lab = Lab::new(None);
        lab.write(Write::Append(entries(1, 0..10)));
        lab.write(Write::Truncate(Some(id(1, 5))));
        lab.write(Write::Truncate(Some(id(1, 8))));
        lab.write(Write::Append(entries(2, 6..9)));
        lab.write(Write::Vote(vote(2)));
        lab.write(Write::Vote(vote(3)));
        lab.write(Write::Committed(id(2, 6)));
        lab.write(Write::Purge(id(1, 3)));
        lab.write(Write::Purge(id(1, 2)));
        lab.settle().await;
        for power in [false, true] {
            lab.restart(power).unwrap();
            let state = lab.log.state();
            assert_eq!((state.vote, state.committed), (Some(vote(3)), Some(id(2, 6))));
            assert_eq!((state.purged, state.last), (Some(id(1, 3)), Some(id(2, 8))));
            let expected = [entries(1, 4..6), entries(2, 6..9)].concat();
            assert_eq!(lab.log.read(0..99, u64::MAX).unwrap(), expected);
            assert_eq!(lab.log.read(5..7, u64::MAX).unwrap(), expected[1..3]);
            assert_eq!(lab.log.read(7..7, u64::MAX).unwrap(), []);
        }
    });
    assert!(seen.contains(&Observation::Truncated { node: 1, last: Some(id(1, 5)) }));
    assert!(seen.contains(&Observation::Purged { node: 1, upto: id(1, 3) }));
}

#[test]
fn an_emptied_log_goes_on_where_it_was_purged_or_from_the_beginning() {
    run(1, async {
        let mut lab = Lab::new(None);
        lab.write(Write::Append(entries(1, 0..4)));
        lab.write(Write::Truncate(None));
        lab.settle().await;
        lab.restart(true).unwrap();
        assert_eq!(lab.log.state(), LogState::default());

        lab.write(Write::Append(entries(2, 0..2)));
        lab.write(Write::Purge(id(3, 7)));
        lab.settle().await;
        lab.restart(true).unwrap();
        let state = lab.log.state();
        assert_eq!((state.purged, state.last), (Some(id(3, 7)), Some(id(3, 7))));
        assert_eq!(lab.log.read(0..99, u64::MAX).unwrap(), []);
        lab.write(Write::Append(entries(3, 8..9)));
        lab.write(Write::Truncate(None));
        assert_eq!(lab.log.state(), state, "what was purged is not truncated");
    });
}

/// Nobody may be told that something is there which the next power loss takes.
#[test]
fn what_an_opened_log_holds_survives_every_power_loss_from_then_on() {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        run(seed, async {
            let mut lab = Lab::new(None);
            for index in 0..10 {
                lab.write(Write::Append(entries(1, index..index + 1)));
                SimRuntime::sleep(Duration::from_micros(500)).await;
            }
            // Written, and on its way to be synced.
            lab.restart(seed % 2 == 0).unwrap();
            let (state, log) = (lab.log.state(), lab.log.read(0..99, u64::MAX).unwrap());
            found.insert(log.len());
            for _ in 0..3 {
                lab.restart(true).unwrap();
                assert_eq!(lab.log.state(), state, "seed {seed}");
                assert_eq!(lab.log.read(0..99, u64::MAX).unwrap(), log, "seed {seed}");
            }
        });
    }
    assert!(found.len() > 2, "always the same: {found:?}");
}

#[test]
fn a_torn_tail_is_cut_and_the_log_goes_on_behind_what_is_whole() {
    let mut torn = 0;
    for seed in 0..200 {
        let ((), _, traces) = run(seed, async {
            let mut lab = Lab::new(None);
            lab.write(Write::Append(entries(1, 0..3)));
            lab.settle().await;
            lab.write(Write::Append(entries(1, 3..9)));
            lab.restart(true).unwrap();
            assert!(lab.holds(), "seed {seed}: {:?}", lab.log.state());
            let next = lab.log.state().last.unwrap().index + 1;
            assert!([3, 9].contains(&next), "a frame is there or not: {next}");
            lab.write(Write::Append(entries(2, next..next + 1)));
            lab.settle().await;
            lab.restart(true).unwrap();
            assert_eq!(lab.log.state().last, Some(id(2, next)), "seed {seed}");
        });
        torn += traces.reached.get("a torn tail was found").copied().unwrap_or_default();
    }
    assert!(torn > 100, "only {torn} tails were torn");
}

#[test]
fn a_bit_that_rots_is_damage_named_by_file_and_offset_and_nothing_is_changed() {
    for seed in 0..200 {
        run(seed, async {
            let mut lab = Lab::new(None);
            lab.write(Write::Append(entries(1, 0..3)));
            lab.write(Write::Vote(vote(1)));
            lab.write(Write::Append(entries(1, 3..4)));
            lab.settle().await;
            world::kill(1);
            lab.disk.exit();
            let (whole, _) = lab.disk.read_log().unwrap();
            assert_eq!(lab.disk.rot().as_deref(), Some("log"));
            let rotten = lab.disk.read_log().unwrap();
            let at = iter::zip(&whole, &rotten.0).position(|(a, b)| a != b).unwrap();
            let lengths = lab.writes.iter().map(|write| frame::all(iter::once(write)).len());
            let begins = lengths.scan(0, |end, length| {
                let begin = *end;
                *end += length;
                Some(begin)
            });
            let begin = begins.take_while(|begin| *begin <= at).last().unwrap();
            world::boot(1);
            let refused = SimLog::open(1, &lab.disk, None).unwrap_err();
            let StartError::Damaged(damage) = refused else { panic!("seed {seed}: {refused}") };
            assert_eq!(damage.file, lab.disk.path("log"), "seed {seed}");
            assert_eq!(damage.offset, begin as u64, "seed {seed}: byte {at} has rotted");
            assert_eq!(lab.disk.read_log().unwrap(), rotten, "it is left as it was");
        });
    }
}

#[test]
fn a_failed_sync_is_told_to_all_and_is_final() {
    for seed in 0..50 {
        let ((), seen, traces) = run(seed, async {
            let mut lab = Lab::new(None);
            lab.write(Write::Append(entries(1, 0..1)));
            lab.settle().await;
            lab.disk.fail_next_sync();
            lab.write(Write::Append(entries(1, 1..2)));
            lab.write(Write::Append(entries(1, 2..3)));
            lab.settle().await;
            assert_eq!(lab.told(), [(1, true), (2, false), (3, false)]);
            lab.write(Write::Vote(vote(1)));
            assert_eq!(lab.told().len(), 3, "not from within the call");
            lab.settle().await;
            assert_eq!(lab.told()[3..], [(4, false)]);
            lab.restart(seed % 2 == 0).unwrap();
            assert_eq!(lab.found(), [1], "seed {seed}");
        });
        let promised = |seen: &&Observation| matches!(seen, Observation::Promised { .. });
        assert_eq!(seen.iter().filter(promised).count(), 1);
        assert_eq!(traces.reached.get("a log failed"), Some(&1));
    }
}

#[test]
fn a_full_disk_fails_the_log_and_one_with_room_again_opens_it() {
    for room in 0..200 {
        run(room, async {
            let mut lab = Lab::new(None);
            lab.write(Write::Append(entries(1, 0..2)));
            lab.settle().await;
            lab.disk.fill(room);
            lab.write(Write::Append(entries(1, 2..3)));
            lab.settle().await;
            let size = frame::all(lab.writes[1..].iter()).len() as u64;
            assert_eq!(lab.told()[1..], [(2, size <= room)], "{size} bytes, room for {room}");
            lab.restart(room % 2 == 0).unwrap();
            assert!(lab.holds(), "room for {room}");
            lab.writes.truncate(lab.found()[0]);
            let next = lab.log.state().last.unwrap().index + 1;
            lab.write(Write::Append(entries(2, next..next + 1)));
            lab.settle().await;
            assert_eq!(lab.told().last(), Some(&(lab.writes.len(), true)));
        });
    }
}

#[test]
fn power_that_fails_in_any_operation_leaves_what_was_promised() {
    for seed in 0..200 {
        run(seed, async {
            let mut lab = Lab::new(None);
            lab.disk.crash_after(u32::try_from(seed % 10).unwrap());
            for index in 0..10 {
                lab.write(Write::Append(entries(1, index..index + 1)));
                SimRuntime::sleep(Duration::from_millis(9)).await;
            }
            assert!(!world::is_alive(1));
            let promised = usize::try_from(seed % 10 / 2).unwrap();
            assert_eq!(lab.promised(), promised, "a write and a sync for each");
            // Its power is off; it can only come back.
            world::boot(1);
            lab.disk.boot();
            lab.log = SimLog::open(1, &lab.disk, None).unwrap();
            assert!(lab.holds(), "seed {seed}: {:?}", lab.log.state());
        });
    }
}
