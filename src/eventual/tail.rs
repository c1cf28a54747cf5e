//! The tail: operations whose place in the order is not final yet, and the states along them.
//!
//! Owns the state of a replica. Operations are ordered by stamp, and by author where stamps are equal:
//! the same everywhere, in whatever order they arrive. One that arrives late goes between those that
//! were applied already, so what came after it is applied again, from the newest state before it.
//! After Bayou (Terry et al., "Managing Update Conflicts in Bayou", SOSP 1995).
//!
//! In: operations in any order, and the frontier, below which none will come any more. Out: outcomes,
//! which may be *revised* until they are final, the current state, and the final one.
//!
//! Invariants
//! - The current state is the final one with the tail applied in order: a function of which operations
//!   there are, not of how they came.
//! - One rollback for each batch, whatever is in it.
//! - States are kept along the tail, densely near its end and sparsely further back: as many as the
//!   logarithm of its length.
//! - What is at or below the frontier never changes: an operation that comes there is an error.
//!
//! Does not: know who is to be waited for, or keep anything on disk.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::log::{Author, Operation, Vector};
use super::stamp::Stamp;
use crate::applier::{Applier, Outcome};
use crate::codec::CodecError;
use crate::hashes::Hashes;
use crate::plant::{Bug, planted};
use crate::proposal::Proposal;

/// Where an operation stands in the order.
pub(crate) type Place = (Stamp, Author);

/// How many operations are between two kept states, near the end.
const SPACING: u64 = 64;
/// How much sparser kept states are further back: a part of the distance from the end.
const SPARSER: u64 = 4;

/// Why the tail cannot go on. The replica has to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TailError {
    /// Another release wrote the command.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Somebody broke a promise, or lost what was durable.
    #[error("an operation of {author} with stamp {stamp} came after all up to it were final")]
    TooLate { author: Author, stamp: Stamp },
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    proposal: Proposal,
    outcome: Option<Outcome>,
}

/// A state, and how many operations led to it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) applier: Applier,
    pub(crate) count: u64,
}

impl State {
    fn apply(&mut self, proposal: &Proposal) -> Result<Outcome, CodecError> {
        self.count += 1;
        self.applier.apply_opening(self.count, session_of(proposal), proposal)
    }

    pub(crate) fn capture(&self) -> Self {
        Self { applier: self.applier.capture(), count: self.count }
    }
}

/// The name of a session that a proposal opens: it must be the same wherever the proposal stands.
#[expect(clippy::cast_possible_truncation, reason = "the lower half of random bits")]
fn session_of(proposal: &Proposal) -> u64 {
    proposal.request() as u64
}

/// Which operations made a final state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    /// The last of them.
    pub(crate) frontier: Option<Place>,
    /// All of them.
    pub(crate) covered: Vector,
}

/// What the tail has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Commands applied, again and again included.
    pub(crate) applies: u64,
    /// Batches that came late.
    pub(crate) rollbacks: u64,
    /// Outcomes that changed after they were first known.
    pub(crate) revised: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tail {
    /// What is final, and what made it.
    folded: State,
    base: Base,
    entries: BTreeMap<Place, Entry>,
    /// The state behind each of these places.
    kept: BTreeMap<Place, State>,
    current: State,
    /// Hashes of the final state, by how many operations led to it.
    hashes: Arc<Hashes>,
    /// The final state that is to be hashed.
    due: Option<State>,
    pub(crate) work: Work,
}

impl Tail {
    /// Goes on from a final state.
    pub(crate) fn new(folded: State, base: Base, hashes: Arc<Hashes>) -> Self {
        let current = folded.capture();
        let (entries, kept) = (BTreeMap::new(), BTreeMap::new());
        let (due, work) = (None, Work::default());
        Self { folded, base, entries, kept, current, hashes, due, work }
    }

    /// Takes operations up and brings the state to what it is with them.
    pub(crate) fn insert(&mut self, batch: Vec<(Operation, Proposal)>) -> Result<(), TailError> {
        let last = self.entries.last_key_value().map(|(place, _)| *place);
        let mut first: Option<Place> = None;
        for (Operation { author, sequence, stamp, .. }, proposal) in batch {
            let place = (stamp, author);
            if Some(place) <= self.base.frontier {
                return Err(TailError::TooLate { author, stamp });
            }
            self.entries.insert(place, Entry { sequence, proposal, outcome: None });
            first = Some(first.map_or(place, |first| first.min(place)));
        }
        let Some(first) = first else { return Ok(()) };
        let from = match Some(first) < last && !planted(Bug::LateApplied) {
            true => self.roll_back(first),
            false => last,
        };
        self.replay(from)
    }

