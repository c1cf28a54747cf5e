//! sixbells beside etcd and hiqlite: the same load, disk, machine and hour, by turns.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --rounds 3 --kills 20 --svg peers.svg
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --memory      a million writes, too
//! cargo run --release --manifest-path benches/peers/Cargo.toml --features hiqlite -- --quick
//! ```
//! Needs the binary `etcd` on the PATH (Debian: `apt-get install etcd-server`); without it, says so and ends
//! well. hiqlite takes part with the feature of that name, which is off: it brings SQLite, TLS and an HTTP
//! stack, and takes longer to build than to measure.
//!
//! Three processes each, with defaults on all sides, synced writes on all sides: hiqlite's default is not to
//! sync, and that is what is changed of it. In each round one system after the other, never two alive, and another
//! one first. The table has the medians over the rounds and their ratios. The loop is closed: a latency counts from
//! when the request was sent, and each system is as busy as it can be. But for one row: there the loop is open, all are
//! sent the same, and a latency counts from when the request was due. The clients run in this process and share a
//! few connections; etcd's speaks gRPC without any layer between it and the wire, hiqlite's is its own.

#![expect(
    clippy::disallowed_methods,
    reason = "it measures the real world; the doors bind the library"
)]

mod comparison;
mod etcd;
mod grpc;
#[cfg(feature = "hiqlite")]
mod hiqlite;
mod message;

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use sixbells::{LogEngine, Mode};
use sixbells_gauge::{
    Keys, Limits, Plan, Row, Setup, Sixbells, Spread, System, Until, Verb, bare, failover,
    first_write, measure, preload, quorum, serve, unless_told,
};
use tokio::time::Instant;

#[cfg(feature = "hiqlite")]
use crate::hiqlite::Hiqlite;
use crate::{
    comparison::{Comparison, STEADY, Side},
    etcd::Etcd,
};

#[cfg(feature = "hiqlite")]
const SYSTEMS: [&str; 3] = ["hiqlite", "sixbells", "etcd"];
#[cfg(not(feature = "hiqlite"))]
const SYSTEMS: [&str; 2] = ["etcd", "sixbells"];

/// All are measured at these, whatever else is asked for: the ratios are of them.
const FEW: usize = 1;
const MANY: usize = 256;

/// Writes a second where all are sent the same: what the slowest can do, and the others hardly notice.
const STEADY_RATE: f64 = 1_000.0;

/// Keys that are written over and over; the memory row has one for each write.
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 128;

/// sixbells beside etcd and, with the feature, hiqlite.
#[derive(Parser)]
struct Arguments {
    /// One round of short rows and few kills.
    #[arg(long)]
    quick: bool,
    /// How often each system has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How often each leader is killed, over all rounds. Default 20, and 2 with `--quick`.
    #[arg(long)]
    kills: Option<usize>,
    /// How often each system is started on empty disks, over all rounds. Default 20, and 2 with `--quick`.
    #[arg(long)]
    starts: Option<usize>,
    /// Clients beside 1 and 256.
    #[arg(long, value_delimiter = ',')]
    clients: Vec<u16>,
    /// Also the memory of a node after a million writes of distinct keys; once.
    #[arg(long)]
    memory: bool,
    /// How many writes that is.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    memory_writes: u64,
    /// Sends etcd's load to all its nodes rather than to its leader.
    #[arg(long)]
    spread: bool,
    /// Writes a plot of throughput over clients.
    #[arg(long)]
    svg: Option<PathBuf>,
    #[arg(long, hide = true)]
    node: Option<String>,
    #[cfg(feature = "hiqlite")]
    #[arg(long, hide = true)]
    hiqlite_node: Option<String>,
}

impl Arguments {
    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    fn kills_a_round(&self) -> usize {
        let kills = self.kills.unwrap_or(if self.quick { 2 } else { 20 });
        kills.max(1).div_ceil(self.rounds())
    }

