//! What a replica answers to others: clients, and the other replicas.
//!
//! Owns the table from a message's kind to the work it stands for.
//!
//! Invariants: every request is answered with a `Result`; what cannot be decoded is refused, and so is
//! what a client of the other mode asks: it would take the answer for more than it is.
//!
//! Does not: forward. Whoever is asked answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{Eventual, Token};
use crate::{
    applier::Outcome,
    codec,
    error::Error,
    mode::Mode,
    proposal::Proposal,
    rpc,
    runtime::{Instant, Runtime},
    transport::{BoxFuture, Kind, Message, Service},
};

/// Serves the requests of others. The node holds the replica; this may outlive it for a moment.
pub(crate) struct Server<R: Runtime>(pub(crate) Arc<Eventual<R>>);

impl<R: Runtime> Service for Server<R> {
    fn serve(&self, request: Message, remaining: Duration) -> BoxFuture<'static, Message> {
        let (eventual, deadline) = (self.0.clone(), R::Instant::now() + remaining);
        Box::pin(async move { eventual.answer(request, deadline).await })
    }
}

impl<R: Runtime> Eventual<R> {
    async fn answer(&self, request: Message, deadline: R::Instant) -> Message {
        let Message { kind, request: id, body } = request;
        match kind {
            Kind::ProposeAfter => {
                let proposed = async {
                    let (token, proposal) = decode(&body)?;
                    self.propose_for_another(token, proposal, deadline).await
                };
                rpc::reply(id, &proposed.await)
            }
            Kind::ReadAfter => {
                let read = async {
                    let (token, query): (Token, Bytes) = decode(&body)?;
                    self.admission.fits("query", &query)?;
                    let wait = Self::part_of(deadline);
                    self.read_covered(token, &query, wait).await
                };
                rpc::reply(id, &read.await)
            }
            Kind::ReadLocal => rpc::reply(id, &self.read_local(&body)),
            Kind::Status => {
                rpc::reply(id, &rpc::asks_for(Mode::Eventual, &body).map(|()| self.status()))
            }
            Kind::ReadStable => rpc::reply(id, &self.read_stable(&body)),
            Kind::Snapshot => {
                let taken = async { self.take_chunk(decode(&body)?).await };
                rpc::reply(id, &taken.await)
            }
            Kind::Sync => {
                let taken = async { self.take(decode(&body)?).await };
                rpc::reply(id, &taken.await)
            }
            _ => rpc::reply::<()>(id, &Err(rpc::other_mode(Mode::Eventual, kind))),
        }
    }

    /// That this node has stopped is no reason for the one who asks to stop: there are others.
    async fn propose_for_another(
        &self,
        mut token: Token,
        proposal: Proposal,
        deadline: R::Instant,
    ) -> Result<(Outcome, Token), Error> {
        let covered = self.covered(&token, Self::part_of(deadline)).await;
        covered.map_err(|error| match error {
            Error::Stopped(_) => Error::NotLeader { leader: None },
            error => error,
        })?;
        let proposed = self.propose(proposal, &mut token, deadline).await;
        let outcome = proposed.map_err(|error| match error {
            Error::Stopped(reason) => Error::Unknown(format!("the node stopped: {reason}")),
            error => error,
        })?;
        Ok((outcome, token))
    }

    /// How long to wait for what a token speaks of: half of the time, so that the refusal arrives
    /// while there is time to ask another node.
    fn part_of(deadline: R::Instant) -> R::Instant {
        let now = R::Instant::now();
        now + deadline.saturating_duration_since(now) / 2
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    codec::decode(body).map_err(|e| Error::Refused(e.to_string()))
}
