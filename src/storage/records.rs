//! The records of the write-ahead log: their bytes, and what they say in a row.
//!
//! Owns the format, and [`Replay`], which follows the records of a scan and judges them.
//!
//! The log is one endless stream of records, and a position is a number of bytes from its begin. A record,
//! with integers in little-endian order:
//!
//! | bytes | |
//! |---|---|
//! | 4 | CRC-32 of its position, as eight bytes, and of all that follows |
//! | 4 | length of the body |
//! | 8 | position up to which the stream was durable when the record was written |
//! | 1 | what the body is: a [`Body`]; never 0 |
//! | | the body |
//! | 1 | the [`END`]: it is zero where only the begin of a record was written |
//!
//! Invariants
//! - What is decoded was encoded here, for this position, or is an error; a bad length costs no memory.
//! - A header is never all zeros, which are what a file holds where nothing was written.
//!
//! Does not: open, read, write or sync a file.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{LogId, LogState, Record, Vote, state::Op};
use crate::codec;

/// Bytes of a record before its body.
pub(super) const HEADER_BYTES: u32 = 17;
/// Bytes of a record beside its body.
const AROUND_BYTES: u32 = HEADER_BYTES + 1;
/// The last byte of a record, which no flip of a single bit makes zero.
const END: u8 = 0xa5;
/// Bytes of an entry's body before its payload.
const ID_BYTES: u32 = 16;
/// More than any record has that is no entry.
pub(super) const CHANGE_BYTES: u64 = 256;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// The first record of each file: its position, so that a file says where it belongs, and the state.
    Checkpoint = 1,
    /// Term, index, and the payload to the end.
    Entry = 2,
    /// A [`Change`].
    Change = 3,
}

/// What else is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Change {
    Vote(Vote),
    Committed(LogId),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said {
    Checkpoint(LogState),
    Entry(LogId),
    Change(Change),
}

impl Said {
    /// Carries out what it says.
    pub(super) fn step(&self, state: &mut LogState) {
        match self {
            Said::Checkpoint(told) => *state = *told,
            Said::Entry(id) => state.last = Some(*id),
            Said::Change(Change::Vote(vote)) => state.vote = Some(*vote),
            Said::Change(Change::Committed(committed)) => state.committed = Some(*committed),
            Said::Change(Change::TruncateAfter(last)) => {
                state.apply(&Op::TruncateAfter(*last));
            }
            Said::Change(Change::Purge(upto)) => {
                state.apply(&Op::Purge(*upto));
            }
        }
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    /// Bytes, header included.
    pub(super) length: u32,
}

impl Place {
    /// Position of the next record.
    pub(super) fn end(&self) -> u64 {
        self.position + u64::from(self.length)
    }

    /// Bytes of the payload, if it is an entry.
    pub(super) fn payload_bytes(&self) -> u64 {
        u64::from(self.length.saturating_sub(AROUND_BYTES + ID_BYTES))
    }
}

/// A record that was read.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub(super) said: Said,
    /// See the module.
    pub(super) durable: u64,
    pub(super) place: Place,
}

/// Encodes records that follow each other.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// Of the next record.
    pub(super) position: u64,
    pub(super) durable: u64,
}

