//! The write-ahead log engine.
//!
//! Owns the `Engine` over that crate: a stream of records in files named by the position at which
//! they begin, each record with a checksum. The crate appends, rotates, indexes and deletes; the
//! files are first read by [`scan`], which decides what is a torn tail and what is damage, because
//! the crate itself cuts at any length that points beyond the end.
//!
//! Invariants
//! - One sync is in flight at a time; the group is formed in front of us, so the crate's own wait
//!   for a group is off. It ends on the crate's thread, which goes on from there.
//! - Payloads are the caller's `Bytes`, in the crate's cache too.
//! - The witness of the [`Home`] is the position in the stream up to which all was synced.
//! - What the crate says it holds is compared with what the scan found.
//!
//! Does not: group writes, or keep entries beyond the crate's cache.

use std::{
    fmt,
    fs::OpenOptions,
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use raft_log::{
    Config, RaftLog, api::raft_log_writer::RaftLogWriter, chunked_wal, codeq::OffsetSize,
};

use super::{
    LogId, Record,
    commit::{Engine, Opened, Then, guard},
    home::Home,
    lock,
    records::{Ballot, Format, Payload, Replay, Synced, decode, ids, state_from},
    scan::{Chunk, Scanned, scan},
    state::Op,
};
use crate::{
    error::{Damage, StartError},
    runtime::Stopwatch,
};

/// Payload the crate keeps in memory beside the newest file, which it never drops.
const CACHE_BYTES: usize = 64 << 20;
/// For reading files on opening; the crate's own default is 64 MiB.
const READ_BUFFER_BYTES: usize = 1 << 20;
/// More than a record has beside its payload; the committed position is a record of some hundred bytes.
const RECORD_BYTES: u64 = 256;
/// What is encoded on the thread that asks for it, rather than woken another thread for.
const AT_ONCE_BYTES: u64 = 1 << 20;
/// Files end by size alone: the crate also counts records.
const CHUNK_RECORDS: usize = usize::MAX;

/// See the module.
pub(super) struct Wal {
    open: Mutex<Open>,
    // Dropped after the log, for it holds the lock of the directory.
    home: Home,
}

struct Open {
    log: RaftLog<Format>,
    /// Where the newest file begins in the stream, and where its last record ends.
    begin: u64,
    end: u64,
    /// A file that is as long as this makes way for the next.
    file_bytes: u64,
}

/// Opens the log of `home`, reading all of it.
pub(super) fn open(home: Home, file_bytes: u64) -> Result<Opened<Wal>, StartError> {
    let dir = home.log_dir();
    let chunks = chunks(&home)?;
    let mut replay = Replay::default();
    let scanned = scan(&dir, &chunks, home.promised(), decode, |record| replay.apply(record))?;
    if let Some(missing) = replay.missing() {
        let file = chunks.first().map_or(dir.clone(), |chunk| chunk.path.clone());
        return Err(Damage { file, offset: 0, reason: missing }.into());
    }
    cut(&scanned)?;

    let mut config = Config::new(dir.display());
    config.wal.chunk_max_size = Some(usize::try_from(file_bytes).unwrap_or(usize::MAX));
    config.wal.chunk_max_records = Some(CHUNK_RECORDS);
    config.wal.read_buffer_size = Some(READ_BUFFER_BYTES);
    config.wal.flush_batch_wait = Some(Duration::ZERO);
    // One group is out at a time, and the front bounds it. With a limit of its own, the crate would wait, on
    // the thread that calls back, for what that thread gives back only afterwards.
    config.wal.flush_queue_max_bytes = Some(usize::MAX);
    // What is to be cut has been cut.
    config.wal.truncate_incomplete_record = Some(false);
    config.log_cache_capacity = Some(CACHE_BYTES);
    let context = || format!("open log {}", dir.display());
    let config = Arc::new(config);
    let held = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
    let opened = lock::patiently(|| guard(|| RaftLog::open(config.clone())), held);
    let log = opened.map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => StartError::Locked(dir.clone()),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Damage { file: dir.clone(), offset: 0, reason: e.to_string() }.into()
        }
        _ => StartError::io(context(), e),
    })?;
    let state = state_from(log.log_state());
    if !chunks.is_empty() && state != replay.state {
        let reason = format!("holds {:?} when read, {state:?} when opened", replay.state);
        return Err(Damage { file: dir, offset: 0, reason }.into());
    }
    // Also when reopened: the crate may have begun a new file.
    let open = Open::new(log, file_bytes);
    let (end, is_new) = (open.end, home.is_new());
    let mut engine = Wal { open: Mutex::new(open), home };
    engine.sync().map_err(|e| StartError::io(context(), e))?;
    if is_new {
        engine.home.establish(end)?;
    }
    Ok(Opened { engine, state, first: replay.first.max(state.floor()) })
}

