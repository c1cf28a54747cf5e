//! The client against real nodes, on in-memory doors: both sides mean the same by every message.
//!
//! One story: writes go on, exactly once each, while leaders come and go.

use std::collections::BTreeMap;

use super::*;
use crate::{
    Config, Doors, Node,
    storage::{MemoryDisk, MemoryLog},
    transport::memory::MemoryNetwork,
};

async fn start(id: u64, network: &MemoryNetwork, disk: &MemoryDisk, log: &MemoryLog) -> Node<Sum> {
    let network = network.clone();
    let doors = Doors {
        disk: Arc::new(disk.clone()),
        log: Arc::new(log.clone()),
        transport: Box::new(move |_| network.transport::<TokioRuntime>(format!("n{id}"))),
    };
    let peers = (1..=3).map(|id| (id, format!("n{id}")));
    let builder = Node::<Sum>::builder(id).peers(peers).config(Config::default());
    builder.start_with::<TokioRuntime>(doors).await.unwrap()
}

/// Eight callers share a client. Twice the leader is cut off for two seconds, with their commands
/// under way. Each command that was acknowledged counts once, and nobody is told an error, as a
/// failover fits into the deadline.
#[tokio::test(start_paused = true)]
async fn commands_count_once_while_leaders_come_and_go() {
    let network = MemoryNetwork::default();
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        nodes.insert(id, start(id, &network, &MemoryDisk::default(), &MemoryLog::default()).await);
    }
    let addrs = ["n1", "n2", "n3"];
    let transport = network.transport::<TokioRuntime>("client");
    let client =
        Client::<Sum>::with_transport::<TokioRuntime>(transport, addrs, ClientConfig::default());
    let client = client.unwrap();

    let callers = futures_util::future::join_all((0..8).map(|_| async {
        let mut acknowledged = 0;
        for _ in 0..100 {
            client.write(1).await.unwrap();
            acknowledged += 1;
            TokioRuntime::sleep(ms(100)).await;
        }
        acknowledged
    }));
    let faults = async {
        for _ in 0..2 {
            TokioRuntime::sleep(ms(2_500)).await;
            let leads = |node: &&Node<Sum>| node.status().role == Role::Leader;
            let leader = nodes.values().find(leads).unwrap().status().id;
            let leader = format!("n{leader}");
            network.isolate(&leader, &[&addrs[..], &["client"]].concat());
            TokioRuntime::sleep(ms(2_000)).await;
            network.heal();
        }
    };
    let (acknowledged, ()) = tokio::join!(callers, faults);
    let acknowledged: u64 = acknowledged.into_iter().sum();
    assert_eq!(client.read(()).await, Ok(acknowledged));
    let status = client.status().await.unwrap();
    assert_eq!((status.role, status.sessions), (Role::Leader, 1));
    for node in nodes.into_values() {
        node.shutdown().await;
    }
}