impl Writer<'_> {
    pub(super) fn checkpoint(&mut self, state: &LogState) -> Place {
        let start = self.position;
        self.record(Body::Checkpoint, |out| {
            out.extend_from_slice(&start.to_le_bytes());
            codec::encode_into(state, out);
        })
    }

    pub(super) fn entry(&mut self, Record { id, payload }: &Record) -> Place {
        self.record(Body::Entry, |out| {
            out.extend_from_slice(&id.term.to_le_bytes());
            out.extend_from_slice(&id.index.to_le_bytes());
            out.extend_from_slice(payload);
        })
    }

    pub(super) fn change(&mut self, change: &Change) -> Place {
        self.record(Body::Change, |out| codec::encode_into(change, out))
    }

    fn record(&mut self, body: Body, put: impl FnOnce(&mut Vec<u8>)) -> Place {
        let (position, begin) = (self.position, self.out.len());
        self.out.extend_from_slice(&[0; 8]);
        self.out.extend_from_slice(&self.durable.to_le_bytes());
        self.out.push(body as u8);
        put(self.out);
        self.out.push(END);
        let record = &mut self.out[begin..];
        let length = u32::try_from(record.len() - AROUND_BYTES as usize)
            .expect("invariant: a command is at most 16 MiB, and a batch not much more");
        record[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(position, &record[4..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        self.position += record.len() as u64;
        Place { position, length: length + AROUND_BYTES }
    }
}

/// Bytes that an entry takes.
pub(super) fn bytes_of(record: &Record) -> u64 {
    u64::from(AROUND_BYTES + ID_BYTES) + record.payload.len() as u64
}

fn checksum(position: u64, rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&position.to_le_bytes());
    crc.update(rest);
    crc.finalize()
}

/// The parts of what may be a record.
struct Parts<'a> {
    crc: u32,
    durable: u64,
    kind: u8,
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `Err` says why not, and how many bytes the record has, if its header can be believed.
    fn of(bytes: &'a [u8]) -> Result<Self, (&'static str, Option<usize>)> {
        let Some((header, rest)) = bytes.split_first_chunk::<{ HEADER_BYTES as usize }>() else {
            return Err(("the file ends within a header", None));
        };
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let durable = u64::from(word(8)) | u64::from(word(12)) << 32;
        let length = word(4) as usize;
        let kind = header[16];
        if ![Body::Checkpoint, Body::Entry, Body::Change].iter().any(|body| *body as u8 == kind) {
            return Err(("not a record", None));
        }
        let too_long = ("longer than its file", Some(AROUND_BYTES as usize + length));
        let (_end, body) = rest.get(..=length).and_then(<[u8]>::split_last).ok_or(too_long)?;
        Ok(Self { crc: word(0), durable, kind, body })
    }

    fn length(&self) -> usize {
        AROUND_BYTES as usize + self.body.len()
    }
}

/// How long the record at the begin of `bytes` says that it is, if its header is one.
pub(super) fn length_of(bytes: &[u8]) -> Option<usize> {
    match Parts::of(bytes) {
        Ok(parts) => Some(parts.length()),
        Err((_, length)) => length,
    }
}

/// Bytes that [`decode`] has to read in order to see whether there is a record here that was written when what is
/// before `durable` was. `None`: that is seen at once.
pub(super) fn cost_of(bytes: &[u8], position: u64, durable: u64) -> Option<usize> {
    let plausible = |parts: &Parts<'_>| (durable + 1..=position).contains(&parts.durable);
    Parts::of(bytes).ok().filter(plausible).map(|parts| parts.length())
}

/// Where a file that begins with these bytes belongs, if it begins with a checkpoint.
pub(super) fn start_of(bytes: &[u8]) -> Option<u64> {
    let parts = Parts::of(bytes).ok().filter(|parts| parts.kind == Body::Checkpoint as u8)?;
    parts.body.first_chunk().map(|start| u64::from_le_bytes(*start))
}

/// Reads the record at the begin of `bytes`, which belong at `position`.
pub(super) fn decode(bytes: &[u8], position: u64) -> Result<Decoded, String> {
    let parts = Parts::of(bytes).map_err(|(reason, _)| reason)?;
    let length = parts.length();
    // Said early, for this is tried at every offset behind a torn record.
    if parts.durable > position {
        return Err("not a record of this place".into());
    }
    if checksum(position, &bytes[4..length]) != parts.crc {
        return Err("its checksum does not fit".into());
    }
    let said = said(parts.kind, parts.body).map_err(|error| error.to_string())?;
    let length = u32::try_from(length).map_err(|error| error.to_string())?;
    Ok(Decoded { said, durable: parts.durable, place: Place { position, length } })
}

fn said(kind: u8, body: &[u8]) -> Result<Said, codec::CodecError> {
    if kind == Body::Entry as u8 {
        let (id, _) = body.split_at((ID_BYTES as usize).min(body.len()));
        let (term, index) = codec::decode(id)?;
        return Ok(Said::Entry(LogId { term, index }));
    }
    if kind == Body::Checkpoint as u8 {
        let (_start, state): (u64, LogState) = codec::decode(body)?;
        return Ok(Said::Checkpoint(state));
    }
    codec::decode(body).map(Said::Change)
}

