//! One simulated run: from the first start of a cluster to the verdict.
//!
//! ```text
//!   start -> clients beside nemesis -> heal -> liveness: leader, replacement, what is asked of a calm
//!            \------ safety ------/            cluster, fresh writes, equal replicas -> checkers
//!            \-------------------- oracles look all the time --------------------/
//! ```
//!
//! In: a [`Plan`], a [`Suite`] and perhaps a planted bug. Out: an [`Outcome`], with the first violation.
//!
//! Invariants
//! - a run looks at its plan, its suite and nothing else: the same again gives the same trace hash;
//! - the first violation ends the run, for what follows may be its consequence;
//! - the liveness phase waits for conditions, each at most [`LIVENESS_MAX`] of simulated time.
//!
//! Does not: print, write files, or choose plans.

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sixbells::{Client, ClientConfig, Error, StateMachine, runtime::AsyncRuntime};

use super::{
    End, Host, Observation, Replica, SimRuntime,
    bug::Bug,
    cluster::{self, Cluster},
    nemesis,
    oracle::{Panel, Violation},
    plan::Plan,
    record::{self, Entry, Op, Record, Told, typed},
    subject::{Answer, Numbered, Question, Subject},
    world::{self, Settings, Stream, Traces, World},
};
use crate::{
    checker::{Explanation, Verdict, budget::Budget, replay},
    history::{Clock, Event},
};

/// How long the healed cluster may take for each thing that is asked of it, in simulated time. An
/// election takes a second or two; a node that comes back may have to fetch a snapshot piece by piece.
pub const LIVENESS_MAX: Duration = Duration::from_secs(40);
/// How long the checker searches, and in how much memory, where the log's order is no witness.
const CHECK_MAX: Duration = Duration::from_secs(20);
const CHECK_BYTES_MAX: usize = 256 << 20;
/// The first client's host.
const CLIENTS: Host = 1_000;

/// Decides what one client does.
pub trait Generator<S: StateMachine>: Send {
    /// The next operation.
    fn next(&mut self, rng: &mut SmallRng) -> Op<S>;

    /// Learns what the client was told.
    fn observe(&mut self, _op: &Op<S>, _told: &Told<S>) {}
}

impl<S: StateMachine, F: FnMut(&mut SmallRng) -> Op<S> + Send> Generator<S> for F {
    fn next(&mut self, rng: &mut SmallRng) -> Op<S> {
        self(rng)
    }
}

/// Makes the generator of a client, which is counted from 0.
pub type MakeGenerator<S> = Arc<dyn Fn(u64, &Plan) -> Box<dyn Generator<S>> + Send + Sync>;
/// What must hold of the machine after every command.
pub type Invariant<S> = Arc<dyn Fn(&S) -> Result<(), String> + Send + Sync>;
/// Judges a history beside the machine's own replay.
pub type Check<S> = Arc<dyn Fn(&[Entry<S>]) -> Verdict + Send + Sync>;

/// What is tested: what clients do, and how it is judged.
pub struct Suite<S: StateMachine> {
    /// What is done before anything breaks, in order.
    pub setup: Vec<S::Command>,
    /// What clients do.
    pub generator: MakeGenerator<S>,
    /// What must hold of the machine after every command.
    pub invariants: Vec<(String, Invariant<S>)>,
    /// What else is checked of the history.
    pub checks: Vec<(String, Check<S>)>,
}

impl<S: StateMachine> Clone for Suite<S> {
    fn clone(&self) -> Self {
        Self {
            setup: self.setup.clone(),
            generator: self.generator.clone(),
            invariants: self.invariants.clone(),
            checks: self.checks.clone(),
        }
    }
}

impl<S: StateMachine> fmt::Debug for Suite<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invariants: Vec<&String> = self.invariants.iter().map(|(name, _)| name).collect();
        f.debug_struct("Suite").field("invariants", &invariants).finish_non_exhaustive()
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its hash, simulated time, steps, panics, and what was reached.
    pub traces: Traces,
    /// The first thing that was wrong.
    pub violation: Option<Violation>,
    /// What the clients did, if something was wrong.
    pub history: Vec<Event>,
    /// How often each oracle has looked.
    pub looked: Vec<(&'static str, u64)>,
}

/// What the oracles know, and the order in which commands were applied.
#[derive(Default)]
struct Seen {
    panel: Panel,
    order: Vec<u64>,
    stopped: Option<Violation>,
}

