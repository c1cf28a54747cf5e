//! Reads the files of a write-ahead log before anything is written, and tells a torn tail from damage.
//!
//! Owns [`scan`]. In: the files in order, and how far the log was promised to others. Out: every record, where
//! it ends, and the [`Tail`] to be cut, if there is one.
//!
//! Zeros to the end of a file are what was never written. Anything else that is no record is a torn tail,
//! the normal trace of a crash in mid-write, only if
//! - it is in the last file that was written, and nothing of it was promised;
//! - no record follows that was written when it was durable. Records that follow are normal: a disk writes
//!   the sectors of what waits for one sync in any order; and
//! - its end was not written, or a sector of it, and is zero.
//!
//! The rule of sectors is that of etcd's log (`wal/decoder.go`, `isTornEntry`), which has files of zeros as well.
//! Everything else is [`Damage`], named by file and offset of the record.
//!
//! Does not: change a file, or repair.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::records::{Decoded, HEADER_BYTES, Place, Said, cost_of, decode, length_of, start_of};
use crate::error::{Damage, StartError};

/// How much may be decoded in search of a record behind a bad one. A torn tail is part of one
/// group of writes, so a file on which this is spent was not merely torn.
const SEARCH_BYTES: usize = 512 << 20;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A file, and where in the log it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    pub(super) path: PathBuf,
    pub(super) start: u64,
    /// Position after its last whole record.
    pub(super) end: u64,
    /// Bytes behind that which are part of records never promised to anybody.
    pub(super) tail: Option<Tail>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) bytes: u64,
    pub(super) reason: String,
}

/// Reads `paths`, the files in `dir`, passing each record to `each`, whose error is damage. Returns what holds
/// records, or did; behind them may be files in which nothing was written yet.
pub(super) fn scan(
    dir: &Path,
    paths: &[PathBuf],
    promised: u64,
    mut each: impl FnMut(&Said, Place) -> Result<(), String>,
) -> Result<Vec<Scanned>, StartError> {
    let mut scanned: Vec<Scanned> = Vec::new();
    let mut empty: Option<&Path> = None;
    for path in paths {
        let bytes = read(path)?;
        let used = used(&bytes);
        let before = scanned.last();
        if used == 0 {
            empty = empty.or(Some(path));
            continue;
        }
        if let Some(empty) = empty {
            let reason = format!("nothing is written here, but {} follows", path.display());
            return Err(damage(empty, 0, reason));
        }
        if let Some(Scanned { tail: Some(tail), path: file, start, end }) = before {
            let reason = format!("{}; more files follow", tail.reason);
            return Err(damage(file, end - start, reason));
        }
        let start = start(path, &bytes, before)?;
        scanned.push(scan_file(path, start, &bytes, used, promised, &mut each)?);
    }
    let end = scanned.last().map_or(0, |file| file.end);
    if end < promised {
        let reason = format!("the log was acknowledged up to {promised}, and ends at {end}");
        return Err(match scanned.last() {
            Some(last) => damage(&last.path, end - last.start, reason),
            None => damage(dir, 0, format!("{reason}: no file of it is there")),
        });
    }
    Ok(scanned)
}

fn damage(file: &Path, offset: u64, reason: String) -> StartError {
    Damage { file: file.to_owned(), offset, reason }.into()
}

/// How many bytes there are up to the last one that is not zero.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Where a file begins: after the one before it.
fn start(path: &Path, bytes: &[u8], before: Option<&Scanned>) -> Result<u64, StartError> {
    let told = start_of(bytes);
    match (before, told) {
        (Some(Scanned { end, .. }), None) => Ok(*end),
        (Some(Scanned { end, .. }), Some(told)) if *end == told => Ok(told),
        // Those before it went away only when this was durable: it is never torn.
        (None, Some(told)) if decode(bytes, told).is_ok() => Ok(told),
        (None, _) => Err(damage(path, 0, "does not begin with a checkpoint".into())),
        // If it is not what this file says that is damaged, a file is missing, or the one before it is short.
        (Some(before), Some(told)) if decode(bytes, told).is_ok() => {
            let end = before.end;
            let reason = format!(
                "ends at {end} of the log, but the next file, {}, begins at {told}",
                path.display()
            );
            Err(damage(&before.path, end - before.start, reason))
        }
        (Some(Scanned { end, .. }), Some(_)) => Ok(*end),
    }
}

/// Reads the records of one file.
fn scan_file(
    path: &Path,
    start: u64,
    bytes: &[u8],
    used: usize,
    promised: u64,
    each: &mut impl FnMut(&Said, Place) -> Result<(), String>,
) -> Result<Scanned, StartError> {
    let mut offset = 0;
    let mut tail = None;
    while offset < used {
        let position = start + offset as u64;
        match decode(&bytes[offset..], position) {
            Ok(Decoded { said, place, .. }) => {
                if (offset == 0) != matches!(said, Said::Checkpoint(_)) {
                    let reason = "a checkpoint is the first record of a file, and no other";
                    return Err(damage(path, offset as u64, reason.into()));
                }
                each(&said, place).map_err(|reason| damage(path, offset as u64, reason))?;
                offset += place.length as usize;
            }
            Err(error) => {
                let bad = Bad { file: bytes, offset, used, start };
                if let Some(reason) = bad.refuse_to_cut(promised) {
                    return Err(damage(path, offset as u64, format!("{error}; {reason}")));
                }
                tail = Some(Tail { bytes: (used - offset) as u64, reason: error });
                break;
            }
        }
    }
    Ok(Scanned { path: path.to_owned(), start, end: start + offset as u64, tail })
}

/// What is no record, to the end of its file.
struct Bad<'a> {
    file: &'a [u8],
    offset: usize,
    /// Behind here are zeros.
    used: usize,
    /// Of the file.
    start: u64,
}

impl Bad<'_> {
    /// Why it is no torn tail.
    fn refuse_to_cut(&self, promised: u64) -> Option<String> {
        let position = self.start + self.offset as u64;
        if position < promised {
            return Some(format!("the log was acknowledged up to {promised}"));
        }
        let mut budget = SEARCH_BYTES;
        for offset in self.offset + 1..self.used {
            let (bytes, here) = (&self.file[offset..], self.start + offset as u64);
            let Some(cost) = cost_of(bytes, here, position) else { continue };
            if decode(bytes, here).is_ok_and(|found| found.durable > position) {
                return Some(format!(
                    "it was durable when the record at offset {offset} was written"
                ));
            }
            budget = budget.saturating_sub(cost);
            if budget == 0 {
                return Some("too much follows for a torn write".into());
            }
        }
        (!self.is_torn()).then(|| "all of it was written".into())
    }

    /// Whether its end or a sector was not written.
    fn is_torn(&self) -> bool {
        let end =
            self.offset + length_of(&self.file[self.offset..]).unwrap_or(HEADER_BYTES as usize);
        let Some(record) = self.file.get(self.offset..end) else { return true };
        let first = SECTOR_BYTES - self.offset % SECTOR_BYTES;
        let (first, others) = record.split_at(first.min(record.len()));
        let unwritten = |part: &[u8]| part.iter().all(|byte| *byte == 0);
        record.ends_with(&[0]) || unwritten(first) || others.chunks(SECTOR_BYTES).any(unwritten)
    }
}

/// The bytes of a file, which are durable from now on: what is found may be promised again.
fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    let read = || {
        let mut file = File::open(path)?;
        file.sync_all()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|e| StartError::io(format!("read {}", path.display()), e))
}

#[cfg(test)]
#[path = "scan_test.rs"]
mod tests;
