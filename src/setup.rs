//! Setting a node up, whatever machine it replicates: the wiring diagram in code.
//!
//! Owns [`Setup`], which puts the doors, the consensus engine and the state together. Whoever wants
//! to know what talks to what reads [`Setup::strong`].
//!
//! ```text
//!   Handle ---> Strong ---> openraft ---> Log ---------> LogStore (wal, sled, memory)
//!   clients -->   |            |  \-----> Networks ----> Transport (tcp, simulated)
//!   (Server)      \-- reads    \--------> StateMachineStore -> Applier = Machine + Sessions
//!                       \-> SharedState <--------/    \-> Snapshots -> Disk
//! ```
//!
//! Invariants
//! - A node that does not start has served nothing, and holds neither port nor directory.
//! - Here is no user's type. So a node on the real doors is compiled once, in this crate, and not again by every program
//!   that starts one: openraft and all that stands on it are generic in the runtime.
//!
//! Does not: choose the user's runtime or read configuration files.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use crate::{
    config::Config,
    error::StartError,
    eventual::{self, Eventual, RunningEventual},
    hashes::Hashes,
    machine::Erased,
    node::{Held, Running},
    recovery,
    runtime::{self, Runtime, Threads, TokioRuntime},
    storage::{Disk, Identity, LogEngine, LogStore, OsDisk, open_log},
    strong::{Log, Networks, Pace, Raft, Server, StateMachineStore, Strong, observe, raft_config},
    transport::{
        BoxFuture, Transport,
        tcp::{NodeOptions, TcpTransport},
    },
};

/// Makes the network door of the node with this identity.
pub type MakeTransport = Box<dyn FnOnce(&Identity) -> Arc<dyn Transport> + Send>;

/// What a node needs of the outside world. [`Builder::start`](crate::Builder::start) brings the real ones; a test kit
/// brings simulated ones to [`Builder::start_with`](crate::Builder::start_with).
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

/// Boxed, for what an `async fn` does is compiled wherever it is waited for.
type Starting<T> = BoxFuture<'static, Result<T, StartError>>;

/// Who a node is, where its data and its peers are, and its limits.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) id: u64,
    pub(crate) cluster: String,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) peers: BTreeMap<u64, String>,
    pub(crate) listen: Option<String>,
    pub(crate) routes: BTreeMap<u64, String>,
    pub(crate) config: Config,
    pub(crate) log_engine: Option<LogEngine>,
}

impl Setup {
    /// Starts a node in strong mode on the real doors, and on threads of its own.
    pub(crate) fn real_strong(self, machine: Erased) -> Starting<Running> {
        Box::pin(async move {
            self.config.check()?;
            let started = Threads::begin(self.config.threads, async move || {
                let engine = self.strong_engine();
                let doors = self.doors(engine, engine.to_string()).await?;
                self.strong::<TokioRuntime>(machine, doors).await
            });
            let (running, threads) = started.await?;
            Ok(running.on(threads))
        })
    }

    /// Starts a node in strong mode on the doors given.
    pub(crate) async fn strong<R: Runtime>(
        self,
        machine: Erased,
        doors: Doors,
    ) -> Result<Running, StartError> {
        self.config.check()?;
        let Doors { disk, log, transport } = doors;
        let (identity, snapshots, snapshot, state) = {
            let wanted = self.identity::<R>(self.strong_engine().to_string());
            let (disk, log) = (disk.clone(), log.clone());
            let recovered =
                R::blocking(move || recovery::recover::<R>(machine, wanted, &disk, &*log));
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
            machine.accepts,
        ));
        if let Err(error) = transport.listen(Arc::new(Server(strong.clone()))).await {
            strong.stop().await;
            held.release::<R>().await;
            return Err(error);
        }
        live(&strong, self.peers);
        Ok(Running::new(strong, held))
    }

    /// Starts a node in eventual mode on the real doors, and on threads of its own.
    pub(crate) fn real_eventual(self, machine: Erased) -> Starting<RunningEventual> {
        Box::pin(async move {
            self.config.check()?;
            let started = Threads::begin(self.config.threads, async move || {
                let engine = self.eventual_engine();
                let doors = self.doors(engine, eventual_name(engine)).await?;
                self.eventual::<TokioRuntime>(machine, doors).await
            });
            let (running, threads) = started.await?;
            Ok(running.on(threads))
        })
    }

    /// Starts a node in eventual mode on the doors given.
    pub(crate) async fn eventual<R: Runtime>(
        self,
        machine: Erased,
        doors: Doors,
    ) -> Result<RunningEventual, StartError> {
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
            let peers = self.peers;
            let eventual =
                Eventual::<R>::open(machine, identity, config, peers, stored, transport.clone())?;
            Ok::<_, StartError>((Arc::new(eventual), transport))
        });
        let (eventual, transport) = opened.await.map_err(|e| StartError::io("recover", e))??;
        if let Err(error) = transport.listen(Arc::new(eventual::Server(eventual.clone()))).await {
            eventual.stop().await;
            return Err(error);
        }
        tracing::info!(%eventual.identity, "start in eventual mode");
        eventual.speak();
        Ok(RunningEventual::new(eventual))
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
}

/// What a node in strong mode does by itself.
fn live<R: Runtime>(strong: &Arc<Strong<R>>, peers: BTreeMap<u64, String>) {
    runtime::spawn::<R>(observe::watch::<R>(strong.identity.node, strong.raft.metrics()));
    runtime::spawn::<R>(strong.clone().propose_submitted());
    runtime::spawn::<R>(strong.clone().keep_pace());
    runtime::spawn::<R>(strong.clone().agree());
    let forming = strong.clone();
    runtime::spawn::<R>(async move {
        if let Err(error) = forming.form(&peers).await {
            tracing::error!(%error, "forming the cluster failed");
        }
    });
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
