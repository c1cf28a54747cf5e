//! openraft's network on top of our [`Transport`] door.
//!
//! Owns the choice of lane and timeout for each of openraft's calls, and the map from our errors to
//! its own: not sent means unreachable (it backs off), lost means a network error (it sends again).
//!
//! Invariants
//! - Every call is bounded, by our timeouts: openraft would give an append one heartbeat interval,
//!   which a slow sync exceeds, and then send it again and again.
//! - Votes and heartbeats never wait behind entries or snapshots.
//!
//! Does not: serve incoming calls; `strong` does. What is sent when, `replicate` says.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use futures_util::Stream;
use openraft::{
    AnyError, EntryPayload, OptionalSend,
    alias::{SnapshotOf, VoteOf},
    async_runtime::Select2,
    base::BoxStream,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{replicate, types::Types};
use crate::{
    codec,
    config::Config,
    error::Error,
    plant::{Bug, planted},
    rpc,
    runtime::Runtime,
    status::Member,
    storage::SnapshotFile,
    transfer,
    transport::{BoxFuture, CallError, Kind, Lane, Message, Peer, Transport},
};

type StreamOutcome<R> = Result<StreamAppendResult<Types<R>>, RPCError<Types<R>>>;

/// Makes one [`Network`] per member and purpose.
pub(crate) struct Networks<R> {
    id: u64,
    transport: Arc<dyn Transport>,
    config: Arc<Config>,
    runtime: PhantomData<fn() -> R>,
}

/// The way to one member, for one purpose.
pub(crate) struct Network<R> {
    id: u64,
    peer: Peer,
    append_lane: Lane,
    transport: Arc<dyn Transport>,
    config: Arc<Config>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Networks<R> {
    pub(crate) fn new(id: u64, transport: Arc<dyn Transport>, config: Arc<Config>) -> Self {
        Self { id, transport, config, runtime: PhantomData }
    }

    fn network(&self, target: u64, member: &Member, append_lane: Lane) -> Network<R> {
        Network {
            id: self.id,
            peer: peer(target, member),
            append_lane,
            transport: self.transport.clone(),
            config: self.config.clone(),
            runtime: PhantomData,
        }
    }
}

/// A member as the transport knows it. The disk id keeps a node that lost its disk out.
pub(super) fn peer(node: u64, member: &Member) -> Peer {
    let disk = (!planted(Bug::WipedVotes)).then_some(member.disk);
    Peer { addr: member.addr.clone(), node: Some(node), disk }
}

impl<R: Runtime> RaftNetworkFactory<Types<R>> for Networks<R> {
    type Network = Network<R>;

    async fn new_client(&mut self, target: u64, member: &Member) -> Network<R> {
        self.network(target, member, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Network<R> {
        self.network(target, member, Lane::Control)
    }
}

impl<R: Runtime> Network<R> {
    pub(super) fn append_bytes_max(&self) -> u64 {
        self.config.append_bytes_max
    }

    pub(super) async fn append(
        &self,
        request: &AppendEntriesRequest<Types<R>>,
    ) -> Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>> {
        let timeout = self.config.append_timeout;
        match self.call(self.append_lane, Kind::Append, request, timeout).await {
            Err(_) if planted(Bug::AckBeforeQuorum) => Ok(AppendEntriesResponse::Success),
            Err(_) if planted(Bug::OneSidedQuorum) && is_half_done(request) => {
                Ok(AppendEntriesResponse::Success)
            }
            answered => answered,
        }
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        lane: Lane,
        kind: Kind,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, RPCError<Types<R>>> {
        let request = Message { kind, request: 0, body: codec::encode(request).into() };
        match self.transport.call(&self.peer, lane, request, timeout).await {
            Ok(reply) => rpc::read_reply(&reply).map_err(|e| unreachable(&e)),
            Err(e @ CallError::NotSent { .. }) => Err(unreachable(&e)),
            Err(e @ CallError::Lost { .. }) => Err(RPCError::Network(NetworkError::new(&e))),
        }
    }
}

/// Whether a change of the members is in it that two sets of voters have to agree on.
fn is_half_done<R: Runtime>(request: &AppendEntriesRequest<Types<R>>) -> bool {
    request.entries.iter().any(|entry| match &entry.payload {
        EntryPayload::Membership(members) => members.get_joint_config().len() > 1,
        EntryPayload::Blank | EntryPayload::Normal(_) => false,
    })
}

fn unreachable<R: Runtime>(error: &(impl std::error::Error + 'static)) -> RPCError<Types<R>> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl<R: Runtime> RaftNetworkV2<Types<R>> for Network<R> {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types<R>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>> {
        self.append(&request).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, StreamOutcome<R>>, RPCError<Types<R>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types<R>>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let stream: BoxStream<'s, _> = Box::pin(replicate::Stream::new(&*self, input));
            Ok(stream)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        self.call(Lane::Control, Kind::Vote, &request, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        self.call(Lane::Control, Kind::PreVote, &request, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types<R>>,
        snapshot: SnapshotOf<Types<R>, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<R>>, StreamingError<Types<R>>> {
        let from = (self.id, codec::encode(&vote).into());
        let (transport, file) = (&*self.transport, snapshot.snapshot);
        let sent = transfer::send::<R, _>(transport, &self.peer, from, file, &self.config);
        match R::select2(cancel, sent).await {
            Select2::First(closed) => Err(StreamingError::Closed(closed)),
            Select2::Second(Ok(vote)) => Ok(SnapshotResponse::new(vote)),
            Select2::Second(Err(error @ Error::NotLeader { .. })) => {
                Err(StreamingError::Unreachable(Unreachable::new(&error)))
            }
            Select2::Second(Err(error)) => {
                let reason = AnyError::error(format!("snapshot to {}: {error}", self.peer));
                Err(StreamingError::Network(NetworkError::new(&reason)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<R>>, RPCError<Types<R>>> {
        self.call(Lane::Control, Kind::Transfer, &request, option.hard_ttl()).await
    }
}
