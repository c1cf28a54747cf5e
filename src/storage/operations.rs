//! The door to the operations of eventual mode, and the words that cross it.
//!
//! Owns the name of an operation ([`Author`] and sequence) and the [`OperationLog`] door. Where the
//! log of strong mode is one agreed sequence, here each replica has a sequence of its own, and a
//! replica keeps those of all.
//!
//! In: operations in the order in which they arrived here, each batch with a [`Done`] that is called
//! once it is on disk. Out: on opening, all of them in that order.
//!
//! Invariants
//! - What survives a crash is a prefix of the order of arrival, and holds everything whose `Done` was
//!   called with `Ok`. So whatever an operation may depend on survives with it.
//! - Of each author, the operations are contiguous: from some first one on, without a gap.
//! - Each opening is a new *incarnation*, durable before [`OperationLog::incarnation`] returns it. An
//!   author is a node and its incarnation: so a node that lost what it had not synced never names a
//!   second operation as it named the first.
//! - A failed sync closes the log, as in [`LogStore`](super::LogStore).
//!
//! Does not: order operations, or interpret what they say.

use std::{collections::BTreeMap, fmt, io};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Done;

/// Who writes operations: a node, from one start to the next.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Author {
    /// The node's id.
    pub node: u64,
    /// Counts its starts, from 1.
    pub incarnation: u64,
}

/// Of each author, how many operations: those with sequences from 1 to that.
pub type Vector = BTreeMap<Author, u64>;

/// One operation as the store sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who accepted it.
    pub author: Author,
    /// The author's how-manieth it is, from 1 and without gaps.
    pub sequence: u64,
    /// When: a reading of the author's hybrid logical clock.
    pub stamp: u64,
    /// What it says: the bytes of a proposal.
    pub payload: Bytes,
}

/// The door to the operations. Calls return without waiting for the disk.
pub trait OperationLog: Send + Sync + fmt::Debug + 'static {
    /// The number of this opening, larger than that of every earlier one.
    fn incarnation(&self) -> u64;

    /// No stamp up to this one may be given again; 0 at first. As it was found on opening.
    fn ceiling(&self) -> u64;

    /// All operations, in order of arrival.
    ///
    /// # Errors
    /// Damage (`InvalidData`, naming file and offset) or an IO error.
    fn load(&self) -> io::Result<Vec<Operation>>;

    /// Appends operations in the order in which they arrived. Without any it is a barrier.
    fn append(&self, operations: Vec<Operation>, done: Done);

    /// Saves a higher ceiling.
    fn save_ceiling(&self, ceiling: u64, done: Done);

    /// Removes what the vector covers: it is part of a durable snapshot, and nobody needs it any more.
    /// What cannot be removed yet may stay.
    fn remove(&self, covered: &Vector);
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} (start {})", self.node, self.incarnation)
    }
}
