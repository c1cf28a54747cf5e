//! A running node in eventual mode.
//!
//! Owns [`EventualNode`], what a program does with one beside reading and writing: stable reads, status,
//! and its end. That it has no membership methods is on purpose: the type says what a mode can do.
//!
//! Invariants: as [`Node`](crate::Node)'s: a node that was dropped serves nothing.
//!
//! Does not: put itself together (`setup`).

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{Eventual, EventualSession, EventualStatus, SessionEngine, Token};
use crate::{
    codec,
    error::Error,
    handle::{Engine, Handle},
    machine::StateMachine,
    runtime::{Runtime, Threads},
    transport::BoxFuture,
};

/// What an [`EventualNode`] does with its replica, without the runtime's type.
trait Control: Engine + SessionEngine {
    fn read_stable(&self, query: &[u8]) -> Result<Bytes, Error>;
    fn status(&self) -> EventualStatus;
    fn stopped(&self) -> BoxFuture<'_, String>;
    fn shutdown(&self) -> BoxFuture<'_, ()>;
    fn close(&self);
}

impl<R: Runtime> Control for Eventual<R> {
    fn read_stable(&self, query: &[u8]) -> Result<Bytes, Error> {
        self.read_stable(query)
    }

    fn status(&self) -> EventualStatus {
        self.status()
    }

    fn stopped(&self) -> BoxFuture<'_, String> {
        Box::pin(self.stopped())
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.stop())
    }

    fn close(&self) {
        self.close();
    }
}

/// An [`EventualNode`] without its types. Dropped, it serves nothing any more.
pub(crate) struct RunningEventual {
    control: Arc<dyn Control>,
    /// As a [`Node`](crate::Node)'s.
    threads: Option<Threads>,
}

impl RunningEventual {
    pub(crate) fn new<R: Runtime>(eventual: Arc<Eventual<R>>) -> Self {
        Self { control: eventual, threads: None }
    }

    /// The same, living on these threads.
    pub(crate) fn on(mut self, threads: Threads) -> Self {
        self.threads = Some(threads);
        self
    }
}

impl Drop for RunningEventual {
    fn drop(&mut self) {
        self.control.close();
    }
}

/// A running node in eventual mode: it accepts writes whether or not others can be reached, and agrees
/// with them on the order later.
///
/// What its [`Handle`] does here: a write returns once it is durable **on this node alone**, applied in
/// the order known so far; what it answers may be *revoked* by an operation that comes before it in
/// the order and arrives later. Reads answer from this node's state, which may lack what others
/// accepted, and may go back when the order changes. Retries are still one effect.
pub struct EventualNode<S> {
    handle: Handle<S>,
    running: RunningEventual,
}

impl<S> fmt::Debug for EventualNode<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventualNode").field(&self.running.control.status().id).finish()
    }
}

impl<S: StateMachine> EventualNode<S> {
    pub(crate) fn of(running: RunningEventual) -> Self {
        Self { handle: Handle::new(running.control.clone()), running }
    }

    /// Reads and writes through this node.
    pub fn handle(&self) -> Handle<S> {
        self.handle.clone()
    }

    /// Begins a session, or goes on with one where it left another node: `Token::default()` has seen
    /// nothing. Reads and writes through it see all that it has seen, on whichever node.
    pub fn session(&self, token: Token) -> EventualSession<S> {
        EventualSession::new(self.running.control.clone(), token)
    }

    /// Answers a query from the state whose order is final: nothing will revoke the answer, and of two
    /// nodes' stable states one is an earlier state of the other. It lacks what is still tentative, which
    /// grows for as long as any member is away.
    ///
    /// # Errors
    /// No error of a read has an effect on the state.
    pub fn read_stable(&self, query: &S::Query) -> Result<S::Answer, Error> {
        let answer = self.running.control.read_stable(&codec::encode(query))?;
        codec::decode(&answer).map_err(|e| Error::Unknown(format!("unreadable answer: {e}")))
    }

    /// How the node is.
    pub fn status(&self) -> EventualStatus {
        self.running.control.status()
    }

    /// Waits until the node has stopped because of a fault (a failed sync, damage, a panic in the
    /// machine, a state that differs from another node's after the same operations) and returns the
    /// reason.
    pub async fn stopped(&self) -> String {
        self.running.control.stopped().await
    }

    /// Stops, and frees the port and the data directory. Handles that are left over get
    /// [`Error::Stopped`].
    pub async fn shutdown(&self) {
        self.running.control.shutdown().await;
    }
}
