//! A replica: what it holds, what it knows of the others, and what may become final.
//!
//! Owns the protocol, without disk, network or clock: whoever drives it brings those. Each replica
//! keeps all operations in the order in which they arrived, and sends each other one those that it
//! lacks, in that order. So whoever holds an operation holds all that its author had seen before it
//! (Bayou's prefix property: causal order comes for free).
//!
//! In: proposals to be accepted here, operations and [`Digest`]s of others, and word of what is durable.
//! Out: operations to be made durable, those a peer lacks, and this replica's own digest.
//!
//! Invariants
//! - What is sent is durable here: a crash never takes back what others have seen.
//! - A digest claims only what is durable, so its sender is not asked for it again in vain.
//! - The *frontier* is the least of all members' promises to give no stamp up to there, each of which
//!   counts only once everything is here that its member had by then. Below it nothing can come, so
//!   what is there is final. A member that is away holds it back, for as long as it is away.
//! - A replica that has never heard of every other member accepts nothing: it might stamp below a
//!   frontier that it does not know of.
//!
//! Does not: decide who is a member, or drop what it cannot order. A stamp from a clock far ahead is
//! taken like any other; the replica whose clock is ahead of the others' refuses to give stamps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::digest::{Digest, covers, holds};
use super::log::{Author, Operation, Vector};
use super::peer::Peer;
use super::stamp::{Clock, Stamp};
use super::tail::{Base, State, Tail, TailError};
use crate::applier::DIVERGED;
use crate::codec::CodecError;
use crate::error::Error;
use crate::hashes::Hashes;
use crate::proposal::{Origin, Proposal};

/// Why a replica has to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("an operation is no proposal: {0}")]
    Codec(#[from] CodecError),
    /// The log begins later than the snapshot ends, or has a gap.
    #[error("the log has operation {sequence} of {author}, but not those before it")]
    Missing { author: Author, sequence: u64 },
    /// The machine is not deterministic, or releases differ.
    #[error(
        "after the same {count} operations, the state here differs from that of node {node}: {DIVERGED}"
    )]
    Diverged { node: u64, count: u64 },
}

/// Limits of a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Operations that are not final yet.
    pub(crate) tentative_max: usize,
    /// How far the clock may be ahead of the others'.
    pub(crate) ahead_max_ms: i64,
    /// After how many final operations their state is hashed; 0 is never.
    pub(crate) state_hash_entries: u64,
}

