//! The client against real nodes, on in-memory doors: both sides mean the same by every message.
//!
//! Two stories: writes go on, exactly once each, while leaders come and go; and what a node keeps of a
//! message is not the buffer that it came in.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::{
    Config, Doors, Node, codec,
    storage::{MemoryDisk, MemoryLog},
    transport::memory::MemoryNetwork,
};

async fn start(id: u64, members: u64, network: &MemoryNetwork) -> Node<Sum> {
    let network = network.clone();
    let doors = Doors {
        disk: Arc::new(MemoryDisk::default()),
        log: Arc::new(MemoryLog::default()),
        transport: Box::new(move |who| network.node::<TokioRuntime>(format!("n{id}"), who)),
    };
    let peers = (1..=members).map(|id| (id, format!("n{id}")));
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
        nodes.insert(id, start(id, 3, &network).await);
    }
    let addrs = ["n1", "n2", "n3"];
    let transport = network.client::<TokioRuntime>("client", "sixbells");
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

/// A small command is read into a buffer that is many times as large, with others. The log keeps it for long:
/// had it kept the buffer, too, as it did, a leader would take 370 MB after 130,000 commands of 128 bytes.
#[tokio::test(start_paused = true)]
async fn the_log_does_not_keep_the_buffer_that_a_command_was_read_into() {
    let network = MemoryNetwork::default();
    let node = start(1, 1, &network).await;
    node.handle().read(()).await.unwrap();
    // The limit is its own: otherwise it would write the proposal anew.
    let origin = Origin::Once { key: b"k", keys_max: Config::default().keys_max };
    let proposal = Proposal::new(1, origin, &codec::encode(&1_u64));
    let mut buffer = proposal.bytes().to_vec();
    buffer.resize(8 << 10, 0);
    let buffer = Bytes::from(buffer);
    let body = buffer.slice(..proposal.bytes().len());
    let client = network.client::<TokioRuntime>("client", "sixbells");
    let to = Peer { addr: "n1".into(), node: None, disk: None };
    let request = Message { kind: Kind::Propose, request: 1, body };
    let reply = client.call(&to, Lane::Client, request, ms(5_000)).await.unwrap();
    let outcome: Outcome = rpc::read_reply(&reply).unwrap();
    assert_eq!(outcome.into_response().unwrap(), codec::encode(&1_u64));
    assert!(buffer.is_unique(), "somebody keeps what was read");
    node.shutdown().await;
}
