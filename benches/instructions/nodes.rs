//! Scenarios with whole nodes, in one thread, on memory: everything that a request passes but disk and sockets.
//!
//! Heartbeats and elections are minutes apart, so that none comes in the middle of what is measured. What is left
//! to chance (which task tokio polls next, names of requests) is below a thousandth.
//!
//! Does not: look inside. Commands of 128 bytes go in through handles, and responses come out.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use futures_util::future::{BoxFuture, try_join_all};
use sixbells::{
    Config, Doors, Error, Handle, Node, Role, StartError,
    runtime::{AsyncRuntime, Instant, TokioRuntime},
    storage::{MemoryDisk, MemoryLog},
    transport::memory::MemoryNetwork,
};
use sixbells_gauge::{Blob, Values};
use tokio::runtime::{Builder, Runtime};

use crate::measured;

pub(crate) const WRITES: u64 = 3_200;
pub(crate) const AT_ONCE: u64 = 64;
pub(crate) const LONE_WRITES: u64 = 200;
pub(crate) const KEYS: u64 = 1_000;
pub(crate) const VALUE_BYTES: usize = 128;

/// A cluster that has a leader, and the runtime it lives on.
struct Cluster {
    runtime: Runtime,
    nodes: Vec<Node<Values>>,
    log: MemoryLog,
    disk: MemoryDisk,
}

fn addr(id: u64) -> String {
    format!("n{id}")
}

/// Nothing but what is asked of it: no snapshot, no hash of the state, no heartbeat in between.
fn config() -> Config {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    Config {
        heartbeat: minutes(2),
        election_timeout: minutes(10)..minutes(11),
        request_timeout: minutes(20),
        state_hash_entries: 0,
        ..Config::default()
    }
}

async fn start(
    (id, size): (u64, u64),
    config: Config,
    network: &MemoryNetwork,
    (log, disk): (&MemoryLog, &MemoryDisk),
) -> Result<Node<Values>, StartError> {
    let network = network.clone();
    let doors = Doors {
        disk: Arc::new(disk.clone()),
        log: Arc::new(log.clone()),
        transport: Box::new(move |who| network.node::<TokioRuntime>(addr(id), who)),
    };
    let peers = (1..=size).map(|id| (id, addr(id)));
    Node::builder(id).peers(peers).config(config).start_with::<TokioRuntime>(doors).await
}

impl Cluster {
    fn start(size: u64) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let network = MemoryNetwork::default();
        let (log, disk) = (MemoryLog::new(), MemoryDisk::default());
        let nodes = runtime.block_on(async {
            let mut nodes = vec![start((1, size), config(), &network, (&log, &disk)).await?];
            for id in 2..=size {
                let other = (&MemoryLog::new(), &MemoryDisk::default());
                nodes.push(start((id, size), config(), &network, other).await?);
            }
            Ok::<_, StartError>(nodes)
        })?;
        Ok(Self { runtime, nodes, log, disk })
    }

    /// The leader's handle, warm: its session is open.
    fn handle(&self) -> anyhow::Result<Handle<Values>> {
        self.runtime.block_on(async {
            self.nodes[0].handle().write((0, value())).await?;
            let deadline = <TokioRuntime as AsyncRuntime>::Instant::now() + Duration::from_secs(60);
            loop {
                let leads = |node: &&Node<Values>| node.status().role == Role::Leader;
                if let Some(leader) = self.nodes.iter().find(leads) {
                    let handle = leader.handle();
                    handle.write((0, value())).await?;
                    return Ok(handle);
                }
                let now = <TokioRuntime as AsyncRuntime>::Instant::now();
                ensure!(now < deadline, "nobody leads");
                TokioRuntime::sleep(Duration::from_millis(10)).await;
            }
        })
    }

    /// All requests, each group sent at once when the one before was answered.
    fn requests(
        &self,
        groups: impl Iterator<Item = Range<u64>>,
        request: impl Fn(u64) -> BoxFuture<'static, Result<(), Error>>,
    ) -> anyhow::Result<()> {
        let (mut groups, mut answered) = (groups, Ok(()));
        measured(&mut || {
            answered = self.runtime.block_on(async {
                for group in groups.by_ref() {
                    try_join_all(group.map(&request)).await?;
                }
                Ok::<_, Error>(())
            });
        });
        Ok(answered?)
    }

    fn applied(&self) -> u64 {
        self.nodes[0].status().applied.map_or(0, |last| last.index)
    }
}

/// The numbers of the requests, by those that are under way together.
fn groups() -> impl Iterator<Item = Range<u64>> {
    (0..WRITES / AT_ONCE).map(|group| group * AT_ONCE..(group + 1) * AT_ONCE)
}

pub(crate) fn value() -> Blob {
    vec![7; VALUE_BYTES].into()
}

fn write(handle: &Handle<Values>, n: u64) -> BoxFuture<'static, Result<(), Error>> {
    let handle = handle.clone();
    Box::pin(async move { handle.write((n % KEYS, value())).await })
}

/// Encoding, session, proposal, consensus, log in memory, applying; with three nodes also the batches to the
/// followers and all that they do with them.
pub(crate) fn writes(size: u64) -> anyhow::Result<()> {
    let cluster = Cluster::start(size)?;
    let handle = cluster.handle()?;
    cluster.requests(groups(), |n| write(&handle, n))
}

/// The same one after the other: what no two writes share is paid for each.
pub(crate) fn lone_writes() -> anyhow::Result<()> {
    let cluster = Cluster::start(3)?;
    let handle = cluster.handle()?;
    cluster.requests((0..LONE_WRITES).map(|n| n..n + 1), |n| write(&handle, n))
}

/// The same with keys of the application, which are remembered in another table.
pub(crate) fn writes_once() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let handle = cluster.handle()?;
    cluster.requests(groups(), |n| {
        let handle = handle.clone();
        Box::pin(async move { handle.write_once(n.to_le_bytes(), (n % KEYS, value())).await })
    })
}

/// Linearizable reads of what is there.
pub(crate) fn reads() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let handle = cluster.handle()?;
    cluster.requests(groups(), |_| {
        let handle = handle.clone();
        Box::pin(async move {
            handle.read(0).await?.map(drop).ok_or_else(|| Error::Unknown("no value".into()))
        })
    })
}

/// A log without a snapshot, applied by a node that starts on it: entries decoded, sessions, the machine.
pub(crate) fn replay() -> anyhow::Result<()> {
    let before = Cluster::start(1)?;
    let handle = before.handle()?;
    before.runtime.block_on(async {
        for group in groups() {
            try_join_all(group.map(|n| write(&handle, n))).await?;
        }
        Ok::<_, Error>(())
    })?;
    let applied = before.applied();
    ensure!(applied >= WRITES / AT_ONCE, "only {applied} entries to apply");
    let (log, network) = (before.log.crash(), MemoryNetwork::default());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut started = None;
    measured(&mut || {
        started = Some(runtime.block_on(async {
            // It has to be elected again: not after minutes.
            let config = Config { state_hash_entries: 0, ..Config::default() };
            let node = start((1, 1), config, &network, (&log, &before.disk)).await?;
            while node.status().applied.map_or(0, |last| last.index) < applied {
                TokioRuntime::sleep(Duration::from_millis(100)).await;
            }
            Ok::<_, StartError>(node)
        }));
    });
    drop(started.context("did not run")??);
    Ok(())
}
