//! One bit flipped, anywhere in the directory: it is named, or it changed nothing.

use std::fs;

use rand::{RngExt, rngs::StdRng};
use sixbells::{
    StartError,
    storage::{LogEngine, MemoryLog},
};

use crate::support::*;

/// Every bit of the write-ahead log is covered: by a checksum, by its place, or by the witness.
#[test]
fn a_flipped_bit_in_the_wal_is_named() {
    let mut rng = seeded("a_flipped_bit_in_the_wal", 21);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(LogEngine::Wal, dir.path(), &mut rng, 60);
    let all = chunks(dir.path());
    assert!(all.len() > 1, "the log must have several files");
    let last = all.last().unwrap();
    let tail = last.metadata().unwrap().len().saturating_sub(120);
    for n in 0..400 {
        let chunk = &all[rng.random_range(0..all.len())];
        let mut bytes = fs::read(chunk).unwrap();
        // Often at the very end, where a bad length looks like a torn write.
        let from = if n % 4 == 0 && chunk == last { usize::try_from(tail).unwrap() } else { 0 };
        let at = rng.random_range(from..bytes.len());
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
    let whole = fs::read(&chunk).unwrap();
    for _ in 0..300 {
        let mut bytes = whole.clone();
        let at = rng.random_range(0..bytes.len());
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

/// sled itself loses data silently or panics on such damage. With the checks on top of it, an open
/// that succeeds shows exactly what was acknowledged.
#[test]
fn a_flipped_bit_in_sled_is_named_or_harmless() {
    let mut rng = seeded("a_flipped_bit_in_sled", 23);
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let model = build(LogEngine::Sled, dir.path(), &mut rng, 60);
    let db = dir.path().join("sled/log/db");
    let whole = fs::read(&db).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut damaged, mut same) = (0, 0);
    for _ in 0..220 {
        let mut bytes = whole.clone();
        let at = rng.random_range(0..=used);
        bytes[at] ^= 1 << rng.random_range(0..8);
        let _ = fs::remove_dir_all(copy.path());
        copy_dir(dir.path(), copy.path());
        fs::write(copy.path().join("sled/log/db"), bytes).unwrap();
        match open(LogEngine::Sled, copy.path()) {
            Ok(log) => {
                assert_same(&*log, &model, &format!("bit in byte {at} of {used}"));
                same += 1;
            }
            error => {
                let damage = expect_damage(error, &format!("bit in byte {at}"));
                assert_eq!(damage.file, copy.path().join("sled/log/db"));
                damaged += 1;
            }
        }
    }
    println!("{damaged} refused, {same} harmless");
    assert!(damaged > 0);
}

/// The small files beside the log.
#[test]
fn a_flipped_bit_in_the_other_files_is_named_or_harmless() {
    for engine in ENGINES {
        let mut rng = seeded("a_flipped_bit_in_the_other_files", 24);
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = build(engine, dir.path(), &mut rng, 10);
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
