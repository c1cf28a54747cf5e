//! The log is cut behind snapshots; whoever needs what was cut gets a snapshot.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use futures_util::future::join;
use sixbells::{
    Config,
    runtime::{AsyncRuntime, TokioRuntime},
    storage::{Disk, DiskFile, DiskReader, MemoryDisk},
    transport::Kind,
};

use crate::{
    cluster::{Cluster, eventually},
    tap::{Record, Tap},
};

fn small() -> Config {
    Config {
        snapshot_entries: 50,
        log_keep_entries: 10,
        snapshot_chunk_bytes: 256,
        ..Config::default()
    }
}

async fn fill(cluster: &Cluster, node: u64, keys: std::ops::Range<u64>) {
    for key in keys {
        cluster.add(node, key, 1).await.unwrap();
    }
}

/// Without snapshots a log grows until the disk is full, and a restart takes hours.
#[tokio::test(start_paused = true)]
async fn snapshots_are_taken_by_size_and_the_log_is_purged() {
    let mut cluster = Cluster::start(3, small()).await;
    let leader = cluster.leader().await;
    fill(&cluster, leader, 0..300).await;
    for id in 1..=3 {
        eventually("a late snapshot, and the log cut behind it", || {
            let status = cluster.status(id);
            let purged = status.purged.map_or(0, |id| id.index);
            status.snapshot.is_some_and(|id| id.index > 200) && purged > 150
        })
        .await;
        let files = cluster.remains[&id].disk.names().unwrap();
        let kept = files.iter().filter(|name| name.starts_with("snapshot-")).count();
        assert_eq!(kept, 1, "older snapshots go: {files:?}");
    }
    cluster.power_cut();
    cluster.start_all().await;
    assert_eq!(cluster.add(2, 0, 1).await, Ok(2));
    assert_eq!(cluster.add(2, 299, 1).await, Ok(2));
    assert_eq!(cluster.agree(299).await, 2);
}

/// An entry may be as long as a batch of a thousand commands: counted in entries alone, a log could grow to
/// gigabytes, all of which a restart reads, before the first snapshot.
#[tokio::test(start_paused = true)]
async fn a_snapshot_is_taken_when_so_many_bytes_were_applied() {
    let config = Config { snapshot_entries: u64::MAX, snapshot_bytes: 4_000, ..small() };
    let mut cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    fill(&cluster, leader, 0..20).await;
    assert_eq!(cluster.status(leader).snapshot, None, "under 2,000 bytes");
    fill(&cluster, leader, 20..300).await;
    for id in 1..=3 {
        eventually("a snapshot, and the log cut behind it", || {
            let status = cluster.status(id);
            status.snapshot.is_some_and(|id| id.index > 100) && status.purged.is_some()
        })
        .await;
    }
    cluster.power_cut();
    cluster.start_all().await;
    assert_eq!(cluster.add(2, 299, 1).await, Ok(2));
}

/// On demand: on any node, also with nothing new, and durable when it returns.
#[tokio::test(start_paused = true)]
async fn a_snapshot_is_taken_on_demand() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    fill(&cluster, leader, 0..20).await;
    cluster.agree(0).await;
    for id in 1..=3 {
        for _again in 0..2 {
            cluster.node(id).snapshot().await.unwrap();
            assert_eq!(cluster.status(id).snapshot, cluster.status(id).applied);
        }
    }
    cluster.power_cut();
    cluster.start_all().await;
    cluster.leader().await;
    assert!((1..=3).all(|id| cluster.status(id).snapshot.is_some()), "found again");
    assert_eq!(cluster.add(leader, 19, 1).await, Ok(2));
}

