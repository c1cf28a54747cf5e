//! Load on real node processes with real disks and real syncs, as a table.
//!
//! ```text
//! cargo bench -p sixbells-gauge --bench load                          three nodes, both logs, 1, 64 and 256 clients
//! cargo bench -p sixbells-gauge --bench load -- --quick               a third of the time
//! cargo bench -p sixbells-gauge --bench load -- --full                the whole matrix: hours
//! cargo bench -p sixbells-gauge --bench load -- --only writes,failover --log sled --clients 1,16,1000
//! cargo bench -p sixbells-gauge --bench load -- --rate 5000 --only writes      open loop
//! cargo bench -p sixbells-gauge --bench load -- --mode eventual --svg load.svg
//! ```
//! Without `--rate` the loop is closed: each client sends its next request when the last one was answered,
//! and a latency counts from when it was sent. With `--rate` it is open: requests are due at fixed moments, and
//! a latency counts from the moment when its request was **due**, so it is corrected for coordinated
//! omission; `--clients` is then how many may be under way. Clients run in this process, on the same cores as
//! the nodes, so the figures are those of a whole machine. Quote ratios and medians, with the machine and
//! whether it was busy.
//!
//! Columns: `CPU us`, of all nodes for one request; `syncs`, of all nodes; `disk/B`, bytes that all nodes had
//! written to disk for each byte of an acknowledged command; `MiB`, resident memory of the largest node. The
//! row `bare` is the floor: one `fdatasync` of 4 KiB in a file of zeros and one round trip on loopback; `quorum` is
//! what a write by a leader and two followers takes on this machine without any system. Eventual mode has no
//! linearizable reads: the row is left out, and the mix reads from one node's state.

#![expect(
    clippy::disallowed_methods,
    reason = "it measures the real world; the doors bind the library"
)]

mod arguments;

use std::{path::Path, time::Duration};

use clap::Parser;
use sixbells::Mode;
use sixbells_gauge::{
    Keys, Line, Plan, Row, Setup, Sixbells, System, Until, Verb, bare, failover, first_write,
    measure, preload, quorum, serve, svg, transfer, unless_told,
};

use crate::arguments::{Arguments, Matrix};

/// Keys are fewer for large values, so that the state stays within this.
const STATE_BYTES_MAX: usize = 16 << 20;
const KEYS_MAX: usize = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(spec) = &arguments.node {
        return serve(spec).await;
    }
    unless_told(run(&arguments)).await
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let matrix = arguments.matrix();
    let seconds = arguments.seconds();
    match arguments.rate {
        Some(rate) => println!("open loop at {rate} requests/s; latency from when each was due"),
        None => println!("closed loop; latency from when each request was sent"),
    }
    println!("{seconds} s a row after a third of that to warm up\n{}", Row::header());
    if arguments.wants("bare") {
        let time = Duration::from_secs_f64(seconds);
        for floor in [bare, quorum] {
            println!("{}", tokio::task::spawn_blocking(move || floor(time)).await??);
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    for setup in matrix.setups() {
        for (number, value_bytes) in matrix.values.iter().copied().enumerate() {
            let mut cluster = Sixbells::start(setup)?;
            let measured = cells(&mut cluster, arguments, &matrix, (setup, value_bytes)).await;
            lines.extend(measured?);
            // They write 128 bytes whatever the size of the others, so once is enough.
            if number == 0 {
                outages(&mut cluster, arguments, setup).await?;
            }
            cluster.processes().end().await?;
        }
    }
    match &arguments.svg {
        Some(file) => draw(file, &lines),
        None => Ok(()),
    }
}

/// Every verb and number of clients on one cluster.
async fn cells(
    cluster: &mut Sixbells,
    arguments: &Arguments,
    matrix: &Matrix,
    (setup, value_bytes): (Setup, usize),
) -> anyhow::Result<Vec<Line>> {
    let since_spawn = first_write(&cluster.connect_any().await?, cluster.spawned()).await?;
    println!("\n{setup}: first write {} ms after the spawn", since_spawn.as_millis());
    let mut plan = Plan {
        verb: Verb::Write,
        clients: 1,
        value_bytes,
        keys: Keys::below((STATE_BYTES_MAX / value_bytes.max(1)).clamp(1, KEYS_MAX) as u64),
        rate: arguments.rate,
        until: Until::Time(Duration::from_secs_f64(arguments.seconds())),
    };
    let verbs: Vec<Verb> = Verb::ALL
        .into_iter()
        .filter(|verb| arguments.wants(&verb.to_string()))
        // Where no read is linearizable, that row would be another.
        .filter(|verb| setup.mode == Mode::Strong || *verb != Verb::Read)
        .collect();
    if !verbs.is_empty() {
        preload(cluster, &plan).await?;
    }
    let mut lines = Vec::new();
    for verb in verbs {
        let mut points = Vec::new();
        for clients in &matrix.clients {
            plan = Plan { verb, clients: *clients, ..plan };
            let row = measure(cluster, &plan).await?;
            println!("{row}");
            points.push((*clients as f64, row.ops_per_second));
        }
        lines.push(Line { name: format!("{verb}, {setup}, {value_bytes} B"), points });
    }
    Ok(lines)
}

/// What happens to the leadership; only where there is one, and somebody to take it.
async fn outages(
    cluster: &mut Sixbells,
    arguments: &Arguments,
    setup: Setup,
) -> anyhow::Result<()> {
    if setup.mode == Mode::Eventual || setup.nodes < 3 {
        return Ok(());
    }
    let times = arguments.times();
    if arguments.wants("transfer") {
        let (order, pause) = transfer(cluster, setup.nodes, times).await?;
        println!("transfer x{times}: {order}; the longest write across it: {pause}");
    }
    if arguments.wants("failover") {
        let spread = failover(cluster, times).await?;
        println!("failover x{times}, SIGKILL under load to the first acknowledged write: {spread}");
    }
    Ok(())
}

fn draw(file: &Path, lines: &[Line]) -> anyhow::Result<()> {
    std::fs::write(file, svg("Throughput", "clients", "requests/s", lines)?)?;
    println!("\nplot: {}", file.display());
    Ok(())
}
