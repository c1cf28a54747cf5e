//! Load on three real node processes with real syncs, as a table.
//!
//! ```text
//! cargo bench --bench load                       everything
//! cargo bench --bench load -- --quick            a third of the time per cell
//! cargo bench --bench load -- --only writes,failover --log sled
//! ```
//! Closed loop: each client sends its next request when the last one was answered. Clients run in this
//! process, on the same cores as the nodes, so the figures are those of a whole machine. Quote ratios
//! and medians, with the machine and whether it was busy.

#![expect(
    clippy::disallowed_methods,
    reason = "it measures the real world; the doors bind the library"
)]

mod cluster;
mod measure;

use clap::Parser;
use sixbells::LogEngine;

use crate::{cluster::Cluster, measure::Verb};

#[derive(Parser)]
struct Arguments {
    /// A third of the time per cell.
    #[arg(long)]
    quick: bool,
    /// Only these: writes, reads, local, failover.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only this log engine.
    #[arg(long)]
    log: Option<LogEngine>,
    /// Bytes of a value.
    #[arg(long, default_value_t = 128)]
    value: usize,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    clients: Vec<usize>,
    #[arg(long, hide = true)]
    node: Option<String>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(spec) = &arguments.node {
        return cluster::node(spec).await;
    }
    let seconds = if arguments.quick { 1.0 } else { 3.0 };
    let wanted = |what: &str| arguments.only.is_empty() || arguments.only.iter().any(|o| o == what);
    let engines = match arguments.log {
        Some(engine) => vec![engine],
        None => vec![LogEngine::Wal, LogEngine::Sled],
    };
    println!(
        "three processes on loopback, values of {} bytes, {seconds} s a cell",
        arguments.value
    );
    for engine in engines {
        let mut cluster = Cluster::start(engine).await?;
        println!("\nlog engine {engine}; first write {} ms after spawn", cluster.first_write_ms);
        measure::header();
        for (verb, name) in
            [(Verb::Write, "writes"), (Verb::Read, "reads"), (Verb::ReadLocal, "local")]
        {
            for clients in arguments.clients.iter().filter(|_| wanted(name)) {
                measure::cell(&mut cluster, verb, *clients, arguments.value, seconds).await?;
            }
        }
        if wanted("failover") {
            let kills = if arguments.quick { 3 } else { 10 };
            measure::failover(&mut cluster, kills).await?;
        }
        cluster.end().await?;
    }
    Ok(())
}