impl Seen {
    /// `true` ends the run.
    fn observe(&mut self, at: Duration, seen: &Observation) -> bool {
        match seen {
            Observation::Applied { position, command, .. }
                if *position == self.order.len() as u64 + 1 =>
            {
                self.order.push(*command);
            }
            Observation::Failed { node, reason, expected: false } => {
                let sentence = format!("node {node} stopped by itself: {reason}");
                self.stopped.get_or_insert(Violation { oracle: "node", at, sentence });
            }
            _ => {}
        }
        self.panel.observe(at, seen);
        self.stopped.is_some() || self.panel.violation().is_some()
    }

    fn violation(&self) -> Option<Violation> {
        self.panel.violation().cloned().or_else(|| self.stopped.clone())
    }
}

/// Carries a plan out. Lines of the trace go to `log`.
pub fn run<S: StateMachine>(
    plan: &Plan,
    suite: &Suite<S>,
    bug: Option<Bug>,
    log: Option<Box<dyn FnMut(String)>>,
) -> Outcome {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let observer = {
        let seen = seen.clone();
        Box::new(move |at, happened: &Observation| seen.borrow_mut().observe(at, happened))
    };
    let settings = Settings {
        seed: plan.seed,
        shuffle: plan.shuffle,
        observer: Some(observer),
        log,
        planted: bug,
    };
    let record = Record::<S>::default();
    Bug::plant(bug);
    let (result, traces) = World::run(settings, phases(plan, suite, bug, &record));
    Bug::plant(None);
    let history = record.entries();
    let mut seen = seen.borrow_mut();
    let mut violation = seen.violation();
    if violation.is_none() {
        violation = match result {
            Ok(Ok(replicas)) => {
                seen.panel.finish(traces.simulated, &replicas);
                seen.violation().or_else(|| judge(suite, &history, &seen.order, &replicas, &traces))
            }
            Ok(Err(sentence)) => {
                Some(Violation { oracle: "liveness", at: traces.simulated, sentence })
            }
            Err(stop) => {
                let sentence = format!("the run cannot go on: {stop}");
                Some(Violation { oracle: "liveness", at: traces.simulated, sentence })
            }
        };
    }
    let looked = seen.panel.coverage();
    let history = if violation.is_some() { record::events(&history) } else { Vec::new() };
    Outcome { traces, violation, history, looked }
}

/// What the clients saw, when the run itself was clean.
fn judge<S: StateMachine>(
    suite: &Suite<S>,
    history: &[Entry<S>],
    order: &[u64],
    replicas: &[Replica],
    traces: &Traces,
) -> Option<Violation> {
    let at = traces.simulated;
    let violation = |oracle, sentence| Some(Violation { oracle, at, sentence });
    if let Some((host, said)) = traces.panics.first() {
        return violation("panic", format!("a task of node {host} panicked: {said}"));
    }
    if let Err(sentence) = replayed(suite, history, order, replicas) {
        return violation("invariant", sentence);
    }
    let mut budget = Budget::new(CHECK_MAX, CHECK_BYTES_MAX);
    let judgement = replay::check(&typed(history), order, Clock::Nanoseconds, &mut budget);
    match (judgement.verdict, judgement.witness) {
        (Verdict::Invalid { explanation }, _) => {
            return violation("linearizable", in_words(&explanation));
        }
        // Our log's order is what we promise: that another would do is no excuse.
        (_, Err(explanation)) => return violation("linearizable", in_words(&explanation)),
        (_, Ok(())) => {}
    }
    suite.checks.iter().find_map(|(name, check)| match check(history) {
        Verdict::Invalid { explanation } => {
            violation("workload", format!("{name}: {}", in_words(&explanation)))
        }
        Verdict::Valid { .. } | Verdict::Unknown { .. } => None,
    })
}

fn in_words(explanation: &Explanation) -> String {
    let mut words = explanation.to_string();
    for operation in &explanation.operations {
        words += "\n    ";
        words += operation;
    }
    words
}