impl Wal {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut open: MutexGuard<'_, Open>, ops: &[Op], sync: bool, then: Then) {
        let before = open.end;
        let written = open.write(ops);
        let bytes = open.end - before;
        if !sync || written.is_err() {
            drop(open);
            return then.call(written.map(|()| bytes));
        }
        let (end, witness) = (open.end, self.home.witness());
        let synced = Synced { then, bytes, end, witness, watch: Stopwatch::start() };
        // A worker that is gone drops what it is given, and that is an answer.
        if let Err(error) = open.log.flush(true, Some(synced)) {
            tracing::error!(%error, "the log's flush worker is gone");
        }
    }

    /// Syncs all that was written, and waits for it.
    fn sync(&self) -> io::Result<()> {
        let (sender, synced) = mpsc::sync_channel(1);
        self.write(
            &[],
            true,
            Then::new(move |result| {
                let _ = sender.send(result.map(|_bytes| ()));
            }),
        );
        synced.recv().map_err(io::Error::other)?
    }

    /// Where the damage is that a read came upon.
    fn locate(&self, error: &io::Error) -> Damage {
        let dir = self.home.log_dir();
        let found =
            chunks(&self.home).and_then(|chunks| scan(&dir, &chunks, 0, decode, |_| Ok(())));
        match found {
            Err(StartError::Damaged(damage)) => damage,
            _ => Damage { file: self.home.log_dir(), offset: 0, reason: error.to_string() },
        }
    }
}

impl Engine for Wal {
    fn write(&self, ops: &[Op], sync: bool, then: Then) {
        self.put(self.lock(), ops, sync, then);
    }

