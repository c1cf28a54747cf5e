//! Torn tails and damage, on files made of a few records.

use bytes::Bytes;

use super::{
    super::{LogId, LogState, Record, records::Writer},
    *,
};

/// Bytes of a file: records, then zeros.
const FILE_BYTES: usize = 16 << 10;

/// A file that is written group by group.
struct Written {
    start: u64,
    bytes: Vec<u8>,
    state: LogState,
    durable: u64,
}

impl Written {
    fn new(start: u64, state: LogState) -> Self {
        let mut this = Self { start, bytes: Vec::new(), state, durable: start };
        this.group(|writer| {
            writer.checkpoint(&state);
        });
        this
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn group(&mut self, put: impl FnOnce(&mut Writer<'_>)) {
        let mut out = Vec::new();
        put(&mut Writer { out: &mut out, position: self.end(), durable: self.durable });
        self.bytes.extend(out);
        self.durable = self.end();
    }

    /// Entries of so many bytes that share a sync.
    fn entries(&mut self, lengths: &[usize]) {
        let mut last = self.state.last;
        self.group(|writer| {
            for length in lengths {
                let id = LogId { term: 1, index: last.map_or(0, |last| last.index + 1) };
                writer.entry(&Record { id, payload: Bytes::from(vec![7; *length]) });
                last = Some(id);
            }
        });
        self.state.last = last;
    }

    fn padded(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(FILE_BYTES.max(bytes.len()), 0);
        bytes
    }
}

type Outcome = Result<(Vec<Scanned>, usize), StartError>;

fn run(files: &[&[u8]], promised: u64) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let write = |(n, bytes): (usize, &&[u8])| {
        let path = dir.path().join(n.to_string());
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<_> = files.iter().enumerate().map(write).collect();
    let mut count = 0;
    let scanned = scan(dir.path(), &paths, promised, |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok((scanned, count))
}

#[track_caller]
fn expect_damage(outcome: Outcome, name: &str, offset: usize) {
    match outcome {
        Err(StartError::Damaged(damage)) => {
            let found = damage.file.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!((found.as_str(), damage.offset), (name, offset as u64), "{damage}");
        }
        other => panic!("expected damage, found {other:?}"),
    }
}

/// A disk writes the sectors that wait for a sync in any order, and some of them not.
#[test]
fn a_torn_group_is_cut_unless_it_was_promised() {
    let mut file = Written::new(0, LogState::default());
    file.entries(&[40]);
    let (good, end) = (file.bytes.len(), file.end());
    file.entries(&[900, 10, 2000]);
    let whole = file.padded();
    let sectors = good / SECTOR_BYTES..file.bytes.len().div_ceil(SECTOR_BYTES);
    for missing in 1..1_u32 << sectors.len() {
        let mut bytes = whole.clone();
        for (_, sector) in sectors.clone().enumerate().filter(|(n, _)| missing >> n & 1 == 1) {
            let from = (sector * SECTOR_BYTES).max(good);
            bytes[from..(sector + 1) * SECTOR_BYTES].fill(0);
        }
        let (scanned, count) = run(&[&bytes], end).unwrap();
        // What is whole at the begin of the group stays.
        assert!(scanned[0].end >= end && count >= 2, "{missing:b}: {scanned:?}");
        let torn = usize::try_from(scanned[0].end).unwrap();
        assert!(scanned[0].tail.is_some() || bytes[torn..].iter().all(|byte| *byte == 0));
        expect_damage(run(&[&bytes], file.end()), "0", torn);
    }
}

/// Without looking further, a flipped bit in the middle is a torn tail.
#[test]
fn what_was_durable_when_more_was_written_is_damage() {
    let mut file = Written::new(0, LogState::default());
    file.entries(&[40]);
    let bad = file.bytes.len();
    file.entries(&[600, 5]);
    file.entries(&[10]);
    for bit in [1, 5, 40] {
        let mut bytes = file.padded();
        bytes[bad + bit] ^= 4;
        expect_damage(run(&[&bytes], 0), "0", bad);
        bytes[bad..bad + 600].fill(0);
        expect_damage(run(&[&bytes], 0), "0", bad);
    }
}

#[test]
fn a_record_all_of_which_was_written_is_never_torn() {
    let mut file = Written::new(0, LogState::default());
    file.entries(&[40]);
    let bad = file.bytes.len();
    file.entries(&[1500, 5]);
    let mut bytes = file.padded();
    bytes[bad + 700] ^= 4;
    expect_damage(run(&[&bytes], 0), "0", bad);
    bytes[bad + 700] ^= 4;
    bytes[0] ^= 1;
    expect_damage(run(&[&bytes], 0), "0", 0);
}

/// The oldest file is the newest one of a log that was purged, and the witness is old. With one bit of a length
/// flipped, its first record seemed to be torn, the file was cut, and the log began anew: without its vote.
#[test]
fn the_first_record_of_all_is_never_torn() {
    let file = Written::new(70_000, LogState::default());
    for bit in 0..file.bytes.len() * 8 {
        let mut bytes = file.padded();
        bytes[bit / 8] ^= 1 << (bit % 8);
        expect_damage(run(&[&bytes], 100), "0", 0);
    }
}

/// A table of lengths and small numbers has a header at each row that fits everything but its checksum. To
/// compute 60,000 of them is refused, and a node would not start after a power cut.
#[test]
fn a_torn_record_that_looks_like_many_is_cut() {
    let mut file = Written::new(0, LogState::default());
    let bad = file.bytes.len();
    let row = [&7_u32.to_le_bytes()[..], &100_000_u32.to_le_bytes(), &0_u64.to_le_bytes(), &[1]];
    let payload = Bytes::from(row.concat().repeat(60_000));
    let id = LogId { term: 1, index: 0 };
    file.group(|writer| {
        writer.entry(&Record { id, payload });
    });
    let mut bytes = file.padded();
    bytes[51_200..51_712].fill(0);
    let (scanned, _) = run(&[&bytes], 0).unwrap();
    assert_eq!(scanned[0].end, bad as u64);
    assert_eq!(scanned[0].tail.as_ref().unwrap().bytes, (file.bytes.len() - bad) as u64);
}

#[test]
fn files_follow_each_other() {
    let mut one = Written::new(0, LogState::default());
    one.entries(&[40, 50]);
    let mut two = Written::new(one.end(), one.state);
    two.entries(&[60]);
    let (first, second, zeros) = (one.padded(), two.padded(), vec![0; FILE_BYTES]);
    let (scanned, count) = run(&[&first, &second, &zeros, &zeros], two.end()).unwrap();
    assert_eq!((scanned.len(), count), (2, 5));
    assert_eq!((scanned[1].start, scanned[1].end), (one.end(), two.end()));
    assert_eq!(run(&[&first, &zeros], one.end()).unwrap().1, 3);

    expect_damage(run(&[&zeros, &second], 0), "0", 0);
    expect_damage(run(&[&first, &zeros], one.end() + 1), "0", one.bytes.len());
    expect_damage(run(&[&first, &zeros, &second], 0), "1", 0);
    // Half a record at the end of the first file, and one record less.
    let short = &first[..one.bytes.len() - 9];
    expect_damage(run(&[short, &second], 0), "0", short.len() - 75);
    let less = [&first[..short.len() - 75], &zeros].concat();
    expect_damage(run(&[&less, &second], 0), "0", short.len() - 75);
    assert!(matches!(run(&[], 1), Err(StartError::Damaged(_))));

    // The first write to a new file was torn: all of it, as its group has one sync.
    let mut torn = second.clone();
    torn[..SECTOR_BYTES].fill(0);
    torn[600] = 1;
    let (scanned, _) = run(&[&first, &torn], one.end()).unwrap();
    assert_eq!((scanned[1].start, scanned[1].end), (one.end(), one.end()));
    assert_eq!(scanned[1].tail.as_ref().unwrap().bytes, 601);
    expect_damage(run(&[&first, &torn], two.end()), "1", 0);
}
