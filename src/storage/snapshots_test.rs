//! Stories of snapshot files: cut, flipped, overtaken, unwanted.

use super::*;
use crate::{runtime::WAYS_GIVEN, storage::MemoryDisk};

fn meta(index: u64) -> SnapshotMeta {
    let last = Some(LogId { term: 2, index });
    SnapshotMeta { last, membership: Bytes::from_static(b"members") }
}

fn state(file: &SnapshotFile) -> Vec<u8> {
    let mut state = Vec::new();
    file.load(Reading::AtOnce, |input| input.read_to_end(&mut state).map(drop)).unwrap();
    state
}

#[test]
fn the_newest_survives_a_restart_and_older_ones_go() {
    let disk = Arc::new(MemoryDisk::default());
    let (snapshots, none) = Snapshots::open(disk.clone()).unwrap();
    assert!(none.is_none());
    snapshots.build(meta(5), |out| out.write_all(b"five")).unwrap();
    snapshots.build(meta(300), |out| out.write_all(b"three hundred")).unwrap();
    assert_eq!(disk.names().unwrap().len(), 1);

    let (_, found) = Snapshots::open(disk).unwrap();
    let found = found.unwrap();
    assert_eq!((found.meta.clone(), found.origin), (meta(300), SnapshotOrigin::Built));
    assert_eq!(state(&found), b"three hundred");
}

#[test]
fn travels_in_chunks_and_is_checked_on_arrival() {
    let (sender, _) = Snapshots::open(Arc::new(MemoryDisk::default())).unwrap();
    let sent = sender.build(meta(9), |out| out.write_all(&[7; 1000])).unwrap();
    let (receiver, _) = Snapshots::open(Arc::new(MemoryDisk::default())).unwrap();
    for damaged in [false, true] {
        let mut receiving = receiver.receive(1).unwrap();
        let mut pieces = sent.pieces().unwrap();
        while receiving.bytes() < sent.bytes {
            let mut chunk = pieces.next(64).unwrap().to_vec();
            if damaged && receiving.bytes() > 500 {
                chunk[0] ^= 1;
            }
            receiving.append(&chunk).unwrap();
        }
        let finished = receiving.finish();
        assert_eq!(finished.is_err(), damaged);
        if let Ok(file) = finished {
            let file = receiver.publish(file).unwrap();
            assert_eq!((state(&file), &file.meta), (vec![7; 1000], &meta(9)));
        }
    }
}

/// Snapshots are taken faster than one travels: the one under way must still arrive, or a
/// follower that was away would never catch up.
#[test]
fn a_transfer_outlives_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let on_disk: Arc<dyn Disk> = Arc::new(crate::storage::OsDisk::open(dir.path()).unwrap());
    for disk in [Arc::new(MemoryDisk::default()), on_disk] {
        let (snapshots, _) = Snapshots::open(disk.clone()).unwrap();
        let old = snapshots.build(meta(5), |out| out.write_all(&[5; 500])).unwrap();
        let mut pieces = old.pieces().unwrap();
        let mut sent = pieces.next(100).unwrap().to_vec();
        snapshots.build(meta(6), |out| out.write_all(&[6; 500])).unwrap();
        assert!(old.pieces().is_err(), "the old file is gone");
        sent.extend(pieces.next(1 << 20).unwrap());
        let mut receiving = snapshots.receive(1).unwrap();
        receiving.append(&sent).unwrap();
        assert_eq!(receiving.finish().unwrap().meta, meta(5));
    }
}

/// A snapshot is built while another is installed, and both clear the same old one away.
#[test]
fn what_another_has_cleared_away_is_gone() {
    let disk = Arc::new(MemoryDisk::default());
    let (snapshots, _) = Snapshots::open(disk.clone()).unwrap();
    unless_gone(snapshots.readers.take_away(&*disk, "snapshot-of-old")).unwrap();
}

