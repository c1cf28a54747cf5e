//! Strong mode: agree on the order, then apply.
//!
//! Owns [`Strong`], a member of a Raft cluster: proposing, and the map from openraft's errors to ours.
//!
//! In: proposals and queries, of this process and of others. Out: outcomes and answers.
//!
//! Walk of a write: `Handle` encodes it -> [`Strong::write`] numbers it -> [`Strong::route`]
//! decides whether this node leads -> [`Strong::propose`] admits it -> `propose` hands it to openraft with what
//! else waits -> `log` makes it durable, `network` sends it -> `state` applies it and answers.
//!
//! Invariants
//! - An outcome is returned only after the entry was committed and applied here.
//! - Once a proposal was handed to openraft, every error but `ForwardToLeader` is `Unknown`.
//! - A request is forwarded at most once on its way.
//!
//! Does not: retry what may have happened. `write` waits and asks again only while it is definite
//! that nothing did.

mod agreement;
mod log;
mod membership;
mod network;
pub(crate) mod observe;
mod pace;
pub(crate) mod propose;
mod read;
mod replicate;
#[cfg(test)]
mod restore;
mod serve;
mod settings;
mod state;
#[cfg(test)]
mod suite;
mod together;
pub(crate) mod types;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    async_runtime::{Instant, watch::WatchReceiver},
    errors::ForwardToLeader,
};

use tracing::Instrument;

use self::propose::Proposals;
pub(crate) use self::{
    log::Log,
    network::Networks,
    pace::Pace,
    serve::Server,
    settings::raft_config,
    state::{SharedState, StateMachineStore},
    types::Types,
};
use crate::{
    admission::Admission,
    applier::Outcome,
    config::Config,
    error::Error,
    handle::Engine,
    hashes::Hashes,
    machine::Accepts,
    proposal::{Origin, Proposal, RequestId, request_id},
    rpc,
    runtime::Runtime,
    sequencer::SessionSlot,
    storage::Identity,
    transfer::Inbox,
    transport::{BoxFuture, Kind, Lane, Message, Transport},
};

/// The consensus engine, as it is used here.
pub(crate) type Raft<R> = openraft::Raft<Types<R>, StateMachineStore<R>>;

/// How long to wait before asking again after a definite refusal, at most.
const PAUSE_MS: u64 = 50;

/// A member of a cluster in strong mode.
pub(crate) struct Strong<R: Runtime> {
    pub(crate) identity: Identity,
    pub(crate) config: Arc<Config>,
    pub(crate) raft: Raft<R>,
    pub(crate) state: Arc<SharedState<R>>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admission: Admission,
    /// Bounds this process's own writes, which may wait here for a leader elsewhere.
    own: Admission,
    accepts: Accepts,
    inbox: Inbox,
    slot: SessionSlot,
    hashes: Arc<Hashes>,
    proposals: Arc<Proposals>,
    pace: Arc<Pace>,
    closing: AtomicBool,
}

/// Who leads, as far as this node knows.
enum Leader {
    Here,
    There(u64, crate::status::Member),
    Unknown,
}

impl<R: Runtime> Strong<R> {
    pub(crate) fn new(
        identity: Identity,
        config: Arc<Config>,
        raft: Raft<R>,
        (state, hashes, pace): (Arc<SharedState<R>>, Arc<Hashes>, Arc<Pace>),
        transport: Arc<dyn Transport>,
        snapshots: crate::storage::Snapshots,
        accepts: Accepts,
    ) -> Self {
        let (admission, own) = (Admission::new(&config), Admission::new(&config));
        let inbox = Inbox::new(snapshots);
        let slot = SessionSlot::default();
        let proposals = Arc::default();
        let closing = AtomicBool::new(false);
        Self {
            identity,
            config,
            raft,
            state,
            transport,
            admission,
            own,
            accepts,
            inbox,
            slot,
            hashes,
            proposals,
            pace,
            closing,
        }
    }