    fn try_write(&self, ops: &[Op], sync: bool, then: Then) -> Option<Then> {
        match self.open.try_lock() {
            // A reader of older entries may hold it for as long as the disk takes.
            Ok(open) if sync && open.takes_at_once(ops) => self.put(open, ops, sync, then),
            _ => return Some(then),
        }
        None
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        let open = self.lock();
        let (mut records, mut bytes) = (Vec::new(), 0_u64);
        for entry in open.log.read(range.start, range.end) {
            let ((term, index), Payload(payload)) = match entry {
                Ok(entry) => entry,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(self.locate(&error).into());
                }
                Err(error) => return Err(error),
            };
            bytes = bytes.saturating_add(payload.len() as u64);
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(Record { id: LogId { term, index }, payload });
        }
        Ok(records)
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Open {
    fn new(log: RaftLog<Format>, file_bytes: u64) -> Self {
        let newest = log.stat().open_chunk;
        Self { log, begin: newest.global_start, end: newest.global_end, file_bytes }
    }

    /// Whether these need neither a new file nor much time.
    fn takes_at_once(&self, ops: &[Op]) -> bool {
        let mut bytes = 0;
        for op in ops {
            match op {
                Op::Append(records) => {
                    bytes +=
                        records.iter().map(|r| r.payload.len() as u64 + RECORD_BYTES).sum::<u64>();
                }
                Op::SaveVote(_) | Op::SaveCommitted(_) => bytes += RECORD_BYTES,
                Op::TruncateAfter(_) | Op::Purge(_) => return false,
            }
        }
        bytes <= AT_ONCE_BYTES && self.end - self.begin + bytes < self.file_bytes
    }

    fn write(&mut self, ops: &[Op]) -> io::Result<()> {
        let log = &mut self.log;
        for op in ops {
            let segment = match op {
                Op::Append(records) => {
                    log.append(records.iter().map(|r| (ids(&r.id), Payload(r.payload.clone()))))?
                }
                Op::SaveVote(vote) => log.save_vote(Ballot(*vote))?,
                Op::SaveCommitted(committed) => log.save_user_data(Some(ids(committed)))?,
                Op::TruncateAfter(last) => truncate(log, *last)?,
                Op::Purge(upto) => {
                    // The crate compares ids: an entry of a later term would survive its purge.
                    if log.log_state().last().is_some_and(|last| last.1 <= upto.index) {
                        truncate(log, None)?;
                    }
                    log.purge(ids(upto))?
                }
            };
            self.end = segment.end().0;
        }
        if self.end - self.begin >= self.file_bytes {
            self.begin = log.stat().open_chunk.global_start;
        }
        Ok(())
    }
}

fn truncate(
    log: &mut RaftLog<Format>,
    last: Option<LogId>,
) -> io::Result<raft_log::types::Segment> {
    let floor = log.log_state().purged().map_or(0, |purged| purged.1 + 1);
    let end = last.map_or(0, |last| last.index + 1).max(floor);
    let segment = log.truncate(end)?;
    let kept = log.log_state().last().copied();
    assert!(
        end == floor || kept == last.as_ref().map(ids),
        "truncation must keep the entry it names: {last:?}, kept {kept:?}"
    );
    Ok(segment)
}

/// The files of the log, in order.
fn chunks(home: &Home) -> Result<Vec<Chunk>, StartError> {
    let dir = home.log_dir();
    let list = || -> io::Result<Vec<Chunk>> {
        let mut chunks = Vec::new();
        for entry in dir.read_dir()? {
            let path: PathBuf = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Ok(start) = chunked_wal::Config::parse_chunk_file_name(&name) {
                chunks.push(Chunk { start, path });
            }
        }
        chunks.sort_by_key(|chunk| chunk.start);
        Ok(chunks)
    };
    list().map_err(|e| StartError::io(format!("list {}", dir.display()), e))
}

/// Cuts the torn tail, and says so.
fn cut(scanned: &Scanned) -> Result<(), StartError> {
    let Some(tail) = &scanned.tail else { return Ok(()) };
    tracing::warn!(
        file = %tail.file.display(),
        offset = tail.offset,
        bytes = tail.bytes,
        reason = %tail.reason,
        "cut a torn write that was never acknowledged"
    );
    metrics::counter!("sixbells_log_cut_tails_total").increment(1);
    let set_len = || {
        let file = OpenOptions::new().write(true).open(&tail.file)?;
        file.set_len(tail.offset)?;
        file.sync_all()
    };
    set_len().map_err(|e| StartError::io(format!("cut {}", tail.file.display()), e))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::storage::{LogEngine, Vote};

    const FILE_BYTES: u64 = 1 << 16;

    fn append(index: u64, bytes: usize) -> Op {
        let id = LogId { term: 1, index };
        Op::Append(vec![Record { id, payload: Bytes::from(vec![7; bytes]) }])
    }

    /// Tries to write at once. Whether it was taken.
    fn taken(log: &Wal, op: Op) -> bool {
        let (sender, done) = mpsc::sync_channel(1);
        let then = Then::new(move |result| sender.send(result.is_ok()).unwrap());
        match log.try_write(&[op], true, then) {
            Some(refused) => {
                refused.call(Ok(0));
                false
            }
            None => done.recv().unwrap(),
        }
    }

    /// The thread that asks may be the node's: it makes no file, and waits for no reader.
    #[test]
    fn a_write_that_would_wait_is_left_to_another_thread() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path(), LogEngine::Wal).unwrap();
        let log = open(home, FILE_BYTES).unwrap().engine;
        assert!(taken(&log, Op::SaveVote(Vote { term: 1, voted_for: 1, committed: true })));
        assert!(taken(&log, append(0, 100)));
        let held = log.lock();
        assert!(!taken(&log, append(1, 100)), "a reader is in its way");
        drop(held);
        assert!(!taken(&log, Op::TruncateAfter(None)));
        assert!(!taken(&log, append(1, 1 << 16)), "it would not fit");

        // Up to the end of a file, and again in the next one.
        let files = || chunks(&log.home).unwrap().len();
        let (mut index, mut refused) = (1, 0);
        while files() < 4 {
            let before = files();
            let op = append(index, 9_000);
            if !taken(&log, append(index, 9_000)) {
                refused += 1;
                let (sender, done) = mpsc::sync_channel(1);
                log.write(
                    &[op],
                    true,
                    Then::new(move |result| sender.send(result.is_ok()).unwrap()),
                );
                assert!(done.recv().unwrap());
            } else {
                assert_eq!(files(), before, "a file was made on the caller's thread");
            }
            index += 1;
        }
        assert_eq!(refused, 3, "one for each file");
        let records = log.read(0..index, u64::MAX).unwrap();
        assert!(records.iter().map(|record| record.id.index).eq(0..index));
    }
}
