//! Why leader restore is off: openraft's default loses acknowledged writes.
//!
//! A leader replicates an entry before its own disk has synced it, so an entry can be committed by the
//! others' disks alone. If the leader then loses power with the entry unsynced, and openraft lets it
//! go on in its old term without an election, it gives the same (term, index) to another command.
//! The others take that for the entry they hold already, and the machines diverge.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Doors, Node, Role, StateMachine,
    plant::{Bug, plant},
    runtime::{AsyncRuntime, TokioRuntime},
    storage::{MemoryDisk, MemoryLog},
    transport::memory::MemoryNetwork,
};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Journal(Vec<String>);

impl StateMachine for Journal {
    type Command = String;
    type Response = usize;
    type Query = ();
    type Answer = Vec<String>;

    fn apply(&mut self, line: String) -> usize {
        self.0.push(line);
        self.0.len()
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.0.clone()
    }
}

type Remains = BTreeMap<u64, (MemoryDisk, MemoryLog)>;

async fn start(remains: &Remains) -> BTreeMap<u64, Node<Journal>> {
    let network = MemoryNetwork::default();
    let mut nodes = BTreeMap::new();
    for (id, (disk, log)) in remains {
        let (network, addr) = (network.clone(), format!("n{id}"));
        let doors = Doors {
            disk: Arc::new(disk.clone()),
            log: Arc::new(log.clone()),
            transport: Box::new(move |who| network.node::<TokioRuntime>(addr, who)),
        };
        let peers = remains.keys().map(|id| (*id, format!("n{id}")));
        let builder = Node::builder(*id).peers(peers);
        nodes.insert(*id, builder.start_with::<TokioRuntime>(doors).await.unwrap());
    }
    nodes
}

async fn leader(nodes: &BTreeMap<u64, Node<Journal>>) -> u64 {
    for _ in 0..1_000 {
        let leads = nodes.iter().find(|(_, node)| node.status().role == Role::Leader);
        if let Some((id, _)) = leads {
            return *id;
        }
        TokioRuntime::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody leads");
}

/// The whole cluster loses power while the leader's disk hangs, and comes back. Returns the machines.
async fn power_cut() -> Vec<Vec<String>> {
    let mut remains: Remains =
        (1..=3).map(|id| (id, (MemoryDisk::default(), MemoryLog::new()))).collect();
    let nodes = start(&remains).await;
    let old = leader(&nodes).await;
    nodes[&old].handle().write("opened".into()).await.unwrap();

    remains[&old].1.hold();
    nodes[&old].handle().write("acknowledged".into()).await.unwrap();
    for (_, log) in remains.values_mut() {
        *log = log.crash();
    }
    drop(nodes);

    let nodes = start(&remains).await;
    let new = leader(&nodes).await;
    nodes[&new].handle().write("after".into()).await.unwrap();
    TokioRuntime::sleep(Duration::from_secs(5)).await;
    let mut machines = Vec::new();
    for node in nodes.values() {
        machines.push(node.handle().read_local(()).await.unwrap());
    }
    machines
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_write_survives_with_our_settings() {
    let expected = vec!["opened", "acknowledged", "after"];
    assert_eq!(power_cut().await, vec![expected.clone(), expected.clone(), expected]);
}

/// The same story with openraft's default must be seen to go wrong, or the test above proves nothing.
#[tokio::test(start_paused = true)]
async fn with_the_default_the_machines_diverge() {
    plant(Some(Bug::LeaderRestore));
    let machines = power_cut().await;
    plant(None);
    assert!(machines.iter().any(|machine| *machine != machines[0]), "agreed: {machines:?}");
}
