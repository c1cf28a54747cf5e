//! The client: the verbs over the network.
//!
//! Owns [`Client`], and behind it
//! - `engine`: sessions, bounds, the verbs in bytes;
//! - `attempt`: one request, as many attempts as it takes, and what they add up to;
//! - `candidates`: whom to ask next, with a `breaker` for whoever cannot be reached;
//! - `following`: what is different in eventual mode;
//! - `retry`: how long to pause, and the budget of all retries.
//!
//! In: commands and queries of the user's machine. Out: its responses and answers, or an
//! [`Error`] that says first whether anything may have happened.
//!
//! Invariants
//! - A retry is never a second effect: it has the number of the first attempt.
//! - A definite error is returned only if every attempt was definite.
//! - Over a limit is an error at once: requests under way, retries, bytes.
//!
//! Does not: change the cluster's membership, or start tasks.

mod attempt;
mod breaker;
mod candidates;
mod config;
mod engine;
mod following;
mod retry;
#[cfg(test)]
mod suite;

use std::{fmt, sync::Arc};

use bytes::Bytes;

pub use self::config::ClientConfig;
use self::engine::Remote;
use crate::{
    codec,
    error::{Error, StartError},
    eventual::{EventualSession, EventualStatus, SessionEngine, Token},
    handle::{Engine, Handle},
    machine::StateMachine,
    runtime::{Runtime, TokioRuntime},
    status::Status,
    transport::{BoxFuture, Transport, tcp::TcpTransport},
};

/// What a client needs of its engine beside the verbs.
trait RemoteEngine: Engine + SessionEngine {
    /// The status of the node at `addr`, or of the one that the next request would go to.
    fn status(&self, addr: Option<String>) -> BoxFuture<'_, Result<Status, Error>>;

    /// The same of a node in eventual mode.
    fn eventual_status(&self, addr: Option<String>)
    -> BoxFuture<'_, Result<EventualStatus, Error>>;

    /// Answers a query from the state that nothing will revoke.
    fn read_stable(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>>;
}

/// Reads and writes over the network. Finds the leader, and retries within the deadline
/// [`ClientConfig::deadline`]. Clones are cheap and share session, connections and limits.
///
/// With [`ClientConfig::mode`] eventual, every node can answer. The first address given is asked, and
/// whoever answered last from then on, until it cannot be reached or cannot accept. Then
/// - a write that returned is durable on that node alone, and what it answered may be revoked;
///   it is one effect however many nodes were asked, and comes after every write of this client that had
///   returned before it, wherever it was sent;
/// - a read answers from that node's state: it may lack this client's own earlier writes, if they went
///   elsewhere, and may go back. A [`session`](Self::session) does neither.
pub struct Client<S> {
    handle: Handle<S>,
    engine: Arc<dyn RemoteEngine>,
}

impl<S> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), engine: self.engine.clone() }
    }
}

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.engine).finish()
    }
}

impl<S: StateMachine> Client<S> {
    /// A client of the cluster whose nodes listen at `addrs` (`host:port`), the nearest first. Needs
    /// a tokio runtime.
    ///
    /// Nothing is sent before the first request, and no node needs to be there yet. One address will
    /// do, as the nodes name their leader; more survive the loss of that one.
    ///
    /// # Errors
    /// [`StartError::Config`] for settings that contradict each other, or no address.
    pub async fn connect(
        addrs: impl IntoIterator<Item = impl Into<String>>,
        config: ClientConfig,
    ) -> Result<Self, StartError> {
        Ok(Self::of(real(addrs.into_iter().map(Into::into).collect(), config)?))
    }

