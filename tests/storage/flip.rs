//! One bit flipped, anywhere in the directory: it is named, or it changed nothing.

use std::{fs, path::Path, sync::Arc};

use rand::{RngExt, rngs::StdRng};
use sixbells::{
    StartError,
    storage::{LogEngine, LogStore, MemoryLog},
};

use crate::support::*;

/// Every bit of the write-ahead log is covered: by a checksum, by its place, or by the witness.
#[test]
fn a_flipped_bit_in_the_wal_is_named() {
    let mut rng = seeded("a_flipped_bit_in_the_wal", 21);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(LogEngine::Wal, dir.path(), &mut rng, 60, 150);
    let all = chunks(dir.path());
    assert!(all.len() > 1, "the log must have several files");
    let last = all.last().unwrap();
    for n in 0..400 {
        let chunk = &all[rng.random_range(0..all.len())];
        let (mut bytes, end) = (fs::read(chunk).unwrap(), used(chunk).len());
        // Often at the very end, where a bad length looks like a torn write.
        let from = if n % 4 == 0 && chunk == last { end.saturating_sub(120) } else { 0 };
        let at = rng.random_range(from..end);
        bytes[at] ^= 1 << rng.random_range(0..8);
        let _ = fs::remove_dir_all(copy.path());
        copy_dir(dir.path(), copy.path());
        let file = copy.path().join(chunk.strip_prefix(dir.path()).unwrap());
        fs::write(&file, bytes).unwrap();
        let damage = expect_damage(open(LogEngine::Wal, copy.path()), "a flipped bit");
        assert_eq!(damage.file, file, "bit in byte {at}: {damage}");
        assert!(damage.offset <= at as u64 && at as u64 - damage.offset < 300, "{at}: {damage}");
    }
}

/// Behind the records nothing was written. What is found there nevertheless was never acknowledged, and is cut, but
/// not where a later file says that the log went on.
#[test]
fn a_flipped_bit_behind_the_records_changes_nothing() {
    let mut rng = seeded("a_flipped_bit_behind_the_records", 24);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (model, _) = build(LogEngine::Wal, dir.path(), &mut rng, 60, 150);
    let all = chunks(dir.path());
    for _ in 0..40 {
        let chunk = &all[rng.random_range(0..all.len())];
        let (mut bytes, end) = (fs::read(chunk).unwrap(), used(chunk).len());
        if end == bytes.len() {
            continue;
        }
        let at = rng.random_range(end..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        let _ = fs::remove_dir_all(copy.path());
        copy_dir(dir.path(), copy.path());
        let file = copy.path().join(chunk.strip_prefix(dir.path()).unwrap());
        fs::write(&file, bytes).unwrap();
        let opened = open(LogEngine::Wal, copy.path());
        match chunk == all.last().unwrap() {
            true => assert_same(&*opened.unwrap(), &model, "behind the end"),
            false => assert_eq!(expect_damage(opened, "behind the end").file, file),
        }
    }
}

/// Where a power cut left an old witness, only the final record may pass for torn.
#[test]
fn a_flipped_bit_under_an_old_witness_costs_the_final_record_at_most() {
    let mut rng = seeded("a_flipped_bit_under_an_old_witness", 22);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(LogEngine::Wal, dir.path()).unwrap());
    let promised = fs::read(dir.path().join("wal/witness")).unwrap();
    let entries: Vec<Step> = (0..40).map(|i| Step::Append(vec![record(1, i, 30)])).collect();
    let log = open(LogEngine::Wal, dir.path()).unwrap();
    entries.iter().for_each(|step| step.apply(&*log));
    drop(log);
    fs::write(dir.path().join("wal/witness"), promised).unwrap();
    let chunk = chunks(dir.path()).pop().unwrap();
    let (whole, end) = (fs::read(&chunk).unwrap(), used(&chunk).len());
    for _ in 0..300 {
        let mut bytes = whole.clone();
        let at = rng.random_range(0..end);
        bytes[at] ^= 1 << rng.random_range(0..8);
        let _ = fs::remove_dir_all(copy.path());
        copy_dir(dir.path(), copy.path());
        fs::write(copy.path().join(chunk.strip_prefix(dir.path()).unwrap()), bytes).unwrap();
        if let Ok(log) = open(LogEngine::Wal, copy.path()) {
            let model = MemoryLog::new();
            match_prefix(&*log, &entries[..39], &entries[39..], &model);
        }
    }
}

