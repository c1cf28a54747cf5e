//! Who belongs to the cluster, and who leads it, on request.
//!
//! Owns forming a cluster, adding, removing and replacing members, handing leadership over, and the
//! node's view of itself ([`Status`]).
//!
//! Invariants
//! - A cluster is formed once, by the initial member with the lowest id, and only after every other
//!   initial member has said that it was never part of one. A node whose disk was lost can therefore
//!   not form a second cluster beside the first.
//! - A member is known by node id and disk id. An id that left is never taken in again.
//! - A new member votes only after its own state has caught up, by its own word.
//!
//! Does not: notice dead members by itself.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use openraft::{
    ChangeMembers, ServerState,
    async_runtime::{Instant, watch::WatchReceiver},
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
};

use super::{Leader, Strong, Types, observe::quorum_acked, types::from_raft};
use crate::{
    codec,
    error::Error,
    plant::{Bug, planted},
    proposal::request_id,
    rpc::{self, Admin, Probe},
    runtime::Runtime,
    status::{Member, Role, Status},
    storage::LogId,
    transport::{Kind, Lane, Message, Peer},
};

/// How soon to ask again at last, while waiting for another node.
const POLL: Duration = Duration::from_millis(50);

/// How soon at first: initial members that are started together are all there within moments.
const POLL_MIN: Duration = Duration::from_millis(5);

impl<R: Runtime> Strong<R> {
    /// Forms the cluster, if it falls to this node and none was formed before. Returns once there is
    /// nothing left to do for it.
    pub(crate) async fn form(&self, peers: &BTreeMap<u64, String>) -> Result<(), Error> {
        let me = self.identity.node;
        if peers.keys().next() != Some(&me) {
            return Ok(());
        }
        let (mut members, mut poll) = (BTreeMap::new(), POLL_MIN);
        while !self.closing.load(Ordering::Relaxed) && !self.is_initialized().await? {
            for (node, addr) in peers.iter().filter(|(node, _)| **node != me) {
                if members.contains_key(node) {
                    continue;
                }
                match self.ask(*node, addr).await {
                    Ok(Probe { initialized: true, .. }) => {
                        tracing::warn!(node, "is part of a cluster already; waiting to be added");
                        return Ok(());
                    }
                    Ok(Probe { disk, .. }) => {
                        members.insert(*node, Member { addr: addr.clone(), disk });
                    }
                    Err(error) => tracing::info!(node, %error, "waiting to form the cluster"),
                }
            }
            if members.len() + 1 == peers.len() {
                let addr = peers[&me].clone();
                members.insert(me, Member { addr, disk: self.identity.disk });
                let formed = self.raft.initialize(members.clone()).await;
                return formed.map_err(|e| Error::Refused(e.to_string()));
            }
            R::sleep(poll).await;
            poll = POLL.min(poll * 2);
        }
        Ok(())
    }

    async fn is_initialized(&self) -> Result<bool, Error> {
        self.raft.is_initialized().await.map_err(|e| Error::Stopped(e.to_string()))
    }

    pub(super) async fn ask(&self, node: u64, addr: &str) -> Result<Probe, Error> {
        let peer = Peer { addr: addr.to_owned(), node: Some(node), disk: None };
        let request = Message { kind: Kind::Probe, request: 0, body: Bytes::new() };
        let timeout = self.config.append_timeout;
        let reply = self.transport.call(&peer, Lane::Control, request, timeout).await;
        rpc::read_reply(&reply.map_err(|e| Error::Unavailable(e.to_string()))?)
    }

    /// Carries an order out, here or, one hop away, on the leader.
    pub(crate) async fn order(&self, order: Admin, deadline: R::Instant) -> Result<(), Error> {
        loop {
            let done = match self.leader() {
                Leader::Here => self.administer(order.clone(), deadline).await,
                Leader::There(id, member) => {
                    let body = codec::encode(&order).into();
                    let request = Message { kind: Kind::Admin, request: 0, body };
                    self.forward(id, &member, request, deadline).await
                }
                Leader::Unknown => Err(Error::NotLeader { leader: None }),
            };
            match done {
                Err(Error::NotLeader { .. }) if self.pause(deadline).await => {}
                done => return done,
            }
        }
    }

