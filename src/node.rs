//! A node: the wiring diagram in code.
//!
//! Owns [`Builder`], which puts the doors, the consensus engine and the state together, and [`Node`],
//! which holds them. Whoever wants to know what talks to what reads [`Builder::start_with`].
//!
//! ```text
//!   Handle ---> Strong ---> openraft ---> Log ---------> LogStore (wal, sled, memory)
//!   clients -->   |            |  \-----> Networks ----> Transport (tcp, simulated)
//!   (Server)      \-- reads    \--------> StateMachineStore -> Applier = Machine + Sessions
//!                       \-> SharedState <--------/    \-> Snapshots -> Disk
//! ```
//!
//! Invariants
//! - A node starts only if its disk holds all that it ever promised.
//! - When `shutdown` returns, the data directory and the port are free.
//!
//! Does not: choose the user's runtime or read configuration files.

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::Config,
    error::{Damage, Error, StartError},
    handle::Handle,
    machine::{StateMachine, Typed},
    rpc::Admin,
    runtime::{self, Instant, Runtime, TokioRuntime},
    status::Status,
    storage::{
        Disk, Identity, LogEngine, LogState, LogStore, OsDisk, SnapshotFile, SnapshotOrigin,
        Snapshots, open_log,
    },
    strong::{
        Log, Networks, Raft, Server, SharedState, StateMachineStore, Strong, observe, raft_config,
    },
    transport::{
        BoxFuture, Transport,
        tcp::{NodeOptions, TcpTransport},
    },
};

/// Makes the network door of the node with this identity.
pub type MakeTransport = Box<dyn FnOnce(&Identity) -> Arc<dyn Transport> + Send>;

/// What a node needs of the outside world. [`Builder::start`] brings the real ones; a test kit
/// brings simulated ones to [`Builder::start_with`].
pub struct Doors {
    /// Where identity and snapshots are kept.
    pub disk: Arc<dyn Disk>,
    /// Where the log is kept.
    pub log: Arc<dyn LogStore>,
    /// Makes the network door, once the node's identity is known.
    pub transport: MakeTransport,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("disk", &self.disk).field("log", &self.log).finish()
    }
}

/// Sets a node up.
#[derive(Clone, Debug)]
pub struct Builder<S> {
    id: u64,
    cluster: String,
    data_dir: Option<PathBuf>,
    peers: BTreeMap<u64, String>,
    listen: Option<String>,
    routes: BTreeMap<u64, String>,
    config: Config,
    log_engine: LogEngine,
    /// Always off; a test shows what would happen otherwise.
    leader_restore: Option<bool>,
    machine: PhantomData<fn() -> S>,
}

impl<S: StateMachine> Builder<S> {
    /// The directory for log and snapshots. It belongs to this node alone and is created if need be.
    pub fn data_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.data_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// The initial members, this node included: ids and addresses (`host:port`), the same on each of
    /// them. The cluster is formed when all of them have started once; later restarts need only a
    /// majority. A node that is to join an existing cluster has no peers: see [`Node::add`].
    pub fn peers<A: Into<String>>(mut self, peers: impl IntoIterator<Item = (u64, A)>) -> Self {
        self.peers.extend(peers.into_iter().map(|(id, addr)| (id, addr.into())));
        self
    }

    /// The cluster's name; nodes and clients of another are refused. Default `sixbells`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The address to listen on, if it is not this node's own among the peers: to listen on all
    /// interfaces, say, or to join a cluster later.
    pub fn listen(mut self, addr: impl Into<String>) -> Self {
        self.listen = Some(addr.into());
        self
    }

    /// Reaches a peer at another address than the one the cluster knows, as behind a proxy.
    pub fn route(mut self, peer: u64, addr: impl Into<String>) -> Self {
        self.routes.insert(peer, addr.into());
        self
    }

    /// Limits and timeouts. Default [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The log engine. Fixed once the data directory was used. Default [`LogEngine::Wal`].
    pub fn log_engine(mut self, engine: LogEngine) -> Self {
        self.log_engine = engine;
        self
    }

