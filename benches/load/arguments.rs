//! The command line, and the matrix of configurations that it asks for.
//!
//! Owns [`Arguments`] and [`Matrix`]. Invariant: what is given counts, and the rest is the small default or,
//! with `--full`, everything.

use std::path::PathBuf;

use clap::Parser;
use sixbells::{LogEngine, Mode};
use sixbells_gauge::{Limits, Setup};

/// Load on real node processes, as a table.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// A third of the time per row, and of the kills.
    #[arg(long)]
    quick: bool,
    /// The whole matrix, where a list is not given: hours.
    #[arg(long)]
    full: bool,
    /// Only these: bare (with quorum), writes, reads, local, mix, transfer, failover.
    #[arg(long, value_delimiter = ',', value_parser = ["bare", "writes", "reads", "local", "mix", "transfer", "failover"])]
    only: Vec<String>,
    /// Log engines: wal, sled.
    #[arg(long, value_delimiter = ',')]
    log: Vec<LogEngine>,
    /// Modes: strong, eventual.
    #[arg(long, value_delimiter = ',')]
    mode: Vec<Mode>,
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: Vec<u16>,
    /// Bytes of a value.
    #[arg(long, value_delimiter = ',')]
    value: Vec<usize>,
    /// Requests under way at once; with `--rate`, at most.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=4_096))]
    clients: Vec<u16>,
    /// Open loop: so many requests a second, whether or not the earlier ones were answered.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How often the leader is killed, and the leadership handed over.
    #[arg(long)]
    kills: Option<usize>,
    /// Writes a plot of throughput over clients.
    #[arg(long)]
    pub(crate) svg: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub(crate) node: Option<String>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let sane = (0.1..=10_000_000.0).contains(&rate);
    sane.then_some(rate).ok_or_else(|| "not within 0.1 and 10,000,000".into())
}

/// What is combined with what.
pub(crate) struct Matrix {
    modes: Vec<Mode>,
    engines: Vec<LogEngine>,
    nodes: Vec<usize>,
    pub(crate) values: Vec<usize>,
    pub(crate) clients: Vec<usize>,
}

impl Arguments {
    pub(crate) fn wants(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == what)
    }

    pub(crate) fn seconds(&self) -> f64 {
        if self.quick { 1.0 } else { 3.0 }
    }

    pub(crate) fn times(&self) -> usize {
        self.kills.unwrap_or(if self.quick { 3 } else { 10 }).max(1)
    }

    pub(crate) fn matrix(&self) -> Matrix {
        let sizes = |given: &[u16]| given.iter().map(|n| usize::from(*n)).collect::<Vec<_>>();
        Matrix {
            modes: self.either(&self.mode, &[Mode::Strong], &[Mode::Strong, Mode::Eventual]),
            engines: self.either(&self.log, &BOTH_LOGS, &BOTH_LOGS),
            nodes: self.either(&sizes(&self.nodes), &[3], &[1, 3, 5, 7]),
            values: self.either(&self.value, &[128], &[16, 128, 1_024, 16_384]),
            clients: self.either(&sizes(&self.clients), &[1, 64, 256], &[1, 16, 64, 256, 1_000]),
        }
    }

    fn either<T: Clone>(&self, given: &[T], small: &[T], full: &[T]) -> Vec<T> {
        match (given.is_empty(), self.full) {
            (false, _) => given.to_vec(),
            (true, false) => small.to_vec(),
            (true, true) => full.to_vec(),
        }
    }
}

const BOTH_LOGS: [LogEngine; 2] = [LogEngine::Wal, LogEngine::Sled];

impl Matrix {
    /// Every kind of cluster.
    pub(crate) fn setups(&self) -> Vec<Setup> {
        let mut all = Vec::new();
        for mode in &self.modes {
            for engine in &self.engines {
                for nodes in &self.nodes {
                    let (nodes, mode, engine) = (*nodes, *mode, *engine);
                    all.push(Setup { nodes, mode, engine, limits: Limits::default() });
                }
            }
        }
        all
    }
}
