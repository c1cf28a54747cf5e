//! Calls whose order is known up to a rank, against the clock.
//!
//! Some histories say of every call which others it must follow: each call has a rank, a lower rank
//! comes first, and calls of one rank may stand in any order. In go the ranks, out comes an order, or
//! two calls of which the later in rank had returned before the earlier in rank was called.
//!
//! Theorem: an order by ranks exists exactly if there are no such two. If there are none, put the
//! ranks one after the other and each rank by invocation: a call that stands before another has a
//! lower rank, so the other did not precede it, or was called no later, so neither did it.
//!
//! Invariants:
//! - a call of rank r is compared with the latest invocation of all lower ranks only, so the pass is
//!   linear after the sort: O(n log n), or O(n) where the ranks came sorted;
//! - calls without a rank are left out: whoever gives the ranks answers for that.

use crate::linearizable::Object;

/// Two calls that stand against their ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inversion {
    /// Had returned before the other was called, but has the higher rank.
    pub(super) early: u32,
    /// Has the lower rank.
    pub(super) late: u32,
}

/// An order of the ranked calls, or two of them that forbid it.
pub(super) fn order<I, O>(
    object: &Object<'_, I, O>,
    mut ranked: Vec<(u64, u32)>,
) -> Result<Vec<u32>, Inversion> {
    // Calls stand by invocation, so within a rank their position is their order.
    ranked.sort_unstable();
    let at = |call: u32| &object.calls[call as usize];
    let mut latest: Option<u32> = None;
    for level in ranked.chunk_by(|(one, _), (other, _)| one == other) {
        if let Some(late) = latest
            && let Some((_, early)) = level.iter().find(|(_, call)| at(*call).precedes(at(late)))
        {
            return Err(Inversion { early: *early, late });
        }
        let calls = latest.into_iter().chain(level.iter().map(|(_, call)| *call));
        latest = calls.max_by_key(|call| at(*call).invoked);
    }
    Ok(ranked.into_iter().map(|(_, call)| call).collect())
}

/// The position of a call, as decisions say it.
pub(super) fn position(index: usize) -> u32 {
    u32::try_from(index).expect("an object has fewer than 2^32 calls")
}
