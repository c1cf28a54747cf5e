//! Group commit: one thread, one sync for all the writes that wait.
//!
//! Owns [`GroupCommit`], the `LogStore` in front of every durable [`Engine`]. Calls change the state
//! in memory and push to a queue; the writer thread takes all that is queued, writes it, syncs
//! once, and calls the `Done`s in order. While one sync runs, the next group gathers.
//!
//! In: the calls of the door. Out: ordered batches of [`Op`] to the engine, which sees only those
//! that change something, and never two calls to `write` or `sync` at a time.
//!
//! Invariants
//! - An entry is in memory from its append until the engine has written it; a bounded number of
//!   recent ones stay longer, so that replication and apply seldom read the disk.
//! - The queue is bounded. A caller waits for room only when the disk is [`QUEUE_WRITES`] writes or
//!   [`QUEUE_BYTES`] behind, which says that it must slow down.
//! - The first error, or panic, of the engine is final: its group and all that follows gets it, and
//!   the thread ends. Nothing is retried.
//! - Dropping the store writes what is queued and joins the thread, so the engine, and with it the
//!   lock of its directory, is gone when `drop` returns.
//!
//! Does not: know how or where an engine writes, nor sync for a committed position alone.

use std::{
    collections::VecDeque,
    fmt, io, mem,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use super::{
    Done, LogId, LogState, LogStore, Record, Vote,
    state::{Op, take_bytes},
};
use crate::runtime::Stopwatch;

/// Writes that may wait for the disk before callers do.
const QUEUE_WRITES: usize = 4096;
/// Payload that may wait for the disk before callers do.
const QUEUE_BYTES: usize = 64 << 20;
/// Written entries kept in memory: about what a follower a few seconds behind asks for.
const RECENT_BYTES: usize = 16 << 20;
/// What an entry costs beside its payload.
const RECORD_BYTES: usize = 64;

/// A blocking log on disk. Its only writer is the thread of [`GroupCommit`]; reads come beside it.
pub(super) trait Engine: Send + Sync + 'static {
    /// Writes in order, so that a crash keeps a prefix. Returns how many bytes that took.
    fn write(&self, ops: &[Op]) -> io::Result<u64>;

    /// Makes all that was written durable.
    fn sync(&self) -> io::Result<()>;

    /// Written entries from the start of `range`, without a gap, as far as `bytes_max` allows (but
    /// at least one). What is truncated or purged meanwhile may be missing or fail.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>>;
}

/// An engine as it was found.
pub(super) struct Opened<E> {
    pub(super) engine: E,
    pub(super) state: LogState,
    /// Index of the first entry, if there is any.
    pub(super) first: u64,
}

/// See the module.
pub(super) struct GroupCommit<E: Engine> {
    shared: Arc<Shared<E>>,
    writer: Option<JoinHandle<()>>,
}

struct Shared<E> {
    engine: E,
    front: Mutex<Front>,
    /// Told when the queue is no longer empty, or the store closes.
    work: Condvar,
    /// Told when the queue has been taken.
    room: Condvar,
}

/// One call, on its way to the engine.
struct Write {
    /// `None` where nothing changes: only the `Done` waits its turn.
    op: Option<Op>,
    done: Option<Done>,
}

/// What callers see, and what the engine has yet to see.
struct Front {
    state: LogState,
    first: u64,
    /// The newest entries, each with the number of the write that brought it.
    recent: VecDeque<(u64, Record)>,
    recent_bytes: usize,
    queue: Vec<Write>,
    queue_bytes: usize,
    /// Number of the last write pushed, and of the last one that the engine has written.
    pushed: u64,
    written: u64,
    /// How often entries were removed from the end: an index may mean another entry after that.
    truncations: u64,
    failed: Option<Failure>,
    closing: bool,
}

/// An error that can be given out many times.
#[derive(Clone, Debug)]
struct Failure(io::ErrorKind, Arc<str>);

impl Failure {
    fn error(&self) -> io::Error {
        io::Error::new(self.0, self.1.to_string())
    }
}

impl<E: Engine> GroupCommit<E> {
    /// Starts the writer thread.
    pub(super) fn start(opened: Opened<E>) -> io::Result<Self> {
        let front = Front {
            state: opened.state,
            first: opened.first,
            recent: VecDeque::new(),
            recent_bytes: 0,
            queue: Vec::new(),
            queue_bytes: 0,
            pushed: 0,
            written: 0,
            truncations: 0,
            failed: None,
            closing: false,
        };
        let shared = Arc::new(Shared {
            engine: opened.engine,
            front: Mutex::new(front),
            work: Condvar::new(),
            room: Condvar::new(),
        });
        let writer = thread::Builder::new().name("sixbells-log".into()).spawn({
            let shared = shared.clone();
            move || shared.run()
        })?;
        Ok(Self { shared, writer: Some(writer) })
    }

