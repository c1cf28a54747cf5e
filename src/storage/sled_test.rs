//! What the checks on top of sled find, with the store itself in perfect order: slots changed behind
//! the back of the engine, as if the store had lost or kept what it should not.

use bytes::Bytes;

use super::*;
use crate::storage::{LogEngine, LogState, Vote};

fn record(term: u64, index: u64) -> Record {
    Record { id: LogId { term, index }, payload: Bytes::from(vec![7; 10]) }
}

fn append(term: u64, range: Range<u64>) -> Op {
    Op::Append(range.map(|index| record(term, index)).collect())
}

fn reopen(dir: &Path) -> Result<Opened<Sled>, StartError> {
    open(Home::open(dir, LogEngine::Sled)?)
}

/// Slots 0..5, 5..10, 10..15 and a vote; then `change`, then what opening says.
fn after(change: impl FnOnce(&Db)) -> Result<LogState, String> {
    let dir = tempfile::tempdir().unwrap();
    let opened = reopen(dir.path()).unwrap();
    let vote = Vote { term: 4, voted_for: 1, committed: true };
    for op in [append(1, 0..5), append(1, 5..10), append(2, 10..15), Op::SaveVote(vote)] {
        opened.engine.put(&[op]).unwrap();
        opened.engine.sync().unwrap();
    }
    change(&opened.engine.db);
    drop(opened);
    match reopen(dir.path()) {
        Ok(opened) => Ok(opened.state),
        Err(StartError::Damaged(damage)) => {
            assert_eq!(damage.file, dir.path().join("log/db"));
            Err(damage.reason)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn nothing_changed_is_nothing_found() {
    assert_eq!(after(|_| ()).unwrap().last, Some(LogId { term: 2, index: 14 }));
}

#[test]
fn a_lost_slot_is_found_wherever_it_was() {
    for first in [0, 5, 10] {
        let reason = after(|db| drop(db.remove(slot_key(first, 0)).unwrap())).unwrap_err();
        assert!(reason.contains("entr"), "{reason}");
    }
}

/// Its checksum is right, its place is right, its terms are possible: only it is not the newest.
#[test]
fn a_stale_slot_is_found() {
    let stale = (5..10).map(|i| Record { payload: Bytes::from_static(b"old"), ..record(1, i) });
    let (_, bytes) = slot::pack(&stale.collect::<Vec<_>>());
    let reason = after(|db| drop(db.insert(slot_key(5, 0), &bytes[..]).unwrap())).unwrap_err();
    assert!(reason.contains("not those of its meta"), "{reason}");
}

#[test]
fn a_slot_that_should_be_gone_is_found() {
    let (_, bytes) = slot::pack(&[record(2, 15)]);
    let reason = after(|db| drop(db.insert(slot_key(15, 0), &bytes[..]).unwrap())).unwrap_err();
    assert!(reason.contains("not those of its meta"), "{reason}");
}

#[test]
fn a_lost_or_changed_meta_is_found() {
    let reason = after(|db| drop(db.remove(META).unwrap())).unwrap_err();
    assert!(reason.contains("meta record is missing"), "{reason}");
    let flip = |db: &Db| {
        let mut meta = db.get(META).unwrap().unwrap().to_vec();
        meta[20] ^= 1;
        db.insert(META, meta).unwrap();
    };
    assert!(after(flip).unwrap_err().contains("checksum"));
}

/// The steps of one group are atomic, and a crash between them leaves one of them whole.
#[test]
fn a_large_group_is_several_whole_steps() {
    let dir = tempfile::tempdir().unwrap();
    let opened = reopen(dir.path()).unwrap();
    let large = |index| Record { payload: Bytes::from(vec![1; 1 << 20]), ..record(1, index) };
    let ops = [
        Op::Append((0..12).map(large).collect()),
        // In the middle of a slot that this very group brings.
        append(1, 12..20),
        Op::TruncateAfter(Some(LogId { term: 1, index: 15 })),
        append(2, 16..18),
        Op::Purge(LogId { term: 1, index: 13 }),
    ];
    opened.engine.put(&ops).unwrap();
    let steps = opened.engine.lock().meta.step;
    assert!(steps > 3, "{steps}");
    let found = opened.engine.read(14..99, u64::MAX).unwrap();
    assert_eq!(
        found.iter().map(|r| (r.id.term, r.id.index)).collect::<Vec<_>>(),
        [(1, 14), (1, 15), (2, 16), (2, 17)]
    );
    opened.engine.sync().unwrap();
    drop(opened);
    let opened = reopen(dir.path()).unwrap();
    assert_eq!((opened.first, opened.state.last), (14, Some(LogId { term: 2, index: 17 })));
}

/// A purge of many entries takes several steps; a crash between two of them is no damage, and the
/// next purge removes what is left.
#[test]
fn a_purge_in_several_steps_may_be_interrupted() {
    for upto in [LogId { term: 1, index: 2700 }, LogId { term: 3, index: 9000 }] {
        let dir = tempfile::tempdir().unwrap();
        let opened = reopen(dir.path()).unwrap();
        // One slot for each, for they are written one by one.
        for index in 0..3000 {
            opened.engine.put(&[append(1, index..index + 1)]).unwrap();
        }
        // The first step of such a purge, as a crash leaves it.
        let mut step = Step::new(opened.engine.lock().clone());
        step.index.meta.apply(&Op::Purge(upto));
        (0..1000).for_each(|first| step.remove(first));
        step.finish(&opened.engine.db).unwrap();
        opened.engine.db.flush().unwrap();
        drop(opened);
        let opened = reopen(dir.path()).unwrap();
        assert_eq!(opened.state.purged, Some(upto));
        assert_eq!(opened.first, upto.index + 1);
        let next = LogId { term: 3, index: upto.index + 1 };
        if upto.index == 9000 {
            opened.engine.put(&[append(3, next.index..next.index + 9)]).unwrap();
        }
        opened.engine.put(&[Op::Purge(LogId { term: 3, ..next })]).unwrap();
        assert!(opened.engine.lock().slots.keys().all(|first| *first > upto.index));
        drop(opened);
        assert_eq!(reopen(dir.path()).unwrap().first, next.index + 1);
    }
}
