//! The write-ahead log engine, and the only file that names `raft_log`.
//!
//! Owns the `Engine` over that crate: a stream of records in files named by the position at which
//! they begin, each record with a checksum. The crate appends, rotates, indexes and deletes; the
//! files are first read by [`scan`], which decides what is a torn tail and what is damage, because
//! the crate itself cuts at any length that points beyond the end.
//!
//! Invariants
//! - One sync is in flight at a time; the group is formed in front of us, so the crate's own wait
//!   for a group is off.
//! - Payloads are the caller's `Bytes`, in the crate's cache too.
//! - The witness of the [`Home`] is the position in the stream up to which all was synced.
//! - What the crate says it holds is compared with what the scan found.
//!
//! The committed position travels as the crate's user data: its own commit record refuses
//! a position beyond the last entry, and truncation below it, which is not for a log to judge.
//!
//! Does not: group writes, or keep entries beyond the crate's cache.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read, Write},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use bytes::Bytes;
use raft_log::{
    Config, RaftLog, RaftLogAction, RaftLogRecord, RaftWalTypes, Types, WALRecord, WalTypes,
    api::raft_log_writer::RaftLogWriter,
    chunked_wal,
    codeq::{Decode, Encode, OffsetSize},
};

use super::{
    LogId, LogState, Record, Vote,
    commit::{Engine, Opened, guard},
    home::Home,
    lock,
    scan::{Chunk, Scanned, scan},
    state::Op,
};
use crate::error::{Damage, StartError};

/// Payload the crate keeps in memory beside the newest file, which it never drops.
const CACHE_BYTES: usize = 64 << 20;
/// For reading files on opening; the crate's own default is 64 MiB.
const READ_BUFFER_BYTES: usize = 1 << 20;
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
    /// Position in the stream after the last record.
    end: u64,
}

