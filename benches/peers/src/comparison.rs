//! What was measured of both, and how they compare.
//!
//! Owns [`Comparison`]. Invariant: a ratio is of two medians from one sitting, sixbells over etcd; the table
//! says which direction is better.
//!
//! Does not: measure.

use std::{fmt::Write, time::Duration};

use sixbells_gauge::{Line, Row, Spread, Verb, svg};

use crate::{FEW, MANY};

/// Of one system, from all rounds.
#[derive(Default)]
pub(crate) struct Side {
    /// From the spawn of the processes to the first acknowledged write.
    pub(crate) starts: Vec<Duration>,
    pub(crate) rows: Vec<(Verb, Row)>,
    /// From the leader's death to the next acknowledged write.
    pub(crate) failovers: Vec<Duration>,
    pub(crate) resident_mib: Option<f64>,
}

impl Side {
    /// The median over the rounds of one figure of a row.
    fn median(&self, verb: Verb, clients: usize, figure: impl Fn(&Row) -> f64) -> Option<f64> {
        let those = self.rows.iter().filter(|(of, row)| *of == verb && row.clients == clients);
        let mut figures: Vec<f64> = those.map(|(_, row)| figure(row)).collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    fn line(&self, name: &str, verb: Verb) -> Line {
        let mut clients: Vec<usize> = self.rows.iter().map(|(_, row)| row.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        let throughput = |n: usize| Some((n as f64, self.median(verb, n, |r| r.ops_per_second)?));
        Line {
            name: format!("{name}, {verb}"),
            points: clients.into_iter().filter_map(throughput).collect(),
        }
    }
}

/// Both systems.
#[derive(Default)]
pub(crate) struct Comparison {
    sixbells: Side,
    etcd: Side,
}

/// A figure of one side, or nothing if it was not measured.
type Figure = fn(&Side) -> Option<f64>;

const HIGHER: &str = "higher";
const LOWER: &str = "lower";

/// What is compared, and which direction is better.
const ROWS: [(&str, &str, Figure); 9] = [
    ("writes/s, 256 clients", HIGHER, |s| s.median(Verb::Write, MANY, |r| r.ops_per_second)),
    ("write p99 ms, 256 clients", LOWER, |s| s.median(Verb::Write, MANY, |r| r.p99_ms)),
    ("write p50 ms, 1 client", LOWER, |s| s.median(Verb::Write, FEW, |r| r.p50_ms)),
    ("linearizable reads/s, 256 clients", HIGHER, |s| {
        s.median(Verb::Read, MANY, |r| r.ops_per_second)
    }),
    ("CPU us per write, all nodes, 256", LOWER, |s| {
        s.median(Verb::Write, MANY, |r| r.cpu_us_per_op)
    }),
    ("failover ms, median", LOWER, |s| median_ms(&s.failovers)),
    ("failover ms, worst", LOWER, |s| Some(s.failovers.iter().max()?.as_secs_f64() * 1e3)),
    ("spawn to first write ms", LOWER, |s| median_ms(&s.starts)),
    ("memory MiB a node, after many writes", LOWER, |s| s.resident_mib),
];

fn median_ms(times: &[Duration]) -> Option<f64> {
    Spread::of(times.to_vec()).ok().map(|spread| spread.median_ms())
}

impl Comparison {
    pub(crate) fn ours(&mut self) -> &mut Side {
        &mut self.sixbells
    }

    pub(crate) fn theirs(&mut self) -> &mut Side {
        &mut self.etcd
    }

    /// In Markdown, for the README.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from("| medians | sixbells | etcd | sixbells / etcd | better |\n");
        out.push_str("|---|---|---|---|---|\n");
        for (what, better, figure) in ROWS {
            if let (Some(ours), Some(theirs)) = (figure(&self.sixbells), figure(&self.etcd)) {
                let (a, b, ratio) = (short(ours), short(theirs), ours / theirs);
                // Writing to a string does not fail.
                let _ = writeln!(out, "| {what} | {a} | {b} | {ratio:.2} | {better} |");
            }
        }
        out
    }

    pub(crate) fn plot(&self) -> anyhow::Result<String> {
        let lines: Vec<Line> = [Verb::Write, Verb::Read]
            .into_iter()
            .flat_map(|verb| [self.sixbells.line("sixbells", verb), self.etcd.line("etcd", verb)])
            .collect();
        Ok(svg("Three nodes, values of 128 bytes", "clients", "requests/s", &lines)?)
    }
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
