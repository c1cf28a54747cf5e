//! A running node.
//!
//! Owns [`Node`], what a program does with a node beside reading and writing: membership, leadership,
//! snapshots, status, and its end.
//!
//! Invariants
//! - When `shutdown` returns, the data directory and the port are free.
//! - A node that was dropped serves nothing and answers its handles with `Stopped`.
//!
//! Does not: put itself together (`setup`), or carry anything out itself (`strong`).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    builder::Builder,
    error::Error,
    handle::{Engine, Handle},
    machine::StateMachine,
    rpc::Admin,
    runtime::{Instant, Runtime, Threads},
    status::Status,
    storage::{Disk, LogStore},
    strong::{Strong, observe},
    transport::BoxFuture,
};

/// The last handles of what must be gone before the data directory is free again. (Weak ones would
/// not do: they see that nobody holds the log before it is closed.)
pub(crate) struct Held(Mutex<Option<Stored>>);

type Stored = (Arc<dyn LogStore>, Arc<dyn Disk>);

impl Held {
    pub(crate) fn new(log: Arc<dyn LogStore>, disk: Arc<dyn Disk>) -> Self {
        Self(Mutex::new(Some((log, disk))))
    }

    /// Waits until nobody else holds them, and closes them.
    pub(crate) async fn release<R: Runtime>(&self) {
        let Some((log, disk)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        // openraft's tasks let go of the log and the disk a moment after it has stopped.
        let deadline = R::Instant::now() + Duration::from_secs(5);
        while Arc::strong_count(&log) + Arc::strong_count(&disk) > 2 && R::Instant::now() < deadline
        {
            R::sleep(Duration::from_millis(1)).await;
        }
        if Arc::strong_count(&log) + Arc::strong_count(&disk) > 2 {
            tracing::warn!(
                "something still uses the data directory, which stays locked until it ends"
            );
        }
        if R::blocking(move || drop((log, disk))).await.is_err() {
            tracing::warn!("the log did not end well");
        }
    }
}

/// What a [`Node`] does with its engine beside reading and writing, without the runtime's type.
trait Control: Engine {
    fn order(&self, order: Admin) -> BoxFuture<'_, Result<(), Error>>;
    fn snapshot(&self) -> BoxFuture<'_, Result<(), Error>>;
    fn status(&self) -> Status;
    fn stopped(&self) -> BoxFuture<'_, String>;
    fn shutdown<'a>(&'a self, held: &'a Held) -> BoxFuture<'a, ()>;
    fn close(&self);
}

impl<R: Runtime> Control for Strong<R> {
    fn order(&self, order: Admin) -> BoxFuture<'_, Result<(), Error>> {
        let deadline = R::Instant::now() + self.config.snapshot_timeout;
        Box::pin(self.order(order, deadline))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.snapshot())
    }

    fn status(&self) -> Status {
        self.status()
    }

    fn stopped(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let stopped = observe::stopped::<R>(self.raft.metrics()).await;
            self.state.fault().unwrap_or(stopped)
        })
    }

    fn shutdown<'a>(&'a self, held: &'a Held) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.leave().await;
            self.stop().await;
            held.release::<R>().await;
        })
    }

    fn close(&self) {
        self.close();
    }
}

/// A [`Node`] without its types. Dropped, it serves nothing any more.
pub(crate) struct Running {
    control: Arc<dyn Control>,
    held: Held,
    /// Its own, unless it was started with doors, and then on a runtime, that are somebody else's.
    threads: Option<Threads>,
}

impl Running {
    pub(crate) fn new<R: Runtime>(strong: Arc<Strong<R>>, held: Held) -> Self {
        Self { control: strong, held, threads: None }
    }

    /// The same, living on these threads.
    pub(crate) fn on(mut self, threads: Threads) -> Self {
        self.threads = Some(threads);
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.close();
    }
}

/// A running node. Dropping it stops serving at once, without handing the leadership over; port and
/// data directory are free a moment later, once the last [`Handle`] of it is dropped, too.
/// [`Node::shutdown`] leaves nothing behind when it returns.
pub struct Node<S> {
    handle: Handle<S>,
    running: Running,
}

impl<S> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.running.control.status().id).finish()
    }
}

impl<S: StateMachine> Node<S> {
    /// Begins to set up the node with this id. An id belongs to one data directory for ever.
    pub fn builder(id: u64) -> Builder<S> {
        Builder::new(id)
    }

    pub(crate) fn of(running: Running) -> Self {
        Self { handle: Handle::new(running.control.clone()), running }
    }

    /// Reads and writes through this node.
    pub fn handle(&self) -> Handle<S> {
        self.handle.clone()
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        self.running.control.status()
    }

    /// Adds a node that was started with an empty data directory and no peers: first as a learner;
    /// it votes once it says itself that its state has caught up. Asking again is harmless.
    ///
    /// # Errors
    /// `Refused` for an id that was ever used with another disk. `Unknown` when it did not catch up
    /// within `Config::snapshot_timeout`: it is a learner, and asking again goes on from there.
    pub async fn add(&self, id: u64, addr: impl Into<String>) -> Result<(), Error> {
        self.running.control.order(Admin::Add { node: id, addr: addr.into() }).await
    }

    /// Removes a member. Its id is never used again. Removing a node that is none is harmless.
    ///
    /// # Errors
    /// `Refused` for the last voter.
    pub async fn remove(&self, id: u64) -> Result<(), Error> {
        self.running.control.order(Admin::Remove { node: id }).await
    }

    /// Replaces a member whose disk was lost or damaged by a new node, under a new id, in one change:
    /// the new one catches up first, and the lost one is never part of a smaller quorum.
    ///
    /// # Errors
    /// `Refused` when the new id was used before.
    pub async fn replace(&self, lost: u64, id: u64, addr: impl Into<String>) -> Result<(), Error> {
        self.running.control.order(Admin::Replace { lost, node: id, addr: addr.into() }).await
    }

    /// Hands the leadership over to another voter. Returns once it leads.
    ///
    /// # Errors
    /// `Refused` when it is not a voter. `Unknown` when it does not lead within
    /// `Config::request_timeout`, or another one does: nothing is lost, and somebody will.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), Error> {
        self.running.control.order(Admin::TransferLeadership { to }).await
    }

    /// Takes a snapshot of this node's state now. Returns once it is durable.
    ///
    /// # Errors
    /// `Stopped` when the node has stopped.
    pub async fn snapshot(&self) -> Result<(), Error> {
        self.running.control.snapshot().await
    }

    /// Waits until the node has stopped because of a fault (a failed sync, damage, a panic in the
    /// machine) and returns the reason. A process that runs one node should end then, loudly.
    pub async fn stopped(&self) -> String {
        self.running.control.stopped().await
    }

    /// Hands the leadership over if it is here, stops, and frees the port and the data directory.
    /// Handles that are left over get [`Error::Stopped`].
    pub async fn shutdown(&self) {
        self.running.control.shutdown(&self.running.held).await;
    }
}
