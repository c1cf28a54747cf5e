//! A log in memory that loses, when asked to, exactly what a disk may lose.
//!
//! Owns [`MemoryLog`], for tests and for simulated clusters. It syncs every write at once, until
//! [`MemoryLog::hold`]: from then on writes are readable but not durable, their `Done`s wait, and
//! a [`MemoryLog::crash`] forgets them.
//!
//! Invariants
//! - What a crash leaves is a prefix of the stream of writes: everything up to the last sync.
//! - A `Done` whose write a crash forgot is dropped, never called.
//! - A failed sync closes the log: that `Done` and every later one gets the error.
//!
//! Clones share one log, as two handles of one file do. Does not: spawn a thread or read a clock.

use std::{
    collections::BTreeMap,
    fmt, io, mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Done, LogId, LogState, LogStore, Record, Vote,
    state::{Op, take_bytes},
};

/// An in-memory [`LogStore`] that models unsynced loss.
#[derive(Clone, Default)]
pub struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    now: Content,
    /// What a crash would leave.
    synced: Content,
    /// The writes in between, to be done to `synced` as well.
    unsynced: Vec<Op>,
    waiting: Vec<Done>,
    held: bool,
    fail_next: bool,
    failed: bool,
    /// A log that crashed takes no more writes: its process is gone.
    crashed: bool,
}

#[derive(Clone, Default)]
struct Content {
    state: LogState,
    entries: BTreeMap<u64, (u64, Bytes)>,
}

impl Inner {
    fn apply(&mut self, op: Op) {
        self.now.apply(op.clone());
        self.unsynced.push(op);
    }
}

impl Content {
    fn apply(&mut self, op: Op) {
        let changed = self.state.apply(&op);
        match op {
            Op::Append(records) => {
                let entries = records.into_iter().map(|r| (r.id.index, (r.id.term, r.payload)));
                self.entries.extend(entries);
            }
            Op::TruncateAfter(_) if changed => {
                drop(self.entries.split_off(&self.state.end().max(self.state.floor())));
            }
            Op::Purge(_) if changed => {
                self.entries = self.entries.split_off(&self.state.floor());
            }
            Op::SaveVote(_) | Op::SaveCommitted(_) | Op::TruncateAfter(_) | Op::Purge(_) => {}
        }
    }
}

impl MemoryLog {
    /// An empty log that syncs every write before the call returns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops syncing: from now on writes wait for [`Self::release`].
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Syncs all that waits, calls its `Done`s in order, and syncs at once again.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.held = false;
        Self::sync(inner);
    }

    /// The next sync fails, and with it the log.
    pub fn fail_next_sync(&self) {
        self.lock().fail_next = true;
    }

    /// How many `Done`s wait for a sync.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// The log as found at restart: only what was synced. This one is dead from now on: the
    /// `Done`s that wait are dropped, and so are those of later writes.
    pub fn crash(&self) -> MemoryLog {
        let (synced, lost) = {
            let mut inner = self.lock();
            inner.crashed = true;
            (inner.synced.clone(), mem::take(&mut inner.waiting))
        };
        drop(lost);
        let inner = Inner { now: synced.clone(), synced, ..Inner::default() };
        MemoryLog { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, op: Op, done: Done) {
        let mut inner = self.lock();
        if inner.crashed {
            drop(inner);
            return drop(done);
        }
        inner.apply(op);
        inner.waiting.push(done);
        if !inner.held {
            Self::sync(inner);
        }
    }

    fn sync(mut inner: MutexGuard<'_, Inner>) {
        inner.failed |= mem::take(&mut inner.fail_next);
        let failed = inner.failed;
        if !failed {
            for op in mem::take(&mut inner.unsynced) {
                inner.synced.apply(op);
            }
        }
        let dones = mem::take(&mut inner.waiting);
        // A `Done` may call back into the log.
        drop(inner);
        for done in dones {
            done(if failed { Err(io::Error::other("the log's sync failed")) } else { Ok(()) });
        }
    }

    fn entries(&self, range: Range<u64>, bytes_max: u64) -> Vec<Record> {
        let inner = self.lock();
        let entries = inner.now.entries.range(inner.now.state.clip(&range));
        let records = entries.map(|(&index, (term, payload))| Record {
            id: LogId { term: *term, index },
            payload: payload.clone(),
        });
        take_bytes(records, bytes_max)
    }
}

