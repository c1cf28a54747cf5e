//! One row of the table: load between two readings of the nodes' counters.
//!
//! Owns [`Row`], [`measure`], and [`meanwhile`], where something else goes on at the same time. Invariant: what
//! is counted was caused by the measured requests or stands beside them (heartbeats, snapshots); warm-up and
//! preparation are outside.
//!
//! Does not: choose what to measure.

use std::{fmt, time::Duration};

use crate::{
    load::{Load, Outcome, Plan, Until, Verb, drive, drive_on},
    process::Used,
    system::{Connection, System, connections},
};

/// Bytes of a key in a command.
const KEY_BYTES: usize = 8;

/// Clients that fill the keys before anything is measured.
const PRELOAD_CLIENTS: usize = 64;

/// Connections and sessions are open after this. No longer, for whatever is written now is more to catch up with.
const OPEN_TIME: Duration = Duration::from_millis(300);

/// What was measured, ready to be printed. Times are in milliseconds; what nothing was counted of is NaN.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Requests under way.
    pub clients: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Requests that succeeded, per second.
    pub ops_per_second: f64,
    /// Latency: median.
    pub p50_ms: f64,
    /// Latency: 99 %.
    pub p99_ms: f64,
    /// Latency: 99.9 %.
    pub p999_ms: f64,
    /// Latency: the longest.
    pub max_ms: f64,
    /// CPU time of all nodes for one request, in microseconds.
    pub cpu_us_per_op: f64,
    /// Syncs of all nodes per second.
    pub syncs_per_second: f64,
    /// Syncs of all nodes for one request.
    pub syncs_per_op: f64,
    /// Bytes that all nodes wrote to disk for each byte of an acknowledged command.
    pub written_per_byte: f64,
    /// Resident memory of the node that has most.
    pub resident_mib: f64,
    /// Requests that failed.
    pub errors: u64,
}

impl Row {
    /// The names of the columns, aligned with the rows.
    pub fn header() -> String {
        format!(
            "{:<8}{:>8}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}{:>9}{:>9}{:>8}{:>8}{:>7}",
            "what",
            "clients",
            "value B",
            "ops/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
            "CPU us",
            "syncs/s",
            "syncs/op",
            "disk/B",
            "MiB",
            "errors"
        )
    }

    /// A row of what was done and used.
    pub fn of(what: String, plan: &Plan, outcome: &Outcome, used: &Used) -> Self {
        let (seconds, count) = (outcome.took.as_secs_f64(), outcome.latencies_us.len() as f64);
        let none = outcome.latencies_us.is_empty();
        let ms = |quantile: f64| match none {
            true => f64::NAN,
            false => outcome.latencies_us.value_at_quantile(quantile) as f64 / 1e3,
        };
        let bytes = outcome.writes as f64 * (plan.value_bytes + KEY_BYTES) as f64;
        let syncs = used.syncs.map_or(f64::NAN, |syncs| syncs as f64);
        Self {
            what,
            clients: plan.clients,
            value_bytes: plan.value_bytes,
            ops_per_second: count / seconds,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: ms(1.0),
            cpu_us_per_op: used.cpu_seconds * 1e6 / count,
            syncs_per_second: syncs / seconds,
            syncs_per_op: syncs / count,
            written_per_byte: if bytes > 0.0 { used.write_bytes as f64 / bytes } else { f64::NAN },
            resident_mib: used.resident_bytes_max as f64 / f64::from(1 << 20),
            errors: outcome.errors,
        }
    }

