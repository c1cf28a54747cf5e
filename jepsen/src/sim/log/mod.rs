//! A simulated log: a group-committing log engine on a [`SimDisk`].
//!
//! Owns [`SimLog`], the library's log door on one host. What is in the log is in memory; what happens
//! to it is written to one file, a frame a write, and read back when the next process begins.
//!
//! ```text
//! frame   length u32 | crc32 u32 | body
//! ```
//!
//! In: the writes of a node. Out: its `Done`s, when the group that they are in was synced; and an
//! observation for everything that is written, synced or promised.
//!
//! Invariants, those of [`LogStore`] apart:
//! - one sync is under way at a time, and serves all that was written when it began;
//! - what an opened log holds is synced before anybody relies on it;
//! - a bad frame in what was synced before is damage; one behind it was never promised, and is cut.
//!
//! [`LogBug`]s break these, to show that somebody notices. Does not: judge.

mod content;
mod frame;

use std::{
    fmt, io, mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sixbells::{
    Damage, StartError,
    inspect::{self, Content as Said},
    storage::{Disk, Done, LogId, LogState, LogStore, Record, Vote},
};

use self::{content::Content, frame::Write};
use super::{Host, Logged, Observation, disk::SimDisk, world};
use crate::digest::digest;

/// A mistake that a log engine can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogBug {
    /// Entries are promised before they are synced.
    UnsyncedLog,
    /// Votes are promised before they are synced.
    UnsyncedVote,
    /// Recovery takes a torn tail for entries.
    TornTailAccepted,
    /// Recovery takes damage for a torn tail, and cuts it off.
    DamageCut,
    /// A failed sync is reported as done.
    SyncErrorIgnored,
    /// A write that found no room is reported as done.
    EnospcSwallowed,
    /// A truncated suffix is there again after a restart.
    TruncateForgets,
}

/// A log engine on a simulated disk. Clones are the same log.
#[derive(Clone)]
pub struct SimLog(Arc<Shared>);

struct Shared {
    node: Host,
    disk: SimDisk,
    bug: Option<LogBug>,
    inner: Mutex<Inner>,
}

struct Inner {
    content: Content,
    /// Written by nobody yet.
    queue: Vec<(Write, Option<Done>)>,
    syncing: bool,
    failed: Option<String>,
    /// What it says is synced is not on the disk: a bug has seen to that.
    lies: bool,
}

fn state_digest(state: &LogState) -> u64 {
    let vote = state.vote.map(|vote| (vote.term, vote.voted_for, vote.committed));
    digest((vote, state.committed, state.purged, state.last))
}

/// An entry, as oracles know it.
fn logged(record: &Record) -> Logged {
    let voters = match inspect::content(record) {
        Ok(Said::Membership { voters }) => Some(voters),
        Ok(Said::Batch(_)) => {
            world::reach("several commands were one entry");
            None
        }
        _ => None,
    };
    Logged { id: record.id, hash: digest(&record.payload), voters }
}

impl SimLog {
    /// Opens what is on the disk, and syncs it.
    ///
    /// # Errors
    /// [`StartError::Damaged`] where something that was synced is not there any more, and what the
    /// disk says.
    pub fn open(node: Host, disk: &SimDisk, bug: Option<LogBug>) -> Result<Self, StartError> {
        let opened =
            Self::recover(disk, bug).map_err(|source| match source.downcast::<Damage>() {
                Ok(damage) => StartError::Damaged(damage),
                Err(source) => StartError::Io { context: "open the simulated log".into(), source },
            })?;
        let (state, records) = (opened.state, opened.read(0..u64::MAX, u64::MAX));
        let log = records.iter().map(logged).collect();
        let words = || format!("node {node} finds {state:?}");
        world::trace("opened", state_digest(&state), words);
        world::observe(&Observation::Started { node, state, log });
        let inner =
            Inner { content: opened, queue: Vec::new(), syncing: false, failed: None, lies: false };
        Ok(Self(Arc::new(Shared { node, disk: disk.clone(), bug, inner: Mutex::new(inner) })))
    }

    fn recover(disk: &SimDisk, bug: Option<LogBug>) -> io::Result<Content> {
        let (bytes, synced) = disk.read_log()?;
        let mut content = Content::default();
        let mut at = 0;
        while at < bytes.len() {
            let (write, length) = match frame::read(&bytes[at..]) {
                Some(found) => found,
                None if at < synced && bug != Some(LogBug::DamageCut) => {
                    let reason = "a record that was synced is not what was written".to_owned();
                    let offset = at as u64;
                    return Err(Damage { file: disk.path("log"), offset, reason }.into());
                }
                None if bug == Some(LogBug::TornTailAccepted) => {
                    world::reach("a torn tail was found");
                    if let Some(write) = frame::guess(&bytes[at..]) {
                        content.carry_out(&write);
                    }
                    break;
                }
                None => {
                    world::reach("a torn tail was found");
                    break;
                }
            };
            content.carry_out(&write);
            at += length;
        }
        disk.cut_log(at)?;
        disk.sync_log()?;
        Ok(content)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, write: Write, done: Option<Done>) {
        let node = self.0.node;
        let observation = match &write {
            Write::Append(records) if records.is_empty() => None,
            Write::Append(records) => {
                let entries = records.iter().map(logged).collect();
                Some(Observation::Appended { node, entries })
            }
            Write::Vote(vote) => Some(Observation::Voted { node, vote: *vote }),
            Write::Committed(upto) => Some(Observation::Committed { node, upto: *upto }),
            Write::Truncate(last) => Some(Observation::Truncated { node, last: *last }),
            Write::Purge(upto) => Some(Observation::Purged { node, upto: *upto }),
        };
        let mut inner = self.lock();
        inner.content.carry_out(&write);
        let write_digest = state_digest(&inner.content.state);
        if inner.failed.is_some() {
            drop(inner);
            if let Some(done) = done {
                // Not at once: the caller may hold what the `Done` wants.
                let log = self.clone();
                world::call_after(node, Duration::ZERO, move || done(Err(log.failure())));
            }
            return;
        }
        inner.queue.push((write, done));
        drop(inner);
        if let Some(seen) = observation {
            world::trace("write", write_digest, || format!("{seen:?}"));
            world::observe(&seen);
        }
        self.begin_group();
    }