    fn starts_a_round(&self) -> usize {
        let starts = self.starts.unwrap_or(if self.quick { 2 } else { 20 });
        starts.max(1).div_ceil(self.rounds())
    }

    fn row_time(&self) -> Duration {
        if self.quick { Duration::from_secs(1) } else { Duration::from_secs(5) }
    }

    fn clients(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.clients.iter().map(|n| usize::from(*n).max(1)).collect();
        all.extend([FEW, MANY]);
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(spec) = &arguments.node {
        return serve(spec).await;
    }
    #[cfg(feature = "hiqlite")]
    if let Some(spec) = &arguments.hiqlite_node {
        return hiqlite::serve(spec).await;
    }
    unless_told(run(&arguments)).await
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(version) = etcd::version().await else {
        println!("skipped: there is no `etcd` on the PATH. {}", how_to_install());
        return Ok(());
    };
    println!("sixbells and {version}, three processes each, values of {VALUE_BYTES} bytes");
    #[cfg(feature = "hiqlite")]
    println!("and hiqlite {}, synced", hiqlite::version());
    #[cfg(not(feature = "hiqlite"))]
    println!(
        "hiqlite is left out, for it takes minutes to build: `--features hiqlite` includes it"
    );
    println!("{}", Row::header());
    let time = arguments.row_time();
    let etcd = || Etcd::start(arguments.spread);
    for floor in [bare, quorum] {
        println!("{}", tokio::task::spawn_blocking(move || floor(time)).await??);
    }
    let mut comparison = Comparison::default();
    for round in 1..=arguments.rounds() {
        for turn_of in 0..SYSTEMS.len() {
            let name = SYSTEMS[(round + turn_of) % SYSTEMS.len()];
            println!("\nround {round}: {name}");
            match name {
                "sixbells" => turn(sixbells, arguments, &mut comparison.sixbells).await?,
                "etcd" => turn(etcd, arguments, &mut comparison.etcd).await?,
                #[cfg(feature = "hiqlite")]
                _ => hiqlite::apart(hiqlite_turn(arguments, &mut comparison.hiqlite))?,
                #[cfg(not(feature = "hiqlite"))]
                _ => {}
            }
        }
    }
    if arguments.memory {
        let mut ours = sixbells()?;
        comparison.sixbells.resident_mib = Some(fill(&mut ours, arguments).await?);
        let mut theirs = etcd()?;
        comparison.etcd.resident_mib = Some(fill(&mut theirs, arguments).await?);
        #[cfg(feature = "hiqlite")]
        hiqlite::apart(async {
            let mut third = Hiqlite::start()?;
            comparison.hiqlite.resident_mib = Some(fill(&mut third, arguments).await?);
            Ok(())
        })?;
    }
    println!("\n{}", comparison.table(&arguments.clients()));
    if let Some(file) = &arguments.svg {
        std::fs::write(file, comparison.plot()?)?;
        println!("plot: {}", file.display());
    }
    Ok(())
}

/// Nothing is installed unasked: a bench does not change the machine it measures.
fn how_to_install() -> &'static str {
    let apt = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("apt-get").exists()));
    if apt {
        "As root: apt-get install etcd-server"
    } else {
        "Its releases are at github.com/etcd-io/etcd"
    }
}

fn sixbells() -> anyhow::Result<Sixbells> {
    let (mode, engine, limits) = (Mode::Strong, LogEngine::Wal, Limits::default());
    Sixbells::start(Setup { nodes: 3, mode, engine, limits })
}

/// All that is measured of one system in one round. Nothing of it runs afterwards.
async fn turn<S: System>(
    start: impl Fn() -> anyhow::Result<S>,
    arguments: &Arguments,
    side: &mut Side,
) -> anyhow::Result<()> {
    let mut system = first_writes(start, arguments, side).await?;
    loads(&mut system, arguments, side).await?;
    let spread = failover(&mut system, arguments.kills_a_round()).await?;
    println!("failover: {spread}");
    side.failovers.extend(spread.times());
    system.processes().end().await
}