/// A follower was away for longer than the log reaches back: it gets the snapshot, in pieces, and the
/// rest from the log, and is a full member again.
#[tokio::test(start_paused = true)]
async fn a_follower_that_was_away_gets_a_snapshot_and_then_the_log() {
    let record = Record::default();
    let taps = record.clone();
    let mut cluster = Cluster::new(3, small());
    cluster.wrap_transport = Arc::new(move |_, inner| Arc::new(Tap::new(inner, &taps, None)));
    cluster.start_all().await;
    let leader = cluster.leader().await;
    let (away, other) = (cluster.others(leader)[0], cluster.others(leader)[1]);
    fill(&cluster, leader, 0..5).await;
    cluster.isolate(away);
    fill(&cluster, leader, 0..220).await;
    eventually("what it needs is purged", || {
        cluster.status(leader).purged.is_some_and(|id| id.index > 100)
    })
    .await;
    let before = record.of(Kind::Snapshot).len();
    cluster.network.heal();
    assert_eq!(cluster.agree(219).await, 1);
    let pieces = record.of(Kind::Snapshot).len() - before;
    assert!(pieces > 5, "{pieces} pieces");
    assert!(cluster.status(away).applied > cluster.status(away).snapshot, "then the log");
    cluster.crash(other).await;
    assert_eq!(cluster.add(away, 0, 1).await, Ok(3), "it counts in the majority");
    cluster.crash(away).await;
    cluster.start_node(away).await;
    assert_eq!(cluster.agree(0).await, 3);
}

/// Stands between a node and its files: while closed, a sync does not return.
#[derive(Clone, Debug, Default)]
struct Gate(Arc<(Mutex<(bool, u64)>, Condvar)>);

impl Gate {
    fn close(&self) {
        self.0.0.lock().unwrap().0 = true;
    }

    fn open(&self) {
        self.0.0.lock().unwrap().0 = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.1 += 1;
        while state.0 {
            state = self.0.1.wait(state).unwrap();
        }
        state.1 -= 1;
    }

    /// Waits until a sync hangs. It hangs a real thread, so these stories run on the real clock.
    async fn reached(&self) {
        eventually("a sync hangs", || self.0.0.lock().unwrap().1 > 0).await;
    }
}

#[derive(Debug)]
struct Gated(MemoryDisk, Gate);

struct GatedFile(Box<dyn DiskFile>, Gate);

impl Write for GatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl DiskFile for GatedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
}

impl Disk for Gated {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GatedFile(self.0.create(name)?, self.1.clone())))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskReader>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

async fn gated_cluster() -> (Cluster, Gate) {
    let gate = Gate::default();
    let mut cluster = Cluster::new(3, Config::default());
    let shared = gate.clone();
    cluster.wrap_disk = Box::new(move |_, disk| Arc::new(Gated(disk, shared.clone())));
    cluster.start_all().await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    (cluster, gate)
}

/// A snapshot of a big state takes long to write. If commands waited for it, every snapshot would be
/// an outage.
#[tokio::test]
async fn writes_go_on_while_a_snapshot_is_built() {
    let (cluster, gate) = gated_cluster().await;
    let leader = cluster.leader().await;
    gate.close();
    let meanwhile = async {
        gate.reached().await;
        for n in 2..50 {
            assert_eq!(cluster.add(leader, 1, 1).await, Ok(n));
        }
        assert_eq!(cluster.node(leader).handle().read(1).await, Ok(49));
        gate.open();
    };
    let (taken, ()) = join(cluster.node(leader).snapshot(), meanwhile).await;
    taken.unwrap();
    let status = cluster.status(leader);
    assert!(status.snapshot.is_some() && status.snapshot < status.applied, "{status}");
}

/// Asked for while another one is under way, a snapshot has to come after it: it may not wait for
/// ever for one that nobody takes.
#[tokio::test]
async fn a_snapshot_asked_for_while_one_is_built_is_taken_next() {
    let (cluster, gate) = gated_cluster().await;
    let leader = cluster.leader().await;
    gate.close();
    let second = async {
        gate.reached().await;
        cluster.add(leader, 1, 1).await.unwrap();
        let open = async {
            tokio::task::yield_now().await;
            gate.open();
        };
        join(cluster.node(leader).snapshot(), open).await.0
    };
    let both = join(cluster.node(leader).snapshot(), second);
    let (first, second) =
        TokioRuntime::timeout(Duration::from_secs(60), both).await.expect("both return");
    first.unwrap();
    second.unwrap();
    assert_eq!(cluster.status(leader).snapshot, cluster.status(leader).applied);
}
