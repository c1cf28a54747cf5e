//! What callers of a log see, and what its engine has yet to see.
//!
//! Owns [`Front`]: the state as all calls so far have made it, the newest entries, and the queue of
//! what is to be written; and [`Group`], which is what was taken from the queue at once.
//!
//! Invariants
//! - An entry is in memory from its append until the engine has written it; a bounded number of
//!   recent ones stay longer, so that replication and apply seldom read the disk.
//! - At most one group is out at a time.
//! - A committed position that waits makes way for the next one: alone, they never fill the queue.
//!
//! Does not: lock, wait, call anybody, or decide on which thread a group is written.

use std::{collections::VecDeque, mem, ops::Range};

use super::{
    Done, LogState, Record,
    state::{Op, take_bytes},
};

/// Writes that may wait for the disk before callers do.
pub(super) const QUEUE_WRITES: usize = 4096;
/// Payload that may wait for the disk before callers do.
const QUEUE_BYTES: usize = 64 << 20;
/// Written entries kept in memory: about what a follower a few seconds behind asks for.
pub(super) const RECENT_BYTES: usize = 16 << 20;
/// What an entry costs beside its payload.
const RECORD_BYTES: usize = 64;

/// One call, on its way to the engine.
struct Write {
    /// `None` where nothing changes: only the `Done` waits its turn.
    op: Option<Op>,
    done: Option<Done>,
}

/// What is written together.
pub(super) struct Group {
    pub(super) ops: Vec<Op>,
    pub(super) dones: Vec<Done>,
    /// Whether somebody waits for what is not durable yet.
    pub(super) sync: bool,
    /// Number of its last write.
    pub(super) upto: u64,
}

/// See the module.
pub(super) struct Front {
    pub(super) state: LogState,
    pub(super) first: u64,
    /// The newest entries, each with the number of the write that brought it.
    recent: VecDeque<(u64, Record)>,
    pub(super) recent_bytes: usize,
    queue: Vec<Write>,
    queue_bytes: usize,
    /// Number of the last write pushed, and of the last one that the engine has written.
    pushed: u64,
    written: u64,
    /// Whether something is written that no sync has covered.
    unsynced: bool,
    /// How often entries were removed from the end: an index may mean another entry after that.
    pub(super) truncations: u64,
    /// Whether a group is out.
    out: bool,
}

impl Front {
    /// In front of an engine that was found in this state, with entries from `first` on.
    pub(super) fn new(state: LogState, first: u64) -> Self {
        Self {
            state,
            first,
            recent: VecDeque::new(),
            recent_bytes: 0,
            queue: Vec::new(),
            queue_bytes: 0,
            pushed: 0,
            written: 0,
            unsynced: false,
            truncations: 0,
            out: false,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE_WRITES || self.queue_bytes >= QUEUE_BYTES
    }

    /// Changes the state and puts the call into the queue.
    pub(super) fn push(&mut self, op: Op, done: Option<Done>) {
        let op = self.apply(&op).then_some(op);
        if let (Some(Op::SaveCommitted(newer)), None) = (&op, &done)
            && let Some(Write { op: Some(Op::SaveCommitted(older)), done: None }) =
                self.queue.last_mut()
        {
            *older = *newer;
            return;
        }
        self.queue.push(Write { op, done });
        self.evict();
    }

    /// Whether a group is to be written now: somebody waits for it, or `all` is asked for, and none is out.
    pub(super) fn is_due(&self, all: bool) -> bool {
        let waits = all || self.queue.iter().any(|write| write.done.is_some());
        !self.out && !self.queue.is_empty() && waits
    }

    /// All that waits, if it is due.
    pub(super) fn take(&mut self, all: bool) -> Option<Group> {
        if !self.is_due(all) {
            return None;
        }
        self.out = true;
        self.queue_bytes = 0;
        let (ops, dones): (Vec<_>, Vec<_>) =
            mem::take(&mut self.queue).into_iter().map(|write| (write.op, write.done)).unzip();
        let ops: Vec<Op> = ops.into_iter().flatten().collect();
        let dones: Vec<Done> = dones.into_iter().flatten().collect();
        self.unsynced |= !ops.is_empty();
        let sync = self.unsynced && !dones.is_empty();
        self.unsynced &= !sync;
        Some(Group { ops, dones, sync, upto: self.pushed })
    }

    /// The `Done`s of all that waits, for when nothing is written any more.
    pub(super) fn give_up(&mut self) -> Vec<Done> {
        self.queue_bytes = 0;
        mem::take(&mut self.queue).into_iter().filter_map(|write| write.done).collect()
    }

    /// The engine has written a group, up to this number.
    pub(super) fn wrote(&mut self, upto: u64) {
        self.written = upto;
        self.evict();
    }

    /// The `Done`s of the group that was out have been called.
    pub(super) fn end_group(&mut self) {
        self.out = false;
    }

    /// Whether the engine has to know.
    fn apply(&mut self, op: &Op) -> bool {
        let was_empty = self.state.last.is_none();
        self.pushed += 1;
        if !self.state.apply(op) {
            return false;
        }
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
    pub(super) fn split(
        &self,
        range: &Range<u64>,
        bytes_max: u64,
    ) -> (Range<u64>, Vec<Record>, u64) {
        let range = self.state.clip(&(range.start.max(self.first)..range.end));
        let base = self.recent.front().map_or(range.end, |(_, record)| record.id.index);
        let split = base.clamp(range.start, range.end);
        let skip = usize::try_from(split - base.min(split)).unwrap_or(usize::MAX);
        let count = usize::try_from(range.end - split).unwrap_or(usize::MAX);
        let records = self.recent.iter().skip(skip).take(count).map(|(_, record)| record.clone());
        (range.start..split, take_bytes(records, bytes_max), self.truncations)
    }
}
