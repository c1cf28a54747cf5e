//! The schedule: installs a fault, heals it, installs the next.
//!
//! In go a seed, the faults asked for and an interval; [`Schedule::run`] breaks a [`Target`] until a
//! future says stop. Every interval it does one step: install if all is well, heal otherwise.
//!
//! Invariants:
//! - faults take turns, and so do the variants of a fault, in an order drawn from the seed: a long
//!   run meets all of them, where independent draws would leave some out;
//! - what was installed is healed before `run` returns, also after an error, and even if only a part
//!   of it was installed;
//! - the first error of the target ends the schedule: it is a failure of the harness.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{Coverage, Fault, Link, Shape, Target};
use crate::history::{Recorder, Value};

/// Whom a kill or a pause hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victims {
    One,
    Minority,
    Majority,
    Leader,
    All,
}

impl Victims {
    const ALL: [Victims; 5] =
        [Victims::One, Victims::Minority, Victims::Majority, Victims::Leader, Victims::All];

    fn name(self) -> &'static str {
        match self {
            Victims::One => "one",
            Victims::Minority => "minority",
            Victims::Majority => "majority",
            Victims::Leader => "leader",
            Victims::All => "all",
        }
    }

    fn nodes(
        self,
        nodes: &[u64],
        rng: &mut SmallRng,
        leader: Option<u64>,
    ) -> Result<Vec<u64>, String> {
        let mut nodes = nodes.to_vec();
        nodes.shuffle(rng);
        let count = nodes.len();
        let hit = match self {
            Victims::One => 1,
            Victims::Minority => count.saturating_sub(1) / 2,
            Victims::Majority => count / 2 + 1,
            Victims::All => count,
            Victims::Leader => {
                return leader.map(|l| vec![l]).ok_or("no leader is known".to_owned());
            }
        };
        nodes.truncate(hit);
        match nodes.is_empty() {
            true => Err(format!("{count} nodes have no {}", self.name())),
            false => Ok(nodes),
        }
    }
}

/// What one step does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Kill(Vec<u64>),
    Pause(Vec<u64>),
    Partition(BTreeSet<Link>),
}

/// A fault drawn: what it is called, and what to do, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Draw {
    fault: Fault,
    variant: &'static str,
    action: Result<Action, String>,
}

/// Draws faults from a seed and carries them out.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    rng: SmallRng,
    requested: Vec<Fault>,
    turn: usize,
    /// Variants not yet used since the last shuffle.
    kills: Vec<Victims>,
    pauses: Vec<Victims>,
    shapes: Vec<Shape>,
}

impl Schedule {
    /// A schedule for these faults, one step every `interval`. No faults: it does nothing.
    pub fn new(seed: u64, faults: &[Fault], interval: Duration) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut requested = faults.to_vec();
        requested.sort_unstable();
        requested.dedup();
        requested.shuffle(&mut rng);
        let (kills, pauses, shapes) = (Vec::new(), Vec::new(), Vec::new());
        Self { interval, rng, requested, turn: 0, kills, pauses, shapes }
    }

    /// Breaks and heals `target` until `stop`, then heals what is installed. The coverage says what
    /// fired; the error, if any, is the first failure of the target.
    pub async fn run(
        mut self,
        target: &impl Target,
        recorder: &Recorder,
        stop: impl Future<Output = ()>,
    ) -> (Coverage, anyhow::Result<()>) {
        let mut coverage = Coverage::new(&self.requested);
        let mut stop = pin!(stop);
        let mut installed: Option<(Draw, Action)> = None;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = tokio::time::sleep(self.interval), if !self.requested.is_empty() => {}
            }
            let result = match installed.take() {
                Some((draw, action)) => heal(target, recorder, &mut coverage, &draw, &action).await,
                None => {
                    let draw = self.draw(&target.nodes(), target.leader().await);
                    let result = install(target, recorder, &mut coverage, &draw).await;
                    installed = draw.action.clone().ok().map(|action| (draw, action));
                    result
                }
            };
            if let Err(failure) = result {
                // Healing may fail as well, but the first failure is the one to tell.
                if let Some((draw, action)) = installed {
                    let _second = heal(target, recorder, &mut coverage, &draw, &action).await;
                }
                return (coverage, Err(failure));
            }
        }
        let result = match installed {
            Some((draw, action)) => heal(target, recorder, &mut coverage, &draw, &action).await,
            None => Ok(()),
        };
        (coverage, result)
    }

    /// The next fault in turn, in its next variant.
    fn draw(&mut self, nodes: &[u64], leader: Option<u64>) -> Draw {
        let fault = self.requested[self.turn % self.requested.len()];
        self.turn += 1;
        // A seed of its own for each draw, so that the number of nodes does not shift later draws.
        let mut rng = SmallRng::seed_from_u64(self.rng.random());
        let (variant, action) = match fault {
            Fault::Kill => possible(&mut self.kills, &Victims::ALL, &mut self.rng, |victims| {
                (victims.name(), victims.nodes(nodes, &mut rng, leader).map(Action::Kill))
            }),
            Fault::Pause => possible(&mut self.pauses, &Victims::ALL, &mut self.rng, |victims| {
                (victims.name(), victims.nodes(nodes, &mut rng, leader).map(Action::Pause))
            }),
            Fault::Partition => possible(&mut self.shapes, &Shape::ALL, &mut self.rng, |shape| {
                (shape.name(), shape.links(nodes, &mut rng, leader).map(Action::Partition))
            }),
        };
        Draw { fault, variant, action }
    }
}

