//! Session guarantees, wherever a client goes: it carries along what it has seen.
//!
//! Owns [`Token`] and [`EventualSession`]. After Terry et al., "Session Guarantees for Weakly Consistent
//! Replicated Data" (PDIS 1994): read your writes, monotonic reads, writes follow reads, monotonic
//! writes. A replica answers only once it holds all that the token speaks of, and stamps a write after
//! all of it.
//!
//! In: commands and queries. Out: what a replica answers, and the token of what was seen by then.
//!
//! Invariants
//! - A token only grows.
//! - What a token names is durable on the replica that gave it, so no crash takes it back. A write waits
//!   for that anyway; a read whose answer has in it what is not durable yet waits for the sync that is
//!   under way. (A token that named durable operations alone, beside an answer from all of them, would
//!   not do: the session has seen the rest, too, and would miss it elsewhere.)
//! - A token does not move a clock further ahead than `Config::clock_ahead_max`; replicas may.
//!
//! Does not: promise that what was seen stays. An operation of somebody else may come before it in the
//! order and change what it answered: a session knows which operations it has seen, not what they
//! led to. Only a stable read is never revoked.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    Eventual,
    digest::holds,
    log::{Vector, pairs},
    replica::Replica,
    stamp::Stamp,
};
use crate::{
    codec,
    error::Error,
    machine::StateMachine,
    plant::{Bug, planted},
    proposal::request_id,
    runtime::{Instant, Runtime},
    transport::BoxFuture,
};

/// What a client has seen: which operations, and up to when.
///
/// All that it names is durable on the node that gave it. A node that crashes comes back with it; only
/// if its disk is lost before another node has it, it is gone, and with it the session: every node
/// answers [`Error::NotYet`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    #[serde(with = "pairs")]
    seen: Vector,
    stamp: Stamp,
}

impl Token {
    /// Everything that is in the replica's state has been seen.
    pub(super) fn grow(&mut self, replica: &Replica) {
        for (author, sequence) in replica.have() {
            let seen = self.seen.entry(*author).or_default();
            *seen = (*seen).max(*sequence);
        }
        self.stamp = self.stamp.max(replica.last_stamp());
    }

    /// Comes after the other one from now on, without having seen what it has.
    pub(crate) fn follow(&mut self, other: &Token) {
        self.stamp = self.stamp.max(other.stamp);
    }

    /// The replica comes after it from now on.
    pub(super) fn shown_to(&self, replica: &mut Replica) {
        replica.observe(self.stamp);
    }

    /// What the replica lacks of it.
    pub(super) fn missing(
        &self,
        replica: &Replica,
        wall_ms: u64,
        ahead_max_ms: u64,
    ) -> Option<String> {
        if planted(Bug::TokenIgnored) {
            return None;
        }
        let mut seen = self.seen.iter();
        if let Some((author, sequence)) = seen.find(|(a, s)| !holds(replica.have(), **a, **s)) {
            return Some(format!("operation {sequence} of {author}"));
        }
        let ahead = self.stamp.wall_ms().saturating_sub(wall_ms);
        (self.stamp > replica.last_stamp() && ahead > ahead_max_ms)
            .then(|| format!("a time {ahead} ms ahead of this node's clock"))
    }
}

/// What carries the verbs of a session out: a replica of this process, or a client's connections.
pub(crate) trait SessionEngine: Send + Sync {
    /// Carries a command out after all that the token speaks of; says what was seen by then.
    fn write_after(
        &self,
        token: Token,
        command: Vec<u8>,
    ) -> BoxFuture<'_, Result<(Bytes, Token), Error>>;

    /// Answers a query from a state with all that the token speaks of; says what was seen by then.
    fn read_after(
        &self,
        token: Token,
        query: Bytes,
    ) -> BoxFuture<'_, Result<(Bytes, Token), Error>>;
}

/// Reads and writes with session guarantees, through one node
/// ([`EventualNode::session`](crate::EventualNode::session)) or whichever can be reached
/// ([`Client::session`](crate::Client::session)). Take the [`token`](Self::token) anywhere else and go
/// on there.
pub struct EventualSession<S> {
    engine: Arc<dyn SessionEngine>,
    token: Token,
    machine: PhantomData<fn() -> S>,
}