    fn push(&self, op: Op, done: Option<Done>) {
        let mut front = self.shared.lock();
        while front.is_full() && front.failed.is_none() {
            front = self.shared.room.wait(front).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failure) = front.failed.clone() {
            drop(front);
            if let Some(done) = done {
                finish(done, Err(failure.error()));
            }
            return;
        }
        let op = front.apply(&op).then_some(op);
        front.queue.push(Write { op, done });
        front.evict();
        self.shared.work.notify_one();
    }
}

impl<E: Engine> LogStore for GroupCommit<E> {
    fn state(&self) -> LogState {
        self.shared.lock().state
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        loop {
            let (older, newer, truncations) = self.shared.lock().split(&range, bytes_max);
            if older.is_empty() {
                return Ok(newer);
            }
            let found = guard(|| self.shared.engine.read(older.clone(), bytes_max));
            let front = self.shared.lock();
            let moved = front.truncations != truncations || front.first > older.start;
            drop(front);
            match found {
                // The engine may have been overtaken by a truncation or purge: look again.
                _ if moved => {}
                Ok(found) => return join(older, found, newer, bytes_max),
                Err(error) => return Err(error),
            }
        }
    }

    fn read_recent(&self, range: Range<u64>, bytes_max: u64) -> Option<Vec<Record>> {
        let (older, newer, _) = self.shared.lock().split(&range, bytes_max);
        older.is_empty().then_some(newer)
    }

    fn append(&self, records: Vec<Record>, done: Done) {
        self.push(Op::Append(records), Some(done));
    }

    fn save_vote(&self, vote: Vote, done: Done) {
        self.push(Op::SaveVote(vote), Some(done));
    }

    fn save_committed(&self, committed: LogId) {
        self.push(Op::SaveCommitted(committed), None);
    }

    fn truncate_after(&self, last: Option<LogId>, done: Done) {
        self.push(Op::TruncateAfter(last), Some(done));
    }

    fn purge(&self, upto: LogId, done: Done) {
        self.push(Op::Purge(upto), Some(done));
    }
}

/// Entries of the engine, which must begin where they were asked for, then those in memory.
fn join(
    older: Range<u64>,
    found: Vec<Record>,
    newer: Vec<Record>,
    bytes_max: u64,
) -> io::Result<Vec<Record>> {
    let indices = found.iter().map(|record| record.id.index);
    if found.is_empty() || !indices.eq((older.start..older.end).take(found.len())) {
        let reason = format!("entries {}..{} are not where they belong", older.start, older.end);
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let complete = found.len() as u64 == older.end - older.start;
    let rest = newer.into_iter().take(if complete { usize::MAX } else { 0 });
    Ok(take_bytes(found.into_iter().chain(rest), bytes_max))
}

impl Front {
    fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE_WRITES || self.queue_bytes >= QUEUE_BYTES
    }

    /// Whether the engine has to know.
    fn apply(&mut self, op: &Op) -> bool {
        let was_empty = self.state.last.is_none();
        if !self.state.apply(op) {
            self.pushed += 1;
            return false;
        }
        self.pushed += 1;
        match op {
            Op::Append(records) => {
                if let (true, Some(record)) = (was_empty, records.first()) {
                    self.first = record.id.index;
                }
                for record in records {
                    self.recent_bytes += record.payload.len() + RECORD_BYTES;
                    self.queue_bytes += record.payload.len();
                    self.recent.push_back((self.pushed, record.clone()));
                }
                !records.is_empty()
            }
            Op::TruncateAfter(_) => {
                self.truncations += 1;
                let end = self.state.end();
                self.drop_recent(|front| front.recent.pop_back_if(|(_, r)| r.id.index >= end));
                true
            }
            Op::Purge(_) => {
                self.first = self.state.floor();
                let first = self.first;
                self.drop_recent(|front| front.recent.pop_front_if(|(_, r)| r.id.index < first));
                true
            }
            Op::SaveVote(_) | Op::SaveCommitted(_) => true,
        }
    }

    fn drop_recent(&mut self, mut next: impl FnMut(&mut Self) -> Option<(u64, Record)>) {
        while let Some((_, record)) = next(self) {
            self.recent_bytes -= record.payload.len() + RECORD_BYTES;
        }
    }

    /// Forgets the oldest entries that the engine has, once there are too many.
    fn evict(&mut self) {
        self.drop_recent(|front| {
            let (bytes, written) = (front.recent_bytes, front.written);
            front.recent.pop_front_if(|(number, _)| bytes > RECENT_BYTES && *number <= written)
        });
    }

    /// The part of `range` that only the engine has, and the entries that are in memory.
    fn split(&self, range: &Range<u64>, bytes_max: u64) -> (Range<u64>, Vec<Record>, u64) {
        let range = self.state.clip(&(range.start.max(self.first)..range.end));
        let base = self.recent.front().map_or(range.end, |(_, record)| record.id.index);
        let split = base.clamp(range.start, range.end);
        let skip = usize::try_from(split - base.min(split)).unwrap_or(usize::MAX);
        let count = usize::try_from(range.end - split).unwrap_or(usize::MAX);
        let records = self.recent.iter().skip(skip).take(count).map(|(_, record)| record.clone());
        (range.start..split, take_bytes(records, bytes_max), self.truncations)
    }
}

