//! Load: many clients on few connections, and how long their requests took.
//!
//! Owns [`Plan`] with its [`Keys`], [`Load`] while it runs and its [`Outcome`].
//!
//! - **Closed loop** (no rate): each client sends its next request when the last one was answered.
//! - **Open loop** (a rate): requests are due at fixed moments, whether or not the earlier ones were
//!   answered, and a latency counts from the moment when its request was due. So a stall counts against
//!   every request that should have been sent meanwhile: corrected for coordinated omission. At most
//!   `clients` are under way; one beyond that waits, and its wait counts. All that were due before the end are
//!   sent, so a rate that the system cannot carry shows as a longer run with fewer requests a second.
//!
//! Invariants: a request is in the histogram if it succeeded, and counted as an error if not; no task
//! outlives the `Load`; memory does not grow with the number of requests.
//!
//! Does not: read the nodes' counters (`row`).

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::system::{Connection, System, connections};

/// Longer latencies count as this long. Above every deadline.
const LATENCY_US_MAX: u64 = 120_000_000;

/// A client whose request failed waits before its next one: errors must not become the load.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Sets a key.
    Write,
    /// Reads a key, linearizably.
    Read,
    /// Reads a key from one node's state.
    ReadLocal,
    /// By turns a write and a linearizable read.
    Mix,
}

impl Verb {
    /// All of them, in the order of the table.
    pub const ALL: [Verb; 4] = [Verb::Write, Verb::Read, Verb::ReadLocal, Verb::Mix];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verb::Write => "writes",
            Verb::Read => "reads",
            Verb::ReadLocal => "local",
            Verb::Mix => "mix",
        })
    }
}

/// When a load ends by itself.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this long.
    Time(Duration),
    /// After so many requests.
    Requests(u64),
}

/// Which keys, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    first: u64,
    count: u64,
    stride: u64,
}

/// A prime, so that steps of this length meet every key once before they meet one again. (But for a multiple
/// of it, which no plan has as its count of keys.)
const STRIDE: u64 = 7_368_787;

impl Keys {
    /// So many, from this one on, one by one.
    pub const fn new(first: u64, count: u64) -> Self {
        Self { first, count: if count == 0 { 1 } else { count }, stride: 1 }
    }

    /// The keys below this, one by one.
    pub const fn below(count: u64) -> Self {
        Self::new(0, count)
    }

    /// The same in far steps: neighbours in time are none in the state.
    pub fn scattered(self) -> Self {
        Self { stride: STRIDE, ..self }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn nth(&self, ticket: u64) -> u64 {
        self.first + ticket % self.count * self.stride % self.count
    }
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What a request does.
    pub verb: Verb,
    /// Requests under way at once; in the open loop, at most.
    pub clients: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// The keys that requests go through.
    pub keys: Keys,
    /// Requests a second of an open loop; without, the loop is closed.
    pub rate: Option<f64>,
    /// When it ends.
    pub until: Until,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// Of the requests that succeeded, in microseconds.
    pub latencies_us: Histogram<u64>,
    /// Writes that succeeded.
    pub writes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// From the first request to the last answer.
    pub took: Duration,
}

#[derive(Default)]
struct Tally {
    tickets: AtomicU64,
    writes: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
    /// Nothing is sent that is due later.
    end: OnceLock<Instant>,
    /// One for each connection, so that clients do not queue to note a latency.
    latencies_us: Vec<Mutex<Histogram<u64>>>,
}

impl Tally {
    /// The number of the next request, if the plan has one.
    fn ticket(&self, plan: &Plan) -> Option<u64> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        match plan.until {
            Until::Requests(count) if ticket >= count => None,
            _ => Some(ticket),
        }
    }

    fn is_over(&self, due: Instant) -> bool {
        self.end.get().is_some_and(|end| due > *end)
    }

