//! What is on disk is not what was promised: the node does not start, and says which file it is.
//! What a crash may leave behind, on the other hand, is never called damage.

use std::io::Read;

use sixbells::{
    Config, StartError,
    storage::{Disk, LogStore, MemoryLog},
};

use crate::cluster::{Cluster, Remains, eventually};

fn damage(started: Result<(), StartError>) -> String {
    match started {
        Err(StartError::Damaged(damage)) => damage.to_string(),
        other => panic!("not damage: {other:?}"),
    }
}

/// A cluster whose follower, returned with it, holds a snapshot of its own and has crashed.
async fn crashed_with_a_snapshot() -> (Cluster, u64) {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    for key in 0..20 {
        cluster.add(leader, key, 1).await.unwrap();
    }
    let follower = cluster.others(leader)[0];
    cluster.agree(0).await;
    cluster.node(follower).snapshot().await.unwrap();
    cluster.crash(follower).await;
    (cluster, follower)
}

/// A log that ends before a snapshot that was made from it has lost entries, and with them perhaps a
/// vote. Starting on it would be forgetting a promise.
#[tokio::test(start_paused = true)]
async fn a_log_shorter_than_the_own_snapshot_is_damage() {
    let (mut cluster, node) = crashed_with_a_snapshot().await;
    let whole = cluster.remains[&node].log.clone();
    for kept in [0, 1, 10] {
        let log = MemoryLog::new();
        log.save_vote(whole.state().vote.unwrap(), Box::new(|_| {}));
        log.append(whole.read(0..kept, u64::MAX).unwrap(), Box::new(|_| {}));
        cluster.remains.get_mut(&node).unwrap().log = log;
        let said = damage(cluster.try_start_node(node).await);
        assert!(said.contains("the log ends at"), "{said}");
    }
    cluster.remains.get_mut(&node).unwrap().log = whole;
    cluster.start_node(node).await;
    assert_eq!(cluster.agree(19).await, 1, "with the whole log all is well");
}

/// A log that begins after the newest snapshot ends has a hole.
#[tokio::test(start_paused = true)]
async fn a_purged_log_without_its_snapshot_is_damage() {
    let config = Config { snapshot_entries: 20, log_keep_entries: 2, ..Config::default() };
    let mut cluster = Cluster::start(1, config).await;
    cluster.leader().await;
    for key in 0..100 {
        cluster.add(1, key, 1).await.unwrap();
    }
    eventually("purged", || cluster.status(1).purged.is_some_and(|id| id.index > 30)).await;
    cluster.crash(1).await;
    let disk = cluster.remains[&1].disk.clone();
    for name in disk.names().unwrap().iter().filter(|name| name.starts_with("snapshot-")) {
        disk.remove(name).unwrap();
    }
    let said = damage(cluster.try_start_node(1).await);
    assert!(said.contains("newest snapshot holds nothing"), "{said}");
}

/// One bit of a snapshot turns over on the disk. The state inside would be wrong, on this node alone.
#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_a_snapshot_is_damage_that_names_the_file() {
    let (mut cluster, node) = crashed_with_a_snapshot().await;
    let disk = cluster.remains[&node].disk.clone();
    let name = disk.names().unwrap().into_iter().find(|name| name.starts_with("snap")).unwrap();
    let mut good = Vec::new();
    disk.open(&name).unwrap().read_to_end(&mut good).unwrap();
    for bit in [0, good.len() * 4, good.len() * 8 - 1] {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        disk.create(&name).unwrap().write_all(&bad).unwrap();
        let said = damage(cluster.try_start_node(node).await);
        assert!(said.contains(&name), "bit {bit}: {said}");
    }
    disk.create(&name).unwrap().write_all(&good).unwrap();
    cluster.start_node(node).await;
    assert_eq!(cluster.agree(19).await, 1);
}

/// A snapshot was received and stands under its name; then the power fails before the log behind it
/// is purged. The log is far shorter than the snapshot, rightly: that is no damage.
#[tokio::test(start_paused = true)]
async fn a_crash_between_a_received_snapshot_and_the_purge_is_legal() {
    let config = Config { snapshot_entries: 20, log_keep_entries: 2, ..Config::default() };
    let mut cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    for key in 0..5 {
        cluster.add(leader, key, 1).await.unwrap();
    }
    cluster.isolate(away);
    for key in 0..100 {
        cluster.add(leader, key, 1).await.unwrap();
    }
    eventually("purged", || cluster.status(leader).purged.is_some_and(|id| id.index > 30)).await;
    cluster.remains[&away].log.hold();
    let disk = cluster.remains[&away].disk.clone();
    let received = || disk.names().unwrap().iter().any(|name| name.ends_with("-received"));
    cluster.network.heal();
    eventually("it is received", received).await;
    cluster.crash(away).await;
    let left = cluster.remains[&away].log.state();
    assert!(left.purged.is_none() && left.last.is_some_and(|id| id.index < 20), "{left:?}");

    cluster.start_node(away).await;
    assert_eq!(cluster.agree(99).await, 1);
    cluster.crash(away).await;
    cluster.start_node(away).await;
    cluster.node(away).snapshot().await.unwrap();
    cluster.crash(away).await;
    cluster.start_node(away).await;
    cluster.add(leader, 99, 1).await.unwrap();
    assert_eq!(cluster.agree(99).await, 2);
}

/// A crash in the middle of writing or receiving a snapshot leaves half a file, which is nothing.
#[tokio::test(start_paused = true)]
async fn half_a_snapshot_on_its_way_is_cleared_away() {
    let (mut cluster, node) = crashed_with_a_snapshot().await;
    let disk = cluster.remains[&node].disk.clone();
    disk.create("temporary-from-1").unwrap().write_all(b"half").unwrap();
    disk.create("temporary-built").unwrap().write_all(b"half").unwrap();
    cluster.start_node(node).await;
    let left = disk.names().unwrap();
    assert!(!left.iter().any(|name| name.starts_with("temporary-")), "{left:?}");
    assert_eq!(cluster.agree(19).await, 1);
}

/// A log under an identity that is gone belongs to nobody; believing it would be a guess.
#[tokio::test(start_paused = true)]
async fn a_log_without_an_identity_is_refused() {
    let (mut cluster, node) = crashed_with_a_snapshot().await;
    let Remains { log, .. } = cluster.remains[&node].clone();
    cluster.remains.insert(node, Remains { log, ..Remains::default() });
    let error = cluster.try_start_node(node).await.unwrap_err();
    assert!(matches!(error, StartError::Foreign { .. }), "{error}");
}
