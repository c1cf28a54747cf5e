//! The phases of a run: start, trouble, healing, calm.
//!
//! In: a plan and a suite. Out: what all replicas hold in the end, or what a healed cluster did not do
//! in time.
//!
//! Invariants
//! - nothing breaks before the cluster is set up and after it is healed;
//! - what a calm cluster is asked for it must do within [`LIVENESS_MAX`], however long the trouble was.
//!
//! Does not: judge what clients saw.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sixbells::{StateMachine, runtime::AsyncRuntime};

use super::{
    End, Host, Replica, SimRuntime,
    bug::Bug,
    clients::{CLIENTS, Clients},
    cluster::Cluster,
    fault::Fault,
    nemesis::{self, Outcome},
    plan::Plan,
    record::{Op, Record},
    suite::Suite,
    world::{self, Stream},
};

/// How long the healed cluster may take for each thing that is asked of it, in simulated time. An
/// election takes a second or two; a node that comes back may have to fetch a snapshot piece by piece.
pub(super) const LIVENESS_MAX: Duration = Duration::from_secs(40);

/// All phases. `Err` says what a healed cluster did not do in time.
pub(super) async fn phases<S: StateMachine>(
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
    let mut clients = Clients::new(cluster.clone(), record.clone());
    set_up(&mut clients, suite, plan).await?;
    let start = world::now();
    let until = start + plan.active;
    let hosts: Vec<Host> =
        (0..plan.clients).map(|_| clients.send((suite.generator)(), plan, until)).collect();
    nemesis::run(&cluster, &plan.steps, start, &hosts).await;
    SimRuntime::sleep(until.saturating_sub(world::now())).await;
    nemesis::heal(&cluster, &plan.links);
    world::trace("healed", 0, String::new);
    let replicas = calm(&cluster, plan, suite, &mut clients).await?;
    for node in cluster.all() {
        world::kill(node);
        cluster.network.unplug(node);
    }
    Ok(replicas)
}

/// What must be there before anything breaks.
async fn set_up<S: StateMachine>(
    clients: &mut Clients<S>,
    suite: &Suite<S>,
    plan: &Plan,
) -> Result<(), String> {
    let nodes: Vec<Host> = (1..=plan.nodes).collect();
    let (client, host) = clients.client(&nodes);
    for command in &suite.setup {
        let mut process = host;
        eventually("the cluster was not set up", async || {
            process += CLIENTS;
            let op = Op::Write(command.clone());
            let (end, _) = clients.perform(&client, host, process, op, None).await;
            (end == End::Ok).then_some(())
        })
        .await?;
    }
    Ok(())
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
    let (client, host) = clients.client(&cluster.wanted());
    eventually("no fresh write succeeded", async || {
        let mut rng = world::draw(Stream::Load, |rng| SmallRng::seed_from_u64(rng.random()));
        let op = fresh.next(&mut rng);
        let write = matches!(op, Op::Write(_));
        let process = host + world::now().as_secs();
        let (end, _) = clients.perform(&client, host, process, op, None).await;
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
        let state = world::digest(machine);
        replicas.push(Replica { node, position, chain, state, applied });
    }
    let first = replicas.first()?.applied;
    replicas.iter().all(|replica| replica.applied == first).then_some(replicas)
}
