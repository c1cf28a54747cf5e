//! The write-ahead log engine.
//!
//! Owns [`Wal`]: a stream of [`records`](super::records) in [`files`](super::files) of zeros. A group is encoded
//! into a buffer, written by one call if it is not large, and made durable by one more.
//!
//! Invariants
//! - A file is durable before the next one is written, so a crash keeps a prefix of the stream.
//! - Each file begins with a checkpoint of the state, so it needs nothing of those before it but their entries.
//! - A file goes away after the purge of its entries is durable.
//! - The witness of the [`Home`] is the position in the stream up to which all was synced.
//!
//! Does not: group writes, or keep entries in memory.

use std::{
    fmt,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    LogState, Record,
    blocks::{BLOCK_BYTES, Blocks},
    commit::{Engine, Opened, count_sync},
    files::{self, Keeper, Next},
    home::{Home, sync_dir},
    index::{Index, Segment, Span},
    records::{self, Change, Place, Replay, Said, Writer},
    scan::{Scanned, scan},
    state::Op,
};
use crate::{
    error::{Damage, StartError},
    runtime::Stopwatch,
};

/// How large the first file of a log is at most: it is made while somebody waits for it.
const FIRST_FILE_BYTES: u64 = 1 << 20;

/// Records that are written by one call.
const BUFFER_BYTES: usize = 256 << 10;

/// See the module.
pub(super) struct Wal {
    /// The writer's alone.
    tail: Mutex<Tail>,
    index: Mutex<Index>,
    // Dropped last, for it holds the lock of the directory.
    home: Home,
}

/// The end of the log.
struct Tail {
    newest: Segment,
    number: u64,
    /// How long the newest file was made, and how long the next one will be.
    bytes: u64,
    next_bytes: u64,
    keeper: Keeper,
    /// Whether the next one is being made.
    asked: bool,
    /// Position of the next record, and up to which all is written, and synced.
    end: u64,
    written: u64,
    durable: u64,
    state: LogState,
    /// The newest file, for whole blocks.
    file: File,
    /// From the begin of the block in which the log ends: what is written of it, and what is not.
    buffer: Blocks,
}

/// Opens the log of `home`, reading all of it.
pub(super) fn open(mut home: Home, file_bytes: u64) -> Result<Opened<Wal>, StartError> {
    let dir = home.log_dir();
    let context = |e| StartError::io(format!("open log {}", dir.display()), e);
    let paths = files::list(&dir).map_err(context)?;
    let (mut replay, mut index) = (Replay::default(), Index::default());
    let mut scanned = scan(&dir, &paths, home.promised(), |said, place| {
        replay.apply(said)?;
        index.follow(said, place, &replay.state);
        Ok(())
    })?;
    if let Some(missing) = replay.missing() {
        let file = scanned.first().map_or(dir.clone(), |file| file.path.clone());
        return Err(Damage { file, offset: 0, reason: missing }.into());
    }
    cut(&mut scanned)?;
    for empty in &paths[scanned.len()..] {
        files::remove(&dir, empty).map_err(context)?;
    }
    // What was removed before a crash is to stay so: it may be full of zeros from now on.
    sync_dir(&dir).map_err(context)?;
    let tail = match scanned.last() {
        Some(last) => Tail::of(last, replay.state, &dir, file_bytes),
        None if home.is_new() => Tail::new(&dir, file_bytes),
        None => {
            let reason = "nothing is left of a log that was in use".into();
            return Err(Damage { file: dir, offset: 0, reason }.into());
        }
    };
    let tail = tail.map_err(context)?;
    let older = &scanned[..scanned.len().saturating_sub(1)];
    for Scanned { path, start, .. } in older {
        let file = Arc::new(files::open(path).map_err(context)?);
        index.begin_file(Segment { path: path.clone(), file, start: *start });
    }
    index.begin_file(tail.newest.clone());
    match home.is_new() {
        true => home.establish(tail.end)?,
        false => home.promise(tail.end).map_err(context)?,
    }
    let state = tail.state;
    let engine = Wal { tail: Mutex::new(tail), index: Mutex::new(index), home };
    Ok(Opened { engine, state, first: replay.first.max(state.floor()) })
}

