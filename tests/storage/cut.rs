//! Files cut short or taken away.

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use rand::RngExt;
use sixbells::storage::{LogEngine, MemoryLog};

use crate::support::*;

fn cut(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

/// Every byte of the tail was acknowledged, so cutting any of it is damage: a voter that forgets
/// elects two leaders.
#[test]
fn a_cut_of_what_was_acknowledged_is_damage() {
    let mut rng = seeded("a_cut_of_what_was_acknowledged", 3);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(LogEngine::Wal, dir.path(), &mut rng, 20, 150);
    let last = chunks(dir.path()).pop().unwrap();
    let length = used(&last).len() as u64;
    for cut_bytes in 1..300.min(length) {
        let _ = fs::remove_dir_all(copy.path());
        copy_dir(dir.path(), copy.path());
        let file = copy.path().join(last.strip_prefix(dir.path()).unwrap());
        cut(&file, length - cut_bytes);
        let damage = expect_damage(open(LogEngine::Wal, copy.path()), "a cut tail");
        assert_eq!(damage.file, file);
        assert!(damage.offset <= length - cut_bytes, "{damage}");
    }
}

/// After a power cut the end may be torn, and what was promised last may be known no better than
/// what was promised a little earlier. What is left must be a prefix, and must grow on.
#[test]
fn a_torn_tail_that_was_never_acknowledged_leaves_a_prefix() {
    let mut rng = seeded("a_torn_tail", 4);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let acked = [Step::Append((0..8).map(|i| record(1, i, 20)).collect())];
    let rest: Vec<Step> = (8..40)
        .map(|i| Step::Append(vec![record(2, i, rng.random_range(0..40))]))
        .chain([Step::Purge(id(1, 2)), Step::Truncate(Some(id(2, 30)))])
        .collect();
    acked[0].apply(&*open(LogEngine::Wal, dir.path()).unwrap());
    let witness = dir.path().join("wal/witness");
    let promised = fs::read(&witness).unwrap();
    let log = open(LogEngine::Wal, dir.path()).unwrap();
    rest.iter().for_each(|step| step.apply(&*log));
    drop(log);
    fs::write(&witness, promised).unwrap();

    let last = chunks(dir.path()).pop().unwrap();
    let length = used(&last).len() as u64;
    for cut_bytes in 0..500 {
        let _ = fs::remove_dir_all(copy.path());
        copy_dir(dir.path(), copy.path());
        cut(&copy.path().join(last.strip_prefix(dir.path()).unwrap()), length - cut_bytes);
        let log = open(LogEngine::Wal, copy.path()).unwrap();
        let model = MemoryLog::new();
        match_prefix(&*log, &acked, &rest, &model);
        // No more is lost than the cut reaches: a record is at least 34 bytes.
        let lost = 39 - content(&*log).1.last().unwrap().id.index;
        assert!(lost <= 9 + cut_bytes / 34 + 1, "{lost} entries lost by {cut_bytes} bytes");

        let end = log.state().last.unwrap().index + 1;
        let more = Step::Append(vec![record(3, end, 10)]);
        more.apply(&*log);
        more.apply(&model);
        drop(log);
        assert_same(&*open(LogEngine::Wal, copy.path()).unwrap(), &model, "after the cut");
    }
}

/// Garbage of a torn write after what was acknowledged is cut, whatever it is made of.
#[test]
fn half_a_record_after_the_acknowledged_ones_is_cut() {
    let mut rng = seeded("half_a_record", 6);
    let dir = tempfile::tempdir().unwrap();
    let (model, _) = build(LogEngine::Wal, dir.path(), &mut rng, 10, 150);
    let last = chunks(dir.path()).pop().unwrap();
    let half = {
        let other = tempfile::tempdir().unwrap();
        Step::Append(vec![record(9, 0, 50)]).apply(&*open(LogEngine::Wal, other.path()).unwrap());
        let bytes = used(&chunks(other.path())[0]);
        bytes[bytes.len() - 84..].to_vec()
    };
    let whole = used(&last);
    for length in 1..half.len() {
        fs::write(&last, [&whole[..], &half[..length]].concat()).unwrap();
        assert_same(&*open(LogEngine::Wal, dir.path()).unwrap(), &model, "half a record");
        assert_eq!(used(&last), whole, "it is cut for good");
        fs::write(&last, [&whole[..], &half[..length], &[0; 600]].concat()).unwrap();
        assert_same(&*open(LogEngine::Wal, dir.path()).unwrap(), &model, "with zeros behind");
    }
}

/// Any file of several, missing or short, is damage, and the message says where.
#[test]
fn a_missing_or_short_file_is_damage() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(LogEngine::Wal, dir.path()).unwrap();
    for i in 0..600 {
        log.append(vec![record(1, i, 1000)], Box::new(|result| result.unwrap()));
    }
    wait(|done| log.append(vec![], done)).unwrap();
    drop(log);
    let all = chunks(dir.path());
    assert!(all.len() > 5, "{} files", all.len());
    for (i, chunk) in all.iter().enumerate() {
        let name = chunk.strip_prefix(dir.path()).unwrap();
        for keep in [None, Some(0), Some(1), Some(40_000)] {
            let _ = fs::remove_dir_all(copy.path());
            copy_dir(dir.path(), copy.path());
            let file = copy.path().join(name);
            match keep {
                None => fs::remove_file(&file).unwrap(),
                Some(keep) if keep >= used(chunk).len() as u64 => continue,
                Some(keep) => cut(&file, keep),
            }
            let damage = expect_damage(open(LogEngine::Wal, copy.path()), "a short file");
            let before =
                copy.path().join(all[i.saturating_sub(1)].strip_prefix(dir.path()).unwrap());
            let after =
                copy.path().join(all[(i + 1) % all.len()].strip_prefix(dir.path()).unwrap());
            assert!(
                [&file, &before, &after].contains(&&damage.file),
                "{name:?} {keep:?}: {damage}"
            );
        }
    }
}

/// What sled can vouch for: a cut of its file is found, or it changed nothing.
#[test]
fn a_cut_of_the_file_of_sled_is_damage_or_harmless() {
    let mut rng = seeded("a_cut_of_the_file_of_sled", 8);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (model, _) = build(LogEngine::Sled, dir.path(), &mut rng, 40, 150);
    let db = dir.path().join("sled/log/db");
    let length = db.metadata().unwrap().len();
    let used = fs::read(&db).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let (mut damaged, mut same) = (0, 0);
    let random = (0..40).map(|_| rng.random_range(0..length)).collect::<Vec<_>>();
    for keep in (used.saturating_sub(120)..used).chain(random) {
        let _ = fs::remove_dir_all(copy.path());
        copy_dir(dir.path(), copy.path());
        cut(&copy.path().join("sled/log/db"), keep);
        match open(LogEngine::Sled, copy.path()) {
            Ok(log) => {
                assert_same(&*log, &model, &format!("cut to {keep} of {length}"));
                same += 1;
            }
            error => {
                let damage = expect_damage(error, "a cut");
                assert_eq!(damage.file, copy.path().join("sled/log/db"));
                damaged += 1;
            }
        }
    }
    println!("{damaged} refused, {same} harmless");
    assert!(damaged > 0);
}
