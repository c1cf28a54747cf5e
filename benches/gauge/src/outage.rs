//! How long nobody answers: from the spawn to the first write, after the leader's death, and while the
//! leadership is handed over.
//!
//! Owns [`first_write`], the one definition of "available again": a fresh write is sent every
//! [`PROBE_EVERY`], whatever became of those before it, and the first that is acknowledged ends the
//! outage. So neither a client's pauses between retries nor a request that hangs lengthens it, and the
//! figure has a grain of 10 ms.
//!
//! Does not: tune timeouts; they are the system's defaults.

use std::{fmt, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    load::{Keys, Load, Plan, Until, Verb},
    sixbells::Sixbells,
    system::{Connection, System},
};

const PROBE_EVERY: Duration = Duration::from_millis(10);

/// Probes after which a system counts as gone: 60 s.
const PROBES_MAX: usize = 6_000;

/// The load is on for this long before and after the event.
const SETTLE: Duration = Duration::from_millis(300);

/// What the leader has to do when it dies.
const LOAD: Plan = Plan {
    verb: Verb::Write,
    clients: 16,
    value_bytes: 128,
    keys: Keys::below(10_000),
    rate: None,
    until: Until::Time(SETTLE),
};

/// Least, median and most of several durations.
#[derive(Clone, Debug)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Of these, in any order.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(mut times: Vec<Duration>) -> anyhow::Result<Self> {
        anyhow::ensure!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Ok(Self(times))
    }

    /// The durations, the shortest first.
    pub fn times(&self) -> &[Duration] {
        &self.0
    }

    /// The median in milliseconds.
    pub fn median_ms(&self) -> f64 {
        self.0[self.0.len() / 2].as_secs_f64() * 1e3
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |n: usize| self.0[n].as_secs_f64() * 1e3;
        let last = self.0.len() - 1;
        write!(f, "min {:.0}, median {:.0}, max {:.0} ms", ms(0), self.median_ms(), ms(last))
    }
}

/// How long after a moment the first write is acknowledged that was sent after it.
///
/// # Errors
/// When none is within a minute; with what the last one said.
pub async fn first_write<C: Connection>(
    connection: &C,
    since: Instant,
) -> anyhow::Result<Duration> {
    let mut probes: JoinSet<anyhow::Result<Instant>> = JoinSet::new();
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut last_error) = (0, None);
    while sent < PROBES_MAX {
        tokio::select! {
            _ = ticks.tick() => {
                sent += 1;
                let connection = connection.clone();
                probes.spawn(async move {
                    connection.write(0, vec![7; LOAD.value_bytes]).await?;
                    Ok(Instant::now())
                });
            }
            Some(probe) = probes.join_next() => match probe? {
                Ok(answered) => return Ok(answered - since),
                Err(error) => last_error = Some(error),
            },
        }
    }
    Err(last_error.unwrap_or_else(|| anyhow::anyhow!("no answer")).context("no write for a minute"))
}

/// SIGKILL of the leader under load to the first acknowledged write, several times. The killed node comes
/// back, and catches up, in between.
///
/// # Errors
/// When the system does not recover.
pub async fn failover<S: System>(system: &mut S, kills: usize) -> anyhow::Result<Spread> {
    let mut times = Vec::new();
    for _ in 0..kills {
        let leader = system.leader().await?;
        let prober = system.connect_any().await?;
        first_write(&prober, Instant::now()).await?;
        let load = Load::start(system, LOAD).await?;
        sleep(SETTLE).await;
        let killed = Instant::now();
        system.processes().kill(leader).await?;
        times.push(first_write(&prober, killed).await?);
        drop(load);
        system.restart(leader)?;
        system.level().await?;
    }
    Spread::of(times)
}

/// Hands the leadership round under load: how long the order took, and the longest that a write took
/// across it.
///
/// # Errors
/// When it is not handed over.
pub async fn transfer(
    system: &mut Sixbells,
    nodes: usize,
    times: usize,
) -> anyhow::Result<(Spread, Spread)> {
    let (mut orders, mut pauses) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let leader = system.leader().await?;
        let load = Load::start(system, LOAD).await?;
        sleep(SETTLE).await;
        let began = Instant::now();
        system.transfer(leader, (leader + 1) % nodes).await?;
        orders.push(began.elapsed());
        sleep(SETTLE).await;
        let outcome = load.finish(&LOAD).await?;
        anyhow::ensure!(outcome.errors == 0, "a write failed: {:?}", outcome.first_error);
        pauses.push(Duration::from_micros(outcome.latencies_us.max()));
    }
    Ok((Spread::of(orders)?, Spread::of(pauses)?))
}
