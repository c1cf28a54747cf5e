//! Disks fail, machines panic, requests are too many or too large.

use futures_util::future::{join, join_all};
use sixbells::{Config, Error, Role};

use crate::cluster::{Cluster, Command, eventually, pass};

/// A command makes the machine panic. It is committed by then, so every node that knows has to apply it, and
/// stops; the next leader, too. A state machine that panics is the end of the service, until a release comes
/// that can apply the command. The last node may not have heard of the commit, but alone it leads nobody.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_machine_stops_every_node_that_leads() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.agree(1).await;
    let panicked = cluster.node(leader).handle().write(Command::Panic).await.unwrap_err();
    assert!(!panicked.is_definite(), "it is in the log: {panicked}");
    pass(30).await;
    let mut stopped = 0;
    for id in 1..=3 {
        let status = cluster.status(id);
        if status.role != Role::Stopped {
            assert_ne!(status.role, Role::Leader, "{status}");
            continue;
        }
        stopped += 1;
        assert!(!cluster.node(id).stopped().await.is_empty());
        let fault = status.fault.expect("the status says why");
        assert!(fault.contains("panic"), "{fault}");
        let handle = cluster.node(id).handle();
        assert!(matches!(handle.read(1).await, Err(Error::Stopped(_))));
        assert!(matches!(handle.read_local(1).await, Err(Error::Stopped(_))), "half changed");
        assert!(matches!(handle.write(Command::Add(1, 1)).await, Err(Error::Stopped(_))));
    }
    assert!(stopped >= 2, "a majority, and nobody leads without one");
    cluster.power_cut();
    for id in 1..=3 {
        match cluster.try_start_node(id).await {
            Err(error) => assert!(error.to_string().contains("panic"), "{error}"),
            Ok(()) => pass(5).await,
        }
    }
    pass(30).await;
    for node in cluster.nodes.values() {
        assert_ne!(node.status().role, Role::Leader, "the command is still in the log");
    }
}

/// A sync fails on a node that is a cluster of its own: the write is on no disk, and nobody may get
/// an ok for it. The node stops; syncing again could lie.
#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_node_and_acknowledges_nothing() {
    let mut cluster = Cluster::start(1, Config::default()).await;
    cluster.leader().await;
    cluster.add(1, 1, 1).await.unwrap();
    cluster.remains[&1].log.fail_next_sync();
    let errors = join_all((0..10).map(|_| cluster.add(1, 1, 1))).await;
    assert!(errors.iter().all(|result| matches!(result, Err(e) if !e.is_definite())), "{errors:?}");
    let reason = cluster.node(1).stopped().await;
    assert!(reason.contains("sync failed"), "{reason}");
    assert_eq!(cluster.status(1).role, Role::Stopped);
    cluster.crash(1).await;
    cluster.start_node(1).await;
    assert_eq!(cluster.add(1, 1, 1).await, Ok(2), "only what was acknowledged");
}

/// A leader's disk fails in a cluster of three: it stops, the others go on, and whatever was answered
/// with an ok is there.
#[tokio::test(start_paused = true)]
async fn the_others_go_on_when_a_leaders_disk_fails() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let other = cluster.others(leader)[0];
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.remains[&leader].log.fail_next_sync();
    let results = join_all((0..10).map(|_| cluster.add(leader, 1, 1))).await;
    let acknowledged = results.iter().filter(|result| result.is_ok()).count();
    cluster.node(leader).stopped().await;
    let sum = cluster.add(other, 1, 0).await.unwrap();
    assert!(sum > i64::try_from(acknowledged).unwrap(), "{acknowledged} were acknowledged: {sum}");
    assert!(matches!(cluster.add(leader, 1, 1).await, Err(Error::Stopped(_))));
    cluster.crash(leader).await;
    cluster.start_node(leader).await;
    assert_eq!(cluster.agree(1).await, sum);
}

/// One byte too many is refused by name, before anything happens, on leader and follower.
#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_refused() {
    let limit = 3;
    let cluster = Cluster::start(3, Config { command_bytes_max: limit, ..Config::default() }).await;
    cluster.leader().await;
    for id in 1..=3 {
        let handle = cluster.node(id).handle();
        let command = handle.write(Command::Add(1, 1)).await.unwrap_err();
        let keyed = handle.write_once("key", Command::Add(1, 1)).await.unwrap_err();
        let query = handle.read(1).await.unwrap_err();
        let local = handle.read_local(1).await.unwrap_err();
        for error in [command, keyed, query, local] {
            assert!(matches!(error, Error::TooLarge(_)) && error.is_definite(), "{error}");
        }
        assert_eq!(cluster.status(id).sessions, 0, "not even a session was opened");
    }
}

/// The disks hang and requests pile up: the one over the limit is told at once, and definitely.
#[tokio::test(start_paused = true)]
async fn one_request_too_many_is_overload() {
    let cluster = Cluster::start(3, Config { in_flight_max: 5, ..Config::default() }).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 0).await.unwrap();
    cluster.remains.values().for_each(|remains| remains.log.hold());
    let release = async {
        pass(1).await;
        let refused = cluster.add(leader, 1, 1).await.unwrap_err();
        assert!(matches!(refused, Error::Overloaded(_)) && refused.is_definite(), "{refused}");
        cluster.remains.values().for_each(|remains| remains.log.release());
    };
    let (admitted, ()) = join(join_all((0..5).map(|_| cluster.add(leader, 1, 1))), release).await;
    assert!(admitted.iter().all(Result::is_ok), "{admitted:?}");
    assert_eq!(cluster.add(leader, 1, 0).await, Ok(5), "and room again");
}

/// A disk that hangs is not a disk that fails: the node keeps its part, and writes that waited come
/// through when it answers again.
#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_delays_but_loses_nothing() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.remains.values().for_each(|remains| remains.log.hold());
    let unknown = cluster.add(leader, 1, 10).await.unwrap_err();
    assert!(!unknown.is_definite(), "{unknown}");
    cluster.remains.values().for_each(|remains| remains.log.release());
    eventually("a write goes through", || cluster.status(leader).fault.is_none()).await;
    let leader = cluster.leader().await;
    assert_eq!(cluster.add(leader, 1, 1).await, Ok(12), "the unknown one was carried out");
    assert_eq!(cluster.agree(1).await, 12);
}

/// A node that was dropped serves nobody, even where a handle of it was kept.
#[tokio::test(start_paused = true)]
async fn a_handle_kept_after_the_node_is_refused() {
    let mut cluster = Cluster::start(1, Config::default()).await;
    cluster.leader().await;
    let (dropped, shut) = (cluster.node(1).handle(), cluster.node(1).handle());
    cluster.add(1, 1, 1).await.unwrap();
    drop(cluster.nodes.remove(&1));
    assert!(matches!(dropped.write(Command::Add(1, 1)).await, Err(Error::Stopped(_))));
    assert!(matches!(dropped.read(1).await, Err(Error::Stopped(_))));
    drop(dropped);
    drop(shut);

    cluster.start_node(1).await;
    cluster.leader().await;
    let shut = cluster.node(1).handle();
    cluster.nodes.remove(&1).unwrap().shutdown().await;
    assert!(matches!(shut.write(Command::Add(1, 1)).await, Err(Error::Stopped(_))));
    assert!(matches!(shut.read(1).await, Err(Error::Stopped(_))));
}
