//! Whether the members' states are equal: the same entries must have led to the same state.
//!
//! Owns [`Hashes`], a hash of the state for every so many entries, and the task that compares them. A
//! machine whose `apply` looks at a clock, draws a random number or iterates over a hash map answers
//! differently on each member, and nobody would notice before a failover.
//!
//! In: captured states. Out: hashes, and a node that stops, with the reason.
//!
//! Who stops: a member that finds another hash on more members than its own. Of two that differ where
//! no third has an opinion, nobody can say which is right: the one that does not lead stops, and if
//! neither leads, both. So with three members the odd one stops, and the others go on.
//!
//! Invariants
//! - Applying waits for a capture alone. Hashing is done on the side, one at a time, for at most a tenth of
//!   the time. Where that is not enough for each entry that is due, it is done for every second of them,
//!   every fourth, and so on: so of two members' entries, the fewer are among the more.
//! - Only states after the same entry are compared.
//! - A node that stopped for this answers nothing any more, also no local reads.
//!
//! Does not: repair. A snapshot from another member would hide a bug that is still there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use openraft::async_runtime::{Instant, watch::WatchReceiver};
use tokio::sync::Notify;

use super::Strong;
use crate::{
    applier::{Applier, DIVERGED},
    runtime::{self, Runtime},
};

/// Hashes remembered: a member that is behind by less can be compared with.
const TAKEN_MAX: usize = 16;

/// How much longer than a hash takes nothing is hashed after it.
const REST: u32 = 9;

/// How much sparser hashes become at most, as a power of two.
const SPARSER_MAX: u32 = 10;

/// How many hashes in time are enough to try it more densely.
const IN_TIME: u32 = 8;

/// How often to ask those who are not there yet.
const POLL: Duration = Duration::from_millis(50);

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

impl Hashes {
    pub(crate) fn every(entries: u64) -> Arc<Self> {
        Arc::new(Self { every: entries, fresh: Notify::new(), inner: Mutex::default() })
    }

