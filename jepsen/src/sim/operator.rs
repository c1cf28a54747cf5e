//! The operator of a simulated cluster: changes its members, and replaces what was lost.
//!
//! In: requests, as somebody would type them. Out: what the leader made of them.
//!
//! Invariants
//! - at most one disk is lost or damaged at a time, and never one of fewer than three voters: no
//!   system survives more;
//! - a node that lost its disk never comes back under its id for long: it is replaced under a new one,
//!   as its documentation asks for.
//!
//! Does not: break anything.

use std::sync::Arc;

use sixbells::{Error, StateMachine};

use super::{
    Host,
    cluster::{Cluster, address},
    world,
};

impl<S: StateMachine> Cluster<S> {
    /// Whether a disk may be lost now.
    pub fn may_lose_a_disk(&self) -> bool {
        // Of a cluster that began smaller, a change half done may still need every old member.
        self.lost().is_none() && self.began_with() >= 3 && self.voters().len() >= 3
    }

    /// A node's disk is gone for good; another must take its place.
    pub fn lose(&self, node: Host) {
        *self.lost() = Some(node);
    }

    /// The node whose place is to be taken.
    pub fn missing(&self) -> Option<Host> {
        *self.lost()
    }

    /// Puts a new node in the place of the lost one, if there is one. `true` if none is missing now.
    pub async fn replace(self: &Arc<Self>) -> bool {
        let Some(lost) = self.missing() else { return true };
        let Some(leader) = self.leader() else { return false };
        let Some(status) = self.status(leader) else { return false };
        if !status.voters.contains_key(&lost) && !status.learners.contains_key(&lost) {
            // It was lost before it became a member: there is no place to take.
            self.retire(lost);
            *self.lost() = None;
            return true;
        }
        let fresh = self.fresh().await;
        let address = address(fresh);
        let replaced =
            self.ask(leader, move |node| async move { node.replace(lost, fresh, address).await });
        let replaced = replaced.await;
        self.give_up(fresh, replaced.as_ref());
        if !matches!(replaced, Some(Ok(()))) {
            return false;
        }
        world::reach("a lost node was replaced");
        self.retire(lost);
        *self.lost() = None;
        true
    }

    /// A node that is no member yet: one that was started before and never taken in, or a new one.
    async fn fresh(self: &Arc<Self>) -> Host {
        let (members, lost) = (self.voters(), self.missing());
        let idle = self
            .wanted()
            .into_iter()
            .find(|node| !members.contains(node) && !self.is_initial(*node) && lost != Some(*node));
        match idle {
            Some(node) => node,
            None => {
                let node = self.all().into_iter().max().unwrap_or(0) + 1;
                self.rack(node, false);
                self.start(node).await;
                node
            }
        }
    }

    /// Adds a node.
    pub async fn add(self: &Arc<Self>) -> Option<Result<(), Error>> {
        let leader = self.leader()?;
        let fresh = self.fresh().await;
        let address = address(fresh);
        let added = self.ask(leader, move |node| async move { node.add(fresh, address).await });
        let added = added.await;
        self.give_up(fresh, added.as_ref());
        added
    }

    /// A node that is refused is not asked for again: it may have learned from a leader that was
    /// deposed before anybody else heard of it.
    fn give_up(&self, fresh: Host, asked: Option<&Result<(), Error>>) {
        if matches!(asked, Some(Err(Error::Refused(_)))) && !self.voters().contains(&fresh) {
            world::reach("a node was refused as a member");
            self.retire(fresh);
        }
    }

    /// Removes a node, and shuts it down if that was done.
    pub async fn remove(self: &Arc<Self>, node: Host) -> Option<Result<(), Error>> {
        let leader = self.leader()?;
        let removed =
            self.ask(leader, move |running| async move { running.remove(node).await }).await;
        if matches!(removed, Some(Ok(()))) {
            self.retire(node);
        }
        removed
    }
}