impl<E: Engine> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread.
    fn run(&self) {
        let mut unsynced = false;
        while let Some((group, upto)) = self.next_group() {
            let count = group.len();
            let (ops, dones): (Vec<_>, Vec<_>) =
                group.into_iter().map(|write| (write.op, write.done)).unzip();
            let ops: Vec<Op> = ops.into_iter().flatten().collect();
            let mut dones = dones.into_iter().flatten().peekable();
            let wanted = dones.peek().is_some();

            let result = guard(|| self.write(&ops, upto, &mut unsynced, wanted));
            if let Err(error) = result {
                let failure = Failure(error.kind(), error.to_string().into());
                tracing::error!(error = %failure.1, writes = count, "the log failed and closes");
                dones.for_each(|done| finish(done, Err(failure.error())));
                return self.fail(&failure);
            }
            if wanted {
                metrics::histogram!("sixbells_log_group_writes").record(count as f64);
            }
            dones.for_each(|done| finish(done, Ok(())));
        }
    }

    /// All that waits; `None` once the store closes and nothing does.
    fn next_group(&self) -> Option<(Vec<Write>, u64)> {
        let mut front = self.lock();
        while front.queue.is_empty() {
            if front.closing {
                return None;
            }
            front = self.work.wait(front).unwrap_or_else(PoisonError::into_inner);
        }
        front.queue_bytes = 0;
        self.room.notify_all();
        Some((mem::take(&mut front.queue), front.pushed))
    }

    fn write(&self, ops: &[Op], upto: u64, unsynced: &mut bool, wanted: bool) -> io::Result<()> {
        if !ops.is_empty() {
            let bytes = self.engine.write(ops)?;
            metrics::counter!("sixbells_log_bytes_total").increment(bytes);
            *unsynced = true;
        }
        let mut front = self.lock();
        front.written = upto;
        front.evict();
        drop(front);
        if wanted && *unsynced {
            let watch = Stopwatch::start();
            self.engine.sync()?;
            *unsynced = false;
            metrics::histogram!("sixbells_log_sync_seconds").record(watch.seconds());
            metrics::counter!("sixbells_log_syncs_total").increment(1);
        }
        Ok(())
    }

    /// Latches the failure, but only behind the writes that came before it was known: their `Done`s
    /// are called first, in order.
    fn fail(&self, failure: &Failure) {
        loop {
            let queued = {
                let mut front = self.lock();
                if front.queue.is_empty() {
                    front.failed = Some(failure.clone());
                    self.room.notify_all();
                    return;
                }
                front.queue_bytes = 0;
                self.room.notify_all();
                mem::take(&mut front.queue)
            };
            for done in queued.into_iter().filter_map(|write| write.done) {
                finish(done, Err(failure.error()));
            }
        }
    }
}

impl<E: Engine> Drop for GroupCommit<E> {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        // A `Done` may hold the last handle: the writer thread cannot wait for itself.
        let writer = self.writer.take().filter(|w| w.thread().id() != thread::current().id());
        if let Some(Err(_)) = writer.map(JoinHandle::join) {
            tracing::error!("the log's writer thread panicked");
        }
    }
}

/// A panic of the engine is an error like any other: nobody may wait for a thread that is gone.
pub(super) fn guard<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "no message".into());
        Err(io::Error::other(format!("the log engine panicked: {text}")))
    })
}

fn finish(done: Done, result: io::Result<()>) {
    let call = || {
        done(result);
        Ok(())
    };
    if guard(call).is_err() {
        tracing::error!("a Done of the log panicked");
    }
}

impl<E: Engine> fmt::Debug for GroupCommit<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let front = self.shared.lock();
        f.debug_struct("GroupCommit")
            .field("state", &front.state)
            .field("queued", &front.queue.len())
            .field("failed", &front.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "commit_test.rs"]
mod tests;
