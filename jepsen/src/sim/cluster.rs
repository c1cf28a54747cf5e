//! A simulated cluster: real nodes on simulated hosts.
//!
//! Owns [`Cluster`]: who runs, on which disk, and what the operator has to do about it. In: starts,
//! ends and requests to nodes. Out: the nodes' own answers, and an observation for each end that a
//! node came to by itself.
//!
//! Invariants
//! - whatever is asked of a node runs on its host, by its clock, and ends with it;
//! - a node that ended is started again, until it is retired;
//! - a node may stop by itself only while it has been given a reason to.
//!
//! Does not: decide what breaks. The [`nemesis`](super::nemesis) does.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sixbells::{Builder, Mode, Node, StartError, StateMachine, runtime::AsyncRuntime};
use tokio::sync::oneshot;

use super::{
    Host, Observation, SimRuntime,
    bug::Bug,
    disk::SimDisk,
    network::{Links, SimNetwork},
    plan::Plan,
    process::{Running, doors},
    witness::Subject,
    world,
};
use crate::digest::digest;

/// The name of every simulated cluster.
pub const CLUSTER: &str = "simulated";

/// One host with its disk.
struct Server<S: StateMachine> {
    disk: SimDisk,
    running: Option<Running<S>>,
    /// Counts its processes.
    life: u64,
    starting: bool,
    /// Not to be started before.
    down_until: Duration,
    /// Not to be started again: it left the cluster, or lost its disk.
    retired: bool,
    /// The process that was given a reason to stop: its disk failed on purpose.
    excused: Option<u64>,
    /// The file on its disk that is damaged: it must refuse to start.
    rotten: Option<String>,
    /// Whether it was one of the initial members.
    initial: bool,
}

/// The nodes, as their operator sees them.
pub struct Cluster<S: StateMachine> {
    /// What connects them.
    pub network: SimNetwork,
    plan: Plan,
    bug: Option<Bug>,
    servers: Mutex<BTreeMap<Host, Server<S>>>,
    /// The node whose disk was lost, until another has taken its place.
    lost: Mutex<Option<Host>>,
}

impl<S: StateMachine> fmt::Debug for Cluster<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("servers", &self.lock().len()).finish_non_exhaustive()
    }
}

/// Where a node listens.
pub fn address(node: Host) -> String {
    format!("node-{node}:1")
}

impl<S: StateMachine> Cluster<S> {
    /// A cluster of which nothing runs yet.
    pub fn new(plan: &Plan, bug: Option<Bug>) -> Arc<Self> {
        let network = SimNetwork::new(plan.links.clone());
        let cluster = Self {
            network,
            plan: plan.clone(),
            bug,
            servers: Mutex::default(),
            lost: Mutex::default(),
        };
        for node in 1..=plan.nodes {
            cluster.rack(node, true);
        }
        Arc::new(cluster)
    }

    /// What it promises.
    pub(super) fn mode(&self) -> Mode {
        self.plan.mode
    }

    /// What links are like when nothing is wrong.
    pub(super) fn calm_links(&self) -> Links {
        self.plan.links.clone()
    }

    /// How many nodes formed the cluster.
    pub(super) fn began_with(&self) -> u64 {
        self.plan.nodes
    }

    /// Whether a node was one of those that formed the cluster.
    pub(super) fn is_initial(&self, node: Host) -> bool {
        self.lock().get(&node).is_some_and(|server| server.initial)
    }

    /// The node whose disk is gone for good, until another has taken its place.
    pub(super) fn lost(&self) -> MutexGuard<'_, Option<Host>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Host, Server<S>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a new host with an empty disk in place.
    pub(super) fn rack(&self, node: Host, initial: bool) {
        let server = Server {
            disk: SimDisk::new(node, self.plan.sync.clone()),
            running: None,
            life: 0,
            starting: false,
            down_until: Duration::ZERO,
            retired: false,
            excused: None,
            rotten: None,
            initial,
        };
        self.lock().insert(node, server);
    }

