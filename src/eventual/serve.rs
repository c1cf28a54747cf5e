//! What a replica answers to others: clients, and the other replicas.
//!
//! Owns the table from a message's kind to the work it stands for.
//!
//! Invariants: every request is answered with a `Result`; what cannot be decoded is refused.
//!
//! Does not: forward. Whoever is asked answers.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use super::Eventual;
use crate::{
    applier::Outcome,
    codec,
    error::Error,
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
            Kind::Propose => {
                let outcome = match Proposal::from_bytes(body) {
                    Ok(proposal) => self.propose_for_another(proposal, deadline).await,
                    Err(e) => Err(Error::Refused(e.to_string())),
                };
                rpc::reply(id, &outcome)
            }
            Kind::Read | Kind::ReadLocal => rpc::reply(id, &self.read_local(&body)),
            Kind::ReadStable => rpc::reply(id, &self.read_stable(&body)),
            Kind::Snapshot => {
                let taken = async { self.take_chunk(decode(&body)?).await };
                rpc::reply(id, &taken.await)
            }
            Kind::Sync => {
                let taken = async { self.take(decode(&body)?).await };
                rpc::reply(id, &taken.await)
            }
            _ => {
                let refused = Error::Refused(format!("{kind:?} means nothing in eventual mode"));
                rpc::reply::<()>(id, &Err(refused))
            }
        }
    }

    /// That this node has stopped is no reason for the one who asks to stop: there are others.
    async fn propose_for_another(
        &self,
        proposal: Proposal,
        deadline: R::Instant,
    ) -> Result<Outcome, Error> {
        self.works().map_err(|_stopped| Error::NotLeader { leader: None })?;
        self.propose(proposal, deadline).await.map_err(|error| match error {
            Error::Stopped(reason) => Error::Unknown(format!("the node stopped: {reason}")),
            error => error,
        })
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    codec::decode(body).map_err(|e| Error::Refused(e.to_string()))
}