    /// Carries an order out as the leader.
    pub(super) async fn administer(&self, order: Admin, deadline: R::Instant) -> Result<(), Error> {
        if !matches!(self.leader(), Leader::Here) {
            return Err(Error::NotLeader { leader: None });
        }
        tracing::info!(?order, "administer");
        // A new leader may not have applied yet who left, and an old one does not know who leads.
        self.barrier(request_id::<R>(), deadline).await?;
        match order {
            Admin::Add { node, addr } => {
                if self.take_in(node, &addr, deadline).await? {
                    let voters = ChangeMembers::AddVoterIds([node].into());
                    self.change(voters, true, deadline).await?;
                }
                Ok(())
            }
            Admin::Remove { node } => {
                let membership = self.membership();
                if membership.get_node(&node).is_none() {
                    return Ok(());
                }
                let voters: Vec<u64> = membership.voter_ids().collect();
                match voters.contains(&node) {
                    true if voters.len() == 1 => {
                        Err(Error::Refused(format!("node {node} is the last voter")))
                    }
                    true => {
                        self.change(ChangeMembers::RemoveVoters([node].into()), false, deadline)
                            .await
                    }
                    false => {
                        self.change(ChangeMembers::RemoveNodes([node].into()), false, deadline)
                            .await
                    }
                }
            }
            Admin::Replace { lost, node, addr } => {
                if lost == node {
                    return Err(Error::Refused(format!(
                        "node {node} cannot replace itself: an id is never used with another disk"
                    )));
                }
                if self.membership().get_node(&lost).is_none() && !self.is_voter(node) {
                    return Err(Error::Refused(format!("node {lost} is not a member")));
                }
                self.take_in(node, &addr, deadline).await?;
                // Relative to what the members are when it is carried out, like every change.
                let leave = match self.is_voter(lost) {
                    true => ChangeMembers::RemoveVoters([lost].into()),
                    false => ChangeMembers::RemoveNodes([lost].into()),
                };
                let join = ChangeMembers::AddVoterIds([node].into());
                self.change(ChangeMembers::Batch(vec![join, leave]), false, deadline).await
            }
            Admin::TransferLeadership { to } => self.hand_over(to, deadline).await,
        }
    }

    /// Makes a node a learner and waits until it has caught up. `false` if it votes already.
    async fn take_in(&self, node: u64, addr: &str, deadline: R::Instant) -> Result<bool, Error> {
        if self.state.look(|state| state.is_retired(node))? {
            return Err(Error::Refused(format!(
                "id {node} was a member before and is never used again; choose another"
            )));
        }
        let probe = self.ask(node, addr).await?;
        let member = Member { addr: addr.to_owned(), disk: probe.disk };
        match self.membership().get_node(&node) {
            Some(known) if *known != member => {
                return Err(Error::Refused(format!(
                    "node {node} is a member with another address or disk ({})",
                    known.addr
                )));
            }
            Some(_) if self.is_voter(node) && !self.is_changing() => return Ok(false),
            Some(_) => {}
            None if probe.initialized => {
                return Err(Error::Refused(format!(
                    "node {node} has a log already, of another cluster or of an addition that was \
                     undone; start a new node with an empty data directory"
                )));
            }
            None => {
                let learner = ChangeMembers::AddNodes([(node, member)].into());
                self.change(learner, true, deadline).await?;
            }
        }
        let target = self.state.look(|state| state.applied())?;
        self.caught_up(node, addr, target, deadline).await.map(|()| true)
    }

    /// Waits until the node itself says that it has applied `target`. The leader's own view is not
    /// enough: openraft calls a learner caught up whose state is still empty.
    async fn caught_up(
        &self,
        node: u64,
        addr: &str,
        target: Option<LogId>,
        deadline: R::Instant,
    ) -> Result<(), Error> {
        while R::Instant::now() < deadline {
            if let Ok(probe) = self.ask(node, addr).await
                && probe.applied >= target
            {
                return Ok(());
            }
            R::sleep(POLL).await;
        }
        Err(Error::Unknown(format!(
            "node {node} is a learner now, but has not caught up in time; ask again to promote it"
        )))
    }