/// Applies the commands once more, here, and compares; invariants are asked after each.
fn replayed<S: StateMachine>(
    suite: &Suite<S>,
    history: &[Entry<S>],
    order: &[u64],
    replicas: &[Replica],
) -> Result<(), String> {
    let commands: BTreeMap<u64, &Op<S>> = history.iter().map(|e| (e.number, &e.op)).collect();
    let mut machine = S::default();
    for number in order {
        let Some(Op::Write(command)) = commands.get(number) else {
            return Err(format!("operation {number} was applied, and is no client's command"));
        };
        machine.apply(command.clone());
        for (name, invariant) in &suite.invariants {
            invariant(&machine).map_err(|why| {
                format!("{name}: does not hold after operation {number}, {command:?}: {why}")
            })?;
        }
    }
    let state = world::digest(sixbells::encode(&machine));
    match replicas.iter().find(|replica| replica.state != state) {
        Some(Replica { node, .. }) => {
            Err(format!("node {node} holds another state than its commands make"))
        }
        None => Ok(()),
    }
}

/// All phases. `Err` says what a healed cluster did not do in time.
async fn phases<S: StateMachine>(
    plan: &Plan,
    suite: &Suite<S>,
    bug: Option<Bug>,
    record: &Record<S>,
) -> Result<Vec<Replica>, String> {
    let cluster = Cluster::<S>::new(plan, bug);
    let starts: Vec<_> = (1..=plan.nodes)
        .map(|node| {
            let cluster = cluster.clone();
            SimRuntime::spawn(async move { cluster.start(node).await })
        })
        .collect();
    for start in starts {
        drop(start.await);
    }
    world::spawn_on(world::HARNESS, cluster.clone().supervise());
    let mut actors = Actors { cluster: cluster.clone(), record: record.clone(), next: CLIENTS };
    actors.set_up(suite, plan).await?;
    let start = world::now();
    let until = start + plan.active;
    let clients: Vec<Host> = (0..plan.clients)
        .map(|number| actors.send((suite.generator)(number, plan), plan, until))
        .collect();
    nemesis::run(&cluster, &plan.steps, start, &clients).await;
    SimRuntime::sleep(until.saturating_sub(world::now())).await;
    nemesis::heal(&cluster, &plan.links);
    world::trace("healed", 0, String::new);
    let replicas = calm(&cluster, plan, suite, &mut actors).await?;
    for node in cluster.all() {
        world::kill(node);
        cluster.network.unplug(node);
    }
    Ok(replicas)
}

/// Waits for something that a healed cluster does.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T, String> {
    let deadline = world::now() + LIVENESS_MAX;
    loop {
        if let Some(done) = ask().await {
            return Ok(done);
        }
        if world::now() >= deadline {
            let bound = LIVENESS_MAX.as_secs();
            return Err(format!("{bound} simulated seconds after everything was healed, {what}"));
        }
        SimRuntime::sleep(Duration::from_millis(200)).await;
    }
}

/// The liveness phase.
async fn calm<S: StateMachine>(
    cluster: &Arc<Cluster<S>>,
    plan: &Plan,
    suite: &Suite<S>,
    actors: &mut Actors<S>,
) -> Result<Vec<Replica>, String> {
    eventually("there is no leader", async || cluster.leader()).await?;
    eventually("a lost node was not replaced", async || cluster.replace().await.then_some(()))
        .await?;
    for fault in &plan.calm {
        if nemesis::operate(cluster, fault).await.is_some() {
            world::reach(fault.kind().reached());
        }
        eventually("a lost node was not replaced", async || cluster.replace().await.then_some(()))
            .await?;
    }
    let mut fresh = (suite.generator)(plan.clients, plan);
    let (client, host) = actors.client(&cluster.wanted());
    eventually("no fresh write succeeded", async || {
        let mut rng = world::draw(Stream::Load, |rng| SmallRng::seed_from_u64(rng.random()));
        let op = fresh.next(&mut rng);
        let write = matches!(op, Op::Write(_));
        let process = host + world::now().as_secs();
        let (end, _) = actors.perform(&client, host, process, op, None).await;
        (end == End::Ok && write).then_some(())
    })
    .await?;
    let replicas =
        eventually("the replicas are not equal", async || replicas(cluster).await).await?;
    for node in cluster.voters() {
        // Canonical bytes: all of them at the same entry.
        cluster.ask(node, |running| async move { running.snapshot().await }).await;
    }
    Ok(replicas)
}

