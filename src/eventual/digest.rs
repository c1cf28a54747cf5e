//! What replicas say of themselves to each other.
//!
//! Owns [`Digest`], and what it takes for one vector to hold what another does.
//!
//! Does not: send, or remember what was said.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::log::{Author, Vector};
use super::stamp::Stamp;

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    pub(crate) node: u64,
    /// Whose promises it waits for, itself among them.
    pub(crate) members: BTreeSet<u64>,
    /// The wall clock of the sender when it sent this.
    pub(crate) wall_ms: u64,
    /// What it holds, durably.
    pub(crate) have: Vector,
    /// It gives no stamp up to this one any more,
    pub(crate) promise: Stamp,
    /// beyond those of the operations that it holds and those of its own up to here.
    pub(crate) own: (Author, u64),
    /// The hash of its final state after so many operations, if there were enough of them.
    pub(crate) hashed: Option<(u64, u64)>,
}

impl Digest {
    /// Whether everything is here that the promise speaks of.
    pub(super) fn covered_by(&self, have: &Vector) -> bool {
        covers(have, &self.have) && holds(have, self.own.0, self.own.1)
    }
}

/// Whether a vector has that operation.
pub(super) fn holds(vector: &Vector, author: Author, sequence: u64) -> bool {
    vector.get(&author).copied().unwrap_or(0) >= sequence
}

pub(super) fn covers(more: &Vector, less: &Vector) -> bool {
    less.iter().all(|(author, sequence)| holds(more, *author, *sequence))
}