/// Cuts the torn tail, and says so. A file of which nothing is left then counts no more.
fn cut(scanned: &mut Vec<Scanned>) -> Result<(), StartError> {
    let Some(Scanned { path, start, end, tail: Some(tail) }) = scanned.last() else {
        return Ok(());
    };
    let offset = end - start;
    tracing::warn!(
        file = %path.display(),
        offset,
        bytes = tail.bytes,
        reason = %tail.reason,
        "cut a torn write that was never acknowledged"
    );
    metrics::counter!("sixbells_log_cut_tails_total").increment(1);
    let zero = || {
        let file = files::open(path)?;
        file.write_all_at(&vec![0; usize::try_from(tail.bytes).unwrap_or(usize::MAX)], offset)?;
        file.sync_data()
    };
    zero().map_err(|e| StartError::io(format!("cut {}", path.display()), e))?;
    if start == end {
        scanned.pop();
    }
    Ok(())
}

impl Tail {
    /// Of a log that ends in this file.
    fn of(last: &Scanned, state: LogState, dir: &Path, next_bytes: u64) -> io::Result<Self> {
        let Scanned { path, start, end, .. } = last;
        let mut buffer = Blocks::new(BUFFER_BYTES);
        let newest = files::open(path)?;
        let bytes_in_block = (end - start) % BLOCK_BYTES as u64;
        let mut in_block = vec![0; usize::try_from(bytes_in_block).unwrap_or(0)];
        newest.read_exact_at(&mut in_block, end - start - bytes_in_block)?;
        buffer.memory().extend_from_slice(&in_block);
        Ok(Self {
            number: files::number(path)?,
            bytes: newest.metadata()?.len(),
            file: files::open_for_blocks(path)?,
            newest: Segment { path: path.clone(), file: Arc::new(newest), start: *start },
            next_bytes,
            keeper: Keeper::start(dir.to_owned())?,
            asked: false,
            end: *end,
            written: *end,
            durable: *end,
            state,
            buffer,
        })
    }

    /// Of a log that begins.
    fn new(dir: &Path, file_bytes: u64) -> io::Result<Self> {
        let Next { path, .. } = files::make(dir, 1, file_bytes.min(FIRST_FILE_BYTES))?;
        let empty = Scanned { path, start: 0, end: 0, tail: None };
        let mut tail = Self::of(&empty, LogState::default(), dir, file_bytes)?;
        tail.begin_file();
        tail.flush()?;
        tail.sync()?;
        Ok(tail)
    }

    /// Bytes of the newest file that are taken.
    fn taken(&self) -> u64 {
        self.end - self.newest.start
    }

    /// Writes `ops`, of which readers hear by the index.
    fn write(&mut self, ops: &[Op], index: &Mutex<Index>) -> io::Result<()> {
        for op in ops {
            let change = match op {
                Op::Append(records) => {
                    for record in records {
                        self.make_room(records::bytes_of(record), index)?;
                        let place = self.writer().entry(record);
                        self.wrote(&Said::Entry(record.id), place, index);
                    }
                    continue;
                }
                Op::SaveVote(vote) => Change::Vote(*vote),
                Op::SaveCommitted(committed) => Change::Committed(*committed),
                Op::TruncateAfter(last) => Change::TruncateAfter(*last),
                Op::Purge(upto) => Change::Purge(*upto),
            };
            self.make_room(records::CHANGE_BYTES, index)?;
            let place = self.writer().change(&change);
            self.wrote(&Said::Change(change), place, index);
        }
        self.flush()
    }