    /// Every node that there is or ever was.
    pub fn all(&self) -> Vec<Host> {
        self.lock().keys().copied().collect()
    }

    /// The nodes that are meant to run.
    pub fn wanted(&self) -> Vec<Host> {
        self.lock().iter().filter(|(_, s)| !s.retired).map(|(node, _)| *node).collect()
    }

    /// Whether a node runs.
    pub fn is_up(&self, node: Host) -> bool {
        self.lock().get(&node).is_some_and(|server| server.running.is_some())
    }

    /// A node's disk.
    pub fn disk(&self, node: Host) -> Option<SimDisk> {
        self.lock().get(&node).map(|server| server.disk.clone())
    }

    pub(super) fn running(&self, node: Host) -> Option<Running<S>> {
        self.lock().get(&node).and_then(|server| server.running.clone())
    }

    /// The process that runs has a reason to stop by itself from now on; the next one only as long as
    /// the reason is there.
    pub fn excuse(&self, node: Host) {
        if let Some(server) = self.lock().get_mut(&node) {
            server.excused = Some(server.life);
        }
    }

    /// A file on this node's disk is damaged.
    pub fn rotten(&self, node: Host, file: String) {
        if let Some(server) = self.lock().get_mut(&node) {
            server.rotten = Some(file);
        }
    }

    fn builder(&self, node: Host) -> Builder<Subject<S>> {
        let mut builder =
            Node::builder(node).cluster(CLUSTER).listen(address(node)).config(self.plan.config());
        // A cluster that began as one node has nobody who would tell it, on an empty disk, that it is
        // there already. Its operator must not say that it forms one.
        let alone = self.plan.nodes == 1 && *self.lost() == Some(node);
        if self.is_initial(node) && !alone {
            builder = builder.peers((1..=self.plan.nodes).map(|peer| (peer, address(peer))));
        }
        builder
    }

    /// Starts a node's process, and returns once it runs or has ended.
    pub async fn start(self: &Arc<Self>, node: Host) {
        let lost = *self.lost();
        let (disk, life) = {
            let mut servers = self.lock();
            let Some(server) = servers.get_mut(&node) else { return };
            if server.running.is_some() || server.starting {
                return;
            }
            server.starting = true;
            server.life += 1;
            if lost == Some(node) || (server.excused.is_some() && server.disk.is_failing()) {
                server.excused = Some(server.life);
            }
            (server.disk.clone(), server.life)
        };
        world::reach("a node started");
        world::boot(node);
        disk.boot();
        let (builder, network, bug) = (self.builder(node), self.network.clone(), self.bug);
        let mode = self.plan.mode;
        let (sender, receiver) = oneshot::channel();
        world::spawn_on(node, async move {
            let started = match doors(node, disk, network, bug) {
                Ok(doors) => Running::start(builder, doors, mode).await,
                Err(error) => Err(error),
            };
            drop(sender.send(started));
        });
        let started = receiver.await;
        self.started(node, life, started.ok());
    }

    fn started(
        self: &Arc<Self>,
        node: Host,
        life: u64,
        started: Option<Result<Running<S>, StartError>>,
    ) {
        let running = {
            let mut servers = self.lock();
            let Some(server) = servers.get_mut(&node) else { return };
            if server.life != life {
                // Killed meanwhile, and perhaps begun again.
                None
            } else {
                server.starting = false;
                match started {
                    Some(Ok(running)) => {
                        server.running = Some(running.clone());
                        Some(Ok(running))
                    }
                    Some(Err(error)) => Some(Err(error.to_string())),
                    None => None,
                }
            }
        };
        let rotten = self.lock().get(&node).and_then(|server| server.rotten.clone());
        if let (Some(Ok(_)), Some(file)) = (&running, rotten) {
            let reason = format!("started, and did not notice the damage in {file}");
            world::observe(&Observation::Failed { node, reason, expected: false });
        }
        match running {
            Some(Ok(running)) => self.watch(node, life, running),
            Some(Err(reason)) => self.failed(node, &reason),
            None => {}
        }
    }