    /// Plants openraft's default back, for the test that shows why it is off.
    #[cfg(test)]
    pub(crate) fn plant_leader_restore(mut self) -> Self {
        self.leader_restore = None;
        self
    }

    /// Starts a node in strong mode on the real disk, network and clock. Needs a tokio runtime.
    ///
    /// Returns once the node listens; writes wait for the first leader by themselves.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong; nothing was served.
    pub async fn start(self) -> Result<Node<S>, StartError> {
        self.config.check()?;
        let missing = |what: &str| StartError::Config(what.to_owned());
        let dir = self.data_dir.clone().ok_or_else(|| missing("no data_dir is set"))?;
        let listen = self.listen.clone().or_else(|| self.peers.get(&self.id).cloned());
        let listen = listen.ok_or_else(|| missing("neither listen nor an own address is set"))?;
        let (engine, path) = (self.log_engine, dir.clone());
        let opened = TokioRuntime::blocking(move || {
            let disk = Arc::new(OsDisk::open(&path)?);
            let log = open_log(engine, &path)?;
            Ok::<_, StartError>((disk, log))
        });
        let (disk, log) =
            opened.await.map_err(|e| StartError::io(format!("open {}", dir.display()), e))??;
        let (config, routes) = (self.config.clone(), self.routes.clone());
        let transport = Box::new(move |identity: &Identity| {
            Arc::new(TcpTransport::node(NodeOptions {
                cluster: identity.cluster.clone(),
                node: identity.node,
                disk: identity.disk,
                listen,
                connections_max: config.connections_max,
                client_frame_bytes_max: config.command_bytes_max + FRAME_SLACK_BYTES,
                routes,
            })) as Arc<dyn Transport>
        });
        self.start_with::<TokioRuntime>(Doors { disk, log, transport }).await
    }

    /// Starts a node in strong mode on the doors given.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with<R: Runtime>(self, doors: Doors) -> Result<Node<S>, StartError> {
        self.config.check()?;
        let Doors { disk, log, transport } = doors;
        let (identity, snapshots, snapshot, state) = {
            let (wanted, disk, log) = (self.identity::<R>(), disk.clone(), log.clone());
            let recovered = R::blocking(move || recover::<S, R>(wanted, &disk, &*log));
            recovered.await.map_err(|e| StartError::io("recover", e))??
        };
        let reached = snapshot.as_ref().and_then(|file| file.meta.last);
        tracing::info!(%identity, log = ?log.state(), snapshot = ?reached, "start");
        let transport = transport(&identity);
        let config = Arc::new(self.config);
        let store = StateMachineStore::new(state.clone(), snapshots.clone(), snapshot, log.clone());
        let raft = Raft::<R>::new(
            identity.node,
            Arc::new(raft_config(&identity, &config, self.leader_restore)?),
            Networks::new(identity.node, transport.clone(), config.clone()),
            Log::new(log.clone(), config.append_bytes_max),
            store,
        );
        let raft =
            raft.await.map_err(|e| StartError::io("start consensus", std::io::Error::other(e)))?;
        let held = Held { log: Arc::downgrade(&log), disk: Arc::downgrade(&disk) };
        let strong =
            Arc::new(Strong::new(identity, config, raft, state, transport.clone(), snapshots));
        if let Err(error) = transport.listen(Arc::new(Server(strong.clone()))).await {
            strong.stop().await;
            return Err(error);
        }
        runtime::spawn::<R>(observe::watch::<R>(strong.identity.node, strong.raft.metrics()));
        let (forming, peers) = (strong.clone(), self.peers);
        runtime::spawn::<R>(async move {
            if let Err(error) = forming.form(&peers).await {
                tracing::error!(%error, "forming the cluster failed");
            }
        });
        Ok(Node {
            handle: Handle::new(strong.clone()),
            control: Arc::new(Running { strong, held }),
            machine: PhantomData,
        })
    }

    fn identity<R: Runtime>(&self) -> Identity {
        Identity {
            cluster: self.cluster.clone(),
            node: self.id,
            disk: 1 + R::random_below(u64::MAX - 1),
            engine: self.log_engine.to_string(),
        }
    }
}

