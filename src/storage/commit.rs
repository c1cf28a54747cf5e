//! Group commit: one sync for all the writes that wait.
//!
//! Owns [`GroupCommit`], the `LogStore` in front of every durable [`Engine`]. Calls change the [`Front`] in
//! memory and push to its queue; all that is queued becomes a [`Group`], which is written, synced once, and
//! its `Done`s called in order. While one group is out, the next one gathers.
//!
//! In: the calls of the door. Out: ordered batches of [`Op`] to the engine, which sees only those
//! that change something, and never two calls to write at a time.
//!
//! On which thread: a group begins where the call came from, or where the group before it ended, if the
//! engine can begin it without waiting; so a lone write costs two wake-ups, of the engine's thread and of
//! whoever waits. Otherwise the writer thread does it, and no caller ever waits for the disk.
//!
//! Invariants
//! - The queue is bounded. A caller waits for room only when the disk is 4,096 writes or
//!   64 MiB behind, which says that it must slow down.
//! - The first error, or panic, of the engine is final: its group and all that follows gets it, and
//!   the writer thread ends. Nothing is retried.
//! - Dropping the store writes what is queued and joins the thread, so the engine, and with it the
//!   lock of its directory, is gone when `drop` returns; unless a `Done` does it, for whose end the writer
//!   thread waits.
//! - An engine is never dropped on a thread of its own, which it would have to join: while a group is
//!   out or begun, the writer thread holds it.
//!
//! Does not: know how or where an engine writes, nor write or sync for a committed position alone.

use std::{
    fmt, io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, JoinHandle},
};

use super::{
    Done, LogId, LogState, LogStore, Record, Vote,
    front::{Failure, Front, Group},
    state::{Op, take_bytes},
};
use crate::runtime::Stopwatch;

/// A blocking log on disk. Its only writer is [`GroupCommit`]; reads come beside it.
pub(super) trait Engine: Send + Sync + 'static {
    /// Writes in order, so that a crash keeps a prefix; with `sync`, makes all that was written so far
    /// durable. Then calls `then` with the number of bytes that took: before it returns, or later on
    /// a thread of the engine's own.
    fn write(&self, ops: &[Op], sync: bool, then: Then);

    /// The same, if it can be begun without waiting for anything, and `then` is called on the engine's own
    /// thread, but for an error. If not, does nothing, and gives `then` back.
    fn try_write(&self, _ops: &[Op], _sync: bool, then: Then) -> Option<Then> {
        Some(then)
    }

    /// Written entries from the start of `range`, without a gap, as far as `bytes_max` allows (but
    /// at least one). What is truncated or purged meanwhile may be missing or fail.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>>;
}

/// What an engine calls when a write is done. Dropped uncalled, it says that the engine gave up.
pub(super) struct Then(Option<Box<dyn FnOnce(io::Result<u64>) + Send>>);

