//! A retry is never a second effect, whoever retries, where, and after what.

use std::sync::Arc;

use futures_util::future::{join, join_all};
use sixbells::{
    Config, Error,
    runtime::TokioRuntime,
    transport::{Kind, Lane, Peer},
};

use crate::{
    cluster::{Cluster, Command, addr, pass},
    tap::{Record, Tap},
};

/// Two hundred writers at once, on all nodes: were one applied twice or not at all, two of them would
/// see the same sum, or the last sum would be wrong.
#[tokio::test(start_paused = true)]
async fn concurrent_writes_are_each_applied_once() {
    let cluster = Cluster::start(3, Config::default()).await;
    cluster.leader().await;
    let writes = (0..200).map(|n| cluster.add(1 + n % 3, 7, 1));
    let mut sums: Vec<i64> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=200).collect::<Vec<_>>());
    assert_eq!(cluster.agree(7).await, 200);
}

/// A queue delivers one message to two consumers. The network hands every request over twice, too.
#[tokio::test(start_paused = true)]
async fn a_message_delivered_twice_is_applied_once() {
    let record = Record::default();
    let mut cluster = Cluster::new(3, Config::default());
    let taps = record.clone();
    cluster.wrap_transport =
        Arc::new(move |_, inner| Arc::new(Tap::new(inner, &taps, Some(Kind::Propose))));
    cluster.start_all().await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let writes = join_all((0..50).map(|_| cluster.add(follower, 7, 1))).await;
    assert!(writes.iter().all(Result::is_ok), "{writes:?}");
    assert_eq!(cluster.agree(7).await, 50);
    assert!(record.of(Kind::Propose).len() > 50, "the writes went over the network");
    assert!(cluster.status(leader).duplicates >= 50, "{}", cluster.status(leader).duplicates);
}

/// A payment form is sent to two nodes at once, and again after the leader died: one payment, and
/// everybody sees the same receipt.
#[tokio::test(start_paused = true)]
async fn a_key_has_one_effect_on_any_node_and_after_failover() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let others = cluster.others(leader);
    let pay = |node: u64, n: i64| {
        let handle = cluster.node(node).handle();
        async move { handle.write_once("payment 17", Command::Add(1, n)).await }
    };
    let (a, b) = join(pay(others[0], 10), pay(others[1], 10)).await;
    assert_eq!((&a, &b), (&Ok(10), &Ok(10)));
    assert_eq!(pay(leader, 99).await, Ok(10), "the first command's response, whatever comes later");
    cluster.add(leader, 1, 5).await.unwrap();
    cluster.crash(leader).await;
    let again = cluster.node(others[0]).handle();
    assert_eq!(again.write_once("payment 17", Command::Add(1, 10)).await, Ok(10));
    assert_eq!(cluster.agree(1).await, 15);
}

/// The window of keys is bounded on every node alike; what fell out of it counts as new.
#[tokio::test(start_paused = true)]
async fn the_oldest_key_is_forgotten() {
    let cluster = Cluster::start(3, Config { keys_max: 3, ..Config::default() }).await;
    let leader = cluster.leader().await;
    let handle = cluster.node(leader).handle();
    for key in ["a", "b", "c", "d"] {
        handle.write_once(key, Command::Add(1, 1)).await.unwrap();
    }
    assert_eq!(handle.write_once("b", Command::Add(1, 1)).await, Ok(2), "still remembered");
    assert_eq!(handle.write_once("a", Command::Add(1, 1)).await, Ok(5), "forgotten: a new one");
    assert_eq!(cluster.agree(1).await, 5);
    assert!((1..=3).all(|id| cluster.status(id).idempotency_keys == 3));
    let long = handle.write_once([7; 257], Command::Add(1, 1)).await.unwrap_err();
    assert!(matches!(long, Error::TooLarge(_)), "{long}");
}