    /// Notices when a node stops by itself.
    fn watch(self: &Arc<Self>, node: Host, life: u64, running: Running<S>) {
        let (sender, receiver) = oneshot::channel();
        world::spawn_on(node, async move {
            let reason = running.stopped().await;
            drop(running);
            drop(sender.send(reason));
        });
        let cluster = Arc::clone(self);
        world::spawn_on(world::HARNESS, async move {
            if let Ok(reason) = receiver.await
                && cluster.lock().get(&node).is_some_and(|s| s.life == life && s.running.is_some())
            {
                cluster.failed(node, &reason);
            }
        });
    }

    /// A node has ended by itself, or did not want to start.
    fn failed(&self, node: Host, reason: &str) {
        let excused = |server: &Server<S>| server.excused == Some(server.life);
        let expected = self.lock().get(&node).is_some_and(excused);
        world::trace("failed", digest(reason), || format!("node {node}: {reason}"));
        world::reach("a node stopped by itself");
        let reason = format!("stopped by itself: {reason}");
        world::observe(&Observation::Failed { node, reason, expected });
        self.end(node, world::now() + Duration::from_millis(300));
        if let Some(disk) = self.disk(node) {
            disk.exit();
        }
    }

    /// Ends a node's process, whatever it does; it is started again after `until`.
    fn end(&self, node: Host, until: Duration) {
        let running = {
            let mut servers = self.lock();
            let Some(server) = servers.get_mut(&node) else { return };
            server.starting = false;
            // What comes of a start under way is not wanted any more.
            server.life += 1;
            server.down_until = server.down_until.max(until);
            server.running.take()
        };
        world::kill(node);
        self.network.unplug(node);
        world::on(node, || drop(running));
        world::trace("ended", node, || format!("node {node}"));
        world::observe(&Observation::Ended { node });
    }

    /// kill -9.
    pub fn kill(&self, node: Host, until: Duration) {
        self.end(node, until);
        if let Some(disk) = self.disk(node) {
            disk.exit();
        }
    }

    /// Power loss.
    pub fn power_off(&self, node: Host, until: Duration) {
        self.end(node, until);
        if let Some(disk) = self.disk(node) {
            disk.crash();
        }
    }

    /// A host that ended in the middle of what its disk did.
    fn power_failed(&self, node: Host) {
        self.end(node, world::now() + Duration::from_millis(200));
    }

    /// Shuts a node down in good order.
    /// `false` if it did not come to an end in time.
    pub async fn shut_down(self: &Arc<Self>, node: Host, until: Duration) -> bool {
        let runs = self.running(node).is_some();
        if let Some(server) = self.lock().get_mut(&node) {
            server.down_until = server.down_until.max(until);
            // That it stops now is what was asked for.
            server.life += 1;
        }
        let ended = self.ask_any(node, |running| async move { running.shutdown().await }).await;
        self.kill(node, until);
        ended.is_some() || !runs
    }

    /// Never starts a node again.
    pub fn retire(&self, node: Host) {
        self.kill(node, Duration::ZERO);
        if let Some(server) = self.lock().get_mut(&node) {
            server.retired = true;
        }
    }

    /// Lets every node be started at once.
    pub fn heal(&self) {
        for server in self.lock().values_mut() {
            server.down_until = Duration::ZERO;
            server.disk.heal();
        }
    }

    /// Starts what is down and should not be. Ends with the run.
    pub async fn supervise(self: Arc<Self>) {
        loop {
            SimRuntime::sleep(Duration::from_millis(100)).await;
            for node in self.wanted() {
                let (up, due) = {
                    let servers = self.lock();
                    let Some(server) = servers.get(&node) else { continue };
                    let up = server.running.is_some() || server.starting;
                    (up, server.down_until <= world::now())
                };
                if up && !world::is_alive(node) {
                    self.power_failed(node);
                } else if !up && due {
                    let cluster = Arc::clone(&self);
                    world::spawn_on(world::HARNESS, async move { cluster.start(node).await });
                }
            }
        }
    }
}
