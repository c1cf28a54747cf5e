//! The phases of a run: start, trouble, healing, calm.
//!
//! In: a plan and a suite. Out: an [`End`], what all replicas hold and what befell them, or what a healed
//! cluster did not do in time.
//!
//! Invariants
//! - nothing breaks before the cluster is set up and after it is healed;
//! - what a calm cluster is asked for it must do within [`LIVENESS_MAX`], however long the trouble was.
//!
//! Does not: judge what clients saw.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sixbells::{Mode, StateMachine, runtime::AsyncRuntime};

use super::{
    End, Host, Replica, SimRuntime,
    bug::Bug,
    clients::{CLIENTS, Caller, Clients},
    cluster::Cluster,
    convergence,
    fault::Fault,
    nemesis::{self, Episode, Outcome},
    plan::{Manner, Plan},
    record::Record,
    world::{self, Stream},
};
use crate::{
    digest::digest,
    suite::{Op, Suite},
};

/// How long the healed cluster may take for each thing that is asked of it, in simulated time. An
/// election takes a second or two; a node that comes back may have to fetch a snapshot piece by piece.
pub(super) const LIVENESS_MAX: Duration = Duration::from_secs(40);

/// What a run has come to.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// What each replica holds.
    pub replicas: Vec<Replica>,
    /// The commands that made the replicas' state, in their order, where no log shows it.
    pub order: Vec<u64>,
    /// What befell the cluster.
    pub episodes: Vec<Episode>,
    /// When all faults had been healed.
    pub healed: Duration,
    /// How long it took from then until all replicas held the same.
    pub converged: Duration,
}

/// All phases. `Err` says what a healed cluster did not do in time.
pub(super) async fn phases<S: StateMachine>(
    plan: &Plan,
    suite: &Suite<S>,
    bug: Option<Bug>,
    record: &Record<S>,
) -> Result<Rest, String> {
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
    let mut clients = Clients::new(cluster.clone(), record.clone(), plan.mode);
    set_up(&mut clients, suite, plan).await?;
    if plan.mode == Mode::Eventual {
        eventually("the nodes did not agree on what was set up", async || {
            convergence::reached(&cluster).await
        })
        .await?;
    }
    let start = world::now();
    let until = start + plan.active;
    let hosts: Vec<Host> = (0..plan.clients)
        .map(|client| clients.send(client, (suite.generator)(), plan, until))
        .collect();
    let episodes = nemesis::run(&cluster, &plan.steps, start, &hosts).await;
    SimRuntime::sleep(until.saturating_sub(world::now())).await;
    nemesis::heal(&cluster, &plan.links);
    world::trace("healed", 0, String::new);
    let healed = world::now();
    let rest = match plan.mode {
        Mode::Strong => {
            let replicas = calm(&cluster, plan, suite, &mut clients).await?;
            Rest { replicas, ..Rest::default() }
        }
        Mode::Eventual => rest(&cluster, plan, suite, &mut clients).await?,
    };
    last_reads(&cluster, suite, &mut clients).await?;
    for node in cluster.all() {
        world::kill(node);
        cluster.network.unplug(node);
    }
    Ok(Rest { episodes, healed, ..rest })
}

/// What must be there before anything breaks.
async fn set_up<S: StateMachine>(
    clients: &mut Clients<S>,
    suite: &Suite<S>,
    plan: &Plan,
) -> Result<(), String> {
    let nodes: Vec<Host> = (1..=plan.nodes).collect();
    let mut caller = clients.client(&nodes, Manner::Sticky);
    for command in &suite.setup {
        let op = Op::Write(command.clone());
        until_done(clients, &mut caller, &op, "the cluster was not set up").await?;
    }
    Ok(())
}

/// Does one thing again and again, until it is done.
async fn until_done<S: StateMachine>(
    clients: &Clients<S>,
    caller: &mut Caller<S>,
    op: &Op<S>,
    otherwise: &str,
) -> Result<(), String> {
    let mut process = caller.host;
    eventually(otherwise, async || {
        process += CLIENTS;
        let (end, _) = clients.perform(caller, process, op.clone(), None).await;
        (end == End::Ok).then_some(())
    })
    .await
}

