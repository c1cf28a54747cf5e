//! What every row stands on: a fresh cluster, room for it, and load that does not wait for ever.
//!
//! Owns [`Ground`], a cluster with who leads it. In: limits and plans. Out: rows, with what the disk holds and
//! how long the log is. Invariants: a load of so many requests is given up when it is far slower than any
//! that can be meant; a cluster is begun only where it has room.
//!
//! Does not: decide what is measured.

use std::time::Duration;

use anyhow::Context;
use sixbells::{LogEngine, Mode};
use sixbells_gauge::{
    Keys, Limits, Plan, Room, Row, Setup, Sixbells, System, Until, Verb, first_write, measure,
};
use tokio::time::timeout;

/// Nodes of every cluster.
pub(crate) const NODES: usize = 3;

/// Bytes of most values.
pub(crate) const VALUE_BYTES: usize = 128;

/// Clients that fill a state or a log.
pub(crate) const MANY: usize = 256;

/// What a key costs in a node's memory beside its value: the tree, and the allocator.
const KEY_MEMORY_BYTES: u64 = 128;

/// What a process of a node has before it holds any state: its code, and the log's cache.
const NODE_MEMORY_BYTES: u64 = 400 << 20;

/// A load this slow has failed.
const REQUESTS_PER_SECOND_MIN: u64 = 200;

/// A steady load, as a part of what was written in a second when nothing limited it. In an open loop requests come one
/// by one, and one alone costs fifty times what it costs among many: more would leave two cores no rest.
const PART_OF_CAPACITY: f64 = 0.02;

const MIB: f64 = (1_u64 << 20) as f64;

/// A cluster under measurement.
pub(crate) struct Ground {
    pub(crate) cluster: Sixbells,
    pub(crate) leader: usize,
}

impl Ground {
    /// A fresh cluster that serves, with a leader.
    pub(crate) async fn prepare(limits: Limits) -> anyhow::Result<Self> {
        let setup = Setup { nodes: NODES, mode: Mode::Strong, engine: LogEngine::Wal, limits };
        let mut cluster = Sixbells::start(setup)?;
        first_write(&cluster.connect_any().await?, cluster.spawned()).await?;
        cluster.level().await?;
        let leader = cluster.leader().await?;
        Ok(Self { cluster, leader })
    }

    /// A seat that does not lead.
    pub(crate) fn follower(&self) -> usize {
        (self.leader + 1) % NODES
    }

    /// Sends so many requests, or fails if that takes far too long.
    pub(crate) async fn send(&mut self, plan: &Plan, what: &str) -> anyhow::Result<Row> {
        let Until::Requests(count) = plan.until else { anyhow::bail!("no number of requests") };
        let patience = Duration::from_secs(60 + count / REQUESTS_PER_SECOND_MIN);
        let sent = timeout(patience, measure(&mut self.cluster, plan)).await;
        let row = sent.with_context(|| format!("{count} requests took over {patience:?}"))??;
        Ok(Row { what: what.into(), ..row })
    }

    /// A plan's load for its time.
    pub(crate) async fn load(&mut self, plan: &Plan, what: &str) -> anyhow::Result<Row> {
        Ok(Row { what: what.into(), ..measure(&mut self.cluster, plan).await? })
    }

    /// Prints a row, with what there is on disk and in the log after it.
    pub(crate) async fn print(&self, row: &Row) -> anyhow::Result<()> {
        let disks = (0..NODES).map(|seat| self.cluster.disk_bytes(seat, ""));
        let disk = disks.collect::<anyhow::Result<Vec<u64>>>()?.into_iter().max().unwrap_or(0);
        println!("{row}{:>10.1}{:>10}", mib(disk), self.last_index().await?);
        Ok(())
    }

    /// The leader's last log index.
    pub(crate) async fn last_index(&self) -> anyhow::Result<u64> {
        Ok(self.cluster.status(self.leader).await?.last_log_index.unwrap_or(0))
    }

    /// Ends the processes, and says so if somebody else leads than at the beginning: the figures are
    /// then those of two leaders.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let leader = self.cluster.leader().await?;
        if leader != self.leader {
            println!("the leadership moved from node {} to {}", self.leader + 1, leader + 1);
        }
        self.cluster.processes().end().await
    }
}

/// The header of what [`Ground::print`] prints.
pub(crate) fn header() -> String {
    format!("{}{:>10}{:>10}", Row::header(), "disk MiB", "entries")
}

/// The rate of an open loop beside something else, of a cluster that could do this.
pub(crate) fn steady_rate(unlimited: &Row) -> f64 {
    (unlimited.ops_per_second * PART_OF_CAPACITY).max(1.0)
}

/// A plan of writes.
pub(crate) fn writes(clients: usize, keys: Keys, until: Until) -> Plan {
    Plan { verb: Verb::Write, clients, value_bytes: VALUE_BYTES, keys, rate: None, until }
}

/// Whether this machine has room for so many nodes with so many keys and so much log; says so if not.
pub(crate) fn has_room(
    row: &str,
    nodes: u64,
    (keys, value_bytes): (u64, usize),
    log_bytes: u64,
) -> anyhow::Result<bool> {
    let value_bytes = value_bytes as u64;
    // While a snapshot is taken, what is overwritten is there twice; at worst, all of it.
    let memory = nodes * (NODE_MEMORY_BYTES + keys * (value_bytes + KEY_MEMORY_BYTES) * 3 / 2);
    // The last snapshot and the next one, and the log in between.
    let disk = nodes * (keys * (value_bytes + 16) * 2 + log_bytes);
    let needed = Room { memory_bytes: Some(memory), disk_bytes: Some(disk) };
    let program = std::env::current_exe()?;
    let left = Room::left(program.parent().context("the program has no directory")?);
    let holds = left.holds(&needed);
    if !holds {
        println!("{row}: left out. It needs some {needed}; there is {left}");
    }
    Ok(holds)
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