/// What [`turn`] is to the others. hiqlite is a guest here: what it cannot do is told, leaves a hyphen in the
/// table, and does not end the run. After a kill it may not come back in time, so there may be fewer kills.
#[cfg(feature = "hiqlite")]
async fn hiqlite_turn(arguments: &Arguments, side: &mut Side) -> anyhow::Result<()> {
    let mut system = match first_writes(Hiqlite::start, arguments, side).await {
        Ok(system) => system,
        Err(error) => {
            println!("given up: {error:#}");
            return Ok(());
        }
    };
    if let Err(error) = loads(&mut system, arguments, side).await {
        println!("given up: {error:#}");
        return system.processes().end().await;
    }
    for kill in 1..=arguments.kills_a_round() {
        match failover(&mut system, 1).await {
            Ok(spread) => {
                println!("failover: {spread}");
                side.failovers.extend(spread.times());
            }
            Err(error) => {
                println!("failover: given up at kill {kill}: {error:#}");
                break;
            }
        }
    }
    system.processes().end().await
}

/// From the spawn to the first write, several times, for who is elected first is a draw. The last one that
/// was started is for what follows.
async fn first_writes<S: System>(
    start: impl Fn() -> anyhow::Result<S>,
    arguments: &Arguments,
    side: &mut Side,
) -> anyhow::Result<S> {
    let mut times = Vec::new();
    loop {
        let mut system = start()?;
        times.push(first_write(&system.connect_any().await?, system.spawned()).await?);
        if times.len() == arguments.starts_a_round() {
            println!("spawn to first write: {}", Spread::of(times.clone())?);
            side.starts.extend(times);
            return Ok(system);
        }
        system.processes().end().await?;
    }
}

/// The rows.
async fn loads<S: System>(
    system: &mut S,
    arguments: &Arguments,
    side: &mut Side,
) -> anyhow::Result<()> {
    system.level().await?;
    let mut plan = Plan {
        verb: Verb::Write,
        clients: MANY,
        value_bytes: VALUE_BYTES,
        keys: Keys::below(KEYS),
        rate: None,
        until: Until::Time(arguments.row_time()),
    };
    preload(system, &plan).await?;
    for verb in [Verb::Write, Verb::Read] {
        for clients in arguments.clients() {
            plan = Plan { verb, clients, ..plan };
            side.rows.push(row(system, &plan, &verb.to_string()).await?);
        }
    }
    plan = Plan { verb: Verb::Write, clients: MANY, rate: Some(STEADY_RATE), ..plan };
    side.rows.push(row(system, &plan, STEADY).await?);
    Ok(())
}

/// One of them. Where requests failed, the others waited for less.
async fn row<S: System>(system: &mut S, plan: &Plan, what: &str) -> anyhow::Result<Row> {
    let row = Row { what: what.into(), ..measure(system, plan).await? };
    println!("{row}");
    anyhow::ensure!(row.errors == 0, "requests failed: no figure of this row counts");
    Ok(row)
}

/// Resident memory, in MiB, of the largest node after many writes of distinct keys.
async fn fill<S: System>(system: &mut S, arguments: &Arguments) -> anyhow::Result<f64> {
    first_write(&system.connect_any().await?, Instant::now()).await?;
    system.level().await?;
    let plan = Plan {
        verb: Verb::Write,
        clients: MANY,
        value_bytes: VALUE_BYTES,
        keys: Keys::below(arguments.memory_writes),
        rate: None,
        until: Until::Requests(arguments.memory_writes),
    };
    let row = measure(system, &plan).await?;
    println!("{}, {} writes of distinct keys:\n{row}", system.name(), arguments.memory_writes);
    system.processes().end().await?;
    Ok(row.resident_mib)
}