    /// Goes back to the newest state before a place; says behind which place that is.
    fn roll_back(&mut self, place: Place) -> Option<Place> {
        self.work.rollbacks += 1;
        self.kept.split_off(&place);
        let (from, state) = match self.kept.last_key_value() {
            Some((from, state)) => (Some(*from), state),
            None => (self.base.frontier, &self.folded),
        };
        self.current = state.capture();
        from
    }

    fn replay(&mut self, from: Option<Place>) -> Result<(), TailError> {
        let behind = from.map_or(Unbounded, Excluded);
        let end = self.folded.count + self.entries.len() as u64;
        let mut kept_at = self.kept.last_key_value().map_or(self.folded.count, |(_, s)| s.count);
        let mut kept = false;
        for (place, entry) in self.entries.range_mut((behind, Unbounded)) {
            let outcome = self.current.apply(&entry.proposal)?;
            self.work.applies += 1;
            if entry.outcome.as_ref().is_some_and(|before| *before != outcome) {
                self.work.revised += 1;
            }
            entry.outcome = Some(outcome);
            if self.current.count - kept_at >= spacing(end - self.current.count) {
                self.kept.insert(*place, self.current.capture());
                kept_at = self.current.count;
                kept = true;
            }
        }
        if kept {
            self.thin();
        }
        Ok(())
    }

    /// Forgets the states that are closer together than they need to be by now.
    fn thin(&mut self) {
        let mut before = self.folded.count;
        let end = self.current.count;
        let counts: Vec<(Place, u64)> =
            self.kept.iter().map(|(place, state)| (*place, state.count)).collect();
        for (at, (place, count)) in counts.iter().enumerate() {
            let next = counts.get(at + 1).map_or(end, |(_, count)| *count);
            if at + 1 < counts.len() && next - before <= spacing(end - next) {
                self.kept.remove(place);
            } else {
                before = *count;
            }
        }
    }

    /// Makes final what is stamped up to here.
    pub(crate) fn fold(&mut self, upto: Stamp) -> Result<(), TailError> {
        while let Some((&place, _)) = self.entries.first_key_value()
            && place.0 <= upto
        {
            let (_, entry) = self.entries.pop_first().expect("invariant: it was just seen");
            match self.kept.remove(&place) {
                // The work was done already.
                Some(state) => self.folded = state,
                None => {
                    self.folded.apply(&entry.proposal)?;
                    self.work.applies += 1;
                }
            }
            self.base.frontier = Some(place);
            self.base.covered.insert(place.1, entry.sequence);
            if self.hashes.due(self.folded.count) {
                self.due = Some(self.folded.capture());
            }
        }
        Ok(())
    }

    /// What became of an operation, as far as it is known by now; nothing once it is final.
    pub(crate) fn outcome(&self, stamp: Stamp, author: Author) -> Option<&Outcome> {
        self.entries.get(&(stamp, author)).and_then(|entry| entry.outcome.as_ref())
    }

    /// With all operations that are there.
    pub(crate) fn current(&self) -> &State {
        &self.current
    }

    /// With those that are final.
    pub(crate) fn folded(&self) -> (&State, &Base) {
        (&self.folded, &self.base)
    }

    /// Goes on from another final state, if that is further. What it was made of is not tentative any
    /// more; the rest is applied on top.
    pub(crate) fn install(&mut self, folded: State, base: Base) -> Result<bool, TailError> {
        if base.frontier <= self.base.frontier {
            return Ok(false);
        }
        let made = |place: &Place, entry: &Entry| {
            base.covered.get(&place.1).is_some_and(|upto| entry.sequence <= *upto)
        };
        self.entries.retain(|place, entry| !made(place, entry));
        if let Some((&(stamp, author), _)) = self.entries.first_key_value()
            && Some((stamp, author)) <= base.frontier
        {
            return Err(TailError::TooLate { author, stamp });
        }
        self.kept.clear();
        self.current = folded.capture();
        (self.folded, self.base) = (folded, base);
        self.replay(self.base.frontier)?;
        Ok(true)
    }

    /// Hashes of the final state, by how many operations led to it.
    pub(crate) fn hashes(&self) -> &Arc<Hashes> {
        &self.hashes
    }

    /// The final state that is to be hashed now, if there is one.
    pub(crate) fn due(&mut self) -> Option<State> {
        self.due.take()
    }

    /// How many operations are not final yet.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How far apart states are kept at a distance from the end.
fn spacing(distance: u64) -> u64 {
    SPACING.max(distance / SPARSER)
}
