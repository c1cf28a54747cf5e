//! Session guarantees, wherever a client goes: it carries along what it has seen.
//!
//! Owns [`Token`] and [`EventualSession`]. After Terry et al., "Session Guarantees for Weakly Consistent
//! Replicated Data" (PDIS 1994): read your writes, monotonic reads, writes follow reads, monotonic
//! writes. A replica answers only once it holds all that the token speaks of, and stamps a write after
//! all of it.
//!
//! In: commands and queries. Out: what a replica answers, and the token of what was seen by then.
//!
//! Invariants: a token only grows.
//!
//! Does not: promise that what was seen stays. An operation of somebody else may come before it in the
//! order and change what it answered: a session knows which operations it has seen, not what they
//! led to. Only a stable read is never revoked.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Eventual, digest::holds, log::Vector, node::Control, replica::Replica, stamp::Stamp};
use crate::{
    codec,
    error::Error,
    machine::StateMachine,
    proposal::request_id,
    runtime::{Instant, Runtime},
};

/// What a client has seen: which operations, and up to when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    seen: Vector,
    stamp: Stamp,
}

impl Token {
    fn grow(&mut self, replica: &Replica) {
        for (author, sequence) in replica.have() {
            let seen = self.seen.entry(*author).or_default();
            *seen = (*seen).max(*sequence);
        }
        self.stamp = self.stamp.max(replica.last_stamp());
    }
}

/// Reads and writes through one node with session guarantees. Take the [`token`](Self::token) to another
/// node and go on there.
pub struct EventualSession<S> {
    control: Arc<dyn Control>,
    token: Token,
    machine: PhantomData<fn() -> S>,
}

impl<S> std::fmt::Debug for EventualSession<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventualSession").field("token", &self.token).finish_non_exhaustive()
    }
}

impl<S: StateMachine> EventualSession<S> {
    pub(super) fn new(control: Arc<dyn Control>, token: Token) -> Self {
        Self { control, token, machine: PhantomData }
    }

    /// Carries out a command after all that this session has seen. What it answers may be revoked.
    ///
    /// # Errors
    /// [`Error::NotYet`] when this node does not hold all of that within `Config::request_timeout`; the
    /// others as [`Handle::write`](crate::Handle::write).
    pub async fn write(&mut self, command: S::Command) -> Result<S::Response, Error> {
        let written = self.control.write_after(self.token.clone(), codec::encode(&command)).await;
        let (response, token) = written?;
        self.token = token;
        decode(&response)
    }

    /// Answers a query from a state with all that this session has seen, its own writes among it.
    ///
    /// # Errors
    /// [`Error::NotYet`] as [`write`](Self::write). No error of a read has an effect on the state.
    pub async fn read(&mut self, query: S::Query) -> Result<S::Answer, Error> {
        let query = codec::encode(&query).into();
        let (answer, token) = self.control.read_after(self.token.clone(), query).await?;
        self.token = token;
        decode(&answer)
    }

    /// What this session has seen.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    codec::decode(bytes).map_err(|e| Error::Unknown(format!("unreadable response: {e}")))
}

impl<R: Runtime> Eventual<R> {
    /// Waits until everything is here that the token speaks of.
    async fn covered(&self, token: &Token, deadline: R::Instant) -> Result<(), Error> {
        loop {
            let arrived = self.arrived.notified();
            let missing = self.with(|replica| {
                let missing = token
                    .seen
                    .iter()
                    .find(|(author, sequence)| !holds(replica.have(), **author, **sequence));
                if missing.is_none() {
                    replica.observe(token.stamp);
                }
                Ok(missing.map(|(author, sequence)| format!("operation {sequence} of {author}")))
            })?;
            let Some(missing) = missing else { return Ok(()) };
            if R::timeout_at(deadline, arrived).await.is_err() {
                return Err(Error::NotYet(missing));
            }
        }
    }

    pub(super) async fn write_after(
        &self,
        mut token: Token,
        command: Vec<u8>,
    ) -> Result<(Bytes, Token), Error> {
        let deadline = R::Instant::now() + self.config.request_timeout;
        self.covered(&token, deadline).await?;
        let response = self.write_numbered(request_id::<R>(), &command, deadline).await?;
        self.with(|replica| {
            token.grow(replica);
            Ok(())
        })?;
        Ok((response, token))
    }

    pub(super) async fn read_after(
        &self,
        mut token: Token,
        query: Bytes,
    ) -> Result<(Bytes, Token), Error> {
        self.covered(&token, R::Instant::now() + self.config.request_timeout).await?;
        let answer = self.with(|replica| {
            token.grow(replica);
            Ok(super::answer(replica.tail().current(), &query))
        })??;
        Ok((answer, token))
    }
}
