//! Setting a node up: the wiring diagram in code.
//!
//! Owns [`Builder`], which puts the doors, the consensus engine and the state together. Whoever wants
//! to know what talks to what reads [`Builder::start_with`].
//!
//! ```text
//!   Handle ---> Strong ---> openraft ---> Log ---------> LogStore (wal, sled, memory)
//!   clients -->   |            |  \-----> Networks ----> Transport (tcp, simulated)
//!   (Server)      \-- reads    \--------> StateMachineStore -> Applier = Machine + Sessions
//!                       \-> SharedState <--------/    \-> Snapshots -> Disk
//! ```
//!
//! Invariants: a node that does not start has served nothing, and holds neither port nor directory.
//!
//! Does not: choose the user's runtime or read configuration files.

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::Config,
    error::StartError,
    eventual::{self, Eventual, EventualNode},
    hashes::Hashes,
    machine::{StateMachine, Typed},
    node::{Held, Node},
    recovery,
    runtime::{self, Runtime, Threads, TokioRuntime},
    storage::{Disk, Identity, LogEngine, LogStore, OsDisk, open_log},
    strong::{Log, Networks, Pace, Raft, Server, StateMachineStore, Strong, observe, raft_config},
    transport::{
        Transport,
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
    log_engine: Option<LogEngine>,
    machine: PhantomData<fn() -> S>,
}