/// What stands around the largest command in a frame.
const FRAME_SLACK_BYTES: usize = 1 << 10;

type Recovered<R> = (Identity, Snapshots, Option<SnapshotFile>, Arc<SharedState<R>>);

/// Finds out who this is and what it had reached, and refuses to go on if anything is missing.
fn recover<S: StateMachine, R: Runtime>(
    wanted: Identity,
    disk: &Arc<dyn Disk>,
    log: &dyn LogStore,
) -> Result<Recovered<R>, StartError> {
    let fresh_disk = wanted.disk;
    let identity = Identity::open(&**disk, wanted)?;
    let found = log.state();
    if identity.disk == fresh_disk && found != LogState::default() {
        return Err(StartError::Foreign {
            file: disk.path("identity"),
            reason: "there is a log here, but no identity file".into(),
        });
    }
    let (snapshots, snapshot) =
        Snapshots::open(disk.clone()).map_err(|e| StartError::io("open snapshots", e))?;
    check_log(&**disk, &identity, &found, snapshot.as_ref())?;
    let state = SharedState::open(Typed::<S>::boxed(), snapshot.as_ref())
        .map_err(|e| StartError::io("load snapshot", e))?;
    Ok((identity, snapshots, snapshot, Arc::new(state)))
}

/// Whether log and snapshot together hold all that they once held. A log that is shorter than a
/// snapshot built from it, or shorter than what was committed, has lost something promised.
fn check_log(
    disk: &dyn Disk,
    identity: &Identity,
    log: &LogState,
    snapshot: Option<&SnapshotFile>,
) -> Result<(), StartError> {
    let damaged = |reason: String| {
        let file = disk.path(&identity.engine);
        StartError::Damaged(Damage { file, offset: 0, reason })
    };
    let position =
        |id: &Option<crate::storage::LogId>| id.map_or("nothing".into(), |id| id.to_string());
    let reached = snapshot.and_then(|file| file.meta.last);
    if log.purged > reached {
        return Err(damaged(format!(
            "the log begins after {}, but the newest snapshot holds {}",
            position(&log.purged),
            position(&reached)
        )));
    }
    let built = snapshot.is_some_and(|file| file.origin == SnapshotOrigin::Built);
    if built && log.last < reached {
        return Err(damaged(format!(
            "the log ends at {}, but this node's own snapshot holds {}",
            position(&log.last),
            position(&reached)
        )));
    }
    if log.committed > log.last.max(reached) {
        return Err(damaged(format!(
            "the log ends at {}, but {} was committed",
            position(&log.last),
            position(&log.committed)
        )));
    }
    Ok(())
}

/// What must be gone before the data directory is free again.
struct Held {
    log: std::sync::Weak<dyn LogStore>,
    disk: std::sync::Weak<dyn Disk>,
}

struct Running<R: Runtime> {
    strong: Arc<Strong<R>>,
    held: Held,
}

/// What a [`Node`] does with its engine, without the runtime's type.
trait Control: Send + Sync {
    fn order(&self, order: Admin) -> BoxFuture<'_, Result<(), Error>>;
    fn snapshot(&self) -> BoxFuture<'_, Result<(), Error>>;
    fn status(&self) -> Status;
    fn stopped(&self) -> BoxFuture<'_, String>;
    fn shutdown(&self) -> BoxFuture<'_, ()>;
    fn close(&self);
}

