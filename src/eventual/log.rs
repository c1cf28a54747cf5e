//! The log of a replica: what arrived, in that order, and what must outlive a crash beside it.
//!
//! Owns the name of an operation ([`Author`] and sequence) and the entries of the log, over the same
//! [`LogStore`] that strong mode uses. There the order of the log is the agreed order; here it is the
//! order of arrival, in which operations are sent on.
//!
//! In: operations and ceilings of the clock, each batch with a [`Done`] that is called once it is on
//! disk. Out: on opening, what was there.
//!
//! Invariants
//! - What survives a crash is a prefix of the order of arrival, and holds everything whose `Done` was
//!   called with `Ok`. So whatever an operation may depend on survives with it.
//! - Each opening is a new *incarnation*, durable before any operation of it. An author is a node and
//!   its incarnation: so a node that lost what it had not synced never names a second operation as it
//!   named the first. A node that lost its disk begins with a random one, for the same reason.
//!
//! Does not: order operations, or interpret what they say.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::{
    codec,
    storage::{Done, LogId, LogStore, Record},
};

/// Who writes operations: a node, from one start to the next.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Author {
    /// The node's id.
    pub node: u64,
    /// Names the start: a random number for the first on a disk, and one more for each after it.
    pub incarnation: u64,
}

/// Of each author, how many operations: those with sequences from 1 to that.
pub type Vector = BTreeMap<Author, u64>;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// Who accepted it.
    pub(crate) author: Author,
    /// The author's how-manieth it is, from 1 and without gaps.
    pub(crate) sequence: u64,
    /// When: a reading of the author's hybrid logical clock.
    pub(crate) stamp: Stamp,
    /// What it says: the bytes of a proposal.
    pub(crate) payload: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Start { incarnation: u64 },
    Ceiling(Stamp),
    Operation(Operation),
}

/// What was there.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The new incarnation.
    pub(crate) incarnation: u64,
    /// No stamp up to this one may be given again.
    pub(crate) ceiling: Stamp,
    /// In order of arrival.
    pub(crate) operations: Vec<Operation>,
}

/// See the module. Calls that write are made by one writer at a time.
#[derive(Debug)]
pub(crate) struct OperationLog {
    store: Arc<dyn LogStore>,
    incarnation: u64,
    next: AtomicU64,
}

/// How much is read at once.
const READ_BYTES: u64 = 16 << 20;

impl OperationLog {
    /// Reads all that is there, and begins a new incarnation: `first` if nothing is.
    ///
    /// # Errors
    /// Damage (`InvalidData`) or an IO error.
    pub(crate) fn open(store: Arc<dyn LogStore>, first: u64) -> io::Result<(Self, Found)> {
        let end = store.state().last.map_or(0, |last| last.index + 1);
        let mut found = Found { incarnation: first, ..Found::default() };
        let mut next = 0;
        while next < end {
            let records = store.read(next..end, READ_BYTES)?;
            let Some(last) = records.last() else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no entry {next}")));
            };
            next = last.id.index + 1;
            for record in records {
                match codec::decode_tagged(&record.payload)? {
                    Entry::Start { incarnation } => found.incarnation = incarnation + 1,
                    Entry::Ceiling(ceiling) => found.ceiling = ceiling,
                    Entry::Operation(operation) => found.operations.push(operation),
                }
            }
        }
        let incarnation = found.incarnation;
        let log = Self { store, incarnation, next: AtomicU64::new(end) };
        // What is sent is synced before, and this with it.
        log.push(&[Entry::Start { incarnation }], Box::new(drop));
        Ok((log, found))
    }

    /// Appends operations in the order in which they arrived. Without any it is a barrier.
    pub(crate) fn append(&self, operations: Vec<Operation>, done: Done) {
        let entries: Vec<Entry> = operations.into_iter().map(Entry::Operation).collect();
        self.push(&entries, done);
    }

    /// Saves a higher ceiling.
    pub(crate) fn save_ceiling(&self, ceiling: Stamp, done: Done) {
        self.push(&[Entry::Ceiling(ceiling)], done);
    }

    fn push(&self, entries: &[Entry], done: Done) {
        let first = self.next.fetch_add(entries.len() as u64, Ordering::Relaxed);
        let records = (first..).zip(entries).map(|(index, entry)| Record {
            id: LogId { term: self.incarnation, index },
            payload: codec::encode_tagged(entry).into(),
        });
        self.store.append(records.collect(), done);
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} (start {:x})", self.node, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryLog;

    fn operation(sequence: u64) -> Operation {
        let author = Author { node: 1, incarnation: 7 };
        Operation { author, sequence, stamp: Stamp(sequence), payload: Bytes::from_static(b"x") }
    }

    fn open(store: &MemoryLog) -> (OperationLog, Found) {
        OperationLog::open(Arc::new(store.clone()), 7).unwrap()
    }

    /// Origin amnesia: a node that forgot operations it had not synced, and names new ones like them,
    /// has diverged for ever.
    #[test]
    fn each_start_is_a_new_incarnation_also_after_a_crash() {
        let store = MemoryLog::new();
        let (log, found) = open(&store);
        assert_eq!(found.incarnation, 7);
        log.append(vec![operation(1)], Box::new(drop));
        log.save_ceiling(Stamp(50), Box::new(drop));
        store.hold();
        log.append(vec![operation(2)], Box::new(drop));
        let (_, found) = open(&store.crash());
        assert_eq!((found.incarnation, found.ceiling), (8, Stamp(50)));
        assert_eq!(found.operations, [operation(1)]);
    }
}
