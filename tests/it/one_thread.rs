//! The whole of a node runs on the doors alone: three nodes, one thread, paused time, nothing real.

use sixbells::{Config, Error, Role};

use crate::cluster::{Cluster, addr, eventually};

/// If any part of the node reached past the doors for a clock, a thread or a socket, paused time
/// would stand still and this would hang or take minutes.
#[tokio::test(start_paused = true)]
async fn three_nodes_elect_commit_and_read() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    for id in 1..=3 {
        cluster.add(id, 7, 10).await.unwrap();
    }
    for id in 1..=3 {
        let read = cluster.nodes[&id].handle().read(7).await.unwrap();
        assert_eq!(read, 30, "a linearizable read, asked of node {id}");
    }
    cluster.crash(leader).await;
    let follower = *cluster.nodes.keys().next().unwrap();
    assert_eq!(cluster.add(follower, 7, 1).await, Ok(31), "the others go on");
    cluster.start_node(leader).await;
    assert_eq!(cluster.agree(7).await, 31);
}

/// A leader that is cut off goes on calling itself one. It must not answer reads, and a write that it
/// took before it noticed is unknown, not failed.
#[tokio::test(start_paused = true)]
async fn an_isolated_leader_neither_reads_nor_lies() {
    let cluster = Cluster::start(3, Config::default()).await;
    let old = cluster.leader().await;
    cluster.add(old, 1, 5).await.unwrap();
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    cluster.network.isolate(&addr(old), &[&addr(others[0]), &addr(others[1])]);

    let lost = cluster.add(old, 1, 100).await.unwrap_err();
    assert!(!lost.is_definite(), "it may have been replicated: {lost}");
    let read = cluster.nodes[&old].handle().read(1).await;
    assert!(read.is_err(), "a stale read: {read:?}");
    assert_eq!(cluster.add(others[0], 1, 1).await, Ok(6), "the majority goes on");

    cluster.network.heal();
    eventually("the old leader follows", || cluster.nodes[&old].status().role == Role::Follower)
        .await;
    assert_eq!(cluster.agree(1).await, 6);
    assert_eq!(cluster.nodes[&old].handle().read(1).await, Ok(6));
}

/// With no majority there is no leader to wait for: the answer is definite, and within the deadline.
#[tokio::test(start_paused = true)]
async fn without_a_majority_a_new_write_is_refused() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    let left = (1..=3).find(|id| *id != leader).unwrap();
    for id in (1..=3).filter(|id| *id != left) {
        cluster.crash(id).await;
    }
    let error = cluster.add(left, 1, 1).await.unwrap_err();
    assert_eq!(error, Error::NotLeader { leader: None });
}