    /// Stops serving, at once.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.transport.close();
        self.hashes.wake();
        self.proposals.close();
        self.pace.wake();
    }

    /// Stops everything and lets go of the disk.
    pub(crate) async fn stop(&self) {
        self.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the consensus engine did not end well");
        }
        self.inbox.close().await;
        self.transport.closed().await;
    }

    /// Takes a snapshot of what is applied now; returns once it is durable.
    pub(crate) async fn snapshot(&self) -> Result<(), Error> {
        let wanted = self.state.look(|state| state.applied())?;
        let stopped = |e: &dyn fmt::Display| Error::Stopped(e.to_string());
        let mut metrics = self.raft.metrics();
        let mut again = R::Instant::now();
        while metrics.borrow_watched().snapshot.as_ref().map(types::from_raft::<R>) < wanted {
            // Ignored while an older one is being taken; so it is asked for until it is there. But not
            // at every change of the metrics: asking is one.
            if R::Instant::now() >= again {
                self.raft.trigger().snapshot().await.map_err(|e| stopped(&e))?;
                again = R::Instant::now() + Duration::from_millis(PAUSE_MS);
            }
            if let Ok(changed) = R::timeout_at(again, metrics.changed()).await {
                changed.map_err(|e| stopped(&e))?;
            }
        }
        Ok(())
    }

    /// Whether this node still works: it was neither closed nor stopped by a fault.
    fn works(&self) -> Result<(), Error> {
        if let Some(reason) = self.state.fault() {
            return Err(Error::Stopped(reason));
        }
        if self.closing.load(Ordering::Relaxed) {
            return Err(Error::Stopped("it was shut down or dropped".into()));
        }
        match &self.raft.metrics().borrow_watched().running_state {
            Ok(()) => Ok(()),
            Err(fatal) => Err(Error::Stopped(fatal.to_string())),
        }
    }

    /// Proposes where the leader is: here, or one hop away.
    async fn route(&self, proposal: Proposal, deadline: R::Instant) -> Result<Outcome, Error> {
        self.works()?;
        match self.leader() {
            Leader::Here => self.propose(proposal, deadline).await,
            Leader::There(id, member) => {
                let request = Message {
                    kind: Kind::Propose,
                    request: proposal.request(),
                    body: proposal.bytes().clone(),
                };
                self.forward(id, &member, request, deadline).await
            }
            Leader::Unknown => Err(Error::NotLeader { leader: None }),
        }
    }

    async fn forward<T: serde::de::DeserializeOwned>(
        &self,
        id: u64,
        member: &crate::status::Member,
        request: Message,
        deadline: R::Instant,
    ) -> Result<T, Error> {
        let peer = network::peer(id, member);
        let remaining = deadline - R::Instant::now();
        let reply = self.transport.call(&peer, Lane::Client, request, remaining).await?;
        rpc::read_reply(&reply)
    }

    /// After a definite refusal: waits a moment before the next attempt. `false` if the deadline would
    /// pass meanwhile.
    async fn pause(&self, deadline: R::Instant) -> bool {
        let pause = Duration::from_millis(5 + R::random_below(PAUSE_MS));
        let in_time = R::Instant::now() + pause < deadline;
        if in_time {
            R::sleep(pause).await;
        }
        in_time
    }

    /// Routes until somebody leads. Asks again only after a definite refusal, so what it returns in
    /// the end is as definite as it looks.
    async fn route_when_led(
        &self,
        proposal: impl Fn() -> Proposal + Send,
        deadline: R::Instant,
    ) -> Result<Outcome, Error> {
        loop {
            match self.route(proposal(), deadline).await {
                Err(Error::NotLeader { .. }) if self.pause(deadline).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn open_session(&self, request: RequestId, deadline: R::Instant) -> Result<u64, Error> {
        let origin = Origin::Open { sessions_max: self.config.sessions_max };
        let proposal = Proposal::new(request, origin, &[]);
        match self.route_when_led(|| proposal.clone(), deadline).await? {
            Outcome::Opened(session) => Ok(session),
            other => Err(Error::Unknown(format!("opening a session was answered with {other:?}"))),
        }
    }

    fn span(&self, verb: &'static str, request: RequestId) -> tracing::Span {
        let request = format_args!("{request:032x}");
        tracing::debug_span!("request", node = self.identity.node, verb, %request)
    }

    async fn write_here(
        &self,
        request: RequestId,
        key: Option<Bytes>,
        command: Vec<u8>,
    ) -> Result<Bytes, Error> {
        self.admission.fits("command", &command)?;
        let _permit = self.own.admit(command.len())?;
        let deadline = R::Instant::now() + self.config.request_timeout;
        if let Some(key) = key {
            let origin = Origin::Once { key: &key, keys_max: self.config.keys_max };
            let proposal = Proposal::new(request, origin, &command);
            return self.route_when_led(|| proposal.clone(), deadline).await?.into_response();
        }
        let ticket = self.slot.ticket(self.open_session(request, deadline)).await;
        // Whatever became of the session, the command itself was not sent yet.
        let ticket = ticket.map_err(|error| match error {
            Error::Unknown(reason) => Error::Unavailable(format!("no session yet: {reason}")),
            error => error,
        })?;
        let proposal = || Proposal::new(request, ticket.origin(), &command);
        let response = self.route_when_led(proposal, deadline).await?.into_response();
        if response == Err(Error::SessionExpired) {
            self.slot.expired(&ticket).await;
        }
        response
    }

    /// Answers from the state as it is here. A node that a failed disk has stopped still can.
    fn answer_locally(&self, query: &[u8]) -> Result<Bytes, Error> {
        self.admission.fits("query", query)?;
        self.state.query(query)
    }

    fn leader(&self) -> Leader {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match metrics.current_leader {
            Some(id) if id == self.identity.node => Leader::Here,
            Some(id) => match metrics.membership_config.membership().get_node(&id) {
                Some(member) => Leader::There(id, member.clone()),
                None => Leader::Unknown,
            },
            None => Leader::Unknown,
        }
    }
}

fn not_leader<R: Runtime>(forward: ForwardToLeader<Types<R>>) -> Error {
    let ForwardToLeader { leader_id, leader_node, .. } = forward;
    Error::NotLeader { leader: leader_id.zip(leader_node.map(|member| member.addr)) }
}

impl<R: Runtime> Engine for Strong<R> {
    fn write(&self, key: Option<Bytes>, command: Vec<u8>) -> BoxFuture<'_, Result<Bytes, Error>> {
        let request = request_id::<R>();
        Box::pin(self.write_here(request, key, command).instrument(self.span("write", request)))
    }

    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        let request = request_id::<R>();
        Box::pin(self.read_here(request, query).instrument(self.span("read", request)))
    }

    fn read_local(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move { self.answer_locally(&query) })
    }
}

impl<R: Runtime> fmt::Debug for Strong<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.identity)
    }
}
