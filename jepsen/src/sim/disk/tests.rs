//! The disk as a process meets it: what its end and a power loss leave, and what each fault does.
//!
//! Host 1 writes, and each test runs in a world of its own.

use std::collections::BTreeSet;

use super::*;
use crate::sim::world::{Settings, Traces, World};

type Seen = Arc<Mutex<Vec<Observation>>>;

fn ms(from: u64, to: u64) -> Range<Duration> {
    Duration::from_millis(from)..Duration::from_millis(to)
}

/// Uses a disk of its own in a world of its own.
fn run<T>(seed: u64, main: impl FnOnce(&SimDisk) -> T) -> T {
    watched(seed, main).0
}

fn watched<T>(seed: u64, main: impl FnOnce(&SimDisk) -> T) -> (T, Vec<Observation>, Traces) {
    let seen = Seen::default();
    let noted = seen.clone();
    let observer = Box::new(move |_, observation: &Observation| {
        noted.lock().unwrap().push(observation.clone());
        false
    });
    let settings = Settings { seed, observer: Some(observer), ..Settings::default() };
    let (result, traces) = World::run(settings, async {
        world::boot(1);
        main(&SimDisk::new(1, ms(10, 20)))
    });
    let seen = seen.lock().unwrap().clone();
    (result.unwrap(), seen, traces)
}