impl<S> std::fmt::Debug for EventualSession<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventualSession").field("token", &self.token).finish_non_exhaustive()
    }
}

impl<S: StateMachine> EventualSession<S> {
    pub(crate) fn new(engine: Arc<dyn SessionEngine>, token: Token) -> Self {
        Self { engine, token, machine: PhantomData }
    }

    /// Carries out a command after all that this session has seen. What it answers may be revoked.
    ///
    /// # Errors
    /// [`Error::NotYet`] when the node does not hold all of that in time: a node of this process
    /// within `Config::request_timeout`, a client's nodes one after the other within
    /// [`ClientConfig::deadline`](crate::ClientConfig::deadline). The others as
    /// [`Handle::write`](crate::Handle::write) and [`Client::write`](crate::Client::write). After
    /// any error the token is what it was: a command whose outcome is unknown may yet appear.
    pub async fn write(&mut self, command: S::Command) -> Result<S::Response, Error> {
        let written = self.engine.write_after(self.token.clone(), codec::encode(&command)).await;
        let (response, token) = written?;
        self.token = token;
        decode(&response)
    }

    /// Answers a query from a state with all that this session has seen, its own writes among it.
    /// Waits until all that is in that state is durable on the node that answers.
    ///
    /// # Errors
    /// [`Error::NotYet`] as [`write`](Self::write), also when a disk does not sync in time. No error of
    /// a read has an effect on the state.
    pub async fn read(&mut self, query: S::Query) -> Result<S::Answer, Error> {
        let query = codec::encode(&query).into();
        let (answer, token) = self.engine.read_after(self.token.clone(), query).await?;
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
    pub(super) async fn covered(&self, token: &Token, deadline: R::Instant) -> Result<(), Error> {
        let ahead_max = self.config.clock_ahead_max.as_millis();
        let ahead_max_ms = u64::try_from(ahead_max).unwrap_or(u64::MAX);
        let mut waits = None;
        loop {
            let arrived = self.arrived.notified();
            let missing = self.with(|replica| {
                let missing = token.missing(replica, Self::wall_ms(), ahead_max_ms);
                if missing.is_none() {
                    token.shown_to(replica);
                }
                Ok(missing)
            })?;
            let Some(missing) = missing else { return Ok(()) };
            if waits.is_none() {
                // Those who wait are under way, too.
                waits = Some(self.admission.admit(0)?);
            }
            if R::timeout_at(deadline, arrived).await.is_err() {
                return Err(Error::NotYet(missing));
            }
        }
    }

    /// Answers once everything is here that the token speaks of, and what the answer has in it durable.
    pub(super) async fn read_covered(
        &self,
        mut token: Token,
        query: &[u8],
        deadline: R::Instant,
    ) -> Result<(Bytes, Token), Error> {
        self.covered(&token, deadline).await?;
        let (durable, synced) = oneshot::channel();
        let answer = self.with(|replica| {
            token.grow(replica);
            match replica.all_durable() {
                true => drop(durable.send(Ok(()))),
                // An empty append is a barrier: it is done when all before it is.
                false => self.append(replica, Vec::new(), durable),
            }
            Ok(super::answer(replica.tail().current(), query))
        })??;
        let synced = R::timeout_at(deadline, self.synced(synced)).await;
        synced
            .map_err(|_elapsed| Error::NotYet("the disk did not sync what was read".into()))??;
        Ok((answer, token))
    }
}

impl<R: Runtime> SessionEngine for Eventual<R> {
    fn write_after(
        &self,
        mut token: Token,
        command: Vec<u8>,
    ) -> BoxFuture<'_, Result<(Bytes, Token), Error>> {
        Box::pin(async move {
            let deadline = R::Instant::now() + self.config.request_timeout;
            self.covered(&token, deadline).await?;
            let request = request_id::<R>();
            let response = self.write_numbered(request, &command, &mut token, deadline).await?;
            Ok((response, token))
        })
    }

    fn read_after(
        &self,
        token: Token,
        query: Bytes,
    ) -> BoxFuture<'_, Result<(Bytes, Token), Error>> {
        Box::pin(async move {
            self.admission.fits("query", &query)?;
            let deadline = R::Instant::now() + self.config.request_timeout;
            self.read_covered(token, &query, deadline).await
        })
    }
}
