//! The nemesis of a simulated cluster: carries faults out.
//!
//! In go the steps of a [`Plan`](super::plan::Plan); out come a broken cluster, and a count of what
//! really happened: a fault that found nobody to hit is not counted.
//!
//! Invariants
//! - each fault ends by itself, at its time. One of links takes back only what it did; one of a host
//!   (pause, clock, disk) ends every other of its kind there;
//! - [`heal`] leaves nothing broken.
//!
//! Does not: choose what and when. The plan did.

use std::{sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use sixbells::{StateMachine, runtime::AsyncRuntime};

use super::{
    Host, SimRuntime,
    cluster::Cluster,
    fault::{Cut, Fault, Whom},
    network::{Links, Mishap},
    plan::Step,
    world,
};
use crate::{digest::digest, nemesis::Link};

/// A fault that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// What it was.
    pub fault: Fault,
    /// From when, since the run began.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

/// Carries all steps out, each at its time after `start`, and returns when the last has ended, with
/// those that found somebody to hit.
pub async fn run<S: StateMachine>(
    cluster: &Arc<Cluster<S>>,
    steps: &[Step],
    start: Duration,
    clients: &[Host],
) -> Vec<Episode> {
    let mut under_way = Vec::new();
    for step in steps {
        SimRuntime::sleep((start + step.at).saturating_sub(world::now())).await;
        let (cluster, step, clients) = (Arc::clone(cluster), step.clone(), clients.to_vec());
        under_way.push(SimRuntime::spawn(async move {
            let Step { lasting, fault, .. } = step;
            world::trace("fault", digest(fault.kind()), || format!("{fault:?}"));
            let from = world::now();
            carry_out(&cluster, &fault, lasting, &clients).await?;
            world::reach(fault.kind().reached());
            // What is down stays so for the time that was given, whatever the call waited for.
            let until = world::now().max(from + lasting);
            Some(Episode { fault, from, until })
        }));
    }
    let mut episodes = Vec::new();
    for step in under_way {
        // A step that panicked was noted by the world.
        episodes.extend(step.await.ok().flatten());
    }
    episodes
}

/// Mends everything.
pub fn heal<S: StateMachine>(cluster: &Cluster<S>, links: &Links) {
    cluster.network.heal();
    cluster.network.hasten();
    cluster.network.set_links(links.clone());
    for node in cluster.all() {
        world::resume(node);
        world::set_clock_rate(node, 1.0);
        world::stall_disk(node, Duration::ZERO);
    }
    cluster.heal();
}

fn target<S: StateMachine>(cluster: &Cluster<S>, whom: Whom) -> Option<Host> {
    let leader = cluster.leader();
    match whom {
        Whom::Leader => leader,
        Whom::Follower(number) => {
            let mut others = cluster.wanted();
            others.retain(|node| Some(*node) != leader && cluster.is_up(*node));
            let at = usize::try_from(number).ok()?.checked_rem(others.len())?;
            others.get(at).copied()
        }
    }
}

/// `None` if there was nobody to hit, or it was not done.
async fn carry_out<S: StateMachine>(
    cluster: &Arc<Cluster<S>>,
    fault: &Fault,
    lasting: Duration,
    clients: &[Host],
) -> Option<()> {
    let until = world::now() + lasting;
    match *fault {
        Fault::Kill(whom) => cluster.kill(target(cluster, whom)?, until),
        Fault::Power(whom) => cluster.power_off(target(cluster, whom)?, until),
        Fault::PowerDuring(whom, operations) => {
            cluster.disk(target(cluster, whom)?)?.crash_after(operations);
        }
        Fault::Blackout => cluster.wanted().into_iter().for_each(|n| cluster.power_off(n, until)),
        Fault::Pause(whom) => {
            let node = target(cluster, whom)?;
            world::pause(node);
            SimRuntime::sleep(lasting).await;
            world::resume(node);
        }
        Fault::Partition(cut) => partition(cluster, cut, lasting, clients).await?,
        Fault::Loss(_) | Fault::Duplicates(_) => messages(cluster, fault, lasting).await?,
        Fault::SlowLinks(whom, delay) => {
            slow_links(cluster, target(cluster, whom)?, delay, lasting, clients).await;
        }
        Fault::Resets(whom) => resets(cluster, target(cluster, whom)?, until, clients).await,
        Fault::ClockRate(whom, rate) => {
            let node = target(cluster, whom)?;
            world::set_clock_rate(node, rate);
            SimRuntime::sleep(lasting).await;
            world::set_clock_rate(node, 1.0);
        }
        Fault::ClockJump(whom, by) => world::bump_clock(target(cluster, whom)?, by),
        Fault::Skew => skew(cluster, lasting).await?,
        Fault::SyncFails(_)
        | Fault::DiskFull(..)
        | Fault::SlowDisk(..)
        | Fault::Stall(_)
        | Fault::Rot(_)
        | Fault::LostDisk(_) => disk_fault(cluster, fault, lasting).await?,
        Fault::Add
        | Fault::Remove(_)
        | Fault::Transfer(_)
        | Fault::Snapshots
        | Fault::Restart(_)
        | Fault::RollingRestart => match operate(cluster, fault).await {
            Outcome::Done => {}
            Outcome::Pointless | Outcome::Failed => return None,
        },
    }
    Some(())
}

fn links(pairs: impl IntoIterator<Item = (Host, Host)>) -> Vec<Link> {
    pairs.into_iter().filter(|(from, to)| from != to).map(|(from, to)| Link { from, to }).collect()
}

fn both(one: &[Host], other: &[Host]) -> Vec<Link> {
    let pairs = one.iter().flat_map(|a| other.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
    links(pairs)
}

async fn partition<S: StateMachine>(
    cluster: &Arc<Cluster<S>>,
    cut: Cut,
    lasting: Duration,
    clients: &[Host],
) -> Option<()> {
    let nodes = cluster.wanted();
    let shuffled = |number| {
        let mut nodes = nodes.clone();
        nodes.shuffle(&mut SmallRng::seed_from_u64(number));
        nodes
    };
    let cuts = match cut {
        Cut::Alone(whom) => both(&[target(cluster, whom)?], &nodes),
        Cut::Mute(whom) => {
            let node = target(cluster, whom)?;
            links(nodes.iter().map(|other| (node, *other)))
        }
        Cut::Deaf(whom) => {
            let node = target(cluster, whom)?;
            links(nodes.iter().map(|other| (*other, node)))
        }
        Cut::Halves(number) => {
            let nodes = shuffled(number);
            let (one, other) = nodes.split_at(nodes.len() / 2);
            both(one, other)
        }
        Cut::Bridge(number) => {
            let nodes = shuffled(number);
            let rest = nodes.get(1..)?;
            let (one, other) = rest.split_at(rest.len() / 2);
            both(one, other)
        }
        Cut::Ring(number) => ring(&shuffled(number)),
        Cut::Pair(number) => {
            let nodes = shuffled(number);
            both(nodes.get(..1)?, nodes.get(1..2)?)
        }
        Cut::Clients(whom) => both(&[target(cluster, whom)?], clients),
    };
    if cuts.is_empty() {
        return None;
    }
    cluster.network.partition(cuts.iter().copied());
    SimRuntime::sleep(lasting).await;
    cluster.network.mend(&cuts);
    Some(())
}

/// Each node sees its neighbours on a ring, as many as make a majority with it.
fn ring(nodes: &[Host]) -> Vec<Link> {
    let count = nodes.len();
    let reach = (count / 2 + 1).saturating_sub(1).div_ceil(2);
    let far = |a: usize, b: usize| {
        let distance = a.abs_diff(b);
        distance.min(count - distance) > reach
    };
    let pairs = nodes.iter().enumerate().flat_map(|(i, a)| {
        let apart = nodes.iter().enumerate().filter(move |(j, _)| far(i, *j));
        apart.map(move |(_, b)| (*a, *b))
    });
    links(pairs)
}

/// `None` if it has befallen no message.
async fn messages<S: StateMachine>(
    cluster: &Cluster<S>,
    fault: &Fault,
    lasting: Duration,
) -> Option<()> {
    let calm = cluster.calm_links();
    let count = || {
        let counts = cluster.network.counts();
        let kind = if matches!(fault, Fault::Loss(_)) { Mishap::Lost } else { Mishap::Duplicated };
        counts.get(&kind).copied().unwrap_or(0)
    };
    let set = |loss: f64, duplicate: f64, late: bool| {
        let links = cluster.network.links();
        let links = match fault {
            Fault::Loss(_) => Links { loss, ..links },
            _ => Links { duplicate, late, ..links },
        };
        cluster.network.set_links(links);
    };
    let before = count();
    match *fault {
        Fault::Loss(probability) => set(probability, 0.0, false),
        Fault::Duplicates(probability) => set(0.0, probability, true),
        _ => return None,
    }
    SimRuntime::sleep(lasting).await;
    // Only what this fault has set: another may have begun meanwhile.
    set(calm.loss, calm.duplicate, calm.late);
    (count() > before).then_some(())
}

async fn slow_links<S: StateMachine>(
    cluster: &Cluster<S>,
    node: Host,
    delay: Duration,
    lasting: Duration,
    clients: &[Host],
) {
    let mut others = cluster.wanted();
    others.extend_from_slice(clients);
    let links = both(&[node], &others);
    for Link { from, to } in &links {
        cluster.network.slow(*from, *to, delay / 2..delay);
    }
    SimRuntime::sleep(lasting).await;
    cluster.network.quicken(&links);
}

async fn resets<S: StateMachine>(
    cluster: &Cluster<S>,
    node: Host,
    until: Duration,
    clients: &[Host],
) {
    while world::now() < until {
        let nodes = cluster.wanted();
        for other in nodes.iter().chain(clients).filter(|other| **other != node) {
            cluster.network.reset(node, *other);
        }
        SimRuntime::sleep(Duration::from_millis(150)).await;
    }
}

async fn skew<S: StateMachine>(cluster: &Arc<Cluster<S>>, lasting: Duration) -> Option<()> {
    let leader = cluster.leader()?;
    let nodes = cluster.wanted();
    if nodes.len() < 2 {
        return None;
    }
    for node in &nodes {
        world::set_clock_rate(*node, if *node == leader { 0.2 } else { 3.0 });
    }
    let cuts = both(&[leader], &nodes);
    cluster.network.partition(cuts.iter().copied());
    SimRuntime::sleep(lasting).await;
    cluster.network.mend(&cuts);
    nodes.iter().for_each(|node| world::set_clock_rate(*node, 1.0));
    Some(())
}

async fn disk_fault<S: StateMachine>(
    cluster: &Arc<Cluster<S>>,
    fault: &Fault,
    lasting: Duration,
) -> Option<()> {
    let of = |whom| {
        let node = target(cluster, whom)?;
        Some((node, cluster.disk(node)?))
    };
    match *fault {
        Fault::SyncFails(whom) => {
            let (node, disk) = of(whom)?;
            cluster.excuse(node);
            disk.fail_next_sync();
        }
        Fault::DiskFull(whom, bytes) => {
            let (node, disk) = of(whom)?;
            cluster.excuse(node);
            disk.fill(bytes);
            SimRuntime::sleep(lasting).await;
            disk.free();
        }
        Fault::SlowDisk(whom, factor) => {
            let (_, disk) = of(whom)?;
            disk.slow(factor);
            SimRuntime::sleep(lasting).await;
            disk.slow(1);
        }
        Fault::Stall(whom) => world::stall_disk(of(whom)?.0, lasting),
        Fault::Rot(whom) => {
            let (node, disk) = of(whom)?;
            if !cluster.may_lose_a_disk() {
                return None;
            }
            cluster.lose(node);
            cluster.excuse(node);
            cluster.kill(node, world::now() + lasting);
            match disk.rot() {
                Some(file) => cluster.rotten(node, file),
                None => {
                    // Nothing there to rot; it is lost all the same.
                    disk.wipe();
                    return None;
                }
            }
        }
        Fault::LostDisk(whom) => {
            let (node, disk) = of(whom)?;
            if !cluster.may_lose_a_disk() {
                return None;
            }
            cluster.lose(node);
            cluster.power_off(node, world::now() + lasting);
            disk.wipe();
        }
        _ => {}
    }
    Some(())
}

/// What came of something that the operator wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It makes no sense in this cluster, and was not tried.
    Pointless,
    /// It was tried, and was not done.
    Failed,
}

impl Outcome {
    fn of<E>(asked: &Option<Result<(), E>>, reached: &'static str) -> Self {
        match asked {
            Some(Ok(())) => {
                world::reach(reached);
                Outcome::Done
            }
            Some(Err(_)) | None => Outcome::Failed,
        }
    }
}

/// What an operator does.
pub async fn operate<S: StateMachine>(cluster: &Arc<Cluster<S>>, fault: &Fault) -> Outcome {
    match *fault {
        Fault::Add if cluster.wanted().len() < 8 => {
            Outcome::of(&cluster.add().await, "a node joined")
        }
        Fault::Remove(whom) => match target(cluster, whom) {
            // Fewer voters than three, or one that is gone for good, and the next fault would stop
            // the rest for ever.
            Some(node) if cluster.missing().is_none() && cluster.voters().len() > 3 => {
                Outcome::of(&cluster.remove(node).await, "a node left")
            }
            _ => Outcome::Pointless,
        },
        Fault::Transfer(number) => transfer(cluster, number).await,
        Fault::Snapshots => {
            let mut outcome = Outcome::Done;
            for node in cluster.wanted() {
                let asked = cluster.ask(node, |running| async move { running.snapshot().await });
                if !matches!(asked.await, Some(Ok(()))) {
                    outcome = Outcome::Failed;
                }
            }
            outcome
        }
        Fault::Restart(whom) => match target(cluster, whom) {
            Some(node) => restart(cluster, &[node]).await,
            None => Outcome::Pointless,
        },
        Fault::RollingRestart => restart(cluster, &cluster.wanted()).await,
        Fault::LostDisk(_) => {
            let lost = Box::pin(disk_fault(cluster, fault, Duration::from_millis(500))).await;
            if lost.is_some() { Outcome::Done } else { Outcome::Pointless }
        }
        _ => Outcome::Pointless,
    }
}

async fn transfer<S: StateMachine>(cluster: &Arc<Cluster<S>>, number: u64) -> Outcome {
    let Some(leader) = cluster.leader() else { return Outcome::Failed };
    let voters: Vec<Host> = cluster.voters().into_iter().filter(|node| *node != leader).collect();
    let at = usize::try_from(number).ok().and_then(|number| number.checked_rem(voters.len()));
    let Some(to) = at.and_then(|at| voters.get(at).copied()) else { return Outcome::Pointless };
    let asked = cluster.ask(leader, move |n| async move { n.transfer_leadership(to).await });
    Outcome::of(&asked.await, "the leadership was handed over")
}

/// One after the other, in good order.
async fn restart<S: StateMachine>(cluster: &Arc<Cluster<S>>, nodes: &[Host]) -> Outcome {
    let mut outcome = Outcome::Done;
    for node in nodes {
        if !cluster.shut_down(*node, world::now()).await {
            outcome = Outcome::Failed;
        }
        cluster.start(*node).await;
        SimRuntime::sleep(Duration::from_millis(500)).await;
    }
    outcome
}