fn read(disk: &SimDisk, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.open(name)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file with these bytes, not synced.
fn create(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let mut file = disk.create(name).unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A file with these bytes, there for sure.
fn keep(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let mut file = create(disk, name, bytes);
    file.sync().unwrap();
    disk.sync_names().unwrap();
    file
}

fn lose_power(disk: &SimDisk) {
    disk.crash();
    disk.boot();
}

#[test]
fn the_end_of_a_process_loses_nothing_that_was_written() {
    for seed in 0..50 {
        run(seed, |disk| {
            drop(create(disk, "a", b"one"));
            drop(create(disk, "b", b"two"));
            drop(create(disk, "c", b"three"));
            disk.rename("a", "d").unwrap();
            disk.remove("b").unwrap();
            disk.write_log(b"four").unwrap();
            disk.exit();
            assert_eq!(disk.names().unwrap(), ["c", "d"]);
            assert_eq!(read(disk, "c").unwrap(), b"three");
            assert_eq!(read(disk, "d").unwrap(), b"one");
            assert_eq!(disk.read_log().unwrap(), (b"four".to_vec(), 0));
        });
    }
}

#[test]
fn a_power_loss_keeps_what_was_synced_and_a_prefix_of_the_rest_torn_anywhere() {
    let bytes: Vec<u8> = (1..=32).collect();
    let (mut lengths, mut zeros) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..1_000 {
        let left = run(seed, |disk| {
            let mut file = keep(disk, "file", &bytes[..16]);
            file.write_all(&bytes[16..20]).unwrap();
            file.write_all(&bytes[20..]).unwrap();
            lose_power(disk);
            read(disk, "file").unwrap()
        });
        assert!(left.starts_with(&bytes[..16]), "seed {seed}: {left:?}");
        let written = left.iter().take_while(|byte| **byte != 0).count();
        assert_eq!(left[..written], bytes[..written], "seed {seed}");
        assert!(left[written..].iter().all(|byte| *byte == 0), "seed {seed}: {left:?}");
        lengths.insert(left.len());
        zeros.insert(left.len() - written);
    }
    assert_eq!(lengths, (16..=32).collect(), "torn anywhere, and both extremes");
    assert!(zeros.contains(&0) && zeros.iter().max() >= Some(&12), "{zeros:?}");
}

#[test]
fn a_torn_file_is_no_longer_than_what_was_written_however_often_power_is_lost() {
    for seed in 0..100 {
        run(seed, |disk| {
            let mut file = keep(disk, "file", b"kept");
            file.write_all(b"torn").unwrap();
            let mut before = 8;
            for _ in 0..5 {
                lose_power(disk);
                let left = read(disk, "file").unwrap();
                assert!(left.starts_with(b"kept") && left.len() <= before, "seed {seed}: {left:?}");
                before = left.len();
            }
        });
    }
}

#[test]
fn names_need_a_sync_and_without_one_any_subset_of_the_changes_is_left() {
    let mut left = BTreeSet::new();
    for seed in 0..200 {
        run(seed, |disk| {
            keep(disk, "from", b"moved");
            keep(disk, "old", b"removed");
            create(disk, "new", b"created").sync().unwrap();
            disk.rename("from", "to").unwrap();
            disk.remove("old").unwrap();
            lose_power(disk);
            let names = disk.names().unwrap();
            let contents =
                [("from", "moved"), ("to", "moved"), ("old", "removed"), ("new", "created")];
            for (name, content) in contents {
                if names.iter().any(|there| there == name) {
                    assert_eq!(read(disk, name).unwrap(), content.as_bytes(), "seed {seed}");
                } else {
                    assert_eq!(read(disk, name).unwrap_err().kind(), io::ErrorKind::NotFound);
                }
            }
            let both = names.iter().filter(|name| ["from", "to"].contains(&name.as_str())).count();
            assert_eq!(both, 1, "a file that is renamed always has a name: {names:?}");
            left.insert(names.clone());

            lose_power(disk);
            assert_eq!(disk.names().unwrap(), names, "what a power loss left is left by the next");
        });
    }
    assert_eq!(left.len(), 8, "each of three changes is there or not: {left:?}");
}

#[test]
fn synced_names_survive_every_power_loss() {
    for seed in 0..100 {
        run(seed, |disk| {
            keep(disk, "a", b"old");
            keep(disk, "b", b"other");
            create(disk, "a", b"new").sync().unwrap();
            disk.remove("b").unwrap();
            disk.rename("a", "c").unwrap();
            disk.sync_names().unwrap();
            lose_power(disk);
            assert_eq!(disk.names().unwrap(), ["c"], "seed {seed}");
            assert_eq!(read(disk, "c").unwrap(), b"new", "seed {seed}");
        });
    }
}

#[test]
fn a_file_that_replaces_another_does_so_whole_or_not_at_all() {
    let mut left = BTreeSet::new();
    for seed in 0..100 {
        left.insert(run(seed, |disk| {
            keep(disk, "file", b"old");
            create(disk, "temporary", b"new").sync().unwrap();
            disk.sync_names().unwrap();
            disk.rename("temporary", "file").unwrap();
            lose_power(disk);
            read(disk, "file").unwrap()
        }));
    }
    assert_eq!(left, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn a_failed_sync_has_lost_its_bytes_and_a_later_one_neither_says_so_nor_brings_them_back() {
    for seed in 0..100 {
        for (power, again) in [(false, false), (false, true), (true, false), (true, true)] {
            run(seed, |disk| {
                let mut file = keep(disk, "file", b"kept");
                let mut other = keep(disk, "other", b"");
                file.write_all(b" lost").unwrap();
                disk.fail_next_sync();
                assert_eq!(read(disk, "file").unwrap(), b"kept lost", "it has not failed yet");
                assert!(file.sync().is_err());
                assert_eq!(read(disk, "file").unwrap(), b"kept lost", "the process reads it");
                other.write_all(b"safe").unwrap();
                other.sync().unwrap();
                if again {
                    file.sync().unwrap();
                    file.write_all(b" and more").unwrap();
                    file.sync().unwrap();
                }
                match power {
                    true => lose_power(disk),
                    false => disk.exit(),
                }
                assert_eq!(read(disk, "file").unwrap(), b"kept", "seed {seed}");
                assert_eq!(read(disk, "other").unwrap(), b"safe", "only one sync failed");
            });
        }
    }
}

#[test]
fn the_next_process_syncs_what_the_last_one_could_not() {
    for seed in 0..50 {
        run(seed, |disk| {
            disk.write_log(b"lost").unwrap();
            disk.fail_next_sync();
            disk.sync_log().unwrap_err();
            disk.exit();
            disk.write_log(b"safe").unwrap();
            disk.sync_log().unwrap();
            lose_power(disk);
            assert_eq!(disk.read_log().unwrap(), (b"safe".to_vec(), 4), "seed {seed}");
        });
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_says_that_it_is_full() {
    run(1, |disk| {
        let mut file = keep(disk, "file", b"kept");
        disk.fill(6);
        file.write_all(b"1234").unwrap();
        let full = file.write_all(b"5678").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(disk, "file").unwrap(), b"kept123456");
        let full = disk.write_log(b"9").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "the log is on the same disk");
        file.sync().unwrap();
        disk.free();
        file.write_all(b"78").unwrap();
        lose_power(disk);
        assert!(read(disk, "file").unwrap().starts_with(b"kept123456"), "it was synced");
    });
}

/// Six things to do with a disk, seven operations: whether each succeeded.
fn six(disk: &SimDisk) -> Vec<bool> {
    let number = disk.lock().platter.file("file").unwrap().0;
    let mut file = SimFile { disk: disk.clone(), file: number };
    vec![
        file.write_all(b"0123456789").is_ok(),
        file.sync().is_ok(),
        disk.rename("file", "moved").and_then(|()| disk.rename("moved", "file")).is_ok(),
        disk.sync_names().is_ok(),
        disk.write_log(b"log").is_ok(),
        disk.sync_log().is_ok(),
    ]
}

#[test]
fn power_fails_in_the_operation_after_so_many_and_nothing_works_until_the_next_boot() {
    // Renaming there and back are two operations.
    for (allowed, done) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 5)] {
        let ((), _, traces) = watched(allowed.into(), |disk| {
            keep(disk, "file", b"kept");
            disk.crash_after(allowed);
            let expected: Vec<bool> = (0..6).map(|at| at < done).collect();
            assert_eq!(six(disk), expected, "after {allowed}");
            assert!(!world::is_alive(1), "the host ended");
            assert!(disk.create("new").is_err() && disk.remove("file").is_err());
            assert!(disk.names().is_err(), "a disk without power says nothing");
            assert!(disk.open("file").is_err() && disk.read_log().is_err());
            disk.exit();
            assert!(disk.names().is_err(), "nor after the end of the process");

            world::boot(1);
            disk.boot();
            assert!(
                read(disk, "file").or_else(|_| read(disk, "moved")).unwrap().starts_with(b"kept")
            );
            drop(create(disk, "file", b""));
            assert_eq!(six(disk), [true; 6], "it failed once");
        });
        assert!(traces.panics.is_empty());
    }
}

#[test]
fn a_write_that_power_interrupts_is_done_in_part() {
    let mut lengths = BTreeSet::new();
    for seed in 0..500 {
        let left = run(seed, |disk| {
            let mut file = keep(disk, "file", b"");
            disk.crash_after(0);
            file.write_all(b"0123456789").unwrap_err();
            disk.boot();
            read(disk, "file").unwrap()
        });
        let written = left.iter().take_while(|byte| **byte != 0).count();
        assert_eq!(left[..written], b"0123456789"[..written], "seed {seed}");
        lengths.insert(left.len());
    }
    assert_eq!(lengths, (0..=10).collect(), "nothing of it, all of it and all between");
}

#[test]
fn faults_that_have_not_come_end_when_healed() {
    run(1, |disk| {
        let mut file = keep(disk, "file", b"");
        disk.fail_next_sync();
        disk.fill(0);
        disk.crash_after(0);
        disk.slow(1_000);
        disk.heal();
        file.write_all(b"written").unwrap();
        file.sync().unwrap();
        assert!(ms(10, 20).contains(&disk.sync_time()));
        lose_power(disk);
        assert_eq!(read(disk, "file").unwrap(), b"written");
    });
}

#[test]
fn a_power_loss_that_was_to_come_does_not_wait_for_the_next_process() {
    run(1, |disk| {
        disk.crash_after(0);
        disk.exit();
        drop(create(disk, "file", b"written"));
        assert!(world::is_alive(1));
        disk.crash_after(0);
        lose_power(disk);
        drop(create(disk, "file", b"written"));
        assert!(world::is_alive(1));
    });
}

#[test]
fn one_bit_rots_of_what_was_synced_and_a_restart_reads() {
    let mut bits = BTreeSet::new();
    for seed in 0..300 {
        run(seed, |disk| {
            assert_eq!(disk.rot(), None, "nothing is there");
            drop(keep(disk, "temporary-1", b"nobody reads this"));
            disk.write_log(b"not synced").unwrap();
            assert_eq!(disk.rot(), None, "nobody could know");
            let mut file = keep(disk, "file", &[0; 8]);
            file.write_all(&[0; 8]).unwrap();
            assert_eq!(disk.rot().as_deref(), Some("file"));
            let rotten: u128 = u128::from_le_bytes(read(disk, "file").unwrap().try_into().unwrap());
            assert_eq!(rotten.count_ones(), 1, "seed {seed}");
            bits.insert(rotten.trailing_zeros());
            assert_eq!(read(disk, "temporary-1").unwrap(), b"nobody reads this");
            assert_eq!(disk.read_log().unwrap().0, b"not synced");
        });
    }
    assert!(bits.len() > 50 && bits.iter().all(|bit| *bit < 64), "{bits:?}");
}

#[test]
fn the_log_rots_too() {
    let mut rotten = BTreeSet::new();
    for seed in 0..100 {
        run(seed, |disk| {
            drop(keep(disk, "file", b"file"));
            disk.write_log(b"log").unwrap();
            disk.sync_log().unwrap();
            let name = disk.rot().unwrap();
            assert_eq!(disk.read_log().unwrap().0 == b"log", name != LOG);
            assert_eq!(read(disk, "file").unwrap() == b"file", name != "file");
            rotten.insert(name);
        });
    }
    assert_eq!(rotten, BTreeSet::from(["file".to_owned(), LOG.to_owned()]));
}

#[test]
fn a_wiped_disk_is_empty_and_has_power_when_its_host_has() {
    let ((), seen, _) = watched(1, |disk| {
        let mut lost = keep(disk, "file", b"synced");
        disk.write_log(b"log").unwrap();
        disk.sync_log().unwrap();
        disk.crash();
        disk.wipe();
        assert!(disk.create("file").is_err(), "its power is still off");
        disk.boot();
        assert_eq!(disk.names().unwrap(), Vec::<String>::new());
        assert_eq!(disk.read_log().unwrap(), (Vec::new(), 0));
        drop(keep(disk, "file", b"again"));
        assert!(lost.write_all(b"who").is_err(), "it is another file");
        lose_power(disk);
        assert_eq!(read(disk, "file").unwrap(), b"again");
    });
    assert_eq!(seen, [Observation::Wiped { node: 1 }]);
}

#[test]
fn a_sync_takes_its_time_and_longer_on_a_disk_that_is_slow_or_stalled() {
    run(1, |disk| {
        let times: BTreeSet<Duration> = (0..50).map(|_| disk.sync_time()).collect();
        assert!(times.len() > 40 && times.iter().all(|time| ms(10, 20).contains(time)));
        disk.slow(3);
        assert!((0..50).all(|_| ms(30, 60).contains(&disk.sync_time())));
        world::stall_disk(1, Duration::from_secs(1));
        assert!((0..50).all(|_| ms(1_030, 1_060).contains(&disk.sync_time())));
        world::stall_disk(2, Duration::from_secs(9));
        assert!(ms(1_030, 1_060).contains(&disk.sync_time()), "that is another disk");
    });
}

#[test]
fn a_snapshot_is_seen_when_it_gets_its_name_and_no_sooner() {
    let (hash, seen, traces) = watched(1, |disk| {
        drop(keep(disk, "temporary-1", b"state"));
        drop(keep(disk, "temporary-2", b"identity"));
        disk.rename("temporary-2", "identity").unwrap();
        disk.rename("temporary-1", "snapshot-2-1f-built").unwrap();
        digest(b"state".to_vec())
    });
    let (name, last) = ("snapshot-2-1f-built".to_owned(), LogId { term: 2, index: 31 });
    assert_eq!(seen, [Observation::Snapshot { node: 1, name, last, hash }]);
    assert_eq!(traces.reached.get("a snapshot was built"), Some(&1));
}

#[test]
fn a_clone_is_the_same_disk_and_an_open_file_stays_as_it_was() {
    run(1, |disk| {
        let mut file = create(disk, "file", b"before");
        let mut reader = disk.clone().open("file").unwrap();
        file.write_all(b" after").unwrap();
        disk.clone().remove("file").unwrap();
        assert_eq!(disk.names().unwrap(), Vec::<String>::new());
        file.write_all(b" it was removed").unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"before");
        assert_eq!(disk.path("file"), PathBuf::from("(disk of node 1)/file"));
    });
}