/// A snapshot arrives whole and is not wanted: it must not stay on the disk for ever, but one that
/// was published must.
#[test]
fn what_is_not_installed_is_discarded() {
    let disk = Arc::new(MemoryDisk::default());
    let (snapshots, _) = Snapshots::open(disk.clone()).unwrap();
    let sent = snapshots.build(meta(5), |out| out.write_all(b"state")).unwrap();
    let receive = || {
        let mut receiving = snapshots.receive(1).unwrap();
        receiving.append(&sent.pieces().unwrap().next(1 << 20).unwrap()).unwrap();
        receiving.finish().unwrap()
    };
    receive().discard().unwrap();
    assert_eq!(disk.names().unwrap().len(), 1);
    let received = receive();
    let published = snapshots.publish(received.clone()).unwrap();
    received.discard().unwrap();
    assert_eq!(state(&published), b"state");
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let disk = Arc::new(MemoryDisk::default());
    let (snapshots, _) = Snapshots::open(disk.clone()).unwrap();
    let file = snapshots.build(meta(5), |out| out.write_all(b"state")).unwrap();
    let good = file.pieces().unwrap().next(1 << 20).unwrap();
    let put = |bytes: &[u8]| disk.create(&file.name).unwrap().write_all(bytes).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        put(&bad);
        let error = Snapshots::open(disk.clone()).unwrap_err().to_string();
        assert!(error.contains(&file.name), "bit {bit}: {error}");
    }
    for cut in 0..good.len() {
        put(&good[..cut]);
        assert!(Snapshots::open(disk.clone()).is_err(), "cut at {cut}");
    }
}

#[test]
fn an_unfinished_file_is_cleared_away() {
    let disk = Arc::new(MemoryDisk::default());
    let (snapshots, _) = Snapshots::open(disk.clone()).unwrap();
    snapshots.build(meta(5), |out| out.write_all(b"state")).unwrap();
    assert!(snapshots.build(meta(6), |_| Err(io::Error::other("disk full"))).is_err());
    snapshots.receive(3).unwrap().append(b"half").unwrap();
    let (_, found) = Snapshots::open(disk.clone()).unwrap();
    assert_eq!(found.unwrap().meta, meta(5));
    assert_eq!(disk.names().unwrap().len(), 1);
}

/// A file that counts how much of it is not durable, and the most that ever was not.
#[derive(Clone, Default)]
struct Unsynced(Arc<std::sync::Mutex<(usize, usize)>>);

impl Write for Unsynced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (now, most) = &mut *self.0.lock().unwrap();
        *now += bytes.len();
        *most = (*most).max(*now);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Unsynced {
    fn sync(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().0 = 0;
        Ok(())
    }
}

/// A gigabyte that is synced at its end keeps the log's syncs waiting until all of it is on disk: writes under a
/// snapshot took 111 ms.
#[test]
fn a_large_file_is_made_durable_as_it_grows() {
    let file = Unsynced::default();
    let mut steady = Steady::new(Box::new(file.clone()));
    for _ in 0..100 {
        steady.write_all(&vec![7; 300_000]).unwrap();
    }
    let (now, most) = *file.0.lock().unwrap();
    assert!(now < STEP_BYTES && most < STEP_BYTES + 300_000, "{now} and {most} bytes");
    steady.finish().unwrap();
    assert_eq!(file.0.lock().unwrap().0, 0);
}

#[test]
fn a_piece_is_durable_before_the_next_one_comes() {
    let file = Unsynced::default();
    let (snapshots, _) = Snapshots::open(Arc::new(MemoryDisk::default())).unwrap();
    let growing = Box::new(file.clone());
    let mut receiving = Receiving { snapshots, name: "any".into(), file: growing, bytes: 0 };
    for bytes in [1, 1_000, STEP_BYTES] {
        receiving.append(&vec![7; bytes]).unwrap();
        assert_eq!(file.0.lock().unwrap().0, 0, "of {bytes} bytes");
    }
}

/// While a follower read what it had been sent, at a stretch, the writes of a leader on the same processors waited.
#[test]
fn what_was_sent_is_read_in_turns_and_what_is_there_at_a_start_at_once() {
    let turns = |work: &mut dyn FnMut()| {
        let before = WAYS_GIVEN.get();
        work();
        WAYS_GIVEN.get() - before
    };
    let disk = Arc::new(MemoryDisk::default());
    let (snapshots, _) = Snapshots::open(disk.clone()).unwrap();
    let file = snapshots.build(meta(5), |out| out.write_all(&[7; 1 << 20])).unwrap();
    let mut receiving = Some(snapshots.receive(1).unwrap());
    let whole = file.pieces().unwrap().next(2 << 20).unwrap();
    receiving.as_mut().unwrap().append(&whole).unwrap();
    assert_eq!(turns(&mut || drop(receiving.take().unwrap().finish().unwrap())), 16);
    assert_eq!(turns(&mut || drop(Snapshots::open(disk.clone()).unwrap())), 0);
    for (reading, expected) in [(Reading::InTurns, 16), (Reading::AtOnce, 0)] {
        let mut sink = io::sink();
        let mut load = || file.load(reading, |input| io::copy(input, &mut sink).map(drop)).unwrap();
        assert_eq!(turns(&mut load), expected, "{reading:?}");
    }
}