    fn note(&self, shard: usize, since: Instant, outcome: &anyhow::Result<bool>) {
        match outcome {
            Ok(wrote) => {
                self.writes.fetch_add(u64::from(*wrote), Ordering::Relaxed);
                let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
                let shard = &self.latencies_us[shard % self.latencies_us.len()];
                shard.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took);
            }
            Err(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// A load that runs. Dropping it stops it at once.
pub struct Load {
    tally: Arc<Tally>,
    tasks: JoinSet<()>,
    began: Instant,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("began", &self.began).finish()
    }
}

impl Load {
    /// Begins; it goes on until the plan's requests are sent, or it is stopped.
    ///
    /// # Errors
    /// When the system cannot be connected to.
    pub async fn start<S: System>(system: &S, plan: Plan) -> anyhow::Result<Self> {
        Self::start_on(connections(system, plan.clients).await?, plan)
    }

    /// The same on these connections, of which there is at least one.
    ///
    /// # Errors
    /// None but those of a histogram.
    pub fn start_on<C: Connection>(connections: Vec<C>, plan: Plan) -> anyhow::Result<Self> {
        let mut tally = Tally::default();
        for _ in &connections {
            tally.latencies_us.push(Mutex::new(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?));
        }
        let (tally, mut tasks, began) = (Arc::new(tally), JoinSet::new(), Instant::now());
        match plan.rate {
            Some(rate) => {
                let tally = tally.clone();
                tasks.spawn(open(connections, plan, (began, rate), tally));
            }
            None => {
                for number in 0..plan.clients {
                    let connection = connections[number % connections.len()].clone();
                    tasks.spawn(closed(connection, plan, number, tally.clone()));
                }
            }
        }
        Ok(Self { tally, tasks, began })
    }

    /// Sends nothing more than is due, unless the plan's requests are to be finished, and waits for the answers.
    ///
    /// # Errors
    /// When a client panicked.
    pub async fn finish(mut self, plan: &Plan) -> anyhow::Result<Outcome> {
        if let Until::Time(_) = plan.until {
            self.tally.end.get_or_init(Instant::now);
        }
        while let Some(task) = self.tasks.join_next().await {
            task?;
        }
        let took = self.began.elapsed();
        let mut latencies_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        for shard in &self.tally.latencies_us {
            latencies_us.add(&*shard.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        let first_error = &self.tally.first_error;
        Ok(Outcome {
            latencies_us,
            writes: self.tally.writes.load(Ordering::Relaxed),
            errors: self.tally.errors.load(Ordering::Relaxed),
            first_error: first_error.lock().unwrap_or_else(PoisonError::into_inner).take(),
            took,
        })
    }
}

/// Runs a plan from beginning to end.
///
/// # Errors
/// When the system cannot be connected to. A request that fails is counted instead.
pub async fn drive<S: System>(system: &S, plan: &Plan) -> anyhow::Result<Outcome> {
    drive_on(connections(system, plan.clients).await?, plan).await
}

/// The same on these connections.
///
/// # Errors
/// When a client panicked.
pub async fn drive_on<C: Connection>(connections: Vec<C>, plan: &Plan) -> anyhow::Result<Outcome> {
    let load = Load::start_on(connections, *plan)?;
    if let Until::Time(time) = plan.until {
        sleep(time).await;
    }
    load.finish(plan).await
}

async fn closed<C: Connection>(connection: C, plan: Plan, number: usize, tally: Arc<Tally>) {
    while let Some(ticket) = tally.ticket(&plan) {
        let began = Instant::now();
        if tally.is_over(began) {
            return;
        }
        let outcome = request(&connection, &plan, ticket).await;
        tally.note(number, began, &outcome);
        if outcome.is_err() {
            sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

async fn open<C: Connection>(
    connections: Vec<C>,
    plan: Plan,
    (began, rate): (Instant, f64),
    tally: Arc<Tally>,
) {
    let under_way = Arc::new(Semaphore::new(plan.clients));
    let (runtime, mut requests) = (Handle::current(), JoinSet::new());
    let (pace, mut due) = tokio::sync::mpsc::channel(plan.clients.max(1));
    let (pacing, pacer) = (tally.clone(), runtime.clone());
    // A thread of its own: the runtime's timers have a grain of 1 ms, and are late when it is busy.
    let thread = runtime.spawn_blocking(move || {
        while let Some(ticket) = pacing.ticket(&plan) {
            let at = began + Duration::from_secs_f64(ticket as f64 / rate);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if pacing.is_over(at) {
                return;
            }
            if pacer.block_on(pace.send((ticket, at))).is_err() {
                return;
            }
        }
    });
    while let Some((ticket, at)) = due.recv().await {
        let Ok(permit) = under_way.clone().acquire_owned().await else { break };
        let shard = usize::try_from(ticket).unwrap_or(0) % connections.len();
        let (connection, tally) = (connections[shard].clone(), tally.clone());
        requests.spawn(async move {
            let outcome = request(&connection, &plan, ticket).await;
            tally.note(shard, at, &outcome);
            drop(permit);
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
    drop(thread);
}

/// One request; says whether it wrote.
async fn request<C: Connection>(connection: &C, plan: &Plan, ticket: u64) -> anyhow::Result<bool> {
    // Both of a mixed pair are about the same key: otherwise writes and reads would never meet.
    let (key, writes) = match plan.verb {
        Verb::Write => (ticket, true),
        Verb::Read | Verb::ReadLocal => (ticket, false),
        Verb::Mix => (ticket / 2, ticket.is_multiple_of(2)),
    };
    let key = plan.keys.nth(key);
    match plan.verb {
        _ if writes => connection.write(key, vec![7; plan.value_bytes]).await?,
        Verb::ReadLocal => connection.read_local(key).await?,
        _ => connection.read(key).await?,
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system that answers one request after the other, each after a while.
    #[derive(Clone)]
    struct Slow(Arc<tokio::sync::Mutex<()>>);

    impl Connection for Slow {
        async fn write(&self, _key: u64, _value: Vec<u8>) -> anyhow::Result<()> {
            let _turn = self.0.lock().await;
            sleep(Duration::from_millis(5)).await;
            Ok(())
        }

        async fn read(&self, _key: u64) -> anyhow::Result<()> {
            anyhow::bail!("nobody reads")
        }

        async fn read_local(&self, key: u64) -> anyhow::Result<()> {
            self.read(key).await
        }
    }

    /// What was due and not sent yet when the time was over was not counted: a system that stood still at the end,
    /// or was slower than the rate all the time, looked no worse than what it had answered.
    #[tokio::test]
    async fn all_that_was_due_is_sent_and_its_wait_counts() {
        let until = Until::Time(Duration::from_millis(100));
        let keys = Keys::below(1);
        let (verb, rate) = (Verb::Write, Some(1_000.0));
        let plan = Plan { verb, clients: 2, value_bytes: 1, keys, rate, until };
        let outcome = drive_on(vec![Slow(Arc::default())], &plan).await.unwrap();
        let (sent, longest) = (outcome.latencies_us.len(), outcome.latencies_us.max());
        assert!(sent >= 100, "{sent} requests of 100 were sent");
        assert!(
            longest >= 400_000,
            "the last one, due after 100 ms, had 99 before it of 5 ms each"
        );
    }

    /// A state that is filled with fewer keys than it says would be smaller than what is claimed.
    #[test]
    fn each_key_comes_once_in_a_round() {
        for keys in [Keys::new(7, 1_000), Keys::new(7, 1_000).scattered(), Keys::below(1)] {
            let mut round: Vec<u64> = (0..keys.count()).map(|ticket| keys.nth(ticket)).collect();
            round.sort_unstable();
            let expected: Vec<u64> = (keys.first..keys.first + keys.count).collect();
            assert_eq!(round, expected);
            assert_eq!(keys.nth(keys.count()), keys.nth(0));
        }
    }
}
