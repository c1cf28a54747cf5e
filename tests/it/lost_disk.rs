//! A node whose disk was lost comes back under its old id. It has forgotten its votes and what it
//! acknowledged, so it must not count.

use std::{sync::Arc, time::Duration};

use sixbells::{
    Config, Error, Role, StartError,
    transport::{BoxFuture, CallError, Lane, Message, Peer, Service, Transport},
};

use crate::cluster::{Cluster, Remains, addr, pass};

/// The planted bug: calls whoever has the address and the id, with whatever disk.
#[derive(Debug)]
struct AnyDisk(Arc<dyn Transport>);

impl Transport for AnyDisk {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        Box::pin(async move {
            let to = Peer { disk: None, ..to.clone() };
            self.0.call(&to, lane, request, timeout).await
        })
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        self.0.listen(service)
    }

    fn close(&self) {
        self.0.close();
    }
}

/// A write is acknowledged by the leader and one follower while the other is cut off. Then that
/// follower loses its disk and comes back, the leader dies, and the one that lacks the write is
/// alone with the one that forgot it. Returns the cluster, the leader that died and who lacks it.
async fn forgotten(check_disks: bool) -> (Cluster, u64, u64) {
    let mut cluster = Cluster::new(3, Config::default());
    if !check_disks {
        cluster.wrap_transport = Arc::new(|_, inner| Arc::new(AnyDisk(inner)));
    }
    cluster.start_all().await;
    let leader = cluster.leader().await;
    let (wiped, behind) = (cluster.others(leader)[0], cluster.others(leader)[1]);
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.isolate(behind);
    assert_eq!(cluster.add(leader, 1, 100).await, Ok(101), "acknowledged");
    cluster.crash(wiped).await;
    cluster.crash(leader).await;
    cluster.network.heal();
    cluster.remains.insert(wiped, Remains::default());
    cluster.start_node(wiped).await;
    pass(60).await;
    (cluster, leader, behind)
}

/// The wiped node has no say: nobody leads until the old leader is back, and the write is there.
#[tokio::test(start_paused = true)]
async fn a_wiped_node_helps_to_elect_nobody() {
    let (mut cluster, old, behind) = forgotten(true).await;
    assert_ne!(cluster.status(behind).role, Role::Leader);
    assert_eq!(cluster.add(behind, 1, 1).await, Err(Error::NotLeader { leader: None }));
    cluster.start_node(old).await;
    assert_eq!(cluster.leader().await, old, "the only one that holds the write");
    assert_eq!(cluster.node(behind).handle().read(1).await, Ok(101));
    let wiped = cluster.others(old).into_iter().find(|id| *id != behind).unwrap();
    pass(10).await;
    let status = cluster.status(wiped);
    assert!(status.applied.is_none() && status.voters.is_empty(), "let in: {status}");
}

/// The same story without the check must be seen to lose the write, or the test above proves nothing.
#[tokio::test(start_paused = true)]
async fn without_the_check_an_acknowledged_write_is_lost() {
    let (cluster, _old, behind) = forgotten(false).await;
    assert_eq!(cluster.status(behind).role, Role::Leader);
    assert_eq!(cluster.node(behind).handle().read(1).await, Ok(1), "101 was acknowledged");
}

/// A majority needs both that are left; the wiped node's acknowledgement is not one of them.
#[tokio::test(start_paused = true)]
async fn a_wiped_node_acknowledges_nothing() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let (wiped, dead) = (cluster.others(leader)[0], cluster.others(leader)[1]);
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.crash(wiped).await;
    cluster.crash(dead).await;
    cluster.remains.insert(wiped, Remains::default());
    cluster.start_node(wiped).await;
    let error = cluster.add(leader, 1, 1).await.unwrap_err();
    assert_eq!(cluster.status(wiped).last_log_index, None, "after {error}");
    cluster.start_newcomer(4).await;
    cluster.start_node(dead).await;
    let leader = cluster.leader().await;
    cluster.node(leader).replace(wiped, 4, addr(4)).await.expect("the way out");
    cluster.add(leader, 1, 1).await.unwrap();
}

/// The lowest initial member forms the cluster. When it has lost its disk it would form a second one
/// beside the first, and both would take writes.
#[tokio::test(start_paused = true)]
async fn a_wiped_first_node_forms_no_second_cluster() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 7).await.unwrap();
    for id in 1..=3 {
        cluster.crash(id).await;
    }
    cluster.remains.insert(1, Remains::default());
    cluster.start_node(1).await;
    pass(10).await;
    assert!(cluster.status(1).voters.is_empty(), "alone it knows nobody's word");
    cluster.start_node(2).await;
    pass(10).await;
    assert!(cluster.status(1).voters.is_empty(), "node 2 was part of a cluster");
    cluster.start_node(3).await;
    assert_ne!(cluster.leader().await, 1);
    assert_eq!(cluster.add(2, 1, 1).await, Ok(8));
    assert_eq!(cluster.status(1).voters.len(), 0);
    assert_eq!(cluster.add(1, 1, 1).await, Err(Error::NotLeader { leader: None }));
}
