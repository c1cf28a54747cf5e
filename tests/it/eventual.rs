//! Eventual mode: everyone accepts, and the order is agreed on later.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sixbells::{
    Config, Doors, Error, Node, StartError, StateMachine, Token,
    runtime::{AsyncRuntime, TokioRuntime},
    storage::{Disk, LogEngine, LogStore, MemoryLog},
    transport::{Kind, memory::MemoryNetwork},
};

use crate::{
    cluster::{Ledger, Remains, eventually},
    tap::Record,
    trio::{Account, IDS, Trio},
};

#[tokio::test]
async fn a_write_at_any_node_reaches_all() {
    let trio = Trio::start(Config::default()).await;
    for id in IDS {
        trio.pay(id, 10).await.unwrap();
    }
    trio.agree().await;
    for id in IDS {
        assert_eq!(trio.funds(id).await, 70);
        assert_eq!(trio.nodes[&id].read_stable(&()).unwrap(), 70);
    }
}

/// The contrast in one breath: both sides of a partition pay out the same money, and both are told
/// that it went well. Once they have heard of each other, one of them was told something untrue.
#[tokio::test]
async fn money_is_spent_twice_in_a_partition_and_one_payment_is_revoked() {
    let trio = Trio::start(Config::default()).await;
    trio.network.isolate("c:3", &["a:1", "b:2"]);
    assert_eq!(trio.pay(1, 80).await, Ok(20));
    assert_eq!(trio.pay(3, 90).await, Ok(10), "node 3 knows nothing of it");
    let before = trio.stable(1);
    assert_eq!(trio.nodes[&1].read_stable(&()).unwrap(), 100, "nothing of that is final");
    trio.network.heal();
    trio.agree().await;
    let funds = trio.funds(1).await;
    assert_eq!(funds, 20, "the earlier payment stands");
    for id in IDS {
        assert_eq!(trio.funds(id).await, funds);
        assert!(trio.stable(id) > before);
    }
    assert!(trio.nodes.values().map(|node| node.status().revised).sum::<u64>() > 0);
}

