//! A cluster in one thread, on in-memory doors: what the stories are told with.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sixbells::{
    Builder, Config, Doors, Error, Node, Role, StartError, StateMachine, Status,
    runtime::{AsyncRuntime, Instant, TokioRuntime},
    storage::{Disk, MemoryDisk, MemoryLog},
    transport::{Transport, memory::MemoryNetwork},
};

/// A map from numbers to numbers. `Add` shows a command applied twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger(BTreeMap<u64, i64>);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Add(u64, i64),
    Panic,
}

impl StateMachine for Ledger {
    type Command = Command;
    type Response = i64;
    type Query = u64;
    type Answer = i64;

    fn apply(&mut self, command: Command) -> i64 {
        match command {
            Command::Add(key, n) => {
                let value = self.0.entry(key).or_default();
                *value += n;
                *value
            }
            Command::Panic => panic!("the user's machine panics, as the test asked it to"),
        }
    }

    fn query(&self, key: u64) -> i64 {
        self.0.get(&key).copied().unwrap_or(0)
    }
}

/// What a node's process leaves behind when it ends.
#[derive(Clone, Default)]
pub(crate) struct Remains {
    pub(crate) disk: MemoryDisk,
    pub(crate) log: MemoryLog,
}

impl Remains {
    /// What a power cut leaves: the part of the log that was synced, and the files. A task of the dead
    /// process that is still about changes neither.
    pub(crate) fn crash(&self) -> Remains {
        // The log first: with a dead log no further snapshot is built, and none is purged for.
        let log = self.log.crash();
        loop {
            let names = self.disk.names().unwrap();
            let copied = names.iter().try_fold(MemoryDisk::default(), |disk, name| {
                let mut bytes = Vec::new();
                self.disk.open(name)?.read_to_end(&mut bytes)?;
                disk.create(name)?.write_all(&bytes)?;
                std::io::Result::Ok(disk)
            });
            match copied {
                Ok(disk) if self.disk.names().unwrap() == names => return Remains { disk, log },
                // Its last task renamed or removed a file meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

type Now = <TokioRuntime as AsyncRuntime>::Instant;
type WrapTransport = Arc<dyn Fn(u64, Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync>;
type WrapDisk = Box<dyn Fn(u64, MemoryDisk) -> Arc<dyn Disk> + Send + Sync>;

/// Nodes 1, 2, 3, ... at addresses `n1`, `n2`, `n3`, ...
pub(crate) struct Cluster {
    pub(crate) network: MemoryNetwork,
    pub(crate) nodes: BTreeMap<u64, Node<Ledger>>,
    pub(crate) remains: BTreeMap<u64, Remains>,
    pub(crate) config: Config,
    /// Puts a fault between a node and its network.
    pub(crate) wrap_transport: WrapTransport,
    /// Puts a fault between a node and its files.
    pub(crate) wrap_disk: WrapDisk,
    size: u64,
}

pub(crate) fn addr(id: u64) -> String {
    format!("n{id}")
}

impl Cluster {
    /// A cluster of which no node has started yet.
    pub(crate) fn new(size: u64, config: Config) -> Self {
        Self {
            network: MemoryNetwork::default(),
            nodes: BTreeMap::new(),
            remains: (1..=size).map(|id| (id, Remains::default())).collect(),
            config,
            wrap_transport: Arc::new(|_, transport| transport),
            wrap_disk: Box::new(|_, disk| Arc::new(disk)),
            size,
        }
    }

    pub(crate) async fn start(size: u64, config: Config) -> Self {
        let mut cluster = Self::new(size, config);
        cluster.start_all().await;
        cluster
    }

    pub(crate) async fn start_all(&mut self) {
        for id in 1..=self.size {
            self.start_node(id).await;
        }
    }

    /// Starts an initial member on what it left behind.
    pub(crate) async fn start_node(&mut self, id: u64) {
        self.try_start_node(id).await.unwrap();
    }

    pub(crate) async fn try_start_node(&mut self, id: u64) -> Result<(), StartError> {
        let peers = (1..=self.size).map(|id| (id, addr(id)));
        let node = self.start_on(id, |builder| builder.peers(peers)).await?;
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Starts a node that is to be added, on an empty disk.
    pub(crate) async fn start_newcomer(&mut self, id: u64) {
        self.remains.insert(id, Remains::default());
        let node = self.start_on(id, |builder| builder).await.unwrap();
        self.nodes.insert(id, node);
    }

    /// Starts a node that is a cluster of its own.
    pub(crate) async fn start_loner(&mut self, id: u64) {
        self.remains.insert(id, Remains::default());
        let node = self.start_on(id, |builder| builder.peers([(id, addr(id))])).await.unwrap();
        self.nodes.insert(id, node);
    }

    async fn start_on(
        &self,
        id: u64,
        set: impl FnOnce(Builder<Ledger>) -> Builder<Ledger>,
    ) -> Result<Node<Ledger>, StartError> {
        let Remains { disk, log } = self.remains[&id].clone();
        let (network, wrap) = (self.network.clone(), self.wrap_transport.clone());
        let doors = Doors {
            disk: (self.wrap_disk)(id, disk),
            log: Arc::new(log),
            transport: Box::new(move |who| wrap(id, network.node::<TokioRuntime>(addr(id), who))),
        };
        let builder = set(Node::<Ledger>::builder(id)).config(self.config.clone());
        builder.start_with::<TokioRuntime>(doors).await
    }

    pub(crate) fn node(&self, id: u64) -> &Node<Ledger> {
        &self.nodes[&id]
    }

    pub(crate) fn status(&self, id: u64) -> Status {
        self.nodes[&id].status()
    }

    /// The running nodes but for the one given.
    pub(crate) fn others(&self, id: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|other| *other != id).collect()
    }

    /// Cuts a node off from all others.
    pub(crate) fn isolate(&self, id: u64) {
        let others: Vec<String> = self.remains.keys().map(|id| addr(*id)).collect();
        let others: Vec<&str> =
            others.iter().map(String::as_str).filter(|o| *o != addr(id)).collect();
        self.network.isolate(&addr(id), &others);
    }

    /// Waits until somebody leads and says so itself.
    pub(crate) async fn leader(&self) -> u64 {
        let mut found = 0;
        eventually("a leader", || {
            let leads = |node: &&Node<Ledger>| node.status().role == Role::Leader;
            let leader = self.nodes.values().filter(leads).max_by_key(|node| node.status().term);
            found = leader.map_or(0, |node| node.status().id);
            found != 0
        })
        .await;
        found
    }

    pub(crate) async fn add(&self, node: u64, key: u64, n: i64) -> Result<i64, Error> {
        self.nodes[&node].handle().write(Command::Add(key, n)).await
    }

    /// Ends a node's process: what was synced stays.
    pub(crate) async fn crash(&mut self, id: u64) {
        let remains = self.remains[&id].crash();
        self.remains.insert(id, remains);
        drop(self.nodes.remove(&id));
    }

    /// Ends all processes in the same instant.
    pub(crate) fn power_cut(&mut self) {
        for remains in self.remains.values_mut() {
            *remains = remains.crash();
        }
        self.nodes.clear();
    }

    /// Waits until every node has applied the same entries, and checks that their states agree.
    pub(crate) async fn agree(&self, key: u64) -> i64 {
        let applied = |node: &Node<Ledger>| node.status().applied;
        eventually("equal positions", || {
            let mut all = self.nodes.values().map(applied);
            let first = all.next();
            all.all(|other| Some(other) == first)
        })
        .await;
        let mut values = Vec::new();
        for node in self.nodes.values() {
            values.push(node.handle().read_local(key).await.unwrap());
        }
        assert!(values.iter().all(|value| *value == values[0]), "diverged: {values:?}");
        values[0]
    }
}

/// Waits for a condition. Time is paused in these tests, so waiting costs nothing.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        TokioRuntime::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true within a minute: {what}");
}

/// Asks until there is an answer: what a user does on a machine of which nobody knows how slow it is.
///
/// One call is allowed to give up after `Config::request_timeout`, and on a disk whose syncs take as
/// long as an election timeout several elections may fail before one succeeds. So this is for stories
/// on the real clock, and for what may be asked twice: a query, or a command under a key.
pub(crate) async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let deadline = Now::now() + Duration::from_secs(120);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(
                Error::NotLeader { .. }
                | Error::Overloaded(_)
                | Error::Unavailable(_)
                | Error::Unknown(_),
            ) if Now::now() < deadline => {}
            Err(error) => panic!("no answer within two minutes, or ever: {error}"),
        }
        TokioRuntime::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets (paused) time pass, in a story in which nothing is to happen.
pub(crate) async fn pass(seconds: u64) {
    TokioRuntime::sleep(Duration::from_secs(seconds)).await;
}