/// What the suite asks in the end, through each node.
async fn last_reads<S: StateMachine>(
    cluster: &Cluster<S>,
    suite: &Suite<S>,
    clients: &mut Clients<S>,
) -> Result<(), String> {
    let mut nodes = cluster.wanted();
    nodes.retain(|node| cluster.is_up(*node));
    for _ in 0..nodes.len() {
        let mut caller = clients.client(&nodes, Manner::Sticky);
        for query in &suite.last {
            let op = Op::Read(query.clone());
            until_done(clients, &mut caller, &op, "a last read did not succeed").await?;
        }
        nodes.rotate_left(1);
    }
    Ok(())
}

/// The liveness phase in eventual mode: all run, one of them accepts a write, and all hold the same.
async fn rest<S: StateMachine>(
    cluster: &Arc<Cluster<S>>,
    plan: &Plan,
    suite: &Suite<S>,
    clients: &mut Clients<S>,
) -> Result<Rest, String> {
    let healed = world::now();
    eventually("a node does not run", async || {
        cluster.wanted().into_iter().all(|node| cluster.is_up(node)).then_some(())
    })
    .await?;
    eventually("a client still waits for an answer", async || clients.idle().then_some(())).await?;
    let agree = "the replicas do not hold the same";
    eventually(agree, async || convergence::reached(cluster).await).await?;
    let converged = world::now() - healed;
    let mut fresh = (suite.generator)();
    let mut nodes: Vec<Host> = (1..=plan.nodes).collect();
    eventually("no fresh write succeeded", async || {
        // One whose clock is far ahead of the others' accepts none.
        nodes.rotate_left(1);
        let mut caller = clients.client(&nodes, Manner::Sticky);
        let mut rng = world::draw(Stream::Load, |rng| SmallRng::seed_from_u64(rng.random()));
        let op = fresh.next(&mut rng);
        let write = matches!(op, Op::Write(_));
        let process = caller.host;
        let (end, _) = clients.perform(&mut caller, process, op, None).await;
        (end == End::Ok && write).then_some(())
    })
    .await?;
    let (order, replicas) = eventually(agree, async || convergence::reached(cluster).await).await?;
    Ok(Rest { replicas, order, converged, ..Rest::default() })
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
    clients: &mut Clients<S>,
) -> Result<Vec<Replica>, String> {
    eventually("there is no leader", async || cluster.leader()).await?;
    eventually("a lost node was not replaced", async || cluster.replace().await.then_some(()))
        .await?;
    for fault in &plan.calm {
        eventually("what a calm cluster was asked for was not done", async || {
            match nemesis::operate(cluster, fault).await {
                Outcome::Done => {
                    world::reach(fault.kind().reached());
                    Some(())
                }
                Outcome::Pointless => Some(()),
                Outcome::Failed => None,
            }
        })
        .await
        .map_err(|why| format!("{why}: {fault:?}"))?;
        eventually("a lost node was not replaced", async || cluster.replace().await.then_some(()))
            .await?;
    }
    let mut fresh = (suite.generator)();
    let mut caller = clients.client(&cluster.wanted(), Manner::Sticky);
    eventually("no fresh write succeeded", async || {
        let mut rng = world::draw(Stream::Load, |rng| SmallRng::seed_from_u64(rng.random()));
        let op = fresh.next(&mut rng);
        let write = matches!(op, Op::Write(_));
        let process = caller.host + world::now().as_secs();
        let (end, _) = clients.perform(&mut caller, process, op, None).await;
        (end == End::Ok && write).then_some(())
    })
    .await?;
    // Canonical bytes: all of them at the same entry.
    eventually("not every node took a snapshot", async || {
        let asked = nemesis::operate(cluster, &Fault::Snapshots).await;
        (asked == Outcome::Done).then_some(())
    })
    .await?;
    eventually("a client still waits for an answer", async || clients.idle().then_some(())).await?;
    eventually("the replicas are not equal", async || replicas(cluster).await).await
}

/// What all voters hold, once it is as much.
async fn replicas<S: StateMachine>(cluster: &Cluster<S>) -> Option<Vec<Replica>> {
    let mut replicas = Vec::new();
    for node in cluster.voters() {
        let applied = cluster.status(node)?.applied;
        let (position, chain, machine) = cluster.summary(node).await?;
        // What an earlier client has given up may still arrive.
        if cluster.status(node)?.applied != applied {
            return None;
        }
        let state = digest(machine);
        replicas.push(Replica { node, position, chain, state, applied });
    }
    let first = replicas.first()?.applied;
    replicas.iter().all(|replica| replica.applied == first).then_some(replicas)
}