/// What all voters hold, once it is as much.
async fn replicas<S: StateMachine>(cluster: &Cluster<S>) -> Option<Vec<Replica>> {
    let mut replicas = Vec::new();
    for node in cluster.voters() {
        let (position, chain, machine) = cluster.summary(node).await?;
        let applied = cluster.status(node)?.applied;
        let state = world::digest(machine);
        replicas.push(Replica { node, position, chain, state, applied });
    }
    let first = replicas.first()?.applied;
    replicas.iter().all(|replica| replica.applied == first).then_some(replicas)
}

/// The clients.
struct Actors<S: StateMachine> {
    cluster: Arc<Cluster<S>>,
    record: Record<S>,
    next: Host,
}

impl<S: StateMachine> Clone for Actors<S> {
    fn clone(&self) -> Self {
        let Self { cluster, record, next } = self;
        Self { cluster: cluster.clone(), record: record.clone(), next: *next }
    }
}

impl<S: StateMachine> Actors<S> {
    /// A new client on a host of its own, which knows these nodes.
    fn client(&mut self, nodes: &[Host]) -> (Client<Subject<S>>, Host) {
        self.next += 1;
        let host = self.next;
        world::boot(host);
        let name = format!("client-{host}:1");
        let transport = self.cluster.network.client(host, name, cluster::CLUSTER);
        let config = ClientConfig {
            cluster: cluster::CLUSTER.to_owned(),
            deadline: Duration::from_secs(4),
            ..ClientConfig::default()
        };
        let addrs = nodes.iter().map(|node| cluster::address(*node));
        let client = Client::with_transport::<SimRuntime>(transport, addrs, config);
        (client.unwrap_or_else(|error| unreachable!("the settings of a client: {error}")), host)
    }

    /// What must be there before anything breaks.
    async fn set_up(&mut self, suite: &Suite<S>, plan: &Plan) -> Result<(), String> {
        let nodes: Vec<Host> = (1..=plan.nodes).collect();
        let (client, host) = self.client(&nodes);
        for command in &suite.setup {
            let mut process = host;
            eventually("the cluster was not set up", async || {
                process += CLIENTS;
                let op = Op::Write(command.clone());
                let (end, _) = self.perform(&client, host, process, op, None).await;
                (end == End::Ok).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Sends operations until the time is over. Returns the client's host.
    fn send(&mut self, generator: Box<dyn Generator<S>>, plan: &Plan, until: Duration) -> Host {
        let nodes: Vec<Host> = (1..=plan.nodes).collect();
        let (client, host) = self.client(&nodes);
        let (actors, plan) = (self.clone(), plan.clone());
        world::spawn_on(
            host,
            async move { actors.work(client, host, generator, plan, until).await },
        );
        host
    }

    async fn work(
        self,
        client: Client<Subject<S>>,
        host: Host,
        mut generator: Box<dyn Generator<S>>,
        plan: Plan,
        until: Duration,
    ) {
        let mut rng = world::draw(Stream::Load, |rng| SmallRng::seed_from_u64(rng.random()));
        let mut process = host;
        for _ in 0..plan.operations {
            SimRuntime::sleep(rng.random_range(Duration::ZERO..=plan.think)).await;
            if world::now() >= until {
                return;
            }
            let op = generator.next(&mut rng);
            let keyed = plan.keyed > 0 && rng.random_range(0..plan.keyed) == 0;
            let key = keyed.then(|| rng.random::<u128>().to_be_bytes().to_vec());
            match self.perform(&client, host, process, op.clone(), key).await {
                (_, Some(told)) => generator.observe(&op, &told),
                (End::Info, None) => process += CLIENTS,
                (End::Ok | End::Fail, None) => {}
            }
        }
    }

    async fn perform(
        &self,
        client: &Client<Subject<S>>,
        host: Host,
        process: u64,
        op: Op<S>,
        key: Option<Vec<u8>>,
    ) -> (End, Option<Told<S>>) {
        let number = self.record.invoke(host, process, op.clone());
        let result = match op {
            Op::Write(command) => {
                let command = Numbered { number, command };
                match key {
                    Some(key) => client.write_once(key, command).await.map(Told::Response),
                    None => client.write(command).await.map(Told::Response),
                }
            }
            Op::Read(query) => match client.read(Question::Machine(query)).await {
                Ok(Answer::Machine(answer)) => Ok(Told::Answer(answer)),
                Ok(Answer::Summary { .. }) => Err(Error::Unknown("a strange answer".into())),
                Err(error) => Err(error),
            },
        };
        let told = result.as_ref().ok().cloned();
        (self.record.complete(host, number, result), told)
    }
}