    /// Whether the state after this entry is to be hashed; then [`hash`](Self::hash) has to come.
    pub(super) fn due(&self, index: u64) -> bool {
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
    pub(super) fn hash<R: Runtime>(self: &Arc<Self>, index: u64, state: Applier) {
        let hashes = self.clone();
        runtime::spawn::<R>(async move {
            let began = R::Instant::now();
            match R::blocking(move || state.hash()).await.and_then(|hash| hash) {
                Ok(hash) => hashes.note(index, hash),
                Err(error) => tracing::warn!(index, %error, "the state was not hashed"),
            }
            hashes.wake();
            R::sleep((R::Instant::now() - began) * REST).await;
            hashes.inner().busy = false;
        });
    }

    fn note(&self, index: u64, hash: u64) {
        let taken = &mut self.inner().taken;
        taken.insert(index, hash);
        while taken.len() > TAKEN_MAX {
            taken.pop_first();
        }
    }

    /// Ends the wait for a new hash.
    pub(super) fn wake(&self) {
        self.fresh.notify_one();
    }

    pub(super) fn taken(&self) -> BTreeMap<u64, u64> {
        self.inner().taken.clone()
    }

    /// The last entry after which the state was equal to another member's.
    pub(super) fn agreed(&self) -> Option<u64> {
        self.inner().agreed
    }

    fn newest(&self) -> Option<(u64, u64)> {
        self.inner().taken.last_key_value().map(|(index, hash)| (*index, *hash))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> Strong<R> {
    /// Compares each new hash with those of the other members. Ends with the node.
    pub(crate) async fn agree(self: Arc<Self>) {
        let mut compared = None;
        while !self.closing.load(Ordering::Relaxed) {
            let Some((index, mine)) = self.hashes.newest().filter(|new| compared != Some(*new))
            else {
                self.hashes.fresh.notified().await;
                continue;
            };
            compared = Some((index, mine));
            let others = self.gather(index, mine).await;
            if let Some(node) =
                outvoted(mine, &others, matches!(self.leader(), super::Leader::Here))
            {
                return self.diverge(index, node).await;
            }
            if others.values().any(|hash| *hash == mine) {
                self.hashes.inner().agreed = Some(index);
            }
        }
    }

    /// What the other members' states were after an entry. Waits for those who are not there yet, but not
    /// for ever, and not when a majority is of one opinion.
    async fn gather(&self, index: u64, mine: u64) -> BTreeMap<u64, u64> {
        let deadline = R::Instant::now() + self.config.request_timeout;
        let mut gathered = BTreeMap::new();
        loop {
            let members = self.raft.metrics().borrow_watched().membership_config.clone();
            let size = members.membership().nodes().count();
            let asked: Vec<_> = members
                .membership()
                .nodes()
                .filter(|(node, _)| **node != self.identity.node && !gathered.contains_key(*node))
                .map(|(node, member)| (*node, member.addr.clone()))
                .collect();
            let probes = asked.iter().map(async |(node, addr)| {
                let probe = self.ask(*node, addr).await.ok()?;
                Some((*node, *probe.hashes.get(&index)?))
            });
            gathered.extend(join_all(probes).await.into_iter().flatten());
            let all = asked.iter().all(|(node, _)| gathered.contains_key(node));
            let closing = self.closing.load(Ordering::Relaxed);
            let settled = all || most_hold(mine, &gathered) * 2 > size;
            if settled || closing || R::Instant::now() + POLL >= deadline {
                return gathered;
            }
            R::sleep(POLL).await;
        }
    }

    /// Stops, for good: this state is not what the log says.
    async fn diverge(&self, index: u64, node: u64) {
        let reason = format!(
            "after entry {index}, the state here differs from that of node {node}: {DIVERGED}"
        );
        tracing::error!(node = self.identity.node, reason, "stopped");
        self.state.fail(reason);
        self.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the consensus engine did not end well");
        }
    }
}

/// By how many members the hash is held that most hold.
fn most_hold(mine: u64, others: &BTreeMap<u64, u64>) -> usize {
    let all = || others.values().chain([&mine]);
    all().map(|hash| all().filter(|other| *other == hash).count()).max().unwrap_or(0)
}

/// A member whose hash is held by more than hold this one's, or by as many if this one does not lead.
fn outvoted(mine: u64, others: &BTreeMap<u64, u64>, leads: bool) -> Option<u64> {
    let held_by = |hash: u64| others.values().filter(|other| **other == hash).count();
    let with_me = held_by(mine) + 1;
    let different = others.iter().filter(|(_, hash)| **hash != mine);
    let (node, most) =
        different.map(|(node, hash)| (*node, held_by(*hash))).max_by_key(|(_, count)| *count)?;
    (most > with_me || most == with_me && !leads).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_one_stops_whoever_leads() {
        let alone = BTreeMap::from([(2, 7), (3, 7)]);
        assert!(outvoted(8, &alone, true).is_some());
        let with_another = BTreeMap::from([(2, 7), (3, 8)]);
        assert_eq!(outvoted(7, &with_another, false), None);
        assert_eq!(outvoted(7, &BTreeMap::new(), false), None, "nobody said anything");
    }

    #[test]
    fn of_two_that_differ_the_leader_goes_on() {
        let other = BTreeMap::from([(2, 7)]);
        assert_eq!((outvoted(8, &other, false), outvoted(8, &other, true)), (Some(2), None));
        let all_differ = BTreeMap::from([(2, 7), (3, 8)]);
        assert!(outvoted(9, &all_differ, false).is_some());
        assert_eq!(outvoted(9, &all_differ, true), None);
    }

    #[test]
    fn a_majority_settles_it() {
        assert_eq!(most_hold(7, &BTreeMap::new()), 1);
        assert_eq!(most_hold(7, &BTreeMap::from([(2, 8), (3, 7)])), 2);
        assert_eq!(most_hold(9, &BTreeMap::from([(2, 8), (3, 8), (4, 7)])), 2);
    }

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
}