    /// Carries a change out. It has up to two steps, and an error does not say which one failed: so
    /// whatever goes wrong after it was handed over, it may have been carried out, or half of it.
    async fn change(
        &self,
        change: ChangeMembers<u64, Member>,
        retain: bool,
        deadline: R::Instant,
    ) -> Result<(), Error> {
        loop {
            let changing = self.raft.change_membership(change.clone(), retain);
            match R::timeout_at(deadline, changing).await {
                Ok(Err(error)) if is_busy(&error) && self.pause(deadline).await => {}
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    let reason = format!("the change may be half done: {error}");
                    return Err(Error::Unknown(reason));
                }
                Err(_elapsed) => {
                    return Err(Error::Unknown("no majority answered in time".into()));
                }
            }
        }
    }

    async fn hand_over(&self, to: u64, deadline: R::Instant) -> Result<(), Error> {
        if to == self.identity.node {
            return Ok(());
        }
        if !self.is_voter(to) {
            return Err(Error::Refused(format!("node {to} is not a voter")));
        }
        let stopped = |e: &dyn std::fmt::Display| Error::Stopped(e.to_string());
        if !planted(Bug::TransferForgotten) {
            self.raft.trigger().transfer_leader(to).await.map_err(|e| stopped(&e))?;
        }
        let deadline = deadline.min(R::Instant::now() + self.config.request_timeout);
        let mut metrics = self.raft.metrics();
        loop {
            match metrics.borrow_watched().current_leader {
                Some(leader) if leader == to => return Ok(()),
                Some(leader) if leader != self.identity.node => {
                    return Err(Error::Unknown(format!("node {leader} leads, not node {to}")));
                }
                Some(_) | None => {}
            }
            match R::timeout_at(deadline, metrics.changed()).await {
                Ok(changed) => changed.map_err(|e| stopped(&e))?,
                Err(_elapsed) => {
                    return Err(Error::Unknown(format!("node {to} does not lead yet")));
                }
            }
        }
    }

    /// On the way out: gives the leadership to the voter that lacks the least.
    pub(crate) async fn leave(&self) {
        let best = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let me = self.identity.node;
            let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
            let matched = |node: &u64| {
                metrics.replication.as_ref().and_then(|all| all.get(node).cloned().flatten())
            };
            voters.into_iter().filter(|node| *node != me).max_by_key(matched)
        };
        if let (Leader::Here, Some(to)) = (self.leader(), best) {
            let deadline = R::Instant::now() + self.config.election_timeout.end;
            if let Err(error) = self.hand_over(to, deadline).await {
                tracing::info!(%error, "left without handing the leadership over");
            }
        }
    }

    /// Whether a change is half done: two sets of voters have to agree.
    fn is_changing(&self) -> bool {
        self.membership().get_joint_config().len() > 1
    }

    fn is_voter(&self, node: u64) -> bool {
        self.membership().voter_ids().any(|voter| voter == node)
    }

    fn membership(&self) -> openraft::Membership<u64, Member> {
        self.raft.metrics().borrow_watched().membership_config.membership().clone()
    }

    /// How this node is.
    pub(crate) fn status(&self) -> Status {
        // Before the metrics are borrowed: a long query would hold up the engine through that loan.
        let table = self.state.look(|state| {
            let applier = state.applier();
            (
                state.applied(),
                applier.sessions().len(),
                applier.sessions().keys(),
                applier.duplicates(),
            )
        });
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let (voters, learners): (BTreeMap<_, _>, BTreeMap<_, _>) = membership
            .nodes()
            .map(|(node, member)| (*node, member.clone()))
            .partition(|(node, _)| membership.voter_ids().any(|voter| voter == *node));
        let index =
            |id: &Option<openraft::alias::LogIdOf<Types<R>>>| id.as_ref().map(from_raft::<R>);
        let last = metrics.last_log_index;
        let lag = |matched: Option<u64>| {
            last.map_or(0, |last| last + 1).saturating_sub(matched.map_or(0, |index| index + 1))
        };
        let replication = metrics.replication.iter().flatten();
        let poisoned = table.as_ref().err().map(ToString::to_string);
        let (applied, sessions, keys, duplicates) = table.unwrap_or_default();
        let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
        let fault = self.state.fault().or(stopped).or(poisoned);
        Status {
            cluster: self.identity.cluster.clone(),
            id: self.identity.node,
            role: role(metrics.state, fault.is_some()),
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_log_index: last,
            committed: index(&metrics.local_committed),
            applied,
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
            voters,
            learners,
            lag: replication
                .filter(|(node, _)| **node != self.identity.node)
                .map(|(node, id)| (*node, lag(id.as_ref().map(|id| id.index))))
                .collect(),
            quorum_ack_age_ms: quorum_acked(&metrics).map(age_ms::<R>),
            sessions: sessions as u64,
            idempotency_keys: keys as u64,
            duplicates,
            agreed: self.hashes.agreed(),
            fault,
        }
    }
}

/// Whether another change is under way: it will pass.
fn is_busy<R: Runtime>(error: &RaftError<Types<R>, ClientWriteError<Types<R>>>) -> bool {
    matches!(
        error,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_)
        ))
    )
}

fn age_ms<R: Runtime>(acked: R::Instant) -> u64 {
    u64::try_from((R::Instant::now() - acked).as_millis()).unwrap_or(u64::MAX)
}

fn role(state: ServerState, stopped: bool) -> Role {
    match state {
        _ if stopped => Role::Stopped,
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    }
}