    fn failure(&self) -> io::Error {
        let failed = self.lock().failed.clone();
        io::Error::other(failed.unwrap_or_else(|| "the log has not failed".to_owned()))
    }

    /// Writes what waits, and starts to sync it, unless a sync is under way.
    fn begin_group(&self) {
        let mut inner = self.lock();
        let wanted = inner.queue.iter().any(|(_, done)| done.is_some());
        if inner.syncing || inner.failed.is_some() || !wanted {
            return;
        }
        inner.syncing = true;
        let state = inner.content.state;
        let (writes, dones): (Vec<_>, Vec<_>) = mem::take(&mut inner.queue).into_iter().unzip();
        drop(inner);
        let dones: Vec<Done> = dones.into_iter().flatten().collect();
        let (node, log) = (self.0.node, self.clone());
        let written = self.write(&writes);
        let votes = writes.iter().any(|write| matches!(write, Write::Vote(_)));
        let early = match self.0.bug {
            Some(LogBug::UnsyncedLog) => !votes && written.is_ok(),
            Some(LogBug::UnsyncedVote) => votes && written.is_ok(),
            _ => false,
        };
        let (early, dones) = if early { (dones, Vec::new()) } else { (Vec::new(), dones) };
        if !early.is_empty() {
            let log = self.clone();
            world::call_after(node, Duration::ZERO, move || log.promise(state, early));
        }
        let delay = self.0.disk.sync_time();
        world::call_after(node, delay, move || log.end_group(state, dones, written));
    }

    fn write(&self, writes: &[Write]) -> io::Result<()> {
        let forgets = self.0.bug == Some(LogBug::TruncateForgets);
        let kept = writes.iter().filter(|write| !(forgets && matches!(write, Write::Truncate(_))));
        match self.0.disk.write_log(&frame::all(kept)) {
            Err(e)
                if e.kind() == io::ErrorKind::StorageFull
                    && self.0.bug == Some(LogBug::EnospcSwallowed) =>
            {
                self.lock().lies = true;
                Ok(())
            }
            written => written,
        }
    }

    fn end_group(&self, state: LogState, dones: Vec<Done>, written: io::Result<()>) {
        let node = self.0.node;
        let synced = written.and_then(|()| match self.0.disk.sync_log() {
            Err(_) if self.0.bug == Some(LogBug::SyncErrorIgnored) => {
                self.lock().lies = true;
                Ok(())
            }
            synced => synced,
        });
        if let Err(error) = synced {
            return self.fail(dones, &error);
        }
        if !self.lock().lies {
            world::observe(&Observation::Synced { node, state });
        }
        if !dones.is_empty() {
            self.promise(state, dones);
        }
        self.lock().syncing = false;
        self.begin_group();
    }

    fn promise(&self, state: LogState, dones: Vec<Done>) {
        let node = self.0.node;
        world::trace("synced", state_digest(&state), || format!("{state:?}"));
        world::observe(&Observation::Promised { node, state });
        dones.into_iter().for_each(|done| done(Ok(())));
    }

    /// The first error is final.
    fn fail(&self, dones: Vec<Done>, error: &io::Error) {
        world::reach("a log failed");
        let queued = {
            let mut inner = self.lock();
            inner.failed = Some(error.to_string());
            mem::take(&mut inner.queue)
        };
        let dones = dones.into_iter().chain(queued.into_iter().filter_map(|(_, done)| done));
        dones.for_each(|done| done(Err(self.failure())));
    }
}

impl LogStore for SimLog {
    fn state(&self) -> LogState {
        self.lock().content.state
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        Ok(self.lock().content.read(range, bytes_max))
    }

    fn read_recent(&self, range: Range<u64>, bytes_max: u64) -> Option<Vec<Record>> {
        Some(self.lock().content.read(range, bytes_max))
    }

    fn append(&self, records: Vec<Record>, done: Done) {
        self.push(Write::Append(records), Some(done));
    }

    fn save_vote(&self, vote: Vote, done: Done) {
        self.push(Write::Vote(vote), Some(done));
    }

    fn save_committed(&self, committed: LogId) {
        self.push(Write::Committed(committed), None);
    }

    fn truncate_after(&self, last: Option<LogId>, done: Done) {
        self.push(Write::Truncate(last), Some(done));
    }

    fn purge(&self, upto: LogId, done: Done) {
        self.push(Write::Purge(upto), Some(done));
    }
}

impl fmt::Debug for SimLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLog").field("node", &self.0.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