impl<R: Runtime> Control for Running<R> {
    fn order(&self, order: Admin) -> BoxFuture<'_, Result<(), Error>> {
        let deadline = R::Instant::now() + self.strong.config.snapshot_timeout;
        Box::pin(self.strong.order(order, deadline))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.strong.snapshot())
    }

    fn status(&self) -> Status {
        self.strong.status()
    }

    fn stopped(&self) -> BoxFuture<'_, String> {
        Box::pin(observe::stopped::<R>(self.strong.raft.metrics()))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.strong.leave().await;
            self.strong.stop().await;
            // openraft's tasks let go of the log and the disk a moment after it has stopped.
            let waited_since = R::Instant::now();
            while self.held.log.strong_count() + self.held.disk.strong_count() > 0
                && R::Instant::now() < waited_since + Duration::from_secs(5)
            {
                R::sleep(Duration::from_millis(1)).await;
            }
        })
    }

    fn close(&self) {
        self.strong.close();
    }
}

/// A running node. Dropping it stops serving at once, without handing the leadership over.
pub struct Node<S> {
    handle: Handle<S>,
    control: Arc<dyn Control>,
    machine: PhantomData<fn() -> S>,
}

impl<S> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.control.status().id).finish()
    }
}

impl<S> Drop for Node<S> {
    fn drop(&mut self) {
        self.control.close();
    }
}

impl<S: StateMachine> Node<S> {
    /// Begins to set up the node with this id. An id belongs to one data directory for ever.
    pub fn builder(id: u64) -> Builder<S> {
        Builder {
            id,
            cluster: "sixbells".into(),
            data_dir: None,
            peers: BTreeMap::new(),
            listen: None,
            routes: BTreeMap::new(),
            config: Config::default(),
            log_engine: LogEngine::default(),
            leader_restore: Some(false),
            machine: PhantomData,
        }
    }

    /// Reads and writes through this node.
    pub fn handle(&self) -> Handle<S> {
        self.handle.clone()
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        self.control.status()
    }

    /// Adds a node that was started with an empty data directory and no peers: first as a learner;
    /// it votes once it says itself that its state has caught up. Asking again is harmless.
    ///
    /// # Errors
    /// `Refused` for an id that was ever used with another disk. `Unknown` when it did not catch up
    /// within `Config::snapshot_timeout`: it is a learner, and asking again goes on from there.
    pub async fn add(&self, id: u64, addr: impl Into<String>) -> Result<(), Error> {
        self.control.order(Admin::Add { node: id, addr: addr.into() }).await
    }

    /// Removes a member. Its id is never used again. Removing a node that is none is harmless.
    ///
    /// # Errors
    /// `Refused` for the last voter.
    pub async fn remove(&self, id: u64) -> Result<(), Error> {
        self.control.order(Admin::Remove { node: id }).await
    }

    /// Replaces a member whose disk was lost or damaged by a new node, under a new id, in one change:
    /// the new one catches up first, and the lost one is never part of a smaller quorum.
    ///
    /// # Errors
    /// `Refused` when the new id was used before.
    pub async fn replace(&self, lost: u64, id: u64, addr: impl Into<String>) -> Result<(), Error> {
        self.control.order(Admin::Replace { lost, node: id, addr: addr.into() }).await
    }

    /// Hands the leadership over to another voter. Returns once it leads.
    ///
    /// # Errors
    /// `Unknown` when it does not lead in time; nothing is lost, and somebody will.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), Error> {
        self.control.order(Admin::TransferLeadership { to }).await
    }

    /// Takes a snapshot of this node's state now. Returns once it is durable.
    ///
    /// # Errors
    /// `Stopped` when the node has stopped.
    pub async fn snapshot(&self) -> Result<(), Error> {
        self.control.snapshot().await
    }

    /// Waits until the node has stopped because of a fault (a failed sync, damage, a panic in the
    /// machine) and returns the reason. A process that runs one node should end then, loudly.
    pub async fn stopped(&self) -> String {
        self.control.stopped().await
    }

    /// Hands the leadership over if it is here, stops, and frees the port and the data directory.
    /// Handles that are left over get [`Error::Stopped`].
    pub async fn shutdown(&self) {
        self.control.shutdown().await;
    }
}
