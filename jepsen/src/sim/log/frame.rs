//! Frames: the writes of a log as bytes in its file.
//!
//! ```text
//! frame   length u32 | crc32 u32 | body            all numbers little-endian
//! body    kind u8 | what it takes: positions, a vote, records with their lengths
//! ```
//!
//! Invariants: a frame is believed only if its checksum is right; an empty one never is, for a file that
//! grew without its bytes is full of zeros.
//!
//! Does not: know what follows from a bad frame.

use bytes::Bytes;
use sixbells::storage::{LogId, Record, Vote};

/// A write of the log door.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    Append(Vec<Record>),
    Vote(Vote),
    Committed(LogId),
    Truncate(Option<LogId>),
    Purge(LogId),
}

const HEADER: usize = 8;

/// The bytes of these writes, in order.
pub(super) fn all<'a>(writes: impl Iterator<Item = &'a Write>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for write in writes {
        let body = body(write);
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc32fast::hash(&body).to_le_bytes());
        bytes.extend(body);
    }
    bytes
}

fn body(write: &Write) -> Vec<u8> {
    let mut out = Vec::new();
    let put = |out: &mut Vec<u8>, numbers: &[u64]| {
        numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
    };
    match write {
        Write::Append(records) => {
            out.push(0);
            for Record { id, payload } in records {
                put(&mut out, &[id.term, id.index, payload.len() as u64]);
                out.extend_from_slice(payload);
            }
        }
        Write::Vote(vote) => {
            out.push(1);
            put(&mut out, &[vote.term, vote.voted_for, u64::from(vote.committed)]);
        }
        Write::Committed(id) => {
            out.push(2);
            put(&mut out, &[id.term, id.index]);
        }
        Write::Truncate(None) => out.push(3),
        Write::Truncate(Some(id)) => {
            out.push(4);
            put(&mut out, &[id.term, id.index]);
        }
        Write::Purge(id) => {
            out.push(5);
            put(&mut out, &[id.term, id.index]);
        }
    }
    out
}

/// The first write of some bytes, and how long its frame is. `None` if it is not whole or not what was
/// written.
pub(super) fn read(bytes: &[u8]) -> Option<(Write, usize)> {
    let (length, crc) = header(bytes)?;
    let body = bytes.get(HEADER..HEADER.checked_add(length)?)?;
    if length == 0 || crc32fast::hash(body) != crc {
        return None;
    }
    Some((write(body)?, HEADER + length))
}

/// What a careless reader makes of a torn tail: whatever its bytes say.
pub(super) fn guess(bytes: &[u8]) -> Option<Write> {
    let mut rest = bytes.get(HEADER..)?;
    match rest.split_off_first()? {
        0 => {
            let mut records = Vec::new();
            while let Some(id) = id(&mut rest) {
                let Some(length) = number(&mut rest) else { break };
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
                let payload = rest.split_off(..length)?;
                records.push(Record { id, payload: Bytes::copy_from_slice(payload) });
            }
            Some(Write::Append(records))
        }
        _ => None,
    }
}

fn header(bytes: &[u8]) -> Option<(usize, u32)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, _) = rest.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, u32::from_le_bytes(*crc)))
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn id(bytes: &mut &[u8]) -> Option<LogId> {
    let mut rest = *bytes;
    let id = LogId { term: number(&mut rest)?, index: number(&mut rest)? };
    *bytes = rest;
    Some(id)
}

fn write(mut body: &[u8]) -> Option<Write> {
    let body = &mut body;
    Some(match body.split_off_first()? {
        0 => {
            let mut records = Vec::new();
            while !body.is_empty() {
                let id = id(body)?;
                let length = usize::try_from(number(body)?).ok()?;
                let payload = Bytes::copy_from_slice(body.split_off(..length)?);
                records.push(Record { id, payload });
            }
            Write::Append(records)
        }
        1 => {
            let (term, voted_for) = (number(body)?, number(body)?);
            Write::Vote(Vote { term, voted_for, committed: number(body)? != 0 })
        }
        2 => Write::Committed(id(body)?),
        3 => Write::Truncate(None),
        4 => Write::Truncate(Some(id(body)?)),
        5 => Write::Purge(id(body)?),
        _ => return None,
    })
}
