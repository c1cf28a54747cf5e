//! A cluster of real processes on this machine, with a proxy on every link between two nodes.
//!
//! In go the number of nodes, their mode, a log engine and where to keep logs and data; out comes a
//! [`Cluster`], which is the nemesis' [`Target`] and knows where clients find each node. The nodes
//! are this very program, started as its hidden command `node`.
//!
//! ```text
//!   client ----------------------------> node 2
//!   node 1 ---> proxy of link 1->2 ----> node 2      (node 1 runs with --route 2=<that proxy>)
//! ```
//!
//! Invariants:
//! - clients reach nodes directly: a partition cuts the nodes from each other, not from their
//!   clients, which is how stale answers become visible;
//! - a node keeps its address over all restarts, and no outgoing connection can take it meanwhile;
//! - a node that ends by itself is entered in [`Cluster::deaths`], and never an error of a method:
//!   it is a finding about the node, not a failure of the harness;
//! - dropping the cluster kills every process.

mod ports;
mod process;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use sixbells::{Client, ClientConfig, EventualStatus, LogEngine, Mode, Role, Status};
use tokio::process::Command as Spawn;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::process::Process;
pub use self::process::{Death, Deaths};
use crate::journal::PROBES;
use crate::machine::{Command, Workbench};
use crate::nemesis::{Link, Target};
use crate::proxy::{self, Proxy};
use crate::store::RunFolder;
use crate::subject::{Numbered, Subject};

/// How long a node may take to say how it is; one that is paused says nothing.
const STATUS_MAX: Duration = Duration::from_millis(500);
/// How long a request of a client takes at most. Longer than a failover, so that most requests live
/// through one, and shorter than most partitions, so that these show in the history.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// The machine that every node replicates: the workloads' own, which keeps the order of its commands.
pub type Tested = Subject<Workbench>;

/// What a cluster is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many nodes; their ids count from 1.
    pub nodes: u64,
    /// What they promise.
    pub mode: Mode,
    /// What keeps their logs.
    pub engine: LogEngine,
}

/// Running nodes.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    mode: Mode,
    members: BTreeMap<u64, Member>,
    links: BTreeMap<Link, Proxy>,
    /// The links cut now, each with what its proxy had counted when it was cut.
    cut: Lock<BTreeMap<Link, u64>>,
    /// Asks nodes how they are.
    asker: Client<Tested>,
    /// The number of the next probe.
    probes: AtomicU64,
    deaths: Arc<Deaths>,
}

/// How a node says it is.
#[derive(Clone, Debug)]
pub enum State {
    /// In strong mode.
    Strong(Box<Status>),
    /// In eventual mode.
    Eventual(Box<EventualStatus>),
}

impl State {
    async fn of(asker: Client<Tested>, mode: Mode, address: String) -> Option<Self> {
        match mode {
            Mode::Strong => asker.status_of(address).await.ok().map(Box::new).map(Self::Strong),
            Mode::Eventual => {
                asker.eventual_status_of(address).await.ok().map(Box::new).map(Self::Eventual)
            }
        }
    }
}

