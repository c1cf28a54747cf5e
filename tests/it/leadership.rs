//! Who leads, who is handed the lead, and who may not take it.

use std::time::Duration;

use futures_util::future::join;
use sixbells::{
    Config, Error, Role,
    runtime::{AsyncRuntime, Instant, TokioRuntime},
};

use crate::cluster::{Cluster, addr, eventually, pass};

fn now() -> <TokioRuntime as AsyncRuntime>::Instant {
    <TokioRuntime as AsyncRuntime>::Instant::now()
}

/// Before maintenance the lead is moved, to each node in turn, asked of each node in turn.
#[tokio::test(start_paused = true)]
async fn the_lead_is_handed_to_each_node() {
    let cluster = Cluster::start(3, Config::default()).await;
    cluster.leader().await;
    cluster.add(1, 7, 0).await.unwrap();
    for (n, (asked, to)) in [(1, 2), (1, 3), (3, 1), (2, 3), (3, 3)].into_iter().enumerate() {
        cluster.node(asked).transfer_leadership(to).await.unwrap();
        eventually("it leads", || cluster.status(to).role == Role::Leader).await;
        let sum = i64::try_from(n).unwrap() + 1;
        assert_eq!(cluster.add(asked, 7, 1).await, Ok(sum), "asked {asked} to hand to {to}");
    }
    assert_eq!(cluster.leader().await, 3);
}

/// Nobody can be handed a lead that they could not hold.
#[tokio::test(start_paused = true)]
async fn the_lead_is_not_handed_to_a_stranger() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let error = cluster.node(leader).transfer_leadership(9).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.add(leader, 7, 1).await, Ok(1));
}

/// The one that is to lead is dead. The old leader has stopped proposing by then; the cluster must
/// find another by itself, and whoever asked must not wait for minutes.
#[tokio::test(start_paused = true)]
async fn the_lead_handed_to_a_dead_node_is_not_lost() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let dead = cluster.others(leader)[0];
    cluster.add(leader, 7, 1).await.unwrap();
    cluster.crash(dead).await;
    let began = now();
    let error = cluster.node(leader).transfer_leadership(dead).await.unwrap_err();
    assert!(matches!(error, Error::Unknown(_)), "{error}");
    assert!(now() - began < Duration::from_secs(10), "{:?}", now() - began);
    cluster.leader().await;
    assert_eq!(cluster.add(leader, 7, 1).await, Ok(2));
}

/// Writes and reads that come while the lead is handed over wait for it, and none fails.
#[tokio::test(start_paused = true)]
async fn a_handover_fails_no_request() {
    let cluster = Cluster::start(3, Config::default()).await;
    let old = cluster.leader().await;
    cluster.add(old, 7, 0).await.unwrap();
    let to = cluster.others(old)[0];
    let requests = async {
        for n in 1..=200_i64 {
            let via = 1 + n.unsigned_abs() % 3;
            assert_eq!(cluster.add(via, 7, 1).await, Ok(n), "through node {via}");
            assert_eq!(cluster.node(via).handle().read(7).await, Ok(n), "through node {via}");
        }
    };
    let (handed, ()) = join(cluster.node(old).transfer_leadership(to), requests).await;
    handed.unwrap();
    assert_eq!(cluster.leader().await, to);
}

/// A leader that is cut off goes on calling itself one. Whoever asks all nodes who leads sees two, or, when no other was
/// elected, one that commits nothing.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_leads_no_quorum() {
    let cluster = Cluster::start(3, Config::default()).await;
    let lately = Duration::from_secs(1);
    let leader = cluster.leader().await;
    eventually("it was answered", || cluster.status(leader).leads_a_quorum(lately)).await;
    assert!(!cluster.others(leader).iter().any(|id| cluster.status(*id).leads_a_quorum(lately)));
    cluster.isolate(leader);
    pass(2).await;
    assert_eq!(cluster.status(leader).role, Role::Leader);
    assert!(!cluster.status(leader).leads_a_quorum(lately));
    let others = cluster.others(leader);
    assert_eq!(others.iter().filter(|id| cluster.status(**id).leads_a_quorum(lately)).count(), 1);
}

/// Nobody answers a leader that is a majority by itself, so by that measure it had led none since a second after its
/// election.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_alone_leads_a_quorum() {
    let cluster = Cluster::start(1, Config::default()).await;
    let leader = cluster.leader().await;
    pass(5).await;
    assert!(cluster.status(leader).leads_a_quorum(Duration::from_millis(1)));
}

/// A rolling restart stops each node in an orderly way. If the leader just vanished, each restart
/// would cost an election timeout without a leader.
#[tokio::test(start_paused = true)]
async fn shutdown_hands_the_lead_over_before_any_timeout() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    for _ in 0..3 {
        let old = cluster.leader().await;
        cluster.add(old, 7, 1).await.unwrap();
        let began = now();
        cluster.nodes.remove(&old).unwrap().shutdown().await;
        let left = *cluster.nodes.keys().next().unwrap();
        cluster.add(left, 7, 1).await.unwrap();
        assert!(now() - began < cluster.config.election_timeout.start, "{:?}", now() - began);
        cluster.start_node(old).await;
        cluster.agree(7).await;
    }
    assert_eq!(cluster.agree(7).await, 6);
}

/// The last one has nobody to hand over to, and the others are dead: it stops all the same, soon.
#[tokio::test(start_paused = true)]
async fn shutdown_without_a_majority_does_not_hang() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    for id in cluster.others(leader) {
        cluster.crash(id).await;
    }
    let began = now();
    cluster.nodes.remove(&leader).unwrap().shutdown().await;
    assert!(now() - began < Duration::from_secs(2), "{:?}", now() - began);
}

/// A node is cut off for long, asks for votes all the while, and comes back. With plain Raft its
/// term would be far ahead, and would depose a leader that everybody else is happy with.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_deposes_nobody() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    let term = cluster.status(leader).term;
    cluster.isolate(away);
    pass(60).await;
    cluster.add(leader, 7, 1).await.unwrap();
    cluster.network.heal();
    pass(10).await;
    assert_eq!((cluster.leader().await, cluster.status(leader).term), (leader, term));
    assert_eq!(cluster.agree(7).await, 1);
    assert_eq!(cluster.status(away).term, term);
}

/// A node hears nobody but is heard by all: the worst kind of half a link. It may not lead.
#[tokio::test(start_paused = true)]
async fn a_deaf_node_deposes_nobody() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let deaf = cluster.others(leader)[0];
    let term = cluster.status(leader).term;
    cluster.network.cut(&addr(leader), &addr(deaf));
    pass(60).await;
    cluster.add(leader, 7, 1).await.unwrap();
    assert_eq!((cluster.leader().await, cluster.status(leader).term), (leader, term));
    cluster.network.heal();
    assert_eq!(cluster.agree(7).await, 1);
}