/// sled itself loses its end or its middle silently on such damage, or panics. With the checks on top
/// of it, an open that succeeds shows exactly what was acknowledged.
#[test]
fn a_flipped_bit_in_sled_is_named_or_harmless() {
    for (steps, length_max, flips) in [(60, 150, 160), (100, 2000, 60)] {
        let mut rng = seeded("a_flipped_bit_in_sled", 23);
        let dir = tempfile::tempdir().unwrap();
        let (model, _) = build(LogEngine::Sled, dir.path(), &mut rng, steps, length_max);
        let (mut damaged, mut same) = (0, 0);
        flip_sled(dir.path(), &mut rng, flips, |opened, copy, at| match opened {
            Ok(log) => {
                assert_same(&*log, &model, &format!("bit in byte {at}"));
                same += 1;
            }
            error => {
                let damage = expect_damage(error, &format!("bit in byte {at}"));
                assert_eq!(damage.file, copy.join("sled/log/db"));
                // Also after sled has cut its own file to what it understood of it.
                expect_damage(open(LogEngine::Sled, copy), "opened again");
                damaged += 1;
            }
        });
        println!("{damaged} refused, {same} harmless");
        assert!(damaged > 0);
    }
}

/// Where a power cut left an old witness, a lost end is not found; but what is there is a prefix of
/// the writes, without gaps and without anything stale, or it is refused.
#[test]
fn a_flipped_bit_in_sled_under_an_old_witness_leaves_a_prefix() {
    let mut rng = seeded("a_flipped_bit_in_sled_under", 25);
    let dir = tempfile::tempdir().unwrap();
    drop(open(LogEngine::Sled, dir.path()).unwrap());
    let promised = fs::read(dir.path().join("sled/witness")).unwrap();
    let (_, steps) = build(LogEngine::Sled, dir.path(), &mut rng, 60, 1500);
    fs::write(dir.path().join("sled/witness"), promised).unwrap();
    let (mut refused, mut prefixes) = (0, 0);
    flip_sled(dir.path(), &mut rng, 60, |opened, _, _| match opened {
        Ok(log) => {
            match_prefix(&*log, &[], &steps, &MemoryLog::new());
            prefixes += 1;
        }
        error => {
            expect_damage(error, "a flipped bit");
            refused += 1;
        }
    });
    println!("{refused} refused, {prefixes} a prefix");
}

/// Opens copies of a sled directory, each with a bit flipped in the main file.
fn flip_sled(
    dir: &Path,
    rng: &mut StdRng,
    count: usize,
    mut check: impl FnMut(Result<Arc<dyn LogStore>, StartError>, &Path, usize),
) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    open(LogEngine::Sled, copy.path()).expect("a copy without damage opens");
    let whole = fs::read(dir.join("sled/log/db")).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for _ in 0..count {
        let mut bytes = whole.clone();
        let at = rng.random_range(0..=used);
        bytes[at] ^= 1 << rng.random_range(0..8);
        fs::remove_dir_all(copy.path()).unwrap();
        copy_dir(dir, copy.path());
        fs::write(copy.path().join("sled/log/db"), bytes).unwrap();
        check(open(LogEngine::Sled, copy.path()), copy.path(), at);
    }
}

/// The small files beside the log.
#[test]
fn a_flipped_bit_in_the_other_files_is_named_or_harmless() {
    for engine in ENGINES {
        let mut rng = seeded("a_flipped_bit_in_the_other_files", 24);
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (model, _) = build(engine, dir.path(), &mut rng, 10, 150);
        for file in files(dir.path()) {
            let whole = fs::read(&file).unwrap();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if whole.is_empty() || whole.len() > 4096 || name.ends_with(".wal") {
                continue;
            }
            for _ in 0..20 {
                let mut bytes = whole.clone();
                flip(&mut rng, &mut bytes);
                let _ = fs::remove_dir_all(copy.path());
                copy_dir(dir.path(), copy.path());
                fs::write(copy.path().join(file.strip_prefix(dir.path()).unwrap()), bytes).unwrap();
                match open(engine, copy.path()) {
                    Ok(log) => assert_same(&*log, &model, &name),
                    Err(StartError::Damaged(_) | StartError::Foreign { .. }) => {}
                    Err(other) => panic!("{engine}, {name}: {other}"),
                }
            }
        }
    }
}

fn flip(rng: &mut StdRng, bytes: &mut [u8]) {
    let at = rng.random_range(0..bytes.len());
    bytes[at] ^= 1 << rng.random_range(0..8);
}
