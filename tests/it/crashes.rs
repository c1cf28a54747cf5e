//! Nodes die and come back, at random, often all at once: what was acknowledged stays.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sixbells::{Config, Error};

use crate::cluster::{Cluster, pass};

const KEYS: u64 = 5;
const ROUNDS: u32 = 30;

/// What the writers know: each key is a counter, and each write adds one.
#[derive(Debug, Default)]
struct Counted {
    acknowledged: i64,
    unknown: i64,
}

/// The seeds to run: a few, or the one that failed.
fn seeds() -> Vec<u64> {
    match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIXBELLS_SEED is a number")],
        Err(_) => (1..=6).collect(),
    }
}

/// Says how to come back to a failure.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "the faults of seed {seed} again: SIXBELLS_SEED={seed} cargo test --test it crashes"
            );
        }
    }
}

async fn write(cluster: &Cluster, rng: &mut StdRng, counted: &mut BTreeMap<u64, Counted>) {
    let running: Vec<u64> = cluster.nodes.keys().copied().collect();
    let node = running[rng.random_range(0..running.len())];
    let key = rng.random_range(0..KEYS);
    let entry = counted.entry(key).or_default();
    match cluster.add(node, key, 1).await {
        Ok(sum) => {
            entry.acknowledged += 1;
            let least = entry.acknowledged;
            assert!(sum >= least, "key {key}: {least} acknowledged, but now {sum}");
        }
        Err(error) if error.is_definite() => {}
        Err(Error::SessionExpired) => panic!("no session was crowded out"),
        Err(_unknown) => entry.unknown += 1,
    }
}

async fn fault(cluster: &mut Cluster, rng: &mut StdRng) {
    let running: Vec<u64> = cluster.nodes.keys().copied().collect();
    match rng.random_range(0..6) {
        0 => {
            // The disks of some hang for a moment, then all lose power with what was not synced.
            for remains in cluster.remains.values().filter(|_| rng.random_bool(0.5)) {
                remains.log.hold();
            }
            let handle = cluster.node(running[0]).handle();
            let doomed = handle.write(crate::cluster::Command::Add(KEYS, 1));
            drop(futures_util::future::select(Box::pin(doomed), Box::pin(pass(1))).await);
            cluster.power_cut();
            cluster.start_all().await;
        }
        1..=3 => {
            let dead = running[rng.random_range(0..running.len())];
            cluster.crash(dead).await;
            if rng.random_bool(0.7) {
                cluster.start_node(dead).await;
            }
        }
        4 => {
            let alone = running[rng.random_range(0..running.len())];
            cluster.isolate(alone);
            pass(rng.random_range(0..3)).await;
            cluster.network.heal();
        }
        _ => {
            let node = running[rng.random_range(0..running.len())];
            cluster.node(node).snapshot().await.unwrap();
        }
    }
    while cluster.nodes.len() < 2 {
        let missing = (1..=3).find(|id| !cluster.nodes.contains_key(id)).unwrap();
        cluster.start_node(missing).await;
    }
}

async fn run(seed: u64) {
    let _replay = Replay(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let config = Config { snapshot_entries: 40, log_keep_entries: 5, ..Config::default() };
    let mut cluster = Cluster::start(3, config).await;
    let mut counted = BTreeMap::new();
    for _ in 0..ROUNDS {
        for _ in 0..rng.random_range(1..8) {
            write(&cluster, &mut rng, &mut counted).await;
        }
        fault(&mut cluster, &mut rng).await;
    }
    for id in 1..=3 {
        if !cluster.nodes.contains_key(&id) {
            cluster.start_node(id).await;
        }
    }
    cluster.leader().await;
    for (key, Counted { acknowledged, unknown }) in counted {
        let sum = cluster.add(1, key, 0).await.unwrap();
        let possible = acknowledged..=acknowledged + unknown;
        assert!(possible.contains(&sum), "key {key}: {sum} is not within {possible:?}");
        assert_eq!(cluster.agree(key).await, sum);
    }
}

/// Every acknowledged write survives, and nothing is applied twice: each counter ends between what was
/// acknowledged and that plus what is unknown.
#[tokio::test(start_paused = true)]
async fn every_acknowledged_write_survives_random_crashes() {
    for seed in seeds() {
        run(seed).await;
    }
}
