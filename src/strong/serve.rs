//! What a member answers to others: clients, and the other members.
//!
//! Owns the table from a message's kind to the work it stands for.
//!
//! Invariants
//! - Every request is answered, within its deadline, with a `Result`.
//! - A client's command is proposed here or refused; it is not forwarded (the client follows the
//!   leader named in the refusal). A client's read is served here, with the leader's consent.
//! - The protocol's own messages are not subject to admission: load must not cause elections.
//!
//! Does not: trust a body. What cannot be decoded is refused.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{alias::VoteOf, async_runtime::Instant};
use serde::de::DeserializeOwned;
use tracing::Instrument;

use super::{Strong, propose, state::to_snapshot, types::Types};
use crate::{
    applier::Outcome,
    codec::{self, CodecError},
    error::Error,
    mode::Mode,
    proposal::{Proposal, RequestId},
    rpc::{self, Chunk, Probe},
    runtime::Runtime,
    transfer::SnapshotReply,
    transport::{BoxFuture, Kind, Message, Request, Service},
};

/// Serves the requests of others. The node holds the engine; this may outlive it for a moment.
pub(crate) struct Server<R: Runtime>(pub(crate) Arc<Strong<R>>);

impl<R: Runtime> Service for Server<R> {
    fn serve(&self, request: Message, remaining: Duration) -> BoxFuture<'static, Message> {
        let strong = self.0.clone();
        let deadline = R::Instant::now() + remaining;
        let span = tracing::debug_span!(
            "serve",
            node = strong.identity.node,
            kind = ?request.kind,
            request = %format_args!("{:032x}", request.request),
        );
        Box::pin(async move { strong.answer(request, deadline).await }.instrument(span))
    }

    fn shares(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Propose | Kind::Read)
    }

    fn serve_together(&self, requests: Vec<Request>) -> BoxFuture<'static, ()> {
        let (strong, count) = (self.0.clone(), requests.len());
        let span = tracing::debug_span!("serve together", node = strong.identity.node, count);
        Box::pin(async move { strong.answer_together(requests).await }.instrument(span))
    }
}

impl<R: Runtime> Strong<R> {
    async fn answer(&self, request: Message, deadline: R::Instant) -> Message {
        let Message { kind, request: id, body } = request;
        match kind {
            Kind::Propose => {
                let outcome = match Proposal::from_bytes(body) {
                    Ok(proposal) => self.propose_for_another(proposal, deadline).await,
                    Err(e) => Err(refused(&e)),
                };
                rpc::reply(id, &outcome)
            }
            Kind::Read => rpc::reply(id, &self.read_for_client(id, &body, deadline).await),
            Kind::ReadLocal => rpc::reply(id, &self.answer_locally(&body)),
            Kind::ReadIndex => {
                let point = self.read_point(deadline).await;
                rpc::reply(id, &point.map_err(not_me))
            }
            Kind::Status => {
                rpc::reply(id, &rpc::asks_for(Mode::Strong, &body).map(|()| self.status()))
            }
            Kind::Probe => rpc::reply(id, &self.probe().await),
            Kind::Admin => {
                let done = async { self.administer(decode(&body)?, deadline).await };
                rpc::reply(id, &done.await)
            }
            Kind::Append | Kind::Vote | Kind::PreVote | Kind::Transfer | Kind::Snapshot => {
                self.answer_member(kind, &body).await
            }
            Kind::Sync | Kind::ReadStable | Kind::ProposeAfter | Kind::ReadAfter => {
                rpc::reply::<()>(id, &Err(rpc::other_mode(Mode::Strong, kind)))
            }
            Kind::Hello | Kind::Welcome | Kind::Refused | Kind::Reply => {
                rpc::reply::<()>(id, &Err(Error::Refused(format!("{kind:?} is not a request"))))
            }
        }
    }

    async fn propose_for_another(
        &self,
        proposal: Proposal,
        deadline: R::Instant,
    ) -> Result<Outcome, Error> {
        self.works().map_err(not_me)?;
        self.propose(proposal, deadline).await.map_err(propose::for_another)
    }

    async fn read_for_client(
        &self,
        request: RequestId,
        query: &[u8],
        deadline: R::Instant,
    ) -> Result<Bytes, Error> {
        self.admission.fits("query", query)?;
        let _permit = self.admission.admit(query.len())?;
        self.answer_when_ready(request, query, deadline).await
    }

    async fn answer_member(&self, kind: Kind, body: &[u8]) -> Message {
        let raft = &self.raft;
        match kind {
            Kind::Append => {
                let appended = async { raft.append_entries(decode(body)?).await.map_err(stopped) };
                rpc::reply(0, &appended.await)
            }
            Kind::Vote => {
                let voted = async { raft.vote(decode(body)?).await.map_err(stopped) };
                rpc::reply(0, &voted.await)
            }
            Kind::PreVote => {
                let voted = async { raft.pre_vote(decode(body)?).await.map_err(stopped) };
                rpc::reply(0, &voted.await)
            }
            Kind::Transfer => {
                let taken =
                    async { raft.handle_transfer_leader(decode(body)?).await.map_err(stopped) };
                rpc::reply(0, &taken.await)
            }
            _ => {
                let taken = async { self.take_chunk(decode(body)?).await };
                rpc::reply(0, &taken.await)
            }
        }
    }

    async fn take_chunk(&self, chunk: Chunk) -> Result<SnapshotReply<VoteOf<Types<R>>>, Error> {
        let vote = decode(&chunk.vote)?;
        let taken = self.inbox.take::<R>(chunk).await;
        match taken.map_err(|e| Error::Refused(format!("snapshot: {e}")))? {
            Err(next) => Ok(SnapshotReply::Next(next)),
            Ok(file) => {
                let snapshot = to_snapshot::<R>(file.clone()).map_err(stopped)?;
                let installed = self.raft.install_full_snapshot(vote, snapshot).await;
                // Was it not taken, because it was old or its sender no leader, it would stay for ever.
                let discarded = R::blocking(move || file.discard()).await;
                discarded.and_then(|discarded| discarded).map_err(stopped)?;
                installed.map(|response| SnapshotReply::Done(response.vote)).map_err(stopped)
            }
        }
    }

    async fn probe(&self) -> Result<Probe, Error> {
        Ok(Probe {
            disk: self.identity.disk,
            initialized: self.raft.is_initialized().await.map_err(stopped)?,
            applied: self.state.look(|state| state.applied())?,
            hashes: self.hashes.taken(),
        })
    }
}

/// What a node that has stopped answers before it has done anything: definite, ask somebody else.
pub(super) fn not_me(error: Error) -> Error {
    match error {
        Error::Stopped(_) => Error::NotLeader { leader: None },
        error => error,
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    codec::decode(body).map_err(|e| refused(&e))
}

/// What cannot be read is not carried out.
pub(super) fn refused(error: &CodecError) -> Error {
    Error::Refused(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Error {
    Error::Stopped(error.to_string())
}
