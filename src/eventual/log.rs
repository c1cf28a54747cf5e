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
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::{
    codec,
    plant::{Bug, planted},
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

/// How a vector is written where it is a field: as pairs, for in JSON a key has to be a string.
pub(super) mod pairs {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Author, Vector};

    pub(crate) fn serialize<S: Serializer>(vector: &Vector, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(vector)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vector, D::Error> {
        Ok(Vec::<(Author, u64)>::deserialize(input)?.into_iter().collect())
    }
}

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

impl Entry {
    fn operation(&self) -> Option<(Author, u64)> {
        match self {
            Entry::Operation(Operation { author, sequence, .. }) => Some((*author, *sequence)),
            Entry::Start { .. } | Entry::Ceiling(_) => None,
        }
    }
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
    held: Mutex<Held>,
}

/// What the log holds.
#[derive(Debug, Default)]
struct Held {
    /// Index of the next entry.
    next: u64,
    ceiling: Stamp,
    /// Each entry, and the operation in it if it is one.
    entries: VecDeque<(LogId, Option<(Author, u64)>)>,
}

/// How many entries are worth a purge.
const PURGED_MIN: usize = 256;

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
        let mut held = Held { next: end, ..Held::default() };
        let mut next = store.state().purged.map_or(0, |purged| purged.index + 1);
        while next < end {
            let records = store.read(next..end, READ_BYTES)?;
            let Some(last) = records.last() else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no entry {next}")));
            };
            next = last.id.index + 1;
            for record in records {
                let entry: Entry = codec::decode_tagged(&record.payload)?;
                held.entries.push_back((record.id, entry.operation()));
                match entry {
                    Entry::Start { incarnation } if planted(Bug::SameIncarnation) => {
                        found.incarnation = incarnation;
                    }
                    Entry::Start { incarnation } => found.incarnation = incarnation + 1,
                    Entry::Ceiling(ceiling) => found.ceiling = ceiling,
                    Entry::Operation(operation) => found.operations.push(operation),
                }
            }
        }
        let incarnation = found.incarnation;
        held.ceiling = found.ceiling;
        let log = Self { store, incarnation, held: Mutex::new(held) };
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
        self.held().ceiling = ceiling;
        self.push(&[Entry::Ceiling(ceiling)], done);
    }

    fn push(&self, entries: &[Entry], done: Done) {
        let mut held = self.held();
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            let id = LogId { term: self.incarnation, index: held.next };
            held.next += 1;
            held.entries.push_back((id, entry.operation()));
            records.push(Record { id, payload: codec::encode_tagged(entry).into() });
        }
        drop(held);
        self.store.append(records, done);
    }

    /// Removes the operations at the front that are in this vector, once they are many: a durable
    /// snapshot holds them, and nobody will ask for them. What stands between them goes, too.
    pub(crate) fn purge(&self, forgotten: &Vector) {
        let mut held = self.held();
        let gone = |operation: &Option<(Author, u64)>| {
            operation.is_none_or(|(author, sequence)| {
                forgotten.get(&author).is_some_and(|upto| sequence <= *upto)
            })
        };
        let count = held.entries.iter().take_while(|(_, operation)| gone(operation)).count();
        if count < PURGED_MIN {
            return;
        }
        let upto = held.entries.drain(..count).next_back();
        let (incarnation, ceiling) = (self.incarnation, held.ceiling);
        drop(held);
        // These may be among what is removed.
        self.push(&[Entry::Start { incarnation }, Entry::Ceiling(ceiling)], Box::new(drop));
        if let Some((upto, _)) = upto {
            self.store.purge(upto, Box::new(drop));
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn what_is_purged_takes_neither_incarnation_nor_ceiling_with_it() {
        let store = MemoryLog::new();
        let (log, _) = open(&store);
        log.save_ceiling(Stamp(50), Box::new(drop));
        log.append((1..=305).map(operation).collect(), Box::new(drop));
        log.purge(&Vector::from([(operation(1).author, 303)]));
        let (_, found) = open(&store.crash());
        assert_eq!((found.incarnation, found.ceiling), (8, Stamp(50)));
        assert_eq!(found.operations, [operation(304), operation(305)]);
    }
}