type Variant = (&'static str, Result<Action, String>);

/// The next variant that makes sense now. A variant that does not, such as a third of three nodes,
/// must not use up the fault's turn. If none does, the last one says why.
fn possible<T: Copy>(
    left: &mut Vec<T>,
    all: &[T],
    rng: &mut SmallRng,
    mut draw: impl FnMut(T) -> Variant,
) -> Variant {
    let mut drawn = draw(next(left, all, rng));
    for _ in all {
        if drawn.1.is_ok() {
            break;
        }
        drawn = draw(next(left, all, rng));
    }
    drawn
}

/// The next of `all` in a shuffled order, shuffled anew once all had their turn.
fn next<T: Copy>(left: &mut Vec<T>, all: &[T], rng: &mut SmallRng) -> T {
    if left.is_empty() {
        left.extend(all);
        left.shuffle(rng);
    }
    left.pop().unwrap_or(all[0])
}

async fn install(
    target: &impl Target,
    recorder: &Recorder,
    coverage: &mut Coverage,
    draw: &Draw,
) -> anyhow::Result<()> {
    let row = coverage.row(draw.fault, draw.variant);
    let action = match &draw.action {
        Ok(action) => action,
        Err(why) => {
            row.skipped += 1;
            row.why = Some(why.clone());
            record(recorder, draw, "skipped", Some(("why", why.as_str().into())));
            return Ok(());
        }
    };
    let result = match action {
        Action::Kill(nodes) => each(nodes, |node| target.kill(node)).await,
        Action::Pause(nodes) => each(nodes, |node| target.pause(node)).await,
        Action::Partition(links) => target.block(links).await,
    };
    let detail = match action {
        Action::Kill(nodes) | Action::Pause(nodes) => ("nodes", nodes_value(nodes)),
        Action::Partition(links) => {
            let link = |link: &Link| nodes_value(&[link.from, link.to]);
            ("links", Value::Vector(links.iter().map(link).collect()))
        }
    };
    finish(recorder, draw, "installed", detail, &result);
    row.installed += u64::from(result.is_ok());
    result
}

async fn heal(
    target: &impl Target,
    recorder: &Recorder,
    coverage: &mut Coverage,
    draw: &Draw,
    action: &Action,
) -> anyhow::Result<()> {
    let result = match action {
        Action::Kill(nodes) => each(nodes, |node| target.start(node)).await.map(|()| 0),
        Action::Pause(nodes) => each(nodes, |node| target.resume(node)).await.map(|()| 0),
        Action::Partition(_) => target.heal().await,
    };
    let held_back = *result.as_ref().unwrap_or(&0);
    let detail = match action {
        Action::Kill(nodes) | Action::Pause(nodes) => ("nodes", nodes_value(nodes)),
        Action::Partition(_) => ("held-back", Value::Text(held_back.to_string())),
    };
    finish(recorder, draw, "healed", detail, &result);
    let row = coverage.row(draw.fault, draw.variant);
    row.healed += u64::from(result.is_ok());
    row.held_back += held_back;
    result.map(|_| ())
}

/// Does one thing to each node, all of them even if one fails; the first error counts.
async fn each<F>(nodes: &[u64], act: impl Fn(u64) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut first = Ok(());
    for &node in nodes {
        let result = act(node).await;
        first = first.and(result);
    }
    first
}

fn nodes_value(nodes: &[u64]) -> Value {
    // Ids of nodes in a test are small; a larger one is still named, as text.
    let value = |node: &u64| i64::try_from(*node).map_or(node.to_string().into(), Value::Int);
    Value::Vector(nodes.iter().map(value).collect())
}

fn finish<T>(
    recorder: &Recorder,
    draw: &Draw,
    done: &str,
    detail: (&str, Value),
    result: &anyhow::Result<T>,
) {
    match result {
        Ok(_) => record(recorder, draw, done, Some(detail)),
        Err(error) => record(recorder, draw, "failed", Some(("why", format!("{error:#}").into()))),
    }
}

fn record(recorder: &Recorder, draw: &Draw, result: &str, detail: Option<(&str, Value)>) {
    let fields = [("variant", draw.variant.into()), ("result", result.into())];
    let entries = fields.into_iter().chain(detail);
    let value = entries.map(|(name, value)| (Value::from(name), value)).collect();
    recorder.nemesis(draw.fault.name(), Value::Map(value));
}