    /// A client on the runtime and network given, such as simulated ones. The network is not closed
    /// when the client is dropped.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn with_transport<R: Runtime>(
        transport: Arc<dyn Transport>,
        addrs: impl IntoIterator<Item = impl Into<String>>,
        config: ClientConfig,
    ) -> Result<Self, StartError> {
        Ok(Self::of(remote::<R>(transport, addrs.into_iter().map(Into::into).collect(), config)?))
    }

    fn of(engine: Arc<dyn RemoteEngine>) -> Self {
        Self { handle: Handle::new(engine.clone()), engine }
    }

    /// Carries out a command as [`Handle::write`] does, under this client's session: exactly once if
    /// it returns `Ok`, however many attempts it took.
    ///
    /// # Errors
    /// After a definite error ([`Error::is_definite`]) no attempt was carried out; after any other,
    /// one may have been, or may yet be. To call again after that is another command: name the
    /// request with [`write_once`](Self::write_once) if it must not be.
    pub async fn write(&self, command: S::Command) -> Result<S::Response, Error> {
        self.handle.write(command).await
    }

    /// Carries out a command under the application's own `key` as [`Handle::write_once`] does.
    ///
    /// # Errors
    /// As [`write`](Self::write), but writing the same key again is safe after any error.
    /// [`Error::TooLarge`] for a key over 256 bytes.
    pub async fn write_once(
        &self,
        key: impl AsRef<[u8]>,
        command: S::Command,
    ) -> Result<S::Response, Error> {
        self.handle.write_once(key, command).await
    }

    /// Answers a query, linearizably, as [`Handle::read`] does. In eventual mode as
    /// [`read_local`](Self::read_local): not linearizably.
    ///
    /// # Errors
    /// No error of a read has an effect on the state; [`Error::Unknown`] says that a node may have
    /// been asked and its answer did not arrive.
    pub async fn read(&self, query: S::Query) -> Result<S::Answer, Error> {
        self.handle.read(query).await
    }

    /// Answers a query from the state of the first node given to [`connect`](Self::connect), or of
    /// the next that can be reached, which **may be old**, as [`Handle::read_local`] does. In eventual
    /// mode, of the node that answered this client last.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_local(&self, query: S::Query) -> Result<S::Answer, Error> {
        self.handle.read_local(query).await
    }

    /// Begins a session, or goes on with one: `Token::default()` has seen nothing. It sees all that it has
    /// seen, on whichever node; one that lacks something of it is waited for, and then another is asked.
    /// Only in eventual mode; in the other its verbs are refused.
    pub fn session(&self, token: Token) -> EventualSession<S> {
        EventualSession::new(self.engine.clone(), token)
    }

    /// Answers a query from a node's state whose order is final, as
    /// [`EventualNode::read_stable`](crate::EventualNode::read_stable) does: nothing will revoke the
    /// answer, but it lacks what is still tentative. Only in eventual mode.
    ///
    /// # Errors
    /// As [`read`](Self::read). [`Error::Refused`] in strong mode, where every read is as final.
    pub async fn read_stable(&self, query: S::Query) -> Result<S::Answer, Error> {
        let answer = self.engine.read_stable(codec::encode(&query).into()).await?;
        codec::decode(&answer).map_err(|e| Error::Unknown(format!("unreadable answer: {e}")))
    }

    /// How the node in eventual mode is that this client talks to.
    ///
    /// # Errors
    /// As [`read`](Self::read). [`Error::Refused`] from a node in strong mode.
    pub async fn eventual_status(&self) -> Result<EventualStatus, Error> {
        self.engine.eventual_status(None).await
    }

    /// How the node in eventual mode at an address is; otherwise as [`status_of`](Self::status_of).
    ///
    /// # Errors
    /// As [`eventual_status`](Self::eventual_status).
    pub async fn eventual_status_of(
        &self,
        addr: impl Into<String>,
    ) -> Result<EventualStatus, Error> {
        self.engine.eventual_status(Some(addr.into())).await
    }

    /// How the node is that this client talks to: the leader, if it knows it, else the first
    /// address that can be reached.
    ///
    /// # Errors
    /// As [`read`](Self::read). [`Error::Refused`] from a node in eventual mode.
    pub async fn status(&self) -> Result<Status, Error> {
        self.engine.status(None).await
    }

    /// How the node at an address is, whether `connect` was given it or not. One attempt, at most
    /// [`ClientConfig::attempt_timeout`].
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn status_of(&self, addr: impl Into<String>) -> Result<Status, Error> {
        self.engine.status(Some(addr.into())).await
    }
}

/// On the real network and clock. Here is no user's type, so this is compiled once, in this crate.
fn real(addrs: Vec<String>, config: ClientConfig) -> Result<Arc<dyn RemoteEngine>, StartError> {
    let transport = Arc::new(TcpTransport::client(config.cluster.clone()));
    remote::<TokioRuntime>(transport, addrs, config)
}

fn remote<R: Runtime>(
    transport: Arc<dyn Transport>,
    addrs: Vec<String>,
    config: ClientConfig,
) -> Result<Arc<dyn RemoteEngine>, StartError> {
    config.check()?;
    if addrs.is_empty() {
        return Err(StartError::Config("client: no address was given".into()));
    }
    Ok(Arc::new(Remote::<R>::new(transport, addrs, config)))
}
