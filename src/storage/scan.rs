//! Reads the files of a write-ahead log before anybody opens it for writing, and tells a torn tail
//! from damage.
//!
//! Owns [`scan`]. In: the files in order, each beginning at a known position of one endless stream
//! of records, a way to decode one record, and how far the stream was promised to others. Out: every
//! record, the end of the stream, and the [`Tail`] to be cut, if there is one.
//!
//! What cannot be decoded is a torn tail, the normal trace of a crash in mid-write, only if
//! - it is in the last file, and nothing of it was promised;
//! - no whole record follows it anywhere: else it is the middle that is bad, such as a length with
//!   one bit flipped, behind which a decoder sees only that bytes are missing; and
//! - it is too short to be a record, or its checksum was never written and is zero.
//!
//! Everything else is [`Damage`], named by file and offset of the record.
//!
//! Does not: know the format of a record, change a file, or repair.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::error::{Damage, StartError};

/// How much may be decoded in search of a record behind a bad one. A torn tail is part of one
/// group of writes, so a file on which this is spent was not merely torn.
const SEARCH_BYTES: usize = 512 << 20;
/// Length of a checksum at the end of a record.
const CHECKSUM: usize = 8;

/// A file and where in the stream it begins.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) path: PathBuf,
}

/// Bytes at the end of the last file that are part of a record never promised to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) reason: String,
}

/// What [`scan`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Position after the last whole record.
    pub(super) end: u64,
    pub(super) tail: Option<Tail>,
}

/// Reads `chunks`, the files in `dir`, passing each record to `each`, whose error is damage.
pub(super) fn scan<T>(
    dir: &Path,
    mut chunks: &[Chunk],
    promised: u64,
    decode: impl Fn(&[u8]) -> io::Result<(T, usize)>,
    mut each: impl FnMut(T) -> Result<(), String>,
) -> Result<Scanned, StartError> {
    // Files created ahead of their first record.
    while let [before @ .., last] = chunks
        && !before.is_empty()
        && read(&last.path)?.is_empty()
    {
        chunks = before;
    }
    let mut scanned = Scanned { end: chunks.first().map_or(0, |chunk| chunk.start), tail: None };
    for (i, chunk) in chunks.iter().enumerate() {
        if chunk.start != scanned.end {
            let previous = &chunks[i - 1];
            let reason = format!(
                "ends at {} of the log, but the next file, {}, begins at {}",
                scanned.end,
                chunk.path.display(),
                chunk.start
            );
            return Err(damage(&previous.path, scanned.end - previous.start, reason));
        }
        let is_last = i + 1 == chunks.len();
        let (offset, tail) = scan_chunk(&chunk.path, is_last, &decode, &mut each)?;
        scanned = Scanned { end: chunk.start + offset, tail };
    }
    if scanned.end < promised {
        let Some(last) = chunks.last() else {
            return Err(damage(dir, 0, "all files of the log are missing".into()));
        };
        let reason =
            format!("the log was acknowledged up to {promised}, and ends at {}", scanned.end);
        return Err(damage(&last.path, scanned.end - last.start, reason));
    }
    Ok(scanned)
}

fn damage(file: &Path, offset: u64, reason: String) -> StartError {
    Damage { file: file.to_owned(), offset, reason }.into()
}

/// Reads the records of one file. Where they end, and what is to be cut there.
fn scan_chunk<T>(
    path: &Path,
    is_last: bool,
    decode: &impl Fn(&[u8]) -> io::Result<(T, usize)>,
    each: &mut impl FnMut(T) -> Result<(), String>,
) -> Result<(u64, Option<Tail>), StartError> {
    let bytes = read(path)?;
    let mut offset = 0;
    while offset < bytes.len() {
        let at = offset as u64;
        let error = match decode(&bytes[offset..]) {
            Ok((record, length)) => {
                each(record).map_err(|reason| damage(path, at, reason))?;
                offset += length;
                continue;
            }
            Err(error) => error,
        };
        if !is_last {
            return Err(damage(path, at, format!("{error}; more files follow")));
        }
        if let Some(reason) = refuse_to_cut(&bytes[offset..], &error, decode) {
            return Err(damage(path, at, reason));
        }
        let (file, bytes) = (path.to_owned(), bytes.len() as u64 - at);
        return Ok((at, Some(Tail { file, offset: at, bytes, reason: error.to_string() })));
    }
    Ok((offset as u64, None))
}

