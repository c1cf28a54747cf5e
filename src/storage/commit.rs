//! Group commit: one sync for all the writes that wait.
//!
//! Owns [`GroupCommit`], the `LogStore` in front of every durable [`Engine`], and its writer thread. Calls
//! change the [`Front`] in memory and push to its queue; the writer thread takes all that is queued as a
//! [`Group`], has it written and synced once, and calls its `Done`s in order. While one group is out, the next
//! one gathers.
//!
//! In: the calls of the door. Out: ordered batches of [`Op`] to the engine, which sees only those
//! that change something, on one thread.
//!
//! Invariants
//! - No caller waits for the disk, unless it is 4,096 writes or 64 MiB behind: the queue is bounded, and that
//!   says that the caller must slow down.
//! - The first error, or panic, of the engine is final: its group and all that follows gets it, and
//!   the writer thread ends. Nothing is retried.
//! - Dropping the store writes what is queued and joins the thread, so the engine, and with it the
//!   lock of its directory, is gone when `drop` returns; unless a `Done` does it, whose thread cannot wait for
//!   itself.
//!
//! Does not: know how or where an engine writes, nor write or sync for a committed position alone.

use std::{
    fmt, io, mem,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use super::{
    Done, LogId, LogState, LogStore, Record, Vote,
    front::{Front, Group},
    state::{Op, take_bytes},
};
use crate::runtime::Stopwatch;

/// A blocking log on disk. Its only writer is [`GroupCommit`]'s thread; reads come beside it.
pub(super) trait Engine: Send + Sync + 'static {
    /// Writes in order, so that a crash keeps a prefix; with `sync`, makes all that was written so far
    /// durable. Returns the number of bytes that took.
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<u64>;

    /// Written entries from the start of `range`, without a gap, as far as `bytes_max` allows (but
    /// at least one). What is truncated or purged meanwhile may be missing or fail.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>>;
}

/// Counts a group.
fn count(bytes: u64, writes: usize) {
    metrics::counter!("sixbells_log_bytes_total").increment(bytes);
    if writes > 0 {
        metrics::histogram!("sixbells_log_group_writes").record(writes as f64);
    }
}

/// Counts a sync of an engine, and how long it took.
pub(super) fn count_sync(watch: Stopwatch) {
    metrics::histogram!("sixbells_log_sync_seconds").record(watch.seconds());
    metrics::counter!("sixbells_log_syncs_total").increment(1);
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
    shared: Arc<Shared>,
    engine: Arc<E>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Told when a group is due and the writer thread waits for one, or the store closes.
    work: Condvar,
    /// Told when the queue has been taken.
    room: Condvar,
}

/// What callers and the writer thread share.
struct Queue {
    front: Front,
    failed: Option<Failure>,
    closing: bool,
    /// Callers that wait for room: to tell nobody costs as much as to tell somebody.
    waiting: usize,
    /// Whether the writer thread waits for work, and has not been told of any.
    idle: bool,
}

/// An error that can be given out many times.
#[derive(Clone, Debug)]
struct Failure(io::ErrorKind, Arc<str>);

impl Failure {
    fn of(error: &io::Error) -> Self {
        Self(error.kind(), error.to_string().into())
    }

    fn error(&self) -> io::Error {
        io::Error::new(self.0, self.1.to_string())
    }
}

impl<E: Engine> GroupCommit<E> {
    /// Starts the writer thread.
    pub(super) fn start(Opened { engine, state, first }: Opened<E>) -> io::Result<Self> {
        let front = Front::new(state, first);
        let queue = Queue { front, failed: None, closing: false, waiting: 0, idle: false };
        let (work, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { queue: Mutex::new(queue), work, room });
        let engine = Arc::new(engine);
        let writer = thread::Builder::new().name("sixbells-log".into()).spawn({
            let (shared, engine) = (shared.clone(), engine.clone());
            move || shared.run(&*engine)
        })?;
        Ok(Self { shared, engine, writer: Some(writer) })
    }

