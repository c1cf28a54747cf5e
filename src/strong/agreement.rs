//! Whether the members' states are equal: the same entries must have led to the same state.
//!
//! Owns the task that compares this member's [`Hashes`](crate::hashes::Hashes) with those of the others.
//!
//! In: new hashes. Out: a node that stops, with the reason.
//!
//! Who stops: a member that finds another hash on more members than its own. Of two that differ where
//! no third has an opinion, nobody can say which is right: the one that does not lead stops, and if
//! neither leads, both. So with three members the odd one stops, and the others go on.
//!
//! Invariants
//! - Only states after the same entry are compared.
//! - A node that stopped for this answers nothing any more, also no local reads.
//!
//! Does not: repair. A snapshot from another member would hide a bug that is still there.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use openraft::async_runtime::{Instant, watch::WatchReceiver};

use super::Strong;
use crate::{applier::DIVERGED, runtime::Runtime};

/// How often to ask those who are not there yet.
const POLL: Duration = Duration::from_millis(50);

impl<R: Runtime> Strong<R> {
    /// Compares each new hash with those of the other members. Ends with the node.
    pub(crate) async fn agree(self: Arc<Self>) {
        let mut compared = None;
        while !self.closing.load(Ordering::Relaxed) {
            let Some((index, mine)) = self.hashes.newest().filter(|new| compared != Some(*new))
            else {
                self.hashes.changed().await;
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
                self.hashes.agree(index);
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
}