/// Reads the entry whose record these bytes are, at `position`.
pub(super) fn entry(bytes: &Bytes, position: u64) -> Result<Record, String> {
    match decode(bytes, position)? {
        Decoded { said: Said::Entry(id), place, .. } if place.length as usize == bytes.len() => {
            Ok(Record {
                id,
                payload: bytes.slice((HEADER_BYTES + ID_BYTES) as usize..bytes.len() - 1),
            })
        }
        other => Err(format!("expected an entry of {} bytes, found {other:?}", bytes.len())),
    }
}

/// The state after each record of the scan, and whether the entries it speaks of were there.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) state: LogState,
    begun: bool,
    /// All entries from here to the last one were seen.
    pub(super) first: u64,
    /// The first file speaks of entries before it.
    headless: bool,
}

impl Replay {
    pub(super) fn apply(&mut self, said: &Said) -> Result<(), String> {
        let state = self.state;
        match *said {
            Said::Checkpoint(told) if !self.begun => {
                self.first = told.end();
                self.headless = told.last != told.purged;
            }
            Said::Checkpoint(told) if told != state => {
                return Err(format!("expected {state:?}, found a checkpoint of {told:?}"));
            }
            Said::Entry(id) => match state.last {
                Some(last) if last.index + 1 != id.index || last.term > id.term => {
                    return Err(format!("after entry {last} follows {id}"));
                }
                Some(_) => {}
                None => (self.first, self.headless) = (id.index, false),
            },
            Said::Checkpoint(_) | Said::Change(_) => {}
        }
        said.step(&mut self.state);
        self.first = self.first.min(self.state.end());
        self.begun = true;
        Ok(())
    }

    /// Which entries should be there and are not.
    pub(super) fn missing(&self) -> Option<String> {
        let missing = match self.state.purged {
            Some(_) => self.first > self.state.floor(),
            None => self.headless && self.state.last.is_some(),
        };
        let (from, to) = (self.state.floor(), self.first);
        missing.then(|| format!("entries {from}..{to} are missing before this file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<T>(put: impl FnOnce(&mut Writer<'_>) -> T) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut Writer { out: &mut out, position: 1000, durable: 900 });
        out
    }

    /// These bytes may change only together with the version in the format file.
    #[test]
    fn golden_bytes() {
        let id = LogId { term: 2, index: 3 };
        let record = Record { id, payload: Bytes::from_static(b"ab") };
        let bytes = write(|writer| writer.entry(&record));
        let expected = [
            [0x64, 0x79, 0xe2, 0x08].as_slice(),
            &[18, 0, 0, 0],
            &[0x84, 3, 0, 0, 0, 0, 0, 0],
            &[2],
            &[2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
            b"ab",
            &[0xa5],
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(entry(&bytes.into(), 1000).unwrap(), record);
        let change = write(|writer| writer.change(&Change::Purge(id)));
        let body = [3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(change[17..], [&body[..], &[0xa5]].concat());
    }

    #[test]
    fn what_was_written_is_read() {
        let id = LogId { term: 2, index: 3 };
        let vote = Vote { term: 9, voted_for: 1, committed: true };
        let state =
            LogState { vote: Some(vote), committed: Some(id), purged: None, last: Some(id) };
        let changes = [
            Change::Vote(vote),
            Change::Committed(id),
            Change::TruncateAfter(None),
            Change::Purge(id),
        ];
        let bytes = write(|writer| {
            writer.checkpoint(&state);
            changes.map(|change| writer.change(&change))
        });
        assert_eq!(start_of(&bytes), Some(1000));
        let (mut at, mut said) = (0, Vec::new());
        while at < bytes.len() {
            let decoded = decode(&bytes[at..], 1000 + at as u64).unwrap();
            assert_eq!(decoded.durable, 900);
            at += decoded.place.length as usize;
            said.push(decoded.said);
        }
        let expected = [Said::Checkpoint(state)].into_iter().chain(changes.map(Said::Change));
        assert!(said.iter().copied().eq(expected), "{said:?}");
    }

    /// A record that was copied, or left over from an earlier use of its file, is none.
    #[test]
    fn a_record_is_one_at_its_place_alone() {
        let bytes = write(|writer| writer.change(&Change::TruncateAfter(None)));
        assert!(decode(&bytes, 1000).is_ok());
        assert!(decode(&bytes, 1001).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, 1000).is_err(), "bit {bit}");
        }
        assert!(decode(&[0; 64], 0).is_err());
        (0..bytes.len()).for_each(|length| assert!(decode(&bytes[..length], 1000).is_err()));
    }
}