    fn push(&self, op: Op, done: Option<Done>) {
        let mut queue = self.shared.lock();
        while queue.front.is_full() && queue.failed.is_none() {
            queue.waiting += 1;
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.waiting -= 1;
        }
        if let Some(failure) = queue.failed.clone() {
            drop(queue);
            if let Some(done) = done {
                finish(done, Err(failure.error()));
            }
            return;
        }
        queue.front.push(op, done);
        let tell = queue.front.is_due(false) && mem::take(&mut queue.idle);
        drop(queue);
        if tell {
            self.shared.work.notify_one();
        }
    }
}

impl<E: Engine> LogStore for GroupCommit<E> {
    fn state(&self) -> LogState {
        self.shared.lock().front.state
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        loop {
            let (older, newer, truncations) = self.shared.lock().front.split(&range, bytes_max);
            if older.is_empty() {
                return Ok(newer);
            }
            let found = guard(|| self.engine.read(older.clone(), bytes_max));
            let queue = self.shared.lock();
            let moved = queue.front.truncations != truncations || queue.front.first > older.start;
            drop(queue);
            match found {
                // The engine may have been overtaken by a truncation or purge: look again.
                _ if moved => {}
                Ok(found) => return join(older, found, newer, bytes_max),
                Err(error) => return Err(error),
            }
        }
    }

    fn read_recent(&self, range: Range<u64>, bytes_max: u64) -> Option<Vec<Record>> {
        let (older, newer, _) = self.shared.lock().front.split(&range, bytes_max);
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread.
    fn run(&self, engine: &impl Engine) {
        while let Some(Group { ops, dones, sync, upto }) = self.next() {
            // A recorder of metrics that panics ends the log, not only its thread.
            let written = guard(|| {
                if !ops.is_empty() || sync {
                    count(engine.write(&ops, sync)?, dones.len());
                }
                Ok(())
            });
            match written {
                Ok(()) => self.ended(upto, dones),
                Err(error) => return self.fail(dones, &error),
            }
        }
    }

    /// Waits for the next group. `None` when nothing is written any more.
    fn next(&self) -> Option<Group> {
        let mut queue = self.lock();
        loop {
            let closing = queue.closing;
            if let Some(group) = queue.front.take(closing) {
                let waiting = queue.waiting;
                drop(queue);
                if waiting > 0 {
                    self.room.notify_all();
                }
                return Some(group);
            }
            if closing {
                return None;
            }
            queue.idle = true;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle = false;
        }
    }

    /// A group was written.
    fn ended(&self, upto: u64, dones: Vec<Done>) {
        self.lock().front.wrote(upto);
        dones.into_iter().for_each(|done| finish(done, Ok(())));
        self.lock().front.end_group();
    }

    /// Latches a failure, but only behind the writes that came before it was known: their `Done`s
    /// are called first, in order.
    fn fail(&self, mut dones: Vec<Done>, error: &io::Error) {
        tracing::error!(%error, writes = dones.len(), "the log failed and closes");
        let failure = Failure::of(error);
        loop {
            dones.into_iter().for_each(|done| finish(done, Err(failure.error())));
            let mut queue = self.lock();
            dones = queue.front.give_up();
            self.room.notify_all();
            if dones.is_empty() {
                queue.failed = Some(failure);
                return;
            }
        }
    }
}

impl<E: Engine> Drop for GroupCommit<E> {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        // A `Done` may hold the last handle: its thread cannot wait for its own end.
        let inside = |writer: &JoinHandle<()>| writer.thread().id() == thread::current().id();
        let writer = self.writer.take().filter(|writer| !inside(writer));
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
        let queue = self.shared.lock();
        f.debug_struct("GroupCommit")
            .field("state", &queue.front.state)
            .field("queued", &queue.front.queued())
            .field("failed", &queue.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "commit_test.rs"]
mod tests;