impl Then {
    pub(super) fn new(then: impl FnOnce(io::Result<u64>) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    pub(super) fn call(mut self, result: io::Result<u64>) {
        if let Some(then) = self.0.take() {
            then(result);
        }
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(io::Error::other("the log engine gave up a write")));
        }
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

/// A group on its way to the engine.
pub(super) struct Job {
    ops: Vec<Op>,
    sync: bool,
    then: Then,
}

/// See the module.
pub(super) struct GroupCommit<E: Engine> {
    shared: Arc<Shared<E>>,
    engine: Arc<E>,
    writer: Option<JoinHandle<()>>,
}

struct Shared<E> {
    front: Mutex<Front>,
    /// Told when a group is handed to the writer thread, or it is to end.
    work: Condvar,
    /// Told when the queue has been taken.
    room: Condvar,
    /// Not held: a group may be the last to know of the engine, and end on the engine's own thread.
    engine: Weak<E>,
}

impl<E: Engine> GroupCommit<E> {
    /// Starts the writer thread.
    pub(super) fn start(opened: Opened<E>) -> io::Result<Self> {
        let front = Mutex::new(Front::of(&opened));
        let engine = Arc::new(opened.engine);
        let shared = Arc::new(Shared {
            front,
            work: Condvar::new(),
            room: Condvar::new(),
            engine: Arc::downgrade(&engine),
        });
        let writer = thread::Builder::new().name("sixbells-log".into()).spawn({
            let (shared, engine) = (shared.clone(), engine.clone());
            move || shared.run(&engine)
        })?;
        Ok(Self { shared, engine, writer: Some(writer) })
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
        front.push(op, done);
        self.shared.begin(front);
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
            let found = guard(|| self.engine.read(older.clone(), bytes_max));
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

impl<E: Engine> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next group, if one is due: here, or else on the writer thread.
    fn begin(self: &Arc<Self>, mut front: MutexGuard<'_, Front>) {
        let Some(group) = front.take(false) else { return };
        front.beginning += 1;
        drop(front);
        self.room.notify_all();
        let job = self.job(group);
        // Somebody holds it: the store, if this is a call, and the writer thread while a group is out.
        let engine = self.engine.upgrade();
        let left = guard(|| match engine.as_deref() {
            Some(engine) => Ok(job.begin(engine)),
            None => Ok(Some(job)),
        });
        drop(engine);
        let mut front = self.lock();
        front.beginning -= 1;
        if let Ok(Some(job)) = left {
            front.handed = Some(job);
            self.work.notify_one();
        } else if front.failed.is_some() {
            self.work.notify_one();
        }
    }

    fn job(self: &Arc<Self>, group: Group) -> Job {
        let Group { ops, dones, sync, upto } = group;
        let shared = self.clone();
        let then = Then::new(move |result| shared.ended(upto, dones, result));
        Job { ops, sync, then }
    }

    /// The writer thread.
    fn run(self: &Arc<Self>, engine: &E) {
        while let Some(Job { ops, sync, then }) = self.next_job() {
            if ops.is_empty() && !sync {
                then.call(Ok(0));
                continue;
            }
            // A panic drops `then`, which tells those who wait.
            let _ = guard(|| {
                engine.write(&ops, sync, then);
                Ok(())
            });
        }
    }

    /// What was left to the writer thread; once the store closes, all that waits. `None` when nothing is
    /// written any more.
    fn next_job(self: &Arc<Self>) -> Option<Job> {
        let mut front = self.lock();
        loop {
            if let Some(job) = front.handed.take() {
                return Some(job);
            }
            if front.failed.is_some() && front.beginning == 0 {
                return None;
            }
            if front.closing && !front.busy {
                let group = front.take(true)?;
                drop(front);
                self.room.notify_all();
                return Some(self.job(group));
            }
            front = self.work.wait(front).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A group was written, or could not be.
    fn ended(self: &Arc<Self>, upto: u64, dones: Vec<Done>, result: io::Result<u64>) {
        let mut front = self.lock();
        front.calling = Some(thread::current().id());
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(error) => {
                drop(front);
                return self.fail(dones, &error);
            }
        };
        front.wrote(upto);
        drop(front);
        metrics::counter!("sixbells_log_bytes_total").increment(bytes);
        if !dones.is_empty() {
            metrics::histogram!("sixbells_log_group_writes").record(dones.len() as f64);
        }
        dones.into_iter().for_each(|done| finish(done, Ok(())));
        let mut front = self.lock();
        (front.calling, front.busy) = (None, false);
        if front.closing {
            self.work.notify_one();
        }
        self.begin(front);
    }

    /// Latches a failure, but only behind the writes that came before it was known: their `Done`s
    /// are called first, in order.
    fn fail(&self, mut dones: Vec<Done>, error: &io::Error) {
        tracing::error!(%error, writes = dones.len(), "the log failed and closes");
        let failure = Failure::of(error);
        loop {
            dones.into_iter().for_each(|done| finish(done, Err(failure.error())));
            let mut front = self.lock();
            dones = front.give_up();
            self.room.notify_all();
            if dones.is_empty() {
                // No group is begun any more: this one stays out.
                (front.calling, front.failed) = (None, Some(failure));
                self.work.notify_one();
                return;
            }
        }
    }
}

impl Job {
    /// Gives it to an engine that need not wait; returns it if the engine would have to.
    fn begin<E: Engine>(self, engine: &E) -> Option<Self> {
        let Self { ops, sync, then } = self;
        let then = match ops.is_empty() {
            // A `Done` that waited for nothing is not called inside of the call that brought it.
            true => Some(then),
            false => engine.try_write(&ops, sync, then),
        }?;
        Some(Self { ops, sync, then })
    }
}

impl<E: Engine> Drop for GroupCommit<E> {
    fn drop(&mut self) {
        let mut front = self.shared.lock();
        front.closing = true;
        // A `Done` may hold the last handle: its thread cannot wait for the end of its own call.
        let inside = front.calling == Some(thread::current().id());
        drop(front);
        self.shared.work.notify_one();
        let writer = self.writer.take().filter(|_| !inside);
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
            .field("queued", &front.queued())
            .field("failed", &front.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "commit_test.rs"]
mod tests;
