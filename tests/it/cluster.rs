//! A cluster in one thread, on in-memory doors: what the stories are told with.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sixbells::{
    Builder, Config, Doors, Node, Role, StateMachine,
    runtime::{AsyncRuntime, TokioRuntime},
    storage::{MemoryDisk, MemoryLog},
    transport::memory::MemoryNetwork,
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

/// Nodes 1, 2, 3, ... at addresses `n1`, `n2`, `n3`, ...
pub(crate) struct Cluster {
    pub(crate) network: MemoryNetwork,
    pub(crate) nodes: BTreeMap<u64, Node<Ledger>>,
    pub(crate) remains: BTreeMap<u64, Remains>,
    pub(crate) config: Config,
    size: u64,
}

pub(crate) fn addr(id: u64) -> String {
    format!("n{id}")
}

impl Cluster {
    pub(crate) async fn start(size: u64, config: Config) -> Self {
        let mut cluster = Self {
            network: MemoryNetwork::default(),
            nodes: BTreeMap::new(),
            remains: (1..=size).map(|id| (id, Remains::default())).collect(),
            config,
            size,
        };
        for id in 1..=size {
            cluster.start_node(id).await;
        }
        cluster
    }

    /// Starts an initial member on what it left behind.
    pub(crate) async fn start_node(&mut self, id: u64) {
        let peers = (1..=self.size).map(|id| (id, addr(id)));
        let node = self.start_on(id, |builder| builder.peers(peers)).await;
        self.nodes.insert(id, node);
    }

    /// Starts a node that is to be added.
    pub(crate) async fn start_newcomer(&mut self, id: u64) {
        self.remains.insert(id, Remains::default());
        let node = self.start_on(id, |builder| builder).await;
        self.nodes.insert(id, node);
    }

    async fn start_on(
        &self,
        id: u64,
        set: impl FnOnce(Builder<Ledger>) -> Builder<Ledger>,
    ) -> Node<Ledger> {
        let Remains { disk, log } = self.remains[&id].clone();
        let network = self.network.clone();
        let doors = Doors {
            disk: Arc::new(disk),
            log: Arc::new(log),
            transport: Box::new(move |_| network.transport::<TokioRuntime>(addr(id))),
        };
        let builder = set(Node::<Ledger>::builder(id)).config(self.config.clone());
        builder.start_with::<TokioRuntime>(doors).await.unwrap()
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

    pub(crate) async fn add(&self, node: u64, key: u64, n: i64) -> Result<i64, sixbells::Error> {
        self.nodes[&node].handle().write(Command::Add(key, n)).await
    }

    /// Ends a node's process: what was synced stays.
    pub(crate) async fn crash(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        let left = &self.remains[&id];
        let remains = Remains { disk: left.disk.clone(), log: left.log.crash() };
        drop(node);
        self.remains.insert(id, remains);
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
