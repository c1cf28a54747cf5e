//! Hashes of a member's state, by how far it was then: equal operations must have led to equal states.
//!
//! Owns [`Hashes`]. A machine whose `apply` looks at a clock, draws a random number or iterates over a hash
//! map answers differently on each member, and nobody would notice before a failover.
//!
//! In: captured states. Out: hashes, which each mode compares in its own way.
//!
//! Invariants
//! - Applying waits for a capture alone. Hashing is done on the side, one at a time, for at most a tenth of
//!   the time. Where that is not enough for each state that is due, it is done for every second of them,
//!   every fourth, and so on: so of two members' states, the fewer are among the more.
//!
//! Does not: compare.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    applier::Applier,
    runtime::{self, Instant, Runtime},
};

/// Hashes remembered: a member that is behind by less can be compared with.
const TAKEN_MAX: usize = 16;

/// How much longer than a hash takes nothing is hashed after it.
const REST: u32 = 9;

/// How much sparser hashes become at most, as a power of two.
const SPARSER_MAX: u32 = 10;

/// How many hashes in time are enough to try it more densely.
const IN_TIME: u32 = 8;

/// The hashes of one member's state.
#[derive(Debug)]
pub(crate) struct Hashes {
    /// A hash for each multiple of this; 0 is none.
    every: u64,
    /// There is a new one, or nobody needs it any more.
    fresh: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the entry after which the state was that.
    taken: BTreeMap<u64, u64>,
    agreed: Option<u64>,
    /// One is under way, or nothing is to be hashed for a while.
    busy: bool,
    /// Two to the power of this is how many times rarer than wished for.
    sparser: u32,
    /// How many were not too many since that changed.
    in_time: u32,
}

/// While it lives, no other state is hashed. It ends with its task, or with the runtime of the caller whom
/// that task was begun for.
struct Busy(Arc<Hashes>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.inner().busy = false;
    }
}

impl Hashes {
    pub(crate) fn every(entries: u64) -> Arc<Self> {
        Arc::new(Self { every: entries, fresh: Notify::new(), inner: Mutex::default() })
    }

    /// Whether the state after this entry is to be hashed; then [`hash`](Self::hash) has to come.
    pub(crate) fn due(&self, index: u64) -> bool {
        if self.every == 0 || !index.is_multiple_of(self.every) {
            return false;
        }
        let inner = &mut *self.inner();
        if !index.is_multiple_of(self.every.saturating_mul(1 << inner.sparser)) {
            return false;
        }
        if inner.busy {
            (inner.sparser, inner.in_time) = ((inner.sparser + 1).min(SPARSER_MAX), 0);
            return false;
        }
        (inner.busy, inner.in_time) = (true, inner.in_time + 1);
        if inner.in_time > IN_TIME {
            (inner.sparser, inner.in_time) = (inner.sparser.saturating_sub(1), 0);
        }
        true
    }

    /// Hashes a state, on the side.
    pub(crate) fn hash<R: Runtime>(self: &Arc<Self>, index: u64, state: Applier) {
        let busy = Busy(self.clone());
        runtime::spawn::<R>(async move {
            let Busy(hashes) = &busy;
            let began = R::Instant::now();
            match R::aside(move || state.hash()).await.and_then(|hash| hash) {
                Ok(hash) => hashes.note(index, hash),
                Err(error) => tracing::warn!(index, %error, "the state was not hashed"),
            }
            hashes.wake();
            R::sleep((R::Instant::now() - began) * REST).await;
        });
    }

    /// The same, at once.
    #[cfg(test)]
    pub(crate) fn hash_here(&self, index: u64, state: &Applier) {
        self.note(index, state.hash().expect("a state in memory"));
        self.inner().busy = false;
    }

    fn note(&self, index: u64, hash: u64) {
        let taken = &mut self.inner().taken;
        taken.insert(index, hash);
        while taken.len() > TAKEN_MAX {
            taken.pop_first();
        }
    }

    /// Waits for a new hash, or for [`wake`](Self::wake).
    pub(crate) async fn changed(&self) {
        self.fresh.notified().await;
    }

    /// Ends the wait for a new hash.
    pub(crate) fn wake(&self) {
        self.fresh.notify_one();
    }

    pub(crate) fn taken(&self) -> BTreeMap<u64, u64> {
        self.inner().taken.clone()
    }

    /// The last entry after which the state was equal to another member's.
    pub(crate) fn agreed(&self) -> Option<u64> {
        self.inner().agreed
    }

    pub(crate) fn newest(&self) -> Option<(u64, u64)> {
        self.inner().taken.last_key_value().map(|(index, hash)| (*index, *hash))
    }

    /// The state after this entry was equal to another member's.
    pub(crate) fn agree(&self, index: u64) {
        self.inner().agreed = Some(index);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machine::Typed, runtime::TokioRuntime, sum::Sum};

    #[test]
    fn the_newest_are_kept() {
        let hashes = Hashes::every(10);
        (1..=20).for_each(|n| hashes.note(n * 10, n));
        assert_eq!(hashes.newest(), Some((200, 20)));
        assert_eq!(hashes.taken().len(), TAKEN_MAX);
        assert!(!Hashes::every(0).due(0));
    }

    /// A large state under many writes must not keep a core busy with its hashes, and two members that
    /// leave different ones out must still have some to compare.
    #[test]
    fn what_takes_too_long_is_done_more_rarely_and_later_again_as_wished() {
        let hashes = Hashes::every(10);
        let due = |upto: u64| (1..=upto).filter(|index| hashes.due(*index)).collect::<Vec<_>>();
        assert_eq!(due(40), [10], "the others come while one is under way");
        assert_eq!(hashes.inner().sparser, 2, "20 came too early, and 40");
        let mut taken = Vec::new();
        for index in 41..=1_000 {
            hashes.inner().busy = false;
            taken.extend(hashes.due(index).then_some(index));
        }
        assert_eq!(taken[..3], [80, 120, 160], "every fourth");
        assert_eq!(taken[taken.len() - 3..], [980, 990, 1_000], "every one");
    }

    /// A hash may be begun on the runtime of a caller, which ends before it does.
    #[test]
    fn a_hash_that_does_not_end_is_not_waited_for() {
        let hashes = Hashes::every(10);
        assert!(hashes.due(10));
        let caller = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let state = Applier::new(Typed::<Sum>::boxed());
        caller.block_on(async { hashes.hash::<TokioRuntime>(10, state) });
        assert!(hashes.inner().busy, "it is under way");
        drop(caller);
        assert!(hashes.due(20));
    }
}
