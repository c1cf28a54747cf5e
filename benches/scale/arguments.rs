//! The command line, and the numbers that follow from it.
//!
//! Owns [`Arguments`]. Invariant: every number is the full one times the fraction, and one at least; times are
//! shortened less, so that a quantile still has enough requests behind it.

use std::time::Duration;

use clap::Parser;
use sixbells_gauge::Until;

/// All of them, in the order in which they run.
pub(crate) const ROWS: [&str; 6] = ["log", "state", "connections", "sessions", "restart", "behind"];

/// For a thing that has a duration and not a number of requests.
const PHASE_SECONDS: f64 = 10.0;

/// Cost per operation as log, state, connections and sessions grow; restarts and catching up.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// A hundredth of all numbers.
    #[arg(long, conflicts_with = "scale")]
    quick: bool,
    /// This part of all numbers.
    #[arg(long, value_parser = part)]
    scale: Option<f64>,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', value_parser = ROWS)]
    only: Vec<String>,
    /// Idle connections, instead of 9,900 by scale. A node accepts 10,000, those of its peers among them.
    #[arg(long)]
    pub(crate) connections: Option<u64>,
    /// Sessions, instead of a million by scale.
    #[arg(long)]
    pub(crate) sessions: Option<u64>,
    #[arg(long, hide = true)]
    pub(crate) node: Option<String>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let sane = (0.000_1..=10.0).contains(&part);
    sane.then_some(part).ok_or_else(|| "not within 0.0001 and 10".into())
}

impl Arguments {
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == row)
    }

    pub(crate) fn fraction(&self) -> f64 {
        self.scale.unwrap_or(if self.quick { 0.01 } else { 1.0 })
    }

    /// So many at full scale, at this one.
    pub(crate) fn count(&self, full: u64) -> u64 {
        // Exact far beyond any number that is asked for here.
        Duration::from_nanos(full).mul_f64(self.fraction()).as_nanos().try_into().unwrap_or(full)
    }

    /// How long a phase of load takes that nothing else ends.
    pub(crate) fn phase(&self) -> Duration {
        Duration::from_secs_f64(PHASE_SECONDS * self.fraction().clamp(0.1, 1.0))
    }

    /// The same as the end of a load.
    pub(crate) fn for_a_phase(&self) -> Until {
        Until::Time(self.phase())
    }
}