/// Why the bytes from a bad record to the end of the last file are no torn tail.
fn refuse_to_cut<T>(
    bytes: &[u8],
    error: &io::Error,
    decode: &impl Fn(&[u8]) -> io::Result<(T, usize)>,
) -> Option<String> {
    let mut budget = SEARCH_BYTES;
    for offset in 1..bytes.len() {
        match decode(&bytes[offset..]) {
            Ok(_) => return Some(format!("{error}; a whole record follows {offset} bytes later")),
            // It took decoding to the end to find out.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                budget = budget.saturating_sub(bytes.len() - offset);
            }
            Err(_) => budget = budget.saturating_sub(CHECKSUM),
        }
        if budget == 0 {
            return Some(format!("{error}; too much follows for a torn write"));
        }
    }
    let unwritten = bytes.iter().rev().take(CHECKSUM).all(|byte| *byte == 0);
    let torn = error.kind() == io::ErrorKind::UnexpectedEof || unwritten;
    (!torn).then(|| error.to_string())
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
mod tests {
    use super::*;

    /// A record: length, payload, and the sum of both as eight bytes.
    fn decode(bytes: &[u8]) -> io::Result<(Vec<u8>, usize)> {
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let length = usize::from(*bytes.first().ok_or_else(short)?);
        let whole = bytes.get(..1 + length + CHECKSUM).ok_or_else(short)?;
        let (content, sum) = whole.split_at(1 + length);
        if sum_of(content) != sum {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "checksum"));
        }
        Ok((content[1..].to_vec(), whole.len()))
    }

    fn sum_of(content: &[u8]) -> [u8; CHECKSUM] {
        (u64::from(crc32fast::hash(content)) | 1 << 40).to_le_bytes()
    }

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(payload.len()).unwrap()];
        bytes.extend_from_slice(payload);
        bytes.extend(sum_of(&bytes));
        bytes
    }

    fn run(files: &[(u64, &[u8])], promised: u64) -> Result<(Scanned, usize), StartError> {
        let dir = tempfile::tempdir().unwrap();
        let write = |(start, bytes): &(u64, &[u8])| {
            let path = dir.path().join(start.to_string());
            std::fs::write(&path, bytes).unwrap();
            Chunk { start: *start, path }
        };
        let chunks: Vec<_> = files.iter().map(write).collect();
        let mut count = 0;
        let scanned = scan(dir.path(), &chunks, promised, decode, |_| {
            count += 1;
            Ok(())
        })?;
        Ok((scanned, count))
    }

    fn damage(files: &[(u64, &[u8])], promised: u64) -> (String, u64) {
        match run(files, promised) {
            Err(StartError::Damaged(d)) => {
                (d.file.file_name().unwrap().to_string_lossy().into_owned(), d.offset)
            }
            other => panic!("expected damage, found {other:?}"),
        }
    }

    #[test]
    fn a_torn_tail_is_cut_unless_it_was_promised() {
        let (one, two) = (record(b"first"), record(b"second"));
        for cut in 1..two.len() {
            let bytes = [&one[..], &two[..cut]].concat();
            let (scanned, count) = run(&[(0, &bytes)], one.len() as u64).unwrap();
            assert_eq!((scanned.end, count), (one.len() as u64, 1));
            assert_eq!(scanned.tail.unwrap().bytes, cut as u64);
            let offset = one.len() as u64;
            assert_eq!(damage(&[(0, &bytes)], offset + 1), ("0".into(), offset));
        }
        // The length reached the disk, the data did not.
        let zeros = [&one[..], &[9; 3], &[0; 64]].concat();
        assert!(run(&[(0, &zeros)], 0).unwrap().0.tail.is_some());
    }

    /// Without looking further, a flipped length bit in the middle is a torn tail.
    #[test]
    fn a_bad_length_in_the_middle_is_damage() {
        let mut bytes = [record(b"first"), record(b"second"), record(b"third")].concat();
        let second = record(b"first").len();
        bytes[second] ^= 0x80;
        assert_eq!(damage(&[(0, &bytes)], 0), ("0".into(), second as u64));
        bytes[second] ^= 0x81;
        assert_eq!(damage(&[(0, &bytes)], 0), ("0".into(), second as u64));
    }

    #[test]
    fn a_short_or_missing_file_is_damage() {
        let (one, two) = (record(b"first"), record(b"second"));
        let next = one.len() as u64;
        assert_eq!(run(&[(0, &one), (next, &two)], 0).unwrap().1, 2);
        assert_eq!(run(&[(0, &one), (next, &[])], next).unwrap().1, 1);
        assert_eq!(damage(&[(0, &one[..4]), (next, &two)], 0), ("0".into(), 0));
        assert_eq!(damage(&[(0, &one), (next + 9, &two)], 0), ("0".into(), next));
        assert_eq!(damage(&[(0, &one)], next + 1), ("0".into(), next));
        assert_eq!(damage(&[], 1).1, 0);
    }

    #[test]
    fn a_bad_checksum_of_the_last_record_is_damage() {
        let mut bytes = [record(b"first"), record(b"second")].concat();
        let last = bytes.len() - 9;
        bytes[last] ^= 4;
        assert_eq!(damage(&[(0, &bytes)], 0).1, record(b"first").len() as u64);
    }
}
