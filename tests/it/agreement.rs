//! Strong mode: a machine that is not deterministic is found before a failover shows it to a user.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sixbells::{
    Config, Doors, Error, Node, Role, StateMachine,
    runtime::{AsyncRuntime, TokioRuntime},
    transport::memory::MemoryNetwork,
};

use crate::cluster::{Cluster, Remains, eventually};

/// A sum. The crooked one counts a seven as eight, and says nothing of it: all answers are equal.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Tally<const CROOKED: bool>(u64);

impl<const CROOKED: bool> StateMachine for Tally<CROOKED> {
    type Command = u64;
    type Response = ();
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, n: u64) {
        self.0 += n + u64::from(CROOKED && n == 7);
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

async fn start<const CROOKED: bool>(network: &MemoryNetwork, id: u64) -> Node<Tally<CROOKED>> {
    let (network, remains) = (network.clone(), Remains::default());
    let doors = Doors {
        disk: Arc::new(remains.disk),
        log: Arc::new(remains.log),
        transport: Box::new(move |who| network.node::<TokioRuntime>(format!("n{id}"), who)),
    };
    let peers = (1..=3).map(|id| (id, format!("n{id}")));
    let config = Config { state_hash_entries: 10, ..Config::default() };
    let builder = Node::builder(id).peers(peers).config(config);
    builder.start_with::<TokioRuntime>(doors).await.unwrap()
}

/// Nodes 1 and 2 are honest, node 3 is not.
struct Three {
    honest: [Node<Tally<false>>; 2],
    crooked: Node<Tally<true>>,
}

impl Three {
    async fn led_by(leader: u64) -> Self {
        let network = MemoryNetwork::default();
        let honest = [start(&network, 1).await, start(&network, 2).await];
        let three = Self { honest, crooked: start(&network, 3).await };
        three.write(1).await;
        three.crooked.transfer_leadership(leader).await.unwrap();
        three
    }

    /// Writes until somebody leads who says that it was done.
    async fn write(&self, n: u64) {
        while self.honest[0].handle().write(n).await.is_err() {}
    }

    async fn the_crooked_one_stops_and_the_others_go_on(&self) {
        self.write(7).await;
        for n in 0..30 {
            self.write(n).await;
        }
        let reason = self.crooked.stopped().await;
        assert!(reason.contains("the state here differs from that of node"), "{reason}");
        assert!(reason.contains("apply must depend on the commands alone"), "{reason}");
        let status = self.crooked.status();
        assert_eq!((status.role, status.fault), (Role::Stopped, Some(reason)));
        let read = self.crooked.handle().read_local(()).await;
        assert!(matches!(read, Err(Error::Stopped(_))), "{read:?}");
        assert!(matches!(self.crooked.handle().write(1).await, Err(Error::Stopped(_))));

        let before = self.honest.each_ref().map(|node| node.status().agreed);
        for n in 0..20 {
            self.write(n).await;
        }
        let compared = || self.honest.iter().zip(before).all(|(n, b)| n.status().agreed > b);
        eventually("the honest ones compare again", compared).await;
        for node in &self.honest {
            assert_eq!(node.status().fault, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_state_differs_stops() {
    Three::led_by(1).await.the_crooked_one_stops_and_the_others_go_on().await;
}

/// The leader is the odd one: what it says goes into the log, but its state is nobody else's.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_state_differs_stops() {
    Three::led_by(3).await.the_crooked_one_stops_and_the_others_go_on().await;
}

/// Crashes, replays, snapshots and newcomers lead to the same states in other ways.
#[tokio::test(start_paused = true)]
async fn a_deterministic_machine_is_never_accused() {
    let config = Config {
        state_hash_entries: 5,
        snapshot_entries: 12,
        log_keep_entries: 2,
        ..Config::default()
    };
    let mut cluster = Cluster::start(3, config).await;
    for round in 0..6 {
        let leader = cluster.leader().await;
        let lost = 1 + round % 3;
        if round == 3 {
            cluster.start_newcomer(4).await;
            cluster.node(leader).add(4, "n4").await.unwrap();
        }
        if lost != leader {
            cluster.crash(lost).await;
        }
        for _ in 0..40 {
            while cluster.add(leader, 1, 1).await.is_err() {}
        }
        if lost != leader {
            cluster.start_node(lost).await;
        }
    }
    let leader = cluster.leader().await;
    for _ in 0..20 {
        cluster.add(leader, 1, 1).await.unwrap();
        TokioRuntime::sleep(Duration::from_millis(20)).await;
    }
    cluster.agree(1).await;
    let agreed = || cluster.nodes.values().all(|node| node.status().agreed > Some(200));
    eventually("all have compared their states", agreed).await;
    assert!(cluster.nodes.values().all(|node| node.status().fault.is_none()));
}
