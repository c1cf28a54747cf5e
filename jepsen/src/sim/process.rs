//! A node's process on a simulated host, in either mode.
//!
//! Owns [`Running`]: one handle for both kinds of node, so that whoever breaks, watches and uses a
//! cluster need not know which it is. In: doors and a builder. Out: the node's own answers.
//!
//! Invariant: whatever runs here, runs on its host; the [`cluster`](super::cluster) sees to that.
//!
//! Does not: start a node again, or judge it.

use std::{fmt, sync::Arc};

use sixbells::{
    Builder, Doors, EventualNode, EventualStatus, Handle, Mode, Node, StartError, StateMachine,
    Status, storage::Identity, transport::Transport,
};

use super::{
    Host, SimRuntime, bug::Bug, cluster::address, disk::SimDisk, log::SimLog, network::SimNetwork,
    witness::Subject,
};

/// A node that runs.
pub enum Running<S: StateMachine> {
    /// In strong mode.
    Strong(Arc<Node<Subject<S>>>),
    /// In eventual mode.
    Eventual(Arc<EventualNode<Subject<S>>>),
}

impl<S: StateMachine> Clone for Running<S> {
    fn clone(&self) -> Self {
        match self {
            Running::Strong(node) => Running::Strong(node.clone()),
            Running::Eventual(node) => Running::Eventual(node.clone()),
        }
    }
}

impl<S: StateMachine> fmt::Debug for Running<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Running::Strong(node) => node.fmt(f),
            Running::Eventual(node) => node.fmt(f),
        }
    }
}

/// What a node on this host sees of the world.
pub(super) fn doors(
    node: Host,
    disk: SimDisk,
    network: SimNetwork,
    bug: Option<Bug>,
) -> Result<Doors, StartError> {
    let log = Arc::new(SimLog::open(node, &disk, bug.and_then(Bug::of_log))?);
    let transport = Box::new(move |identity: &Identity| -> Arc<dyn Transport> {
        network.node(node, address(node), identity)
    });
    Ok(Doors { disk: Arc::new(disk), log, transport })
}

impl<S: StateMachine> Running<S> {
    /// Starts a node.
    pub(super) async fn start(
        builder: Builder<Subject<S>>,
        doors: Doors,
        mode: Mode,
    ) -> Result<Self, StartError> {
        Ok(match mode {
            Mode::Strong => {
                Running::Strong(Arc::new(builder.start_with::<SimRuntime>(doors).await?))
            }
            Mode::Eventual => {
                let node = builder.start_eventual_with::<SimRuntime>(doors).await?;
                Running::Eventual(Arc::new(node))
            }
        })
    }

    /// Reads and writes through it.
    pub fn handle(&self) -> Handle<Subject<S>> {
        match self {
            Running::Strong(node) => node.handle(),
            Running::Eventual(node) => node.handle(),
        }
    }

    /// Waits until it has stopped by itself, and says why.
    pub async fn stopped(&self) -> String {
        match self {
            Running::Strong(node) => node.stopped().await,
            Running::Eventual(node) => node.stopped().await,
        }
    }

    /// Shuts it down in good order.
    pub async fn shutdown(&self) {
        match self {
            Running::Strong(node) => node.shutdown().await,
            Running::Eventual(node) => node.shutdown().await,
        }
    }

    /// The node, if it is in strong mode.
    pub fn strong(self) -> Option<Arc<Node<Subject<S>>>> {
        match self {
            Running::Strong(node) => Some(node),
            Running::Eventual(_) => None,
        }
    }

    /// How it is, in strong mode.
    pub fn status(&self) -> Option<Status> {
        match self {
            Running::Strong(node) => Some(node.status()),
            Running::Eventual(_) => None,
        }
    }

    /// How it is, in eventual mode.
    pub fn eventual_status(&self) -> Option<EventualStatus> {
        match self {
            Running::Strong(_) => None,
            Running::Eventual(node) => Some(node.status()),
        }
    }
}
