//! What a log keeps: scripted and random writes, compared with a log in memory after every step and
//! after every reopening.

use sixbells::storage::{LogEngine, MemoryLog, Vote, open_log};

use crate::support::*;

/// Every kind of write at its edges. After each, the log is closed and opened: nothing that was
/// acknowledged may be missing or different, and nothing removed may come back.
#[test]
fn every_write_survives_reopening() {
    let vote = |term, voted_for, committed| Step::Vote(Vote { term, voted_for, committed });
    let entries = |term, range: std::ops::Range<u64>| {
        Step::Append(range.map(|index| record(term, index, 100)).collect())
    };
    let script = [
        vote(1, 1, false),
        vote(2, 2, false),
        // A rival won after all.
        vote(2, 3, true),
        entries(1, 0..1),
        entries(1, 1..20),
        Step::Append(vec![]),
        Step::Truncate(Some(id(1, 30))),
        Step::Truncate(Some(id(1, 19))),
        Step::Truncate(Some(id(1, 12))),
        entries(2, 13..18),
        Step::Committed(id(2, 14)),
        Step::Purge(id(1, 5)),
        Step::Purge(id(1, 3)),
        // In the middle of a batch.
        Step::Truncate(Some(id(2, 15))),
        Step::Append(vec![record(3, 16, 0), record(3, 17, 3 << 20), record(3, 18, 70_000)]),
        Step::Truncate(Some(id(3, 17))),
        Step::Purge(id(3, 16)),
        vote(7, 1, true),
        Step::Truncate(Some(id(3, 16))),
        entries(4, 17..30),
        Step::Truncate(None),
        entries(9, 17..40),
        // A snapshot from elsewhere, of an earlier term and beyond the end.
        Step::Purge(id(8, 100)),
        entries(9, 101..120),
        Step::Purge(id(9, 119)),
        entries(9, 120..121),
    ];
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let model = MemoryLog::new();
        for (i, step) in script.iter().enumerate() {
            let log = open(engine, dir.path()).unwrap();
            step.apply(&*log);
            step.apply(&model);
            assert_same(&*log, &model, &format!("{engine}, step {i}"));
            drop(log);
            let log = open(engine, dir.path()).unwrap();
            assert_same(&*log, &model, &format!("{engine}, reopened after step {i}"));
        }
    }
}

/// Long random scripts with files that fill up, several writes in flight, and reopening between.
#[test]
fn random_scripts_hold_what_a_log_in_memory_holds() {
    for engine in ENGINES {
        let mut rng = seeded("random_scripts", 11);
        let dir = tempfile::tempdir().unwrap();
        let model = MemoryLog::new();
        for round in 0..8 {
            let log = open(engine, dir.path()).unwrap();
            assert_same(&*log, &model, &format!("{engine}, reopened in round {round}"));
            for _ in 0..60 {
                let step = Step::random(&mut rng, &*log, 2000);
                step.run(&*log, Box::new(|result| result.unwrap()));
                step.apply(&model);
            }
            assert_same(&*log, &model, &format!("{engine}, in flight in round {round}"));
            wait(|done| log.append(vec![], done)).unwrap();
            assert_same(&*log, &model, &format!("{engine}, round {round}"));
        }
    }
}

/// Reads return what fits, at least one, and only what exists.
#[test]
fn reads_are_limited_by_bytes_and_clipped_to_what_exists() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let fill = Step::Append((0..50).map(|i| record(1, i, 100)).collect());
        fill.apply(&*open(engine, dir.path()).unwrap());
        let log = open(engine, dir.path()).unwrap();
        Step::Append((50..100).map(|i| record(1, i, 100)).collect()).apply(&*log);
        let count = |range, bytes| log.read(range, bytes).unwrap().len();
        assert_eq!(count(0..100, u64::MAX), 100, "{engine}");
        assert_eq!(count(45..55, u64::MAX), 10, "across what is on disk and in memory");
        assert_eq!(count(0..100, 0), 1);
        assert_eq!(count(0..100, 1000), 10);
        assert_eq!(count(45..100, 1000), 10);
        assert_eq!(count(100..200, 1000), 0);
        let backwards = std::ops::Range { start: 7, end: 3 };
        assert_eq!(count(backwards, 1000), 0);
    }
}

/// An engine stores commands of several MiB; sled would move such values to files it does not sync.
#[test]
fn large_entries_stay_in_synced_files() {
    for engine in ENGINES {
        let mut rng = seeded("large_entries", 5);
        let dir = tempfile::tempdir().unwrap();
        let (log, model) = (open_log(engine, dir.path()).unwrap(), MemoryLog::new());
        for length in [5 << 20, 64 << 10, 7 << 10, 200_000, 1 << 20] {
            let end = log.state().last.map_or(0, |last| last.index + 1);
            let step = Step::Append((end..end + 3).map(|i| record(1, i, length)).collect());
            step.apply(&*log);
            step.apply(&model);
        }
        for _ in 0..100 {
            let step = Step::random(&mut rng, &*log, 9000);
            step.apply(&*log);
            step.apply(&model);
        }
        drop(log);
        if engine == LogEngine::Sled {
            assert!(files(&dir.path().join("sled/log/blobs")).is_empty(), "unsynced files");
        }
        assert_same(&*open_log(engine, dir.path()).unwrap(), &model, "large entries");
    }
}

/// Purging gives space back: a log that is purged steadily does not grow.
#[test]
fn a_log_that_is_purged_steadily_stays_small() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let log = open(engine, dir.path()).unwrap();
        for batch in 0..400_u64 {
            let first = batch * 32;
            Step::Append((first..first + 32).map(|i| record(1, i, 500)).collect()).apply(&*log);
            if batch > 10 {
                Step::Purge(id(1, first - 10 * 32)).apply(&*log);
            }
        }
        drop(log);
        let bytes: u64 = files(dir.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
        // 6.4 MB were written, 160 KB are left.
        assert!(bytes < 4 << 20, "{engine} holds {bytes} bytes");
        assert_eq!(open(engine, dir.path()).unwrap().state().last, Some(id(1, 400 * 32 - 1)));
    }
}