#[derive(Debug)]
struct Member {
    address: SocketAddr,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Cluster {
    /// Starts all nodes on empty directories. They may not have elected a leader yet.
    ///
    /// # Errors
    /// If there is no free port or no process can be started.
    pub async fn start(plan: Plan, folder: &RunFolder) -> anyhow::Result<Self> {
        let name = format!("jepsen-{}", std::process::id());
        let ids: Vec<u64> = (1..=plan.nodes).collect();
        let addresses: BTreeMap<u64, SocketAddr> =
            ids.iter().copied().zip(ports::free(ids.len())?).collect();
        let mut links = BTreeMap::new();
        for (from, to) in ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to))) {
            if from != to {
                links.insert(Link { from, to }, Proxy::listen(addresses[&to]).await?);
            }
        }
        let program = std::env::current_exe().context("find this program")?;
        let member = |id: &u64| {
            let member = Member {
                address: addresses[id],
                program: program.clone(),
                arguments: arguments(*id, plan, &name, folder, &addresses, &links),
                log: folder.node_log(*id),
                process: Mutex::new(None),
            };
            (*id, member)
        };
        let members = ids.iter().map(member).collect();
        let deaths = Arc::new(Deaths::default());
        let config = ClientConfig {
            cluster: name.clone(),
            mode: plan.mode,
            attempt_timeout: STATUS_MAX,
            ..ClientConfig::default()
        };
        let all = addresses.values().map(SocketAddr::to_string);
        let asker = Client::connect(all, config).await?;
        let (mode, cut, probes) = (plan.mode, Lock::default(), AtomicU64::new(PROBES));
        let cluster = Self { name, mode, members, links, cut, asker, probes, deaths };
        for id in ids {
            cluster.start(id).await?;
        }
        Ok(cluster)
    }

    /// What the nodes promise.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The ends that nobody ordered.
    pub fn deaths(&self) -> &Deaths {
        &self.deaths
    }

    /// A client that asks `first`, and where that does not do, those that follow it.
    ///
    /// # Errors
    /// If there are no nodes.
    pub async fn client(&self, first: u64) -> anyhow::Result<Client<Tested>> {
        let mut ids: Vec<u64> = self.members.keys().copied().collect();
        ids.sort_by_key(|id| (*id < first, *id));
        self.connect(&ids).await
    }

    /// A client that knows one node only, and others by its word.
    ///
    /// # Errors
    /// If there is no such node.
    pub async fn client_of(&self, node: u64) -> anyhow::Result<Client<Tested>> {
        self.connect(&[node]).await
    }

    async fn connect(&self, ids: &[u64]) -> anyhow::Result<Client<Tested>> {
        let config = ClientConfig {
            cluster: self.name.clone(),
            mode: self.mode,
            deadline: DEADLINE,
            ..ClientConfig::default()
        };
        let addresses = ids.iter().filter_map(|id| self.members.get(id));
        let addresses = addresses.map(|member| member.address.to_string());
        Ok(Client::connect(addresses, config).await?)
    }

    /// How one node is, if it can say so.
    pub async fn state(&self, node: u64) -> Option<State> {
        let address = self.members.get(&node)?.address.to_string();
        State::of(self.asker.clone(), self.mode, address).await
    }

    /// How the nodes are that can say so.
    pub async fn states(&self) -> BTreeMap<u64, State> {
        let mut asking = JoinSet::new();
        for (id, member) in &self.members {
            let (id, mode) = (*id, self.mode);
            let (asker, address) = (self.asker.clone(), member.address.to_string());
            asking.spawn(async move { Some((id, State::of(asker, mode, address).await?)) });
        }
        asking.join_all().await.into_iter().flatten().collect()
    }

    /// Waits until a fresh write succeeds through every node, at most this long. Returns how long
    /// it took.
    ///
    /// # Errors
    /// Which node does not serve, and why not.
    pub async fn serves(&self, within: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        for id in self.members.keys() {
            let client = self.client_of(*id).await?;
            while let Err(error) = client.write(self.probe()).await {
                anyhow::ensure!(
                    began.elapsed() < within,
                    "no write succeeds through node {id} after {} s: {error}",
                    within.as_secs()
                );
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(began.elapsed())
    }

    fn probe(&self) -> Numbered<Workbench> {
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        Numbered { number, command: Command::Nothing }
    }

    /// The ids of the processes that run now.
    pub async fn processes(&self) -> Vec<i32> {
        let mut ids = Vec::new();
        for member in self.members.values() {
            let process = member.process.lock().await;
            ids.extend(process.as_ref().filter(|p| p.is_running()).map(Process::id));
        }
        ids
    }

    /// Ends all nodes: they are asked to shut down, together, and have some seconds to do so.
    pub async fn close(&self) {
        let mut closing = JoinSet::new();
        for member in self.members.values() {
            if let Some(process) = member.process.lock().await.take() {
                closing.spawn(process.close());
            }
        }
        closing.join_all().await;
    }

    /// Ends all nodes at once.
    pub async fn kill_all(&self) {
        for member in self.members.values() {
            if let Some(process) = member.process.lock().await.take() {
                process.kill().await;
            }
        }
    }

    fn member(&self, node: u64) -> anyhow::Result<&Member> {
        self.members.get(&node).with_context(|| format!("there is no node {node}"))
    }

    /// Nothing is left half done by a task that panicked while it held this.
    fn cut(&self) -> MutexGuard<'_, BTreeMap<Link, u64>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn arguments(
    id: u64,
    plan: Plan,
    cluster: &str,
    folder: &RunFolder,
    addresses: &BTreeMap<u64, SocketAddr>,
    links: &BTreeMap<Link, Proxy>,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["node", "--id"].map(OsString::from).to_vec();
    let mut add = |argument: String| arguments.push(argument.into());
    add(id.to_string());
    add(format!("--cluster={cluster}"));
    add(format!("--mode={}", plan.mode));
    add(format!("--log={}", plan.engine));
    for (peer, address) in addresses {
        add(format!("--peer={peer}={address}"));
    }
    for (link, proxy) in links.iter().filter(|(link, _)| link.from == id) {
        add(format!("--route={}={}", link.to, proxy.address()));
    }
    arguments.push("--dir".into());
    arguments.push(folder.node_data(id).into());
    arguments
}

impl Target for Cluster {
    fn nodes(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    /// The leader of the latest term: one that is cut off goes on calling itself leader. Where nobody
    /// leads, the first that answers.
    async fn leader(&self) -> Option<u64> {
        let states = self.states().await;
        let leader = states.iter().filter_map(|(node, state)| match state {
            State::Strong(status) => (status.role == Role::Leader).then_some((status.term, *node)),
            State::Eventual(_) => Some((0, *node)),
        });
        leader.min_by_key(|(term, node)| (Reverse(*term), *node)).map(|(_, node)| node)
    }

    async fn kill(&self, node: u64) -> anyhow::Result<()> {
        if let Some(process) = self.member(node)?.process.lock().await.take() {
            process.kill().await;
        }
        Ok(())
    }

    async fn start(&self, node: u64) -> anyhow::Result<()> {
        let member = self.member(node)?;
        let mut process = member.process.lock().await;
        if process.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&member.log);
        let log = log.with_context(|| format!("open {}", member.log.display()))?;
        let mut command = Spawn::new(&member.program);
        command.args(&member.arguments).stdout(log.try_clone()?).stderr(log);
        *process = Some(Process::spawn(node, &mut command, &self.deaths)?);
        Ok(())
    }

    async fn pause(&self, node: u64) -> anyhow::Result<()> {
        match &*self.member(node)?.process.lock().await {
            Some(process) if process.is_running() => process.pause().await,
            _ => Ok(()),
        }
    }

    async fn resume(&self, node: u64) -> anyhow::Result<()> {
        match &*self.member(node)?.process.lock().await {
            Some(process) if process.is_running() => process.resume(),
            _ => Ok(()),
        }
    }

    async fn block(&self, links: &BTreeSet<Link>) -> anyhow::Result<()> {
        let mut cut = self.cut();
        cut.clear();
        for (link, proxy) in &self.links {
            if links.contains(link) {
                cut.insert(*link, proxy.counts().affected());
                proxy.set_mode(proxy::Mode::Blackhole);
            } else {
                proxy.set_mode(proxy::Mode::Pass);
            }
        }
        anyhow::ensure!(cut.len() == links.len(), "{links:?} are not all links of this cluster");
        Ok(())
    }

    async fn heal(&self) -> anyhow::Result<u64> {
        let mut cut = self.cut();
        let mut held_back = 0;
        for (link, before) in std::mem::take(&mut *cut) {
            let proxy = &self.links[&link];
            held_back += proxy.counts().affected() - before;
            proxy.set_mode(proxy::Mode::Pass);
        }
        Ok(held_back)
    }
}
