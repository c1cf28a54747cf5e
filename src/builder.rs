//! Setting a node up, as its user sees it.
//!
//! Owns [`Builder`]: who the node is, where its data and its peers are, its limits, and its machine's type.
//!
//! Does not: put anything together (`setup`), choose the user's runtime or read configuration files.

use std::{collections::BTreeMap, marker::PhantomData, path::Path};

use crate::{
    config::Config,
    error::StartError,
    eventual::EventualNode,
    machine::{StateMachine, Typed},
    node::Node,
    runtime::Runtime,
    setup::{Doors, Setup},
    storage::LogEngine,
};

/// Sets a node up.
#[derive(Clone, Debug)]
pub struct Builder<S> {
    setup: Setup,
    machine: PhantomData<fn() -> S>,
}

impl<S: StateMachine> Builder<S> {
    pub(crate) fn new(id: u64) -> Self {
        let setup = Setup {
            id,
            cluster: "sixbells".into(),
            data_dir: None,
            peers: BTreeMap::new(),
            listen: None,
            routes: BTreeMap::new(),
            config: Config::default(),
            log_engine: None,
        };
        Self { setup, machine: PhantomData }
    }

    /// The directory for log and snapshots. It belongs to this node alone and is created if need be.
    pub fn data_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.setup.data_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// The initial members, this node included: ids and addresses (`host:port`), the same on each of
    /// them. The cluster is formed when all of them have started once; later restarts need only a
    /// majority. A node that is to join an existing cluster has no peers: see [`Node::add`].
    ///
    /// A node on an empty disk asks the other initial members whether the cluster is there already, and
    /// is refused if it is. The only initial member of a cluster that has grown since has nobody to ask:
    /// never start it on an empty disk with its old peers, for it would form a second cluster.
    pub fn peers<A: Into<String>>(mut self, peers: impl IntoIterator<Item = (u64, A)>) -> Self {
        self.setup.peers.extend(peers.into_iter().map(|(id, addr)| (id, addr.into())));
        self
    }

    /// The cluster's name; nodes and clients of another are refused. Default `sixbells`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.setup.cluster = name.into();
        self
    }

    /// The address to listen on, if it is not this node's own among the peers: to listen on all
    /// interfaces, say, or to join a cluster later.
    pub fn listen(mut self, addr: impl Into<String>) -> Self {
        self.setup.listen = Some(addr.into());
        self
    }

    /// Reaches a peer at another address than the one the cluster knows, as behind a proxy.
    pub fn route(mut self, peer: u64, addr: impl Into<String>) -> Self {
        self.setup.routes.insert(peer, addr.into());
        self
    }

    /// Limits and timeouts. Default [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.setup.config = config;
        self
    }

    /// The log engine. Fixed once the data directory was used. Default [`LogEngine::Wal`], and in
    /// eventual mode [`LogEngine::Sled`].
    pub fn log_engine(mut self, engine: LogEngine) -> Self {
        self.setup.log_engine = Some(engine);
        self
    }

    /// Starts a node in strong mode on the real disk, network and clock, and on threads of its own. Needs a tokio
    /// runtime to be called on.
    ///
    /// Returns once the node listens; writes wait for the first leader by themselves. A start that is not waited for any more
    /// is given up, and a moment later nothing is left of it.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong; nothing was served.
    pub async fn start(self) -> Result<Node<S>, StartError> {
        Ok(Node::of(self.setup.real_strong(Typed::<S>::ERASED).await?))
    }

    /// Starts a node in strong mode on the doors given.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with<R: Runtime>(self, doors: Doors) -> Result<Node<S>, StartError> {
        Ok(Node::of(self.setup.strong::<R>(Typed::<S>::ERASED, doors).await?))
    }

    /// Starts a node in eventual mode on the real disk, network and clock, and on threads of its own. Needs a
    /// tokio runtime to be called on.
    ///
    /// The members are the [`peers`](Self::peers), all of them, this node included, and each must have
    /// the same. On its first start a node accepts nothing before it has heard of every other. To
    /// change the members, restart all nodes with the new ones; an id whose disk is lost may come back,
    /// but only while all others can be reached.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong; nothing was served.
    pub async fn start_eventual(self) -> Result<EventualNode<S>, StartError> {
        Ok(EventualNode::of(self.setup.real_eventual(Typed::<S>::ERASED).await?))
    }

    /// Starts a node in eventual mode on the doors given.
    ///
    /// # Errors
    /// As [`start_eventual`](Self::start_eventual).
    pub async fn start_eventual_with<R: Runtime>(
        self,
        doors: Doors,
    ) -> Result<EventualNode<S>, StartError> {
        Ok(EventualNode::of(self.setup.eventual::<R>(Typed::<S>::ERASED, doors).await?))
    }
}