    fn writer(&mut self) -> Writer<'_> {
        Writer { out: self.buffer.memory(), position: self.end, durable: self.durable }
    }

    /// A record was put into the buffer.
    fn wrote(&mut self, said: &Said, place: Place, index: &Mutex<Index>) {
        self.end = place.end();
        said.step(&mut self.state);
        lock(index).follow(said, place, &self.state);
    }

    /// Makes room for a record, in the buffer and in the file. One that is longer than a file makes it longer.
    fn make_room(&mut self, bytes: u64, index: &Mutex<Index>) -> io::Result<()> {
        if self.taken() + bytes > self.bytes && self.taken() > 0 {
            self.flush()?;
            self.rotate()?;
            lock(index).begin_file(self.newest.clone());
        } else if self.buffer.len() as u64 + bytes > BUFFER_BYTES as u64 {
            self.flush()?;
        }
        if self.taken() > self.bytes / 2 {
            self.ask();
        }
        if self.taken() == 0 {
            self.begin_file();
        }
        Ok(())
    }

    fn begin_file(&mut self) {
        let state = self.state;
        self.end = self.writer().checkpoint(&state).end();
    }

    /// Writes the buffer.
    fn flush(&mut self) -> io::Result<()> {
        if self.written < self.end {
            let bytes = self.buffer.len();
            let offset = self.taken() - bytes as u64;
            self.file.write_all_at(self.buffer.whole(), offset)?;
            self.buffer.forget(bytes);
            self.written = self.end;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let watch = Stopwatch::start();
        self.file.sync_data()?;
        count_sync(watch);
        self.durable = self.end;
        Ok(())
    }

    /// Has the next file made.
    fn ask(&mut self) {
        if !self.asked {
            self.asked = true;
            self.keeper.make(self.number + 1, self.next_bytes);
        }
    }

    /// Goes on in the next file.
    fn rotate(&mut self) -> io::Result<()> {
        self.ask();
        self.sync()?;
        let next = self.keeper.next().or_else(|error| {
            // Perhaps long ago, and there is room on the disk again.
            tracing::warn!(%error, "the log's next file is made once more");
            self.keeper.make(self.number + 1, self.next_bytes);
            self.keeper.next()
        });
        let Next { path, file, bytes } = next?;
        let readable = Arc::new(files::open(&path)?);
        self.newest = Segment { path, file: readable, start: self.end };
        (self.number, self.bytes, self.asked) = (self.number + 1, bytes, false);
        self.file = file;
        self.buffer.clear();
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine for Wal {
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<u64> {
        let tail = &mut *lock(&self.tail);
        let before = tail.end;
        tail.write(ops, &self.index)?;
        if sync {
            tail.sync()?;
            self.home.promise(tail.durable)?;
            let gone = lock(&self.index).forget_files();
            if !gone.is_empty() {
                tail.keeper.remove(gone);
            }
        }
        Ok(tail.end - before)
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        let spans = lock(&self.index).find(&range, bytes_max);
        let mut records = Vec::new();
        for span in spans {
            read_span(&span, &mut records)?;
        }
        Ok(records)
    }
}

/// Reads what is in one file by one call.
fn read_span(Span { segment, places }: &Span, records: &mut Vec<Record>) -> io::Result<()> {
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(()) };
    let offset = |position: u64| position - segment.start;
    let damaged = |position: u64, reason: String| -> io::Error {
        Damage { file: segment.path.clone(), offset: offset(position), reason }.into()
    };
    let bytes = usize::try_from(last.position - first.position).map_err(io::Error::other)?;
    let mut buffer = vec![0; bytes + last.length as usize];
    segment.file.read_exact_at(&mut buffer, offset(first.position)).map_err(|e| {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(first.position, "the file ends early".into()),
            _ => e,
        }
    })?;
    let buffer = Bytes::from(buffer);
    for place in places {
        let at = usize::try_from(place.position - first.position).map_err(io::Error::other)?;
        let bytes = buffer.slice(at..at + place.length as usize);
        let entry = records::entry(&bytes, place.position);
        records.push(entry.map_err(|reason| damaged(place.position, reason))?);
    }
    Ok(())
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("home", &self.home).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "wal_test.rs"]
mod tests;
