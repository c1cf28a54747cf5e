//! The two doors between a measurement and what it measures.
//!
//! Owns [`System`], a cluster of processes that can be counted, killed and restarted, and
//! [`Connection`], a client of it. Invariant: a measurement knows nothing else of a system, so that two
//! systems are measured by the same code.
//!
//! Does not: retry. What a system's client retries by itself is part of that system.

use tokio::time::Instant;

use crate::process::{Processes, Used};

/// Clients share a few connections, as the tasks of a service do.
const CONNECTIONS_MAX: usize = 8;

/// A client with many requests under way. Clones share the connection.
pub trait Connection: Clone + Send + Sync + 'static {
    /// Sets a key; returns once the system promises what it promises of a write.
    fn write(&self, key: u64, value: Vec<u8>) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Reads a key, linearizably where the system can.
    fn read(&self, key: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Reads a key from one node's state, which may be old.
    fn read_local(&self, key: u64) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// A cluster of node processes. Seats are numbered from 0.
pub trait System {
    /// Its client.
    type Connection: Connection;

    /// How tables and plots call it.
    fn name(&self) -> String;

    /// When the first of its processes was spawned.
    fn spawned(&self) -> Instant;

    /// A new connection. The number spreads connections over nodes where the system wants that.
    fn connect(
        &self,
        number: usize,
    ) -> impl Future<Output = anyhow::Result<Self::Connection>> + Send;

    /// A connection for the time around a failure: it tries every node.
    fn connect_any(&self) -> impl Future<Output = anyhow::Result<Self::Connection>> + Send;

    /// Its processes.
    fn processes(&mut self) -> &mut Processes;

    /// Syncs that all nodes counted since they started; nothing, if the system does not count them.
    fn syncs(&mut self) -> impl Future<Output = anyhow::Result<Option<u64>>> + Send;

    /// Who leads; waits, within a bound, until somebody does.
    fn leader(&mut self) -> impl Future<Output = anyhow::Result<usize>> + Send;

    /// Starts the node of this seat again on its disk.
    fn restart(&mut self, seat: usize) -> anyhow::Result<()>;

    /// Waits, within a bound, until no node lacks anything.
    fn level(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What all nodes used since they started.
    fn used(&mut self) -> impl Future<Output = anyhow::Result<Used>> {
        async {
            let syncs = self.syncs().await?;
            Ok(Used { syncs, ..self.processes().used() })
        }
    }
}

/// The connections that so many clients share.
///
/// # Errors
/// When one cannot be made.
pub async fn connections<S: System>(
    system: &S,
    clients: usize,
) -> anyhow::Result<Vec<S::Connection>> {
    let mut all = Vec::new();
    for number in 0..clients.clamp(1, CONNECTIONS_MAX) {
        all.push(system.connect(number).await?);
    }
    Ok(all)
}