impl<S: StateMachine> Builder<S> {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            cluster: "sixbells".into(),
            data_dir: None,
            peers: BTreeMap::new(),
            listen: None,
            routes: BTreeMap::new(),
            config: Config::default(),
            log_engine: None,
            machine: PhantomData,
        }
    }

    /// The directory for log and snapshots. It belongs to this node alone and is created if need be.
    pub fn data_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.data_dir = Some(dir.as_ref().to_owned());
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

    /// The log engine. Fixed once the data directory was used. Default [`LogEngine::Wal`], and in
    /// eventual mode [`LogEngine::Sled`].
    pub fn log_engine(mut self, engine: LogEngine) -> Self {
        self.log_engine = Some(engine);
        self
    }

    /// Starts a node in strong mode on the real disk, network and clock, and on threads of its own. Needs a tokio
    /// runtime to be called on.
    ///
    /// Returns once the node listens; writes wait for the first leader by themselves.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong; nothing was served.
    pub async fn start(self) -> Result<Node<S>, StartError> {
        self.config.check()?;
        let threads = Threads::start(self.config.threads)?;
        let started = threads.run(async move {
            let engine = self.strong_engine();
            let doors = self.doors(engine, engine.to_string()).await?;
            self.start_with::<TokioRuntime>(doors).await
        });
        Ok(started.await?.on(threads))
    }

    /// Starts a node in strong mode on the doors given.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with<R: Runtime>(self, doors: Doors) -> Result<Node<S>, StartError> {
        self.config.check()?;
        let Doors { disk, log, transport } = doors;
        let (identity, snapshots, snapshot, state) = {
            let wanted = self.identity::<R>(self.strong_engine().to_string());
            let (disk, log) = (disk.clone(), log.clone());
            let recovered = R::blocking(move || recovery::recover::<S, R>(wanted, &disk, &*log));
            recovered.await.map_err(|e| StartError::io("recover", e))??
        };
        let reached = snapshot.as_ref().and_then(|file| file.meta.last);
        tracing::info!(%identity, log = ?log.state(), snapshot = ?reached, "start");
        let transport = transport(&identity);
        let config = Arc::new(self.config);
        let hashes = Hashes::every(config.state_hash_entries);
        let pace = Pace::every(config.snapshot_bytes);
        let (kept, watchers) = (snapshots.clone(), (hashes.clone(), pace.clone()));
        let store = StateMachineStore::new(state.clone(), kept, snapshot, log.clone(), watchers);
        let raft = Raft::<R>::new(
            identity.node,
            Arc::new(raft_config(&identity, &config)?),
            Networks::new(identity.node, transport.clone(), config.clone()),
            Log::new(log.clone(), config.append_bytes_max),
            store,
        );
        let held = Held::new(log, disk);
        let raft = match raft.await {
            Ok(raft) => raft,
            Err(error) => {
                held.release::<R>().await;
                return Err(StartError::io("start consensus", std::io::Error::other(error)));
            }
        };
        let strong = Arc::new(Strong::new(
            identity,
            config,
            raft,
            (state, hashes, pace),
            transport.clone(),
            snapshots,
            Typed::<S>::accepts,
        ));
        if let Err(error) = transport.listen(Arc::new(Server(strong.clone()))).await {
            strong.stop().await;
            held.release::<R>().await;
            return Err(error);
        }
        runtime::spawn::<R>(observe::watch::<R>(strong.identity.node, strong.raft.metrics()));
        runtime::spawn::<R>(strong.clone().propose_submitted());
        runtime::spawn::<R>(strong.clone().keep_pace());
        runtime::spawn::<R>(strong.clone().agree());
        let (forming, peers) = (strong.clone(), self.peers);
        runtime::spawn::<R>(async move {
            if let Err(error) = forming.form(&peers).await {
                tracing::error!(%error, "forming the cluster failed");
            }
        });
        Ok(Node::running(strong, held))
    }

    fn strong_engine(&self) -> LogEngine {
        self.log_engine.unwrap_or_default()
    }

    fn eventual_engine(&self) -> LogEngine {
        self.log_engine.unwrap_or(LogEngine::Sled)
    }

    fn identity<R: Runtime>(&self, engine: String) -> Identity {
        let disk = 1 + R::random_below(u64::MAX - 1);
        Identity { cluster: self.cluster.clone(), node: self.id, disk, engine }
    }

    /// The real doors of a node whose log is called so in its identity.
    async fn doors(&self, engine: LogEngine, name: String) -> Result<Doors, StartError> {
        let dir = self.data_dir.clone().ok_or_else(|| missing("no data_dir is set"))?;
        let transport = self.tcp()?;
        let wanted = self.identity::<TokioRuntime>(name);
        let (disk, log) = open_disk(engine, dir, wanted).await?;
        Ok(Doors { disk, log, transport })
    }

    /// What makes the real network door.
    fn tcp(&self) -> Result<MakeTransport, StartError> {
        let listen = self.listen.clone().or_else(|| self.peers.get(&self.id).cloned());
        let listen = listen.ok_or_else(|| missing("neither listen nor an own address is set"))?;
        let (config, routes) = (self.config.clone(), self.routes.clone());
        Ok(Box::new(move |identity: &Identity| {
            let options = NodeOptions {
                cluster: identity.cluster.clone(),
                node: identity.node,
                disk: identity.disk,
                listen,
                connections_max: config.connections_max,
                client_frame_bytes_max: config.command_bytes_max + FRAME_SLACK_BYTES,
                routes,
            };
            Arc::new(TcpTransport::node(options)) as Arc<dyn Transport>
        }))
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
        self.config.check()?;
        let threads = Threads::start(self.config.threads)?;
        let started = threads.run(async move {
            let engine = self.eventual_engine();
            let doors = self.doors(engine, eventual_name(engine)).await?;
            self.start_eventual_with::<TokioRuntime>(doors).await
        });
        Ok(started.await?.on(threads))
    }

    /// Starts a node in eventual mode on the doors given.
    ///
    /// # Errors
    /// As [`start_eventual`](Self::start_eventual).
    pub async fn start_eventual_with<R: Runtime>(
        self,
        doors: Doors,
    ) -> Result<EventualNode<S>, StartError> {
        self.config.check()?;
        if !self.peers.contains_key(&self.id) {
            return Err(missing("the peers do not hold this node itself"));
        }
        let Doors { disk, log, transport } = doors;
        let wanted = self.identity::<R>(eventual_name(self.eventual_engine()));
        let opened = R::blocking(move || {
            let identity = Identity::open(&*disk, wanted)?;
            let transport = transport(&identity);
            let config = Arc::new(self.config);
            let stored = (log, disk);
            let eventual =
                Eventual::<R>::open::<S>(identity, config, self.peers, stored, transport.clone())?;
            Ok::<_, StartError>((Arc::new(eventual), transport))
        });
        let (eventual, transport) = opened.await.map_err(|e| StartError::io("recover", e))??;
        if let Err(error) = transport.listen(Arc::new(eventual::Server(eventual.clone()))).await {
            eventual.stop().await;
            return Err(error);
        }
        tracing::info!(%eventual.identity, "start in eventual mode");
        eventual.speak();
        Ok(EventualNode::running(eventual))
    }
}

/// A log engine's name in the identity of a node in eventual mode: its log means something else.
fn eventual_name(engine: LogEngine) -> String {
    format!("eventual-{engine}")
}

/// Opens the real disk and log of a node.
async fn open_disk(
    engine: LogEngine,
    dir: PathBuf,
    wanted: Identity,
) -> Result<(Arc<dyn Disk>, Arc<dyn LogStore>), StartError> {
    let path = dir.clone();
    let opened = TokioRuntime::blocking(move || {
        let disk = Arc::new(OsDisk::open(&path)?);
        // The identity is looked at first, for opening a log that is not there creates one. It is
        // written last, so where it is, a log was.
        if Identity::find(&*disk, &wanted)?.is_some() {
            recovery::require_log(&path.join(engine.to_string()))?;
        }
        let log = open_log(engine, &path)?;
        Ok::<_, StartError>((disk as Arc<dyn Disk>, log))
    });
    opened.await.map_err(|e| StartError::io(format!("open {}", dir.display()), e))?
}

fn missing(what: &str) -> StartError {
    StartError::Config(what.to_owned())
}

/// Room in a frame beyond the largest command: for what stands around it, and so that a command a
/// little too large is answered with `TooLarge` and not with a closed connection.
const FRAME_SLACK_BYTES: usize = 64 << 10;