/// All disks hang while 1,500 writes come in: more than one session may have under way. The writes
/// behind it get a second one, and all are applied when the disks are back.
#[tokio::test(start_paused = true)]
async fn a_second_session_opens_when_the_first_is_full() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.add(follower, 7, 0).await.unwrap();
    let before = cluster.status(leader).sessions;
    cluster.remains.values().for_each(|remains| remains.log.hold());
    let release = async {
        pass(1).await;
        cluster.remains.values().for_each(|remains| remains.log.release());
    };
    let writes = join_all((0..1_500).map(|_| cluster.add(follower, 7, 1)));
    let (written, ()) = join(writes, release).await;
    assert_eq!(written.iter().filter(|result| result.is_ok()).count(), 1_500);
    assert_eq!(cluster.agree(7).await, 1_500);
    assert_eq!(cluster.status(leader).sessions, before + 1);
}

/// Two sessions are remembered, three nodes write. The one idle for longest is told so, not given a
/// second effect, and goes on with a new session.
#[tokio::test(start_paused = true)]
async fn an_expired_session_is_an_error_once() {
    let cluster = Cluster::start(3, Config { sessions_max: 2, ..Config::default() }).await;
    cluster.leader().await;
    for id in 1..=3 {
        cluster.add(id, 7, 1).await.unwrap();
    }
    let expired = cluster.add(1, 7, 1).await.unwrap_err();
    assert_eq!(expired, Error::SessionExpired);
    assert_eq!(cluster.add(1, 7, 1).await, Ok(4), "the expired write had no effect");
    assert!((1..=3).all(|id| cluster.status(id).sessions <= 2));
    cluster.agree(7).await;
}

/// A caller that gives up on a write must not hold the session's window for ever: a thousand and more
/// are given up on, in the same session.
#[tokio::test(start_paused = true)]
async fn writes_that_are_given_up_leave_the_session_usable() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 7, 1).await.unwrap();
    for _ in 0..3 {
        let doomed = join_all((0..1_000).map(|_| cluster.add(leader, 8, 1)));
        let given_up = futures_util::future::select(Box::pin(doomed), Box::pin(async {})).await;
        drop(given_up);
    }
    assert_eq!(cluster.add(leader, 7, 1).await, Ok(2));
    assert_eq!(cluster.status(leader).sessions, 1);
    assert!(cluster.agree(8).await <= 3_000);
}

/// A reply is lost, everybody loses power, all restart, from a snapshot or from the log, and the very
/// same message arrives once more: it gets the recorded response and has no second effect.
#[tokio::test(start_paused = true)]
async fn a_retry_after_a_restart_is_recognised() {
    for from_snapshot in [true, false] {
        let record = Record::default();
        let taps = record.clone();
        let mut cluster = Cluster::new(3, Config::default());
        cluster.wrap_transport = Arc::new(move |_, inner| Arc::new(Tap::new(inner, &taps, None)));
        cluster.start_all().await;
        let leader = cluster.leader().await;
        let follower = cluster.others(leader)[0];
        for _ in 0..10 {
            cluster.add(follower, 7, 1).await.unwrap();
        }
        let retry = record.of(Kind::Propose).pop().unwrap();
        if from_snapshot {
            for node in cluster.nodes.values() {
                node.snapshot().await.unwrap();
            }
        }
        cluster.power_cut();
        cluster.start_all().await;
        let leader = cluster.leader().await;
        cluster.add(leader, 7, 100).await.unwrap();
        assert_eq!(cluster.status(leader).snapshot.is_some(), from_snapshot);

        let before = cluster.status(leader).duplicates;
        let client = cluster.network.client::<TokioRuntime>("client", "sixbells");
        let to = Peer { addr: addr(leader), node: Some(leader), disk: None };
        let wait = std::time::Duration::from_secs(5);
        let reply = client.call(&to, Lane::Client, retry, wait).await.unwrap();
        assert!(reply.body.ends_with(&10_i64.to_le_bytes()), "the response of then: {reply:?}");
        assert_eq!(cluster.status(leader).duplicates, before + 1);
        assert_eq!(cluster.agree(7).await, 110);
    }
}
