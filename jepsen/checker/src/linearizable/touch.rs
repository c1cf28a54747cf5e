//! Calls on a state that is one value, as the algorithms for registers see them.
//!
//! A [`Touch`] is what [`Model::effect`](crate::model::Model::effect) says of a call, beside its
//! times; 32 bytes, so that millions of them fit where a cache can reach them.
//!
//! Invariants:
//! - times are those of the history plus one, so that zero is before everything;
//! - a touch that neither observes nor writes does not exist, nor does a crashed one that only
//!   observes: nobody can tell whether it happened.

use crate::datum::Datum;
use crate::model::Effect;

/// Where a touch does not observe, or does not write.
pub(super) const NOTHING: u64 = u64::MAX;

/// One call on a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touch {
    /// The value that must be there, or [`NOTHING`].
    pub(super) observes: u64,
    /// The value that is there afterwards, or [`NOTHING`].
    pub(super) writes: u64,
    /// When it began.
    pub(super) invoked: u64,
    /// When it ended; [`NEVER`](super::NEVER) if nobody knows whether it happened.
    pub(super) returned: u64,
}

impl Touch {
    /// Stands in for a call that says nothing.
    pub(super) const NOTHING: Self =
        Self { observes: NOTHING, writes: NOTHING, invoked: 0, returned: super::NEVER };

    /// The touch of a call with this effect; `None` if it says nothing.
    pub(super) fn new(effect: Effect, invoked: u64, returned: Option<u64>) -> Option<Self> {
        let bits = |datum: Option<Datum>| datum.map_or(NOTHING, Datum::bits);
        let (observes, writes) = (bits(effect.observes), bits(effect.writes));
        let silent = writes == NOTHING && (observes == NOTHING || returned.is_none());
        let returned = returned.map_or(super::NEVER, |returned| returned.saturating_add(1));
        (!silent).then_some(Self { observes, writes, invoked: invoked.saturating_add(1), returned })
    }

    pub(super) fn is_read(&self) -> bool {
        self.writes == NOTHING
    }

    pub(super) fn happened(&self) -> bool {
        self.returned != super::NEVER
    }
}