/// Definite: no stamp was given.
pub(super) fn low_ceiling() -> Error {
    Error::Overloaded("the clock's ceiling is not durable yet".into())
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Replica {
    me: Author,
    limits: Limits,
    clock: Clock,
    tail: Tail,
    have: Vector,
    /// The operations that may still be asked for, in order of arrival.
    arrivals: VecDeque<Operation>,
    /// How many arrived before those, and what they were.
    forgotten: u64,
    forgotten_have: Vector,
    /// How many arrivals are durable, and what is.
    durable: u64,
    durable_have: Vector,
    peers: BTreeMap<u64, Peer>,
}

impl Replica {
    /// Goes on from what is on disk.
    ///
    /// # Errors
    /// If an operation on disk cannot be applied.
    pub(crate) fn open(
        me: Author,
        members: &BTreeSet<u64>,
        limits: Limits,
        ceiling: Stamp,
        (initial, base): (State, Base),
        operations: Vec<Operation>,
    ) -> Result<Self, Fault> {
        let others = members.iter().filter(|member| **member != me.node);
        let mut replica = Self {
            me,
            limits,
            clock: Clock::new(ceiling),
            have: base.covered.clone(),
            forgotten_have: base.covered.clone(),
            durable_have: base.covered.clone(),
            tail: Tail::new(initial, base, Hashes::every(limits.state_hash_entries)),
            arrivals: VecDeque::new(),
            forgotten: 0,
            durable: 0,
            peers: others.map(|member| (*member, Peer::default())).collect(),
        };
        let last = operations.last().map(|last| (last.author, last.sequence));
        replica.take_up(operations)?;
        if let Some((author, sequence)) = last.filter(|last| !holds(&replica.have, last.0, last.1))
        {
            return Err(Fault::Missing { author, sequence });
        }
        replica.synced(replica.arrived());
        Ok(replica)
    }

    /// Accepts a proposal: it is part of the state from now on, but to be acknowledged only once it is
    /// durable. Returns the operation to be appended to the log.
    ///
    /// # Errors
    /// Definite: nothing was accepted.
    pub(crate) fn accept(
        &mut self,
        proposal: Proposal,
        wall_ms: u64,
    ) -> Result<Result<Operation, Error>, Fault> {
        if let Err(refused) = self.may_accept() {
            return Ok(Err(refused));
        }
        let Some(stamp) = self.clock.next(wall_ms) else {
            return Ok(Err(low_ceiling()));
        };
        let sequence = self.have.get(&self.me).copied().unwrap_or(0) + 1;
        let payload = proposal.bytes().clone();
        let operation = Operation { author: self.me, sequence, stamp, payload };
        self.tail.insert(vec![(operation.clone(), proposal)])?;
        self.note(operation.clone());
        Ok(Ok(operation))
    }

    /// Whether all that keeps the next stamp from being given is that the clock's ceiling is not durable
    /// up to there: it will be in a moment.
    pub(crate) fn awaits_ceiling(&self, wall_ms: u64) -> bool {
        self.clock.reading(wall_ms) >= self.clock.ceiling() && self.unheard().is_none()
    }

    fn may_accept(&self) -> Result<(), Error> {
        if let Some(unheard) = self.unheard() {
            let reason = format!("node {unheard} was not heard of yet since the first start");
            return Err(Error::Unavailable(reason));
        }
        let ahead = self.ahead_ms();
        if ahead > self.limits.ahead_max_ms {
            // Not `Refused`: another node would accept the same.
            let reason = format!("this node's clock is {ahead} ms ahead of most others'");
            return Err(Error::Overloaded(reason));
        }
        let waiting = self.tail.len();
        if waiting >= self.limits.tentative_max {
            let away = self.holds_back().map_or(String::new(), |(node, _)| {
                format!("; nothing becomes final before node {node} is heard of")
            });
            let reason = format!("{waiting} operations are not final yet{away}");
            return Err(Error::Overloaded(reason));
        }
        Ok(())
    }

    /// Whether the session of a command is known here; it may have been opened elsewhere, a moment ago.
    pub(crate) fn knows_session(&self, proposal: &Proposal) -> bool {
        match proposal.origin() {
            Origin::Session { session, .. } => {
                self.tail.current().applier.sessions().knows(session)
            }
            Origin::Open { .. } | Origin::Once { .. } => true,
        }
    }

    /// A member that has to be heard of before anything is accepted here.
    pub(crate) fn unheard(&self) -> Option<u64> {
        // One that has a ceiling was part of the cluster before.
        let fresh = self.clock.ceiling() == Stamp(0);
        self.peers.iter().find(|(_, peer)| fresh && !peer.heard).map(|(node, _)| *node)
    }

    /// How far this clock is ahead of most others'.
    pub(crate) fn ahead_ms(&self) -> i64 {
        let heard = self.peers.values().filter(|peer| peer.heard);
        let mut offsets: Vec<i64> = heard.map(|peer| peer.ahead_ms).chain([0]).collect();
        offsets.sort_unstable();
        -offsets[(offsets.len() - 1) / 2]
    }

    /// Takes operations of others up, in their order, up to the first that something is missing
    /// before. Returns those that are new, to be appended to the log.
    pub(crate) fn take(&mut self, operations: Vec<Operation>) -> Result<Vec<Operation>, Fault> {
        let before = self.arrivals.len();
        self.take_up(operations)?;
        self.settle()?;
        Ok(self.arrivals.range(before..).cloned().collect())
    }

    fn take_up(&mut self, operations: Vec<Operation>) -> Result<(), Fault> {
        let mut fresh = Vec::new();
        for operation in operations {
            let held = self.have.get(&operation.author).copied().unwrap_or(0);
            if operation.sequence <= held {
                continue;
            }
            if operation.sequence > held + 1 {
                break;
            }
            let proposal = Proposal::from_bytes(operation.payload.clone())?;
            self.clock.observe(operation.stamp);
            self.note(operation.clone());
            fresh.push((operation, proposal));
        }
        Ok(self.tail.insert(fresh)?)
    }

    fn note(&mut self, operation: Operation) {
        self.have.insert(operation.author, operation.sequence);
        self.arrivals.push_back(operation);
    }

    /// So many arrivals are durable.
    pub(crate) fn synced(&mut self, arrivals: u64) {
        while self.durable < arrivals {
            if let Some(operation) = self.arrivals.get(self.place(self.durable)) {
                self.durable_have.insert(operation.author, operation.sequence);
            }
            self.durable += 1;
        }
    }

    /// Whether everything that arrived is durable.
    pub(crate) fn all_durable(&self) -> bool {
        self.durable == self.arrived()
    }

    /// How many operations have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.forgotten + self.arrivals.len() as u64
    }

    /// Where an arrival stands among those that are remembered.
    fn place(&self, arrival: u64) -> usize {
        usize::try_from(arrival.saturating_sub(self.forgotten)).unwrap_or(usize::MAX)
    }

    /// Forgets what a durable snapshot holds and everybody else has; says what that is.
    pub(crate) fn forget(&mut self, snapshot: &Vector) -> Vector {
        let everywhere = |author: &Author, upto: u64| {
            let have = self.peers.values().map(|peer| peer.have.get(author).copied().unwrap_or(0));
            have.min().unwrap_or(upto).min(upto)
        };
        let forgotten: Vector =
            snapshot.iter().map(|(author, upto)| (*author, everywhere(author, *upto))).collect();
        while self.arrivals.front().is_some_and(|o| holds(&forgotten, o.author, o.sequence))
            && self.forgotten < self.durable
        {
            if let Some(Operation { author, sequence, .. }) = self.arrivals.pop_front() {
                self.forgotten_have.insert(author, sequence);
            }
            self.forgotten += 1;
        }
        self.forgotten_have.clone()
    }

    /// Whether a peer lacks what was forgotten here: only a snapshot helps it.
    pub(crate) fn needs_snapshot(&self, node: u64) -> bool {
        self.peers.get(&node).is_some_and(|peer| {
            !peer.author.eq(&Author::default()) && !covers(&peer.have, &self.forgotten_have)
        })
    }

    /// Takes over a final state that another replica reached, if it is further than the own.
    pub(crate) fn install(&mut self, state: State, base: Base) -> Result<(), Fault> {
        let covered = base.covered.clone();
        if let Some((stamp, _)) = base.frontier {
            self.clock.observe(stamp);
        }
        if self.tail.install(state, base)? {
            for vector in [&mut self.have, &mut self.durable_have, &mut self.forgotten_have] {
                for (author, sequence) in &covered {
                    let held = vector.entry(*author).or_default();
                    *held = (*held).max(*sequence);
                }
            }
        }
        self.settle()
    }

    /// The ceiling of the clock is durable up to here.
    pub(crate) fn raise(&mut self, ceiling: Stamp) {
        self.clock.raise(ceiling);
    }

    /// The ceiling that should be durable soon, if it is not.
    pub(crate) fn ceiling_wanted(&self, wall_ms: u64, ahead_ms: u64) -> Option<Stamp> {
        let reading = self.clock.reading(wall_ms);
        let soon = Stamp::at(reading.wall_ms() + ahead_ms / 2);
        let wanted = self.unheard().is_none() && soon >= self.clock.ceiling();
        wanted.then(|| Stamp::at(reading.wall_ms() + ahead_ms))
    }

    /// What this replica says of itself now.
    pub(crate) fn digest(&mut self, wall_ms: u64) -> Digest {
        Digest {
            node: self.me.node,
            members: self.members(),
            wall_ms,
            have: self.durable_have.clone(),
            promise: self.clock.promise(wall_ms).min(self.before_unsynced()),
            own: (self.me, self.have.get(&self.me).copied().unwrap_or(0)),
            hashed: self.tail.hashes().newest(),
        }
    }

    fn members(&self) -> BTreeSet<u64> {
        self.peers.keys().copied().chain([self.me.node]).collect()
    }

    /// Refuses what comes from a replica that waits for other members than this one: one of the two would
    /// make final what the other's members have a say in.
    pub(crate) fn same_members(&self, digest: &Digest) -> Result<(), Error> {
        let (node, theirs, here) = (digest.node, &digest.members, self.members());
        if *theirs == here && self.peers.contains_key(&node) {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "`peers` of node {node} are {theirs:?}, here they are {here:?}"
        )))
    }

    /// Takes note of what another replica says of itself.
    pub(crate) fn hear(&mut self, digest: Digest, wall_ms: u64) -> Result<(), Fault> {
        if let Some((count, hash)) = digest.hashed
            && self.tail.hashes().taken().get(&count).is_some_and(|own| *own != hash)
        {
            return Err(Fault::Diverged { node: digest.node, count });
        }
        let fresh = self.clock.ceiling() == Stamp(0);
        let Some(peer) = self.peers.get_mut(&digest.node) else { return Ok(()) };
        if fresh {
            // Its frontier, if it has one, is not beyond its promise.
            self.clock.observe(digest.promise);
        }
        peer.hear(digest, wall_ms);
        self.settle()
    }

    /// Counts the promises that may be counted by now, and makes final what they make so.
    fn settle(&mut self) -> Result<(), Fault> {
        for peer in self.peers.values_mut() {
            peer.count(&self.have);
        }
        Ok(self.tail.fold(self.frontier())?)
    }

    /// Up to where nothing will come any more, and nothing be lost.
    fn frontier(&self) -> Stamp {
        let promised = self.peers.values().map(|peer| peer.promise);
        // A crash would take it back, and a stable read must not have shown it.
        promised.fold(self.clock.promised().min(self.before_unsynced()), Stamp::min)
    }

    /// Up to where all that is here is durable.
    fn before_unsynced(&self) -> Stamp {
        let unsynced = self.arrivals.range(self.place(self.durable)..);
        let before = unsynced.map(|operation| Stamp(operation.stamp.0.saturating_sub(1)));
        before.min().unwrap_or(Stamp(u64::MAX))
    }

    /// Makes final what nobody else has a say in: a replica without peers hears of nobody.
    pub(crate) fn settle_alone(&mut self, wall_ms: u64) -> Result<(), Fault> {
        self.clock.promise(wall_ms);
        if self.peers.is_empty() { self.settle() } else { Ok(()) }
    }

    /// What each other member promised, as far as it counts.
    pub(crate) fn promises(&self) -> impl Iterator<Item = (u64, Stamp)> + '_ {
        self.peers.iter().map(|(node, peer)| (*node, peer.promise))
    }

    /// The other member whose promise is the oldest, and that promise.
    fn holds_back(&self) -> Option<(u64, Stamp)> {
        self.promises().min_by_key(|(_, promise)| *promise)
    }

    /// What a peer lacks, in order of arrival, as far as it goes into so many bytes.
    pub(crate) fn lacking(&mut self, node: u64, bytes_max: usize) -> Vec<Operation> {
        let Some(peer) = self.peers.get_mut(&node) else { return Vec::new() };
        let mut lacking = Vec::new();
        let mut bytes = 0;
        let mut at = peer.cursor.max(self.forgotten);
        while at < self.durable {
            let place = usize::try_from(at - self.forgotten).unwrap_or(usize::MAX);
            let Some(operation) = self.arrivals.get(place) else { break };
            let held = holds(&peer.have, operation.author, operation.sequence);
            if !held && bytes > bytes_max {
                break;
            }
            if !held {
                bytes += operation.payload.len() + size_of::<Operation>();
                lacking.push(operation.clone());
            }
            at += 1;
            if lacking.is_empty() {
                peer.cursor = at;
            }
        }
        lacking
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The final state that is to be hashed now, if there is one.
    pub(crate) fn due(&mut self) -> Option<State> {
        self.tail.due()
    }

    /// From now on, stamps are larger than this one.
    pub(crate) fn observe(&mut self, stamp: Stamp) {
        self.clock.observe(stamp);
    }

    /// No stamp that was given or heard of is larger.
    pub(crate) fn last_stamp(&self) -> Stamp {
        self.clock.last()
    }

    /// What is here, durable or not.
    pub(crate) fn have(&self) -> &Vector {
        &self.have
    }
}