impl LogStore for MemoryLog {
    fn state(&self) -> LogState {
        self.lock().now.state
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        Ok(self.entries(range, bytes_max))
    }

    fn read_recent(&self, range: Range<u64>, bytes_max: u64) -> Option<Vec<Record>> {
        Some(self.entries(range, bytes_max))
    }

    fn append(&self, records: Vec<Record>, done: Done) {
        self.write(Op::Append(records), done);
    }

    fn save_vote(&self, vote: Vote, done: Done) {
        self.write(Op::SaveVote(vote), done);
    }

    fn save_committed(&self, committed: LogId) {
        // Without a sync of its own: durable only with the next write.
        let mut inner = self.lock();
        if !inner.crashed {
            inner.apply(Op::SaveCommitted(committed));
        }
    }

    fn truncate_after(&self, last: Option<LogId>, done: Done) {
        self.write(Op::TruncateAfter(last), done);
    }

    fn purge(&self, upto: LogId, done: Done) {
        self.write(Op::Purge(upto), done);
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("MemoryLog")
            .field("state", &inner.now.state)
            .field("synced", &inner.synced.state)
            .field("waiting", &inner.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn record(term: u64, index: u64) -> Record {
        Record { id: LogId { term, index }, payload: Bytes::from(format!("{term}.{index}")) }
    }

    fn done(calls: &mpsc::Sender<(u64, bool)>, n: u64) -> Done {
        let calls = calls.clone();
        Box::new(move |result| calls.send((n, result.is_ok())).unwrap())
    }

    /// A crash between a write and its sync must lose that write and nothing before it.
    #[test]
    fn a_crash_keeps_a_prefix() {
        let (tx, calls) = mpsc::channel();
        let log = MemoryLog::new();
        log.append(vec![record(1, 0), record(1, 1)], done(&tx, 1));
        assert_eq!(calls.try_recv(), Ok((1, true)));

        log.hold();
        log.save_vote(Vote { term: 2, ..Vote::default() }, done(&tx, 2));
        log.truncate_after(Some(LogId { term: 1, index: 0 }), done(&tx, 3));
        log.append(vec![record(2, 1)], done(&tx, 4));
        assert_eq!(log.read(0..9, u64::MAX).unwrap(), [record(1, 0), record(2, 1)]);
        assert_eq!(log.waiting(), 3);

        let restarted = log.crash();
        assert_eq!(restarted.read(0..9, u64::MAX).unwrap(), [record(1, 0), record(1, 1)]);
        assert_eq!(restarted.state().vote, None);
        log.release();
        log.append(vec![record(2, 2)], done(&tx, 5));
        assert!(calls.try_recv().is_err(), "a dead log must not call a Done");
    }

    #[test]
    fn release_syncs_in_order_and_a_failed_sync_latches() {
        let (tx, calls) = mpsc::channel();
        let log = MemoryLog::new();
        log.hold();
        for n in 0..3 {
            log.append(vec![record(1, n)], done(&tx, n));
        }
        log.save_committed(LogId { term: 1, index: 0 });
        log.release();
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), [(0, true), (1, true), (2, true)]);
        assert!(log.crash().state().committed.is_some());

        let log = MemoryLog::new();
        log.append(vec![record(1, 0)], done(&tx, 0));
        log.fail_next_sync();
        log.append(vec![record(1, 1)], done(&tx, 1));
        log.append(vec![record(1, 2)], done(&tx, 2));
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), [(0, true), (1, false), (2, false)]);
        assert_eq!(log.crash().state().last, Some(LogId { term: 1, index: 0 }));
    }
}
