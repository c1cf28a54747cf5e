//! What was measured of each, and how they compare.
//!
//! Owns [`Comparison`]. Invariants
//! - A ratio is of two medians from one sitting, sixbells over the other; the table says which direction is
//!   better.
//! - What was not measured of hiqlite is a hyphen. If nothing was, it has no columns and no lines.
//!
//! Does not: measure.

use std::time::Duration;

use sixbells_gauge::{Line, Row, Spread, Verb, svg};

use crate::{FEW, MANY};

/// Of one system, from all rounds.
#[derive(Default)]
pub(crate) struct Side {
    /// From the spawn of the processes to the first acknowledged write.
    pub(crate) starts: Vec<Duration>,
    pub(crate) rows: Vec<Row>,
    /// From the leader's death to the next acknowledged write.
    pub(crate) failovers: Vec<Duration>,
    pub(crate) resident_mib: Option<f64>,
}

impl Side {
    /// The median over the rounds of one figure of a row.
    fn median(&self, what: &str, clients: usize, figure: impl Fn(&Row) -> f64) -> Option<f64> {
        let those = self.rows.iter().filter(|row| row.what == what && row.clients == clients);
        let mut figures: Vec<f64> = those.map(figure).collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    fn line(&self, name: &str, verb: Verb) -> Line {
        let mut clients: Vec<usize> = self.rows.iter().map(|row| row.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        let what = verb.to_string();
        let throughput = |n: usize| Some((n as f64, self.median(&what, n, |r| r.ops_per_second)?));
        Line {
            name: format!("{name}, {verb}"),
            points: clients.into_iter().filter_map(throughput).collect(),
        }
    }
}

/// All systems.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) sixbells: Side,
    pub(crate) etcd: Side,
    /// Stays empty if hiqlite was not built in.
    pub(crate) hiqlite: Side,
}

/// A figure of one side, or nothing if it was not measured.
type Figure = Box<dyn Fn(&Side) -> Option<f64>>;

/// What the row is called in which all are sent the same.
pub(crate) const STEADY: &str = "steady";

const HIGHER: &str = "higher";
const LOWER: &str = "lower";

/// What the table alone does not say.
const HIQLITE_NOTE: &str = "\nhiqlite: its first write may be on one disk only; its failovers are seen by new \
    clients every 250 ms, and its own client takes longer to find the leader.\n";

/// What is compared, and which direction is better.
fn rows(clients: &[usize]) -> Vec<(String, &'static str, Figure)> {
    let mut rows = Vec::new();
    let mut add = |name: &str, better, figure| rows.push((name.to_owned(), better, figure));
    let median = |what: &str, clients, figure: fn(&Row) -> f64| -> Figure {
        let what = what.to_owned();
        Box::new(move |side| side.median(&what, clients, figure))
    };
    let (writes, reads) = (Verb::Write.to_string(), Verb::Read.to_string());
    for clients in clients {
        let name = format!("writes/s, clients: {clients}");
        add(&name, HIGHER, median(&writes, *clients, |row| row.ops_per_second));
    }
    add("write p99 ms, 256 clients", LOWER, median(&writes, MANY, |row| row.p99_ms));
    add("write p99 ms, 1,000 due each second", LOWER, median(STEADY, MANY, |row| row.p99_ms));
    add("write p50 ms, 1 client", LOWER, median(&writes, FEW, |row| row.p50_ms));
    let reads = median(&reads, MANY, |row| row.ops_per_second);
    add("linearizable reads/s, 256 clients", HIGHER, reads);
    let cpu = median(&writes, MANY, |row| row.cpu_us_per_op);
    add("CPU us per write, all nodes, 256 clients", LOWER, cpu);
    add("failover ms, median", LOWER, Box::new(|side| median_ms(&side.failovers)));
    add("spawn to first write ms, median", LOWER, Box::new(|side| median_ms(&side.starts)));
    add("memory MiB a node, after many writes", LOWER, Box::new(|side| side.resident_mib));
    rows
}

fn median_ms(times: &[Duration]) -> Option<f64> {
    Spread::of(times.to_vec()).ok().map(|spread| spread.median_ms())
}

impl Comparison {
    /// Those that sixbells is compared with.
    fn others(&self) -> Vec<(&'static str, &Side)> {
        let mut others = vec![("etcd", &self.etcd), ("hiqlite", &self.hiqlite)];
        others.retain(|(_, side)| !side.rows.is_empty());
        others
    }

    /// In Markdown, for the README.
    pub(crate) fn table(&self, clients: &[usize]) -> String {
        let others = self.others();
        let mut out = String::from("| medians | sixbells |");
        for (name, _) in &others {
            out += &format!(" {name} | sixbells / {name} |");
        }
        out += &format!(" better |\n|---|---|{}---|\n", "---|---|".repeat(others.len()));
        for (what, better, figure) in rows(clients) {
            let Some(ours) = figure(&self.sixbells) else { continue };
            out += &format!("| {what} | {} |", short(ours));
            for (_, side) in &others {
                out += &match figure(side) {
                    Some(theirs) => format!(" {} | {:.2} |", short(theirs), ours / theirs),
                    None => " - | - |".into(),
                };
            }
            out += &format!(" {better} |\n");
        }
        if !self.hiqlite.rows.is_empty() {
            out += HIQLITE_NOTE;
        }
        out
    }

    pub(crate) fn plot(&self) -> anyhow::Result<String> {
        let mut lines = Vec::new();
        for verb in [Verb::Write, Verb::Read] {
            lines.push(self.sixbells.line("sixbells", verb));
            lines.extend(self.others().iter().map(|(name, side)| side.line(name, verb)));
        }
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
