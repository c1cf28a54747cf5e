//! The write-ahead log by itself: its files, and reads beside its writer.

use super::*;
use crate::storage::{LogEngine, LogId};

const FILE_BYTES: u64 = 1 << 16;

fn start(dir: &Path) -> Opened<Wal> {
    open(Home::open(dir, LogEngine::Wal).unwrap(), FILE_BYTES).unwrap()
}

fn record(term: u64, index: u64, bytes: usize) -> Record {
    let payload = Bytes::from([term, index].map(u64::to_le_bytes).concat().repeat(bytes / 16));
    Record { id: LogId { term, index }, payload }
}

fn append(log: &Wal, records: &[Record]) {
    log.write(&[Op::Append(records.to_vec())], true).unwrap();
}

fn paths(dir: &Path) -> Vec<std::path::PathBuf> {
    files::list(&dir.join("log")).unwrap()
}

/// Entries anew at an index that a group also truncates: their places are those of the new ones.
#[test]
fn a_group_may_truncate_and_append() {
    let dir = tempfile::tempdir().unwrap();
    let log = start(dir.path()).engine;
    let old: Vec<Record> = (0..10).map(|index| record(1, index, 64)).collect();
    append(&log, &old);
    let new: Vec<Record> = (6..8).map(|index| record(2, index, 128)).collect();
    let group = [Op::TruncateAfter(Some(old[5].id)), Op::Append(new.clone())];
    log.write(&group, true).unwrap();
    let expected = [&old[..6], &new].concat();
    assert_eq!(log.read(0..99, u64::MAX).unwrap(), expected);
    drop(log);
    let Opened { engine, state, first } = start(dir.path());
    assert_eq!((state.last, first), (Some(new[1].id), 0));
    assert_eq!(engine.read(0..99, u64::MAX).unwrap(), expected);
    assert_eq!(engine.read(3..99, 100).unwrap(), expected[3..4], "at least one, as many as fit");
}

/// A log that is purged as it grows has few files, and its entries stay readable across them.
#[test]
fn a_rolling_log_has_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = start(dir.path()).engine;
    for index in 0..2000 {
        append(&log, &[record(1, index, 1024)]);
        if index >= 100 && index % 20 == 0 {
            log.write(&[Op::Purge(LogId { term: 1, index: index - 100 })], true).unwrap();
            let found = log.read(index - 99..u64::MAX, u64::MAX).unwrap();
            assert!(found.iter().map(|record| record.id.index).eq(index - 99..=index));
        }
    }
    drop(log);
    assert!((2..=5).contains(&paths(dir.path()).len()), "{:?}", paths(dir.path()));
    let Opened { engine, state, first } = start(dir.path());
    assert_eq!((state.purged.unwrap().index, first), (1880, 1881));
    let found = engine.read(0..u64::MAX, u64::MAX).unwrap();
    assert_eq!(found, (1881..2000).map(|index| record(1, index, 1024)).collect::<Vec<_>>());
}

/// Otherwise a power cut could keep the first sectors of a file and not the last ones of the file before it, when one
/// large group goes over from one to the other. So each file says first that all before it is durable.
#[test]
fn a_file_is_durable_before_the_next_one_begins() {
    let dir = tempfile::tempdir().unwrap();
    let log = start(dir.path()).engine;
    let records: Vec<Record> = (0..200).map(|index| record(1, index, 1024)).collect();
    log.write(&[Op::Append(records)], false).unwrap();
    let mut later = 0;
    for path in &paths(dir.path())[1..] {
        let bytes = std::fs::read(path).unwrap();
        // One that was only made ahead has none.
        let Some(start) = records::start_of(&bytes) else { continue };
        assert_eq!(records::decode(&bytes, start).unwrap().durable, start, "{}", path.display());
        later += 1;
    }
    assert!(later >= 2, "{later}");
}

#[test]
fn what_is_longer_than_a_file_makes_it_longer() {
    let dir = tempfile::tempdir().unwrap();
    let log = start(dir.path()).engine;
    let records: Vec<Record> = [100, 3 << 16, 100]
        .iter()
        .zip(0..)
        .map(|(bytes, index)| record(1, index, *bytes))
        .collect();
    records.iter().for_each(|record| append(&log, std::slice::from_ref(record)));
    assert_eq!(log.read(0..9, u64::MAX).unwrap(), records);
    drop(log);
    assert_eq!(start(dir.path()).engine.read(0..9, u64::MAX).unwrap(), records);
}

/// A crash leaves a file made ahead, one half made, and one whose first write was torn. None of them is in
/// the way.
#[test]
fn files_of_which_nothing_is_left_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = start(dir.path()).engine;
    let mut records: Vec<Record> = (0..100).map(|index| record(1, index, 1024)).collect();
    append(&log, &records[..50]);
    drop(log);
    let in_log = |name: &str| dir.path().join("log").join(name);
    std::fs::write(in_log("spare"), vec![9; 100]).unwrap();
    let mut torn = vec![0; 1 << 16];
    torn[700] = 1;
    std::fs::write(in_log("00000000000000000002.wal"), torn).unwrap();
    std::fs::write(in_log("00000000000000000003.wal"), vec![0; 1 << 16]).unwrap();
    for part in [50..75, 75..100] {
        let log = start(dir.path()).engine;
        append(&log, &records[part]);
    }
    let log = start(dir.path()).engine;
    assert_eq!(log.read(0..u64::MAX, u64::MAX).unwrap(), records);
    assert!(paths(dir.path()).len() <= 4);

    // And what is damaged while the log is in use is named when it is read.
    let first = &paths(dir.path())[0];
    files::open(first).unwrap().write_all_at(&[1], 600).unwrap();
    let error = log.read(0..1, u64::MAX).unwrap_err();
    let damage = error.get_ref().and_then(|inner| inner.downcast_ref::<Damage>()).unwrap();
    assert_eq!(&damage.file, first);
    records.drain(..1);
    assert_eq!(log.read(1..u64::MAX, u64::MAX).unwrap(), records);
}
