//! What one log entry carries: a proposal, or several that were proposed together.
//!
//! Owns the layout. Whatever an entry costs (a record with a checksum, a place in the engine's queues, a
//! message's share on its way to each follower) is paid once for all of its proposals.
//!
//! ```text
//! one        the bytes of the proposal
//! several    format u8 | 3 u8 | (length u32 | the bytes of a proposal)*     (little-endian)
//! ```
//!
//! Invariants
//! - [`Batch::from_bytes`] is the only way in from outside; a `Batch` has one proposal at least, and each is
//!   well formed.
//! - Each proposal has a [`position`] of its own in the order of all.
//!
//! Does not: decide what is proposed together; `strong::propose` does.

use std::{fmt, ops::Range};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    codec::{CodecError, FORMAT},
    proposal::Proposal,
};

/// Proposals in one batch, at most.
pub(crate) const PROPOSALS_MAX: usize = 1 << POSITION_BITS;

/// How many proposals of an entry can be told apart by their positions.
const POSITION_BITS: u32 = 12;

/// Second byte of a batch of several; that of a proposal is its kind.
const SEVERAL: u8 = 3;

const LENGTH_BYTES: usize = 4;

/// A proposal this long is not copied out of the buffer it was read into, for that is not much longer.
const SHARED_BYTES: usize = 4_096;

/// A well-formed batch. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Batch(Bytes);

/// Where a proposal stands in the order of all: that of the `nth` of the entry at `index`.
pub(crate) fn position(index: u64, nth: usize) -> u64 {
    index << POSITION_BITS | nth as u64
}

impl Batch {
    /// A batch of these, in their order.
    ///
    /// # Panics
    /// When there is none, or more than [`PROPOSALS_MAX`].
    pub(crate) fn of(proposals: &[&Proposal]) -> Self {
        assert!((1..=PROPOSALS_MAX).contains(&proposals.len()), "a batch has its proposals");
        if let [one] = proposals {
            let bytes = one.bytes();
            // A copy of a small one, for the log keeps it: it may lie in a buffer many times as large.
            let large = bytes.len() >= SHARED_BYTES;
            return Self(if large { bytes.clone() } else { Bytes::copy_from_slice(bytes) });
        }
        let size =
            proposals.iter().map(|proposal| LENGTH_BYTES + proposal.bytes().len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(2 + size);
        bytes.extend_from_slice(&[FORMAT, SEVERAL]);
        for proposal in proposals {
            let length = u32::try_from(proposal.bytes().len());
            let length = length.expect("invariant: a proposal fits a frame");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(proposal.bytes());
        }
        Self(bytes.into())
    }

    /// Checks bytes from outside.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Self, CodecError> {
        let batch = Self(bytes);
        if !batch.has_several() {
            return Proposal::check(&batch.0).map(|()| batch);
        }
        let malformed = |reason: &str| CodecError::Malformed {
            expected: "batch of proposals",
            reason: reason.to_owned(),
        };
        let (mut at, mut count) = (2, 0);
        while at < batch.0.len() {
            let part = batch.part(at).ok_or_else(|| malformed("shorter than its proposals"))?;
            at = part.end;
            count += 1;
            Proposal::check(&batch.0[part])?;
        }
        match count {
            2..=PROPOSALS_MAX => Ok(batch),
            _ => Err(malformed(&format!("{count} proposals"))),
        }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The proposals, in their order. Their bytes are shared.
    pub(crate) fn proposals(&self) -> impl Iterator<Item = Proposal> {
        let mut at = if self.has_several() { 2 } else { 0 };
        std::iter::from_fn(move || {
            if at >= self.0.len() {
                return None;
            }
            let part = match at {
                0 => 0..self.0.len(),
                at => self.part(at).expect("invariant: a batch was checked"),
            };
            at = part.end;
            let proposal = Proposal::from_bytes(self.0.slice(part));
            Some(proposal.expect("invariant: a batch was checked"))
        })
    }

    fn has_several(&self) -> bool {
        self.0.get(..2) == Some(&[FORMAT, SEVERAL])
    }

    /// Where the bytes of the proposal are whose length stands at `at`, if all of them are there.
    fn part(&self, at: usize) -> Option<Range<usize>> {
        let start = at + LENGTH_BYTES;
        let length = self.0.get(at..start)?.try_into().ok().map(u32::from_le_bytes)?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        (end <= self.0.len()).then_some(start..end)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.proposals()).finish()
    }
}

/// openraft prints what it is given in its own traces.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Batch::from_bytes(Bytes::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::Origin;

    fn proposal(n: u64) -> Proposal {
        let origin = Origin::Session { session: 1, sequence: n, floor: 0 };
        Proposal::new(u128::from(n), origin, &n.to_le_bytes())
    }

    fn batch(count: u64) -> (Vec<Proposal>, Batch) {
        let proposals: Vec<_> = (0..count).map(proposal).collect();
        let batch = Batch::of(&proposals.iter().collect::<Vec<_>>());
        (proposals, batch)
    }

    #[test]
    fn carries_one_and_several() {
        for count in [1, 2, 300] {
            let (proposals, made) = batch(count);
            let read = Batch::from_bytes(made.bytes().clone()).unwrap();
            assert_eq!(read.proposals().collect::<Vec<_>>(), proposals);
        }
    }

    /// Logs that were written before there were batches have proposals in them.
    #[test]
    fn one_proposal_is_its_own_bytes() {
        let (proposals, made) = batch(1);
        assert_eq!(made.bytes(), proposals[0].bytes());
    }

    /// The log would keep the whole buffer of a connection for each small command.
    #[test]
    fn a_small_proposal_is_copied_out_of_its_buffer_and_a_large_one_is_shared() {
        let apart = |command: usize| {
            let origin = Origin::Session { session: 1, sequence: 1, floor: 0 };
            let proposal = Proposal::new(7, origin, &vec![0; command]);
            Batch::of(&[&proposal]).bytes().as_ptr() != proposal.bytes().as_ptr()
        };
        assert!(apart(128));
        assert!(!apart(SHARED_BYTES));
    }

    #[test]
    fn positions_are_in_the_order_of_proposals() {
        assert!(position(7, 0) < position(7, 1));
        assert!(position(7, PROPOSALS_MAX - 1) < position(8, 0));
    }

    #[test]
    fn damage_is_refused_at_every_cut_and_in_every_length() {
        let (_, made) = batch(3);
        let bytes = made.bytes();
        let part = LENGTH_BYTES + proposal(0).bytes().len();
        for cut in 0..bytes.len() {
            // Cut between two proposals, it is a shorter batch.
            let whole = cut == 2 + 2 * part;
            assert_eq!(Batch::from_bytes(bytes.slice(..cut)).is_ok(), whole, "cut at {cut}");
        }
        for length in [0, u32::MAX] {
            let mut wrong = bytes.to_vec();
            wrong[2..6].copy_from_slice(&length.to_le_bytes());
            assert!(Batch::from_bytes(wrong.into()).is_err(), "a length of {length}");
        }
        let mut nested = vec![FORMAT, SEVERAL];
        for _ in 0..2 {
            nested.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
            nested.extend_from_slice(bytes);
        }
        assert!(Batch::from_bytes(nested.into()).is_err(), "a batch in a batch");
    }

    /// Logs outlive releases: these bytes may change only together with `FORMAT`.
    #[test]
    fn golden_bytes() {
        let (proposals, made) = batch(2);
        let mut expected = vec![1, 3];
        for proposal in proposals {
            expected.extend([50, 0, 0, 0]);
            expected.extend(proposal.bytes());
        }
        assert_eq!(made.bytes()[..], expected);
    }
}
