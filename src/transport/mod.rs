//! The network door: requests and replies between nodes, and from clients to nodes.
//!
//! Owns [`Transport`], at the level of whole messages with a deadline, and the words that cross it.
//! [`tcp`] is the real implementation; a simulated network implements the same trait.
//!
//! In: a [`Message`] for a [`Peer`] on a [`Lane`]. Out: the reply, or a [`CallError`] that says
//! first whether the message may have arrived.
//!
//! Invariants
//! - A message reaches the node it was meant for (cluster, node id, disk id) or nobody.
//! - Messages of one lane do not wait for those of another: a snapshot cannot delay a heartbeat.
//! - Messages on [`Lane::Log`] and [`Lane::Snapshot`] are served in the order sent, one at a time.
//! - A message may be lost or served twice; the layers above are built for that. But a request on
//!   [`Lane::Client`] whose reply arrives is served once: a refusal is the last word on it.
//!
//! Does not: retry, or interpret bodies.

pub mod memory;
pub mod tcp;
pub mod wire;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;

use crate::error::StartError;
pub use wire::Kind;

/// A boxed future, for doors must be object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What travels together: each lane has connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Votes, heartbeats, leadership transfer: small and urgent.
    Control,
    /// Log entries.
    Log,
    /// Snapshot chunks.
    Snapshot,
    /// Requests of clients, also those that a node forwards.
    Client,
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Where it listens, `host:port`.
    pub addr: String,
    /// Its node id; `None` if whoever listens there will do, as for a client.
    pub node: Option<u64>,
    /// Its disk id; `None` if not known yet.
    pub disk: Option<u64>,
}

/// A request or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the body is.
    pub kind: Kind,
    /// The user's request this belongs to, for traces; 0 for the protocol's own messages.
    pub request: u128,
    /// The encoded content.
    pub body: Bytes,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The message was not sent: nobody listens, the connection was refused, or the peer is
    /// somebody else. **Definitely not served.**
    #[error("not sent to {to}: {reason}")]
    NotSent {
        /// Address and id of the peer.
        to: String,
        /// Why not.
        reason: String,
    },
    /// The message may have been sent, and no reply came in time. **May have been served.**
    #[error("no reply from {to}: {reason}")]
    Lost {
        /// Address and id of the peer.
        to: String,
        /// Timed out, or the connection broke.
        reason: String,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "node {node} at {}", self.addr),
            None => f.write_str(&self.addr),
        }
    }
}

/// Serves the requests that arrive at a node.
pub trait Service: Send + Sync + 'static {
    /// Serves one request; nobody waits for it longer than `remaining`.
    fn serve(&self, request: Message, remaining: Duration) -> BoxFuture<'static, Message>;

    /// Whether this service saves something by serving requests of this kind together.
    fn shares(&self, _kind: Kind) -> bool {
        false
    }

    /// Serves requests that arrived together, of one kind that it [`shares`](Self::shares), each as
    /// [`serve`](Self::serve) would, and answers each as soon as it can. At most 4,096, and what fits a frame.
    fn serve_together(&self, requests: Vec<Request>) -> BoxFuture<'static, ()> {
        let served = requests.into_iter().map(|request| {
            let (message, answer) = (request.message, request.answer);
            let served = self.serve(message, request.remaining);
            async move { answer(served.await) }
        });
        let served = join_all(served);
        Box::pin(async move { drop(served.await) })
    }
}

/// A request, and the way its reply takes.
pub struct Request {
    /// What is asked.
    pub message: Message,
    /// Nobody waits for the reply longer than this.
    pub remaining: Duration,
    /// Takes the reply. Dropped, there is none.
    pub answer: Box<dyn FnOnce(Message) + Send>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, remaining, .. } = self;
        f.debug_struct("Request").field("message", message).field("remaining", remaining).finish()
    }
}

/// The door to the network.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Sends a request and waits for its reply, at most for `timeout`.
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>>;

    /// Starts to serve. Called once by a node, before its first `call`; never by a client.
    ///
    /// # Errors
    /// [`StartError::Bind`] when the address cannot be listened on.
    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>>;

    /// Stops serving and closes every connection. Calls under way end with an error, at once.
    fn close(&self);

    /// Waits, after [`close`](Self::close), until nothing is left and the address is free. A network
    /// without sockets has nothing to wait for.
    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