/// Opens the log of `home`, reading all of it.
pub(super) fn open(mut home: Home, file_bytes: u64) -> Result<Opened<Wal>, StartError> {
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
    // What is to be cut has been cut.
    config.wal.truncate_incomplete_record = Some(false);
    config.log_cache_capacity = Some(CACHE_BYTES);
    let context = || format!("open log {}", dir.display());
    let config = Arc::new(config);
    let held = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
    let opened = lock::patiently(|| guard(|| RaftLog::open(config.clone())), held);
    let mut log = opened.map_err(|e| match e.kind() {
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
    let end = log.stat().open_chunk.global_end;
    let flushed = start_sync(&mut log).and_then(|rx| finish_sync(&rx));
    flushed.map_err(|e| StartError::io(context(), e))?;
    if home.is_new() {
        home.establish(end)?;
    } else {
        home.promise(end).map_err(|e| StartError::io(context(), e))?;
    }
    let engine = Wal { open: Mutex::new(Open { log, end }), home };
    Ok(Opened { engine, state, first: replay.first.max(state.floor()) })
}

impl Wal {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn write(&self, ops: &[Op]) -> io::Result<u64> {
        let mut open = self.lock();
        let Open { log, end } = &mut *open;
        let before = *end;
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
            *end = segment.end().0;
        }
        Ok(*end - before)
    }

    fn sync(&self) -> io::Result<()> {
        let (synced, end) = {
            let mut open = self.lock();
            (start_sync(&mut open.log)?, open.end)
        };
        finish_sync(&synced)?;
        self.home.promise(end)
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

/// Hands what is pending to the crate's thread, to be written and synced.
fn start_sync(log: &mut RaftLog<Format>) -> io::Result<mpsc::Receiver<io::Result<()>>> {
    let (tx, rx) = mpsc::sync_channel(1);
    log.flush(true, Some(tx))?;
    Ok(rx)
}

/// Waits for it. That thread drops the callback uncalled where it failed before.
fn finish_sync(synced: &mpsc::Receiver<io::Result<()>>) -> io::Result<()> {
    synced.recv().map_err(|e| io::Error::other(format!("the log's flush worker is gone: {e}")))?
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

fn decode(bytes: &[u8]) -> io::Result<(RaftLogRecord<Format>, usize)> {
    // Record types are 0 to 5. Said early, for this is tried at every offset behind a torn record.
    if bytes.first_chunk().is_some_and(|kind| u32::from_be_bytes(*kind) > 5) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a record"));
    }
    let mut rest = bytes;
    let record = RaftLogRecord::<Format>::decode(&mut rest)?;
    Ok((record, bytes.len() - rest.len()))
}

/// The state after each record of the scan, and whether the entries it speaks of were there.
#[derive(Default)]
struct Replay {
    state: LogState,
    begun: bool,
    /// All entries from here to the last one were seen.
    first: u64,
    /// The first file speaks of entries before it.
    headless: bool,
}

impl Replay {
    fn apply(&mut self, record: RaftLogRecord<Format>) -> Result<(), String> {
        let state = &mut self.state;
        match record {
            WALRecord::Checkpoint(checkpoint) => {
                let told = state_from(&checkpoint);
                let expected = LogState { committed: told.committed, ..*state };
                if self.begun && expected != told {
                    return Err(format!("expected {state:?}, found a checkpoint of {told:?}"));
                }
                if !self.begun {
                    self.first = told.end();
                    self.headless = told.last != told.purged;
                }
                *state = told;
            }
            WALRecord::Action(RaftLogAction::Append(id, _)) => {
                let id = LogId { term: id.0, index: id.1 };
                match state.last {
                    Some(last) if last.index + 1 != id.index || last.term > id.term => {
                        return Err(format!("after entry {last} follows {id}"));
                    }
                    Some(_) => {}
                    None => (self.first, self.headless) = (id.index, false),
                }
                state.last = Some(id);
            }
            WALRecord::Action(RaftLogAction::SaveVote(vote)) => state.vote = Some(vote.0),
            WALRecord::Action(RaftLogAction::TruncateAfter(last)) => {
                state.last = last.map(|(term, index)| LogId { term, index });
                self.first = self.first.min(state.end());
            }
            WALRecord::Action(RaftLogAction::PurgeUpto((term, index))) => {
                let upto = LogId { term, index };
                state.purged = state.purged.max(Some(upto));
                state.last = state.last.max(Some(upto));
                self.first = self.first.min(state.end());
            }
            WALRecord::Action(RaftLogAction::Commit(id)) => {
                return Err(format!("a record {id:?} that this release does not write"));
            }
        }
        self.begun = true;
        Ok(())
    }

    /// Which entries should be there and are not.
    fn missing(&self) -> Option<String> {
        let missing = match self.state.purged {
            Some(_) => self.first > self.state.floor(),
            None => self.headless && self.state.last.is_some(),
        };
        let (from, to) = (self.state.floor(), self.first);
        missing.then(|| format!("entries {from}..{to} are missing before this file"))
    }
}

fn ids(id: &LogId) -> (u64, u64) {
    (id.term, id.index)
}

type Checkpoint = <RaftWalTypes<Format> as WalTypes>::Checkpoint;

fn state_from(state: &Checkpoint) -> LogState {
    let id = |id: &(u64, u64)| LogId { term: id.0, index: id.1 };
    LogState {
        vote: state.vote().map(|vote| vote.0),
        committed: state.user_data.as_ref().map(id),
        purged: state.purged().map(id),
        last: state.last().map(id),
    }
}

/// How the crate's types are filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Format;

impl Types for Format {
    /// Term, then index: their order is that of log ids.
    type LogId = (u64, u64);
    type LogPayload = Payload;
    type Vote = Ballot;
    type Callback = mpsc::SyncSender<io::Result<()>>;
    /// The committed position.
    type UserData = (u64, u64);

    fn log_index(id: &(u64, u64)) -> u64 {
        id.1
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

/// Length, then bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Payload(Bytes);

impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        let n = length.encode(&mut w)?;
        w.write_all(&self.0)?;
        Ok(n + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(r: R) -> io::Result<Self> {
        // Grows as it reads, so a bad length costs no memory.
        Vec::<u8>::decode(r).map(|bytes| Payload(bytes.into()))
    }
}

/// The crate refuses a vote that is less than the one it has, by this order: that of votes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
struct Ballot(Vote);

impl Encode for Ballot {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let Vote { term, voted_for, committed } = &self.0;
        Ok(term.encode(&mut w)? + voted_for.encode(&mut w)? + committed.encode(&mut w)?)
    }
}

impl Decode for Ballot {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        Ok(Ballot(Vote {
            term: u64::decode(&mut r)?,
            voted_for: u64::decode(&mut r)?,
            committed: bool::decode(&mut r)?,
        }))
    }
}