/// A client gets no reply and asks another replica: two operations, one effect, and not only where
/// they met first.
#[tokio::test]
async fn a_retry_at_another_replica_is_one_effect() {
    let trio = Trio::start(Config::default()).await;
    trio.pay(1, 1).await.unwrap();
    trio.pay(3, 1).await.unwrap();
    trio.agree().await;
    trio.network.isolate("c:3", &["a:1", "b:2"]);
    for id in [1, 3] {
        let handle = trio.nodes[&id].handle();
        handle.write_once("payment 7", 30).await.unwrap().unwrap();
    }
    trio.network.heal();
    trio.agree_on(68).await;
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_crash_of_all() {
    let mut trio = Trio::start(Config::default()).await;
    trio.network.isolate("c:3", &["a:1", "b:2"]);
    for id in IDS {
        trio.pay(id, 10).await.unwrap();
    }
    for id in IDS {
        trio.nodes.remove(&id).unwrap().shutdown().await;
        let crashed = trio.remains[&id].crash();
        trio.remains.insert(id, crashed);
    }
    trio.network.heal();
    for id in IDS {
        trio.start_node(id).await;
    }
    trio.agree().await;
    assert_eq!(trio.funds(2).await, 70);
    trio.pay(2, 10).await.unwrap();
    trio.agree().await;
    assert_eq!(trio.funds(3).await, 60);
}

/// A node that lost its disk comes back under its id. It is a new author, gets all from the others, and
/// accepts nothing before that.
#[tokio::test]
async fn a_node_that_lost_its_disk_comes_back() {
    let mut trio = Trio::start(Config::default()).await;
    for id in IDS {
        trio.pay(id, 10).await.unwrap();
    }
    trio.agree().await;
    trio.nodes.remove(&3).unwrap().shutdown().await;
    trio.remains.insert(3, Remains::default());
    trio.start_node(3).await;
    assert_eq!(trio.pay(3, 10).await, Ok(60));
    trio.agree_on(60).await;
}

/// A client pays at one node and looks at another. With its token it is told the truth, or that the
/// truth is not there yet; without, it does not see its own payment.
#[tokio::test]
async fn a_session_sees_its_own_writes_wherever_it_goes() {
    let config = Config { request_timeout: Duration::from_millis(600), ..Config::default() };
    let trio = Trio::start(config).await;
    trio.pay(1, 10).await.unwrap();
    trio.agree().await;
    trio.network.isolate("c:3", &["a:1", "b:2"]);
    let mut session = trio.nodes[&1].session(Token::default());
    assert_eq!(session.read(()).await, Ok(90));
    assert_eq!(session.write(20).await, Ok(Ok(70)));
    let mut there = trio.nodes[&3].session(session.token().clone());
    assert_eq!(trio.funds(3).await, 90, "without the token");
    let missing = there.read(()).await.unwrap_err();
    assert!(missing.is_definite() && missing.to_string().contains("node 1"), "{missing}");
    assert!(matches!(there.write(1).await, Err(Error::NotYet(_))));
    trio.network.heal();
    while there.read(()).await != Ok(70) {}
    assert_eq!(there.write(30).await, Ok(Ok(40)), "behind all that the session has seen");
}

/// A request that waits for what its token speaks of is under way like any other: they do not pile up.
#[tokio::test]
async fn who_waits_for_a_token_takes_a_place() {
    let request_timeout = Duration::from_millis(600);
    let config = Config { request_timeout, in_flight_max: 1, ..Config::default() };
    let trio = Trio::start(config).await;
    trio.network.isolate("c:3", &["a:1", "b:2"]);
    let mut session = trio.nodes[&1].session(Token::default());
    session.write(10).await.unwrap().unwrap();
    let mut first = trio.nodes[&3].session(session.token().clone());
    let mut second = trio.nodes[&3].session(session.token().clone());
    let (waited, refused) = tokio::join!(first.read(()), second.read(()));
    assert!(matches!(waited, Err(Error::NotYet(_))), "{waited:?}");
    assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
}

/// Each write wakes who tells the others. Where nobody is there, to make up all that they lack at each of
/// them cost more than the writes: 67,000 of 101,000 were refused, as the clock's ceiling came too late.
#[tokio::test]
async fn who_is_away_is_greeted_and_not_told_everything_at_each_write() {
    let mut trio = Trio::start(Config::default()).await;
    trio.pay(1, 10).await.unwrap();
    trio.agree().await;
    for id in [2, 3] {
        trio.nodes.remove(&id).unwrap().shutdown().await;
    }
    for _ in 0..200 {
        trio.pay(1, 0).await.unwrap();
    }
    let before = trio.record.of(Kind::Sync).len();
    let greeted = || trio.record.of(Kind::Sync).len() > before + 3;
    eventually("the others are greeted at each heartbeat", greeted).await;
    let largest = trio.record.of(Kind::Sync)[before..].iter().map(|sent| sent.body.len()).max();
    assert!(largest < Some(1_000), "{largest:?} bytes, for nobody");
}

/// A session reads at a node what that node has taken up but not synced, and the node crashes: it never
/// was. A token that named it would wait for it on every node and for ever; one that did not would lose
/// what the session has seen. So the read waits for the sync, and says so if it does not come.
#[tokio::test]
async fn a_session_sees_nothing_that_a_crash_takes_back() {
    let config = Config { request_timeout: Duration::from_millis(600), ..Config::default() };
    let mut trio = Trio::start(config).await;
    trio.pay(1, 10).await.unwrap();
    trio.agree().await;
    let mut session = trio.nodes[&1].session(Token::default());
    assert_eq!(session.read(()).await, Ok(90));
    trio.remains[&1].log.hold();
    let paying = TokioRuntime::spawn({
        let handle = trio.nodes[&1].handle();
        async move { handle.write(20).await }
    });
    let before: u64 = trio.nodes[&2].status().have.values().sum();
    let taken_up = || trio.nodes[&1].status().have.values().sum::<u64>() > before;
    eventually("the payment is in the state, and not on disk", taken_up).await;
    assert_eq!(trio.funds(1).await, 70);
    let waiting = session.read(()).await;
    let crashed = trio.remains[&1].crash();
    trio.nodes.remove(&1).unwrap().shutdown().await;
    trio.remains.insert(1, crashed);
    trio.start_node(1).await;
    assert!(paying.await.unwrap().is_err_and(|error| !error.is_definite()));
    let mut elsewhere = trio.nodes[&2].session(session.token().clone());
    assert_eq!(elsewhere.read(()).await, Ok(90), "the token names nothing that is lost");
    assert!(matches!(waiting, Err(Error::NotYet(_))), "{waiting:?}");
}

/// What is final and known to all leaves the log; whoever lacks it later gets a snapshot.
#[tokio::test]
async fn a_log_does_not_grow_for_ever() {
    let config = Config { snapshot_entries: 50, snapshot_chunk_bytes: 64, ..Config::default() };
    let mut trio = Trio::start(config).await;
    for n in 0..400 {
        trio.pay(1 + n % 3, u64::from(n < 60)).await.unwrap();
    }
    trio.agree().await;
    let logs = trio.remains.values().map(|remains| remains.log.clone()).collect::<Vec<_>>();
    let purged = || logs.iter().all(|log| log.state().purged.is_some());
    eventually("every log is purged", purged).await;
    let funds = trio.funds(1).await;
    trio.nodes.remove(&3).unwrap().shutdown().await;
    trio.remains.insert(3, Remains::default());
    trio.start_node(3).await;
    trio.pay(3, 0).await.unwrap();
    trio.agree().await;
    trio.nodes.remove(&1).unwrap().shutdown().await;
    let crashed = trio.remains[&1].crash();
    trio.remains.insert(1, crashed);
    trio.start_node(1).await;
    trio.pay(1, 0).await.unwrap();
    trio.agree_on(funds).await;
}

/// What is longer than a disk discards at once.
#[derive(Clone, Serialize, Deserialize)]
struct Large(String);

impl Default for Large {
    fn default() -> Self {
        Self("7".repeat(9 << 20))
    }
}

impl StateMachine for Large {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = usize;

    fn apply(&mut self, (): ()) {}

    fn query(&self, (): ()) -> usize {
        self.0.len()
    }
}

/// A large snapshot that was replaced is removed step by step, which has to be begun by whoever replaced it.
#[tokio::test]
async fn of_what_a_snapshot_replaced_nothing_is_left() {
    let (remains, network) = (Remains::default(), MemoryNetwork::default());
    let doors = Doors {
        disk: Arc::new(remains.disk.clone()),
        log: Arc::new(remains.log.clone()),
        transport: Box::new(move |who| network.node::<TokioRuntime>("a:1", who)),
    };
    let config = Config { snapshot_entries: 5, ..Config::default() };
    let builder = Node::<Large>::builder(1).peers([(1, "a:1")]).config(config);
    let node = builder.start_eventual_with::<TokioRuntime>(doors).await.unwrap();
    let names = || remains.disk.names().unwrap();
    let mut snapshots = BTreeSet::new();
    // A snapshot steps back for requests, and on a busy machine it takes longer than many of them.
    let three_snapshots = async {
        while snapshots.len() < 3 {
            node.handle().write(()).await.unwrap();
            snapshots.extend(names().into_iter().filter(|name| name.starts_with("snapshot-")));
            TokioRuntime::sleep(Duration::from_millis(1)).await;
        }
    };
    TokioRuntime::timeout(Duration::from_secs(60), three_snapshots).await.unwrap();
    let is_left = |name: &String| name.contains("replaced");
    eventually("what was replaced is gone", || !names().iter().any(is_left)).await;
    assert_eq!(node.read_stable(&()).unwrap(), 9 << 20);
}

/// Nothing becomes final while a member is away, so what is accepted until then has a bound, and the
/// refusal says who is missing.
#[tokio::test]
async fn too_many_tentative_operations_are_refused_at_once() {
    let config = Config { tentative_operations_max: 5, ..Config::default() };
    let trio = Trio::start(config).await;
    trio.pay(1, 1).await.unwrap();
    trio.agree().await;
    trio.network.isolate("c:3", &["a:1", "b:2"]);
    let handle = trio.nodes[&1].handle();
    // Node 2 was heard of a moment ago, so it comes to be node 3 that holds all back.
    loop {
        let Err(refused) = handle.write(1).await else { continue };
        assert!(refused.is_definite(), "{refused}");
        if refused.to_string().contains("before node 3") {
            break;
        }
        TokioRuntime::sleep(Duration::from_millis(5)).await;
    }
    trio.network.heal();
    trio.agree().await;
    trio.pay(1, 1).await.unwrap();
}

/// A node that cannot sync has not kept its promise, and says so.
#[tokio::test]
async fn a_failed_sync_stops_the_node() {
    let trio = Trio::start(Config::default()).await;
    trio.pay(1, 1).await.unwrap();
    trio.remains[&1].log.fail_next_sync();
    let handle = trio.nodes[&1].handle();
    let reason = trio.nodes[&1].stopped().await;
    assert!(reason.contains("log"), "{reason}");
    assert!(matches!(handle.write(1).await, Err(Error::Stopped(_))));
}

/// A log of one mode says nothing to the other.
#[tokio::test]
async fn a_data_directory_belongs_to_one_mode() {
    let trio = Trio::start(Config::default()).await;
    let remains = trio.remains[&1].clone();
    drop(trio);
    let network = MemoryNetwork::default();
    let doors = Doors {
        disk: Arc::new(remains.disk),
        log: Arc::new(MemoryLog::new()),
        transport: Box::new(move |who| network.node::<TokioRuntime>("a:1", who)),
    };
    let started = Node::<Ledger>::builder(1).peers([(1, "a:1")]).start_with::<TokioRuntime>(doors);
    let refused = started.await.unwrap_err();
    assert!(matches!(refused, StartError::WrongIdentity { .. }), "{refused}");
    assert!(refused.to_string().contains("eventual-sled"), "{refused}");
}

/// On the real disk and network, with both log engines.
#[tokio::test]
async fn a_real_trio_agrees_and_comes_back() {
    for engine in [LogEngine::Sled, LogEngine::Wal] {
        let dir = tempfile::tempdir().unwrap();
        let ports = crate::real::free_ports(3);
        let start = |id: u64| {
            let builder = Node::<Account>::builder(id)
                .data_dir(dir.path().join(id.to_string()))
                .log_engine(engine)
                .peers(IDS.into_iter().zip(ports.clone()));
            builder.start_eventual()
        };
        let mut nodes = BTreeMap::new();
        for id in IDS {
            nodes.insert(id, start(id).await.unwrap());
        }
        let config = Config::default();
        let (network, remains) = (MemoryNetwork::default(), BTreeMap::new());
        let mut trio = Trio { record: Record::default(), network, remains, nodes, config };
        for id in IDS {
            trio.pay(id, 10).await.unwrap();
        }
        trio.agree().await;
        trio.nodes.remove(&2).unwrap().shutdown().await;
        trio.pay(1, 10).await.unwrap();
        trio.nodes.insert(2, start(2).await.unwrap());
        trio.agree().await;
        assert_eq!(trio.funds(2).await, 60);
        for node in trio.nodes.values() {
            node.shutdown().await;
        }
    }
}