    /// How this row compares with an earlier one, column by column: its figure divided by the other's.
    pub fn beside(&self, earlier: &Row) -> String {
        let of = |row: &Row| {
            [
                ("ops/s", row.ops_per_second),
                ("p50", row.p50_ms),
                ("p99", row.p99_ms),
                ("p99.9", row.p999_ms),
                ("max", row.max_ms),
                ("CPU", row.cpu_us_per_op),
                ("MiB", row.resident_mib),
            ]
        };
        let ratios = of(self).into_iter().zip(of(earlier));
        let ratios = ratios.map(|((name, now), (_, then))| format!("{name} {:.2}", now / then));
        ratios.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hyphen where there is nothing to say.
        let number = |value: f64, decimals: usize| match value.is_finite() {
            true => format!("{value:.decimals$}"),
            false => "-".into(),
        };
        write!(f, "{:<8}{:>8}{:>8}", self.what, self.clients, self.value_bytes)?;
        write!(f, "{:>9}", number(self.ops_per_second, 0))?;
        for ms in [self.p50_ms, self.p99_ms, self.p999_ms, self.max_ms] {
            write!(f, "{:>9}", number(ms, 2))?;
        }
        write!(f, "{:>8}", number(self.cpu_us_per_op, 1))?;
        write!(f, "{:>9}", number(self.syncs_per_second, 0))?;
        write!(f, "{:>9}", number(self.syncs_per_op, 3))?;
        write!(f, "{:>8}", number(self.written_per_byte, 1))?;
        write!(f, "{:>8}{:>7}", number(self.resident_mib, 0), self.errors)
    }
}

/// Runs a plan, after a third of its time to warm up, and says what it took.
///
/// # Errors
/// When a node ended. Requests that fail are counted, and the first is told on standard error.
pub async fn measure<S: System>(system: &mut S, plan: &Plan) -> anyhow::Result<Row> {
    let connections = connections(system, plan.clients).await?;
    measure_on(system, &connections, plan).await
}

/// The same on these connections.
///
/// # Errors
/// As [`measure`].
pub async fn measure_on<S: System, C: Connection>(
    system: &mut S,
    connections: &[C],
    plan: &Plan,
) -> anyhow::Result<Row> {
    if let Until::Time(time) = plan.until {
        let warm_up = Plan { until: Until::Time(time / 3), ..*plan };
        drive_on(connections.to_vec(), &warm_up).await?;
    }
    let before = system.used().await?;
    let outcome = drive_on(connections.to_vec(), plan).await?;
    let used = system.used().await? - before;
    Ok(told(plan, &outcome, &used))
}

/// Load for as long as something else takes, after a moment to warm up; and what that came to.
///
/// # Errors
/// Those of the event, or when a node ended.
pub async fn meanwhile<S: System, T>(
    system: &mut S,
    plan: &Plan,
    event: impl AsyncFnOnce(&mut S) -> anyhow::Result<T>,
) -> anyhow::Result<(Row, T)> {
    let connections = connections(system, plan.clients).await?;
    drive_on(connections.clone(), &Plan { until: Until::Time(OPEN_TIME), ..*plan }).await?;
    let before = system.used().await?;
    let load = Load::start_on(connections, *plan)?;
    let came_to = event(system).await?;
    let outcome = load.finish(plan).await?;
    let used = system.used().await? - before;
    Ok((told(plan, &outcome, &used), came_to))
}

fn told(plan: &Plan, outcome: &Outcome, used: &Used) -> Row {
    if let Some(error) = &outcome.first_error {
        eprintln!("{}: the first of {} errors: {error}", plan.verb, outcome.errors);
    }
    Row::of(plan.verb.to_string(), plan, outcome, used)
}

/// Writes every key of a plan once, so that reads find something.
///
/// # Errors
/// When the system cannot be connected to, or a write failed.
pub async fn preload<S: System>(system: &S, plan: &Plan) -> anyhow::Result<()> {
    let fill = Plan {
        verb: Verb::Write,
        clients: PRELOAD_CLIENTS,
        rate: None,
        until: Until::Requests(plan.keys.count()),
        ..*plan
    };
    let outcome = drive(system, &fill).await?;
    match outcome.first_error {
        Some(error) => anyhow::bail!("{} writes failed, the first: {error}", outcome.errors),
        None => Ok(()),
    }
}
