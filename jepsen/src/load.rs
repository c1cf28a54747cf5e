//! The load: clients that send a script's operations at a rate, and write down how they end.
//!
//! In go a [`Script`], a [`Cluster`] and a [`Pace`]; every worker is a task with a client of its own,
//! whose first address is one node, the nodes taking turns. [`Load::run`] sends until told to stop,
//! [`last_reads`] asks what is left in the end.
//!
//! Invariants:
//! - an operation is recorded before it is sent and after it was answered;
//! - pauses between operations are random, from the seed, and so long on average that all workers
//!   together reach the rate. Time lost to slow operations is not made up for: a burst after every
//!   fault would test something else;
//! - no operation outlasts the clients' deadline by much: one that does is unknown;
//! - what prepares a workload is repeated until it succeeds, before the others begin.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells::{Client, Error};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cluster::{Cluster, DEADLINE, Tested};
use crate::history::{Completion, Worker};
use crate::journal::Journal;
use crate::nemesis::Target;
use crate::subject::{Numbered, Question};
use crate::workload::{Action, Generator, Reply, Request, Script, failed};

/// Between two tries of what has to succeed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

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
    script: Arc<dyn Script>,
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
    journal: Arc<Journal>,
    client: Client<Tested>,
    reads: Reads,
    /// The node that is asked first.
    node: u64,
}

impl Load {
    /// Connects a client for each worker.
    ///
    /// # Errors
    /// If the cluster has no nodes.
    pub async fn new(
        script: &Arc<dyn Script>,
        cluster: &Cluster,
        journal: &Arc<Journal>,
        pace: Pace,
        reads: Reads,
    ) -> anyhow::Result<Self> {
        let nodes = cluster.nodes();
        let mut actors = Vec::new();
        for (number, node) in (0..pace.concurrency).zip(nodes.into_iter().cycle()) {
            let client = match reads {
                Reads::Linearizable => cluster.client(node).await?,
                // A local read must not go elsewhere when its node is slow. Writes still follow
                // that node's word on who leads.
                Reads::Local => cluster.client_of(node).await?,
            };
            let caller = Caller { journal: Arc::clone(journal), client, reads, node };
            // Not the generator's stream: how long a worker waits must not change what it does.
            let pauses = pace.seed.wrapping_mul(31).wrapping_add(number);
            actors.push(Actor {
                script: Arc::clone(script),
                worker: journal.recorder().worker(number),
                generator: script.generator(number),
                caller,
                rng: SmallRng::seed_from_u64(pauses),
                mean: Duration::from_secs_f64(workers(pace.concurrency) / pace.rate),
            });
        }
        Ok(Self { actors })
    }

    /// Does what has to be done before anything breaks, at most this long.
    ///
    /// # Errors
    /// What did not succeed.
    pub async fn set_up(&mut self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let Some(Actor { script, worker, caller, .. }) = self.actors.first_mut() else {
            return Ok(());
        };
        for action in script.setup() {
            while perform(&**script, worker, caller, &action).await.is_none() {
                let late = Instant::now() >= deadline;
                anyhow::ensure!(!late, "{:?} did not succeed", action.request);
                sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
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
            let action = self.generator.next_operation();
            let reply = perform(&*self.script, &mut self.worker, &self.caller, &action).await;
            if let Some(reply) = reply {
                self.generator.observe(&action, &reply);
            }
        }
    }
}

/// One operation, from invocation to completion. Returns the answer, if it is one to this operation.
async fn perform(
    script: &dyn Script,
    worker: &mut Worker,
    caller: &Caller,
    action: &Action,
) -> Option<Reply> {
    let Action { invocation, request } = action;
    worker.invoke(invocation.f, invocation.value());
    let number = caller.journal.invoke(worker.process(), caller.node, request);
    let answered = timeout(DEADLINE * 2, caller.ask(number, request.clone()));
    let (end, reply) = match answered.await {
        Ok(Ok(reply)) => {
            caller.journal.answered(number, &reply);
            let end = script.completion(action, &reply);
            let answers = !matches!(end, Completion::Info(_));
            (end, answers.then_some(reply))
        }
        Ok(Err(error)) => (failed(&error), None),
        Err(_elapsed) => {
            tracing::error!(?action, "the client did not keep its deadline");
            (Completion::Info("the client did not keep its deadline".to_owned()), None)
        }
    };
    if reply.is_none() && matches!(end, Completion::Fail(_)) {
        caller.journal.failed(number);
    }
    // The one that answers, if it can be no other.
    let local = caller.reads == Reads::Local && matches!(request, Request::Read(_));
    worker.complete(end, local.then(|| caller.node.to_string()), None);
    reply
}

impl Caller {
    async fn ask(&self, number: u64, request: Request) -> Result<Reply, Error> {
        let answer = match (request, self.reads) {
            (Request::Write(command), _) => {
                let written = self.client.write(Numbered { number, command }).await;
                return written.map(Reply::Response);
            }
            (Request::Read(query), Reads::Linearizable) => {
                self.client.read(Question::Machine(query)).await?
            }
            (Request::Read(query), Reads::Local) => {
                self.client.read_local(Question::Machine(query)).await?
            }
        };
        answer.of_machine().map(Reply::Answer)
    }
}

/// Asks what is left in the end: each read through its node, again and again until it succeeds, for
/// at most `within`. The workers divide the reads among them. Returns those that never succeeded.
///
/// # Errors
/// If a read goes through a node that the cluster does not have.
pub async fn last_reads(
    script: &Arc<dyn Script>,
    cluster: &Cluster,
    journal: &Arc<Journal>,
    workers: Vec<Worker>,
    reads: &[(u64, Action)],
    within: Duration,
) -> anyhow::Result<Vec<(u64, Action)>> {
    let deadline = Instant::now() + within;
    let count = workers.len();
    let mut tasks = JoinSet::new();
    for (number, mut worker) in workers.into_iter().enumerate() {
        let mut share = Vec::new();
        for (node, action) in reads.iter().skip(number).step_by(count) {
            let (journal, client) = (Arc::clone(journal), cluster.client_of(*node).await?);
            let caller = Caller { journal, client, reads: Reads::Linearizable, node: *node };
            share.push((action.clone(), caller));
        }
        let script = Arc::clone(script);
        tasks.spawn(async move {
            let mut missing = Vec::new();
            for (action, caller) in share {
                while perform(&*script, &mut worker, &caller, &action).await.is_none() {
                    if Instant::now() >= deadline {
                        missing.push((caller.node, action));
                        break;
                    }
                    sleep(RETRY_PAUSE).await;
                }
            }
            missing
        });
    }
    Ok(tasks.join_all().await.into_iter().flatten().collect())
}
