//! The load: clients that send a workload's operations at a rate, and write down how they end.
//!
//! In go a [`Workload`], a [`Cluster`] and a [`Pace`]; every worker is a task with a client of its own,
//! whose first address is one node, the nodes taking turns. [`Load::run`] sends until told to stop,
//! [`last_reads`] asks what is left in the end.
//!
//! Invariants:
//! - an operation is recorded before it is sent and after it was answered;
//! - pauses between operations are random, from the seed, and so long on average that all workers
//!   together reach the rate. Time lost to slow operations is not made up for: a burst after every
//!   fault would test something else;
//! - no operation outlasts the clients' deadline by much: one that does is unknown.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cluster::{Cluster, DEADLINE};
use crate::generator::Invocation;
use crate::history::{Completion, Recorder, Worker};
use crate::machine::Workbench;
use crate::nemesis::Target;
use crate::workload::{Generator, Reply, Request, Workload, failed};

/// Between two tries of a last read.
const LAST_READ_PAUSE: Duration = Duration::from_millis(200);

/// How fast, and by how many.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Operations per second of all workers together.
    pub rate: f64,
    /// How many workers there are.
    pub concurrency: u64,
    /// Decides the pauses.
    pub seed: u64,
}

/// Which verb a read uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The linearizable one.
    Linearizable,
    /// The one that may be stale, from the worker's own node: a planted bug that a checker must find.
    Local,
}

/// Workers that are ready to begin.
#[derive(Debug)]
pub struct Load {
    actors: Vec<Actor>,
}

/// One worker with its client.
#[derive(Debug)]
struct Actor {
    workload: Arc<dyn Workload>,
    worker: Worker,
    generator: Box<dyn Generator>,
    caller: Caller,
    rng: SmallRng,
    /// The mean time from one operation to the next.
    mean: Duration,
}

/// Whom a worker asks.
#[derive(Debug)]
struct Caller {
    client: Client<Workbench>,
    reads: Reads,
    /// The node that answers, if it can be no other.
    node: Option<String>,
}

impl Load {
    /// Connects a client for each worker.
    ///
    /// # Errors
    /// If the cluster has no nodes.
    pub async fn new(
        workload: &Arc<dyn Workload>,
        cluster: &Cluster,
        recorder: &Arc<Recorder>,
        pace: Pace,
        reads: Reads,
    ) -> anyhow::Result<Self> {
        let nodes = cluster.nodes();
        let mut actors = Vec::new();
        for (number, node) in (0..pace.concurrency).zip(nodes.into_iter().cycle()) {
            let caller = match reads {
                Reads::Linearizable => {
                    Caller { client: cluster.client(node).await?, reads, node: None }
                }
                // A local read must not go elsewhere when its node is slow. Writes still follow
                // that node's word on who leads.
                Reads::Local => {
                    let client = cluster.client_of(node).await?;
                    Caller { client, reads, node: Some(node.to_string()) }
                }
            };
            // Not the generator's stream: how long a worker waits must not change what it does.
            let pauses = pace.seed.wrapping_mul(31).wrapping_add(number);
            actors.push(Actor {
                workload: Arc::clone(workload),
                worker: recorder.worker(number),
                generator: workload.generator(number),
                caller,
                rng: SmallRng::seed_from_u64(pauses),
                mean: Duration::from_secs_f64(workers(pace.concurrency) / pace.rate),
            });
        }
        Ok(Self { actors })
    }

    /// Sends operations until `stop` turns true, and returns the workers once the last of their
    /// operations has ended.
    pub async fn run(self, stop: &watch::Receiver<bool>) -> Vec<Worker> {
        let mut tasks = JoinSet::new();
        for actor in self.actors {
            tasks.spawn(actor.run(stop.clone()));
        }
        tasks.join_all().await
    }
}

/// The clap parser bounds the concurrency far below where this loses a bit.
fn workers(concurrency: u64) -> f64 {
    f64::from(u32::try_from(concurrency).unwrap_or(u32::MAX))
}

impl Actor {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Worker {
        let mut due = Instant::now();
        loop {
            due = (due + self.mean.mul_f64(self.rng.random_range(0.0..2.0))).max(Instant::now());
            tokio::select! {
                biased;
                // A conductor that is gone tells to stop, too.
                _stopped = stop.wait_for(|stop| *stop) => return self.worker,
                () = sleep_until(due) => {}
            }
            let invocation = self.generator.next_operation();
            let end = perform(&*self.workload, &mut self.worker, &self.caller, &invocation).await;
            if let Completion::Ok(result) = end {
                self.generator.observe(&invocation, &result);
            }
        }
    }
}

/// One operation, from invocation to completion.
async fn perform(
    workload: &dyn Workload,
    worker: &mut Worker,
    caller: &Caller,
    invocation: &Invocation,
) -> Completion {
    let request = workload.request(invocation);
    let local = caller.reads == Reads::Local && matches!(request, Request::Read(_));
    worker.invoke(invocation.f, invocation.value());
    let client = &caller.client;
    let answered = async {
        match request {
            Request::Write(command) => client.write(command).await.map(Reply::Response),
            Request::Read(query) if local => client.read_local(query).await.map(Reply::Answer),
            Request::Read(query) => client.read(query).await.map(Reply::Answer),
        }
    };
    let end = match timeout(DEADLINE * 2, answered).await {
        Ok(Ok(reply)) => workload.completion(invocation, &reply),
        Ok(Err(error)) => failed(&error),
        Err(_elapsed) => {
            tracing::error!(?invocation, "the client did not keep its deadline");
            Completion::Info("the client did not keep its deadline".to_owned())
        }
    };
    let node = if local { caller.node.clone() } else { None };
    worker.complete(end.clone(), node, None);
    end
}

/// Asks what is left in the end: each read through its node, again and again until it succeeds, for
/// at most `within`. The workers divide the reads among them. Returns those that never succeeded.
///
/// # Errors
/// If a read goes through a node that the cluster does not have.
pub async fn last_reads(
    workload: &Arc<dyn Workload>,
    cluster: &Cluster,
    workers: Vec<Worker>,
    reads: &[(u64, Invocation)],
    within: Duration,
) -> anyhow::Result<Vec<(u64, Invocation)>> {
    let deadline = Instant::now() + within;
    let count = workers.len();
    let mut tasks = JoinSet::new();
    for (number, mut worker) in workers.into_iter().enumerate() {
        let mut share = Vec::new();
        for (node, invocation) in reads.iter().skip(number).step_by(count) {
            let client = cluster.client_of(*node).await?;
            let caller = Caller { client, reads: Reads::Linearizable, node: None };
            share.push((*node, invocation.clone(), caller));
        }
        let workload = Arc::clone(workload);
        tasks.spawn(async move {
            let mut missing = Vec::new();
            for (node, invocation, caller) in share {
                loop {
                    let end = perform(&*workload, &mut worker, &caller, &invocation).await;
                    if matches!(end, Completion::Ok(_)) {
                        break;
                    }
                    if Instant::now() >= deadline {
                        missing.push((node, invocation));
                        break;
                    }
                    sleep(LAST_READ_PAUSE).await;
                }
            }
            missing
        });
    }
    Ok(tasks.join_all().await.into_iter().flatten().collect())
}
