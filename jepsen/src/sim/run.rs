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
//! - the liveness phase waits for conditions, each for a bounded simulated time.
//!
//! Does not: print, write files, or choose plans.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use sixbells::StateMachine;

use super::{
    Observation, Replica,
    bug::Bug,
    oracle::{Panel, Violation},
    phases::phases,
    plan::Plan,
    record::{self, Entry, Op, Record, typed},
    runtime::said,
    suite::Suite,
    world::{self, Settings, Traces, World},
};
use crate::{
    checker::{Explanation, replay},
    history::{Clock, Event},
};

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
                let sentence = format!("node {node} {reason}");
                self.stopped.get_or_insert(Violation { oracle: "node", at, sentence });
            }
            _ => {}
        }
        if let Some(state) = state(seen) {
            world::reach(state);
        }
        self.panel.observe(at, seen);
        self.stopped.is_some() || self.panel.violation().is_some()
    }

    fn violation(&self) -> Option<Violation> {
        self.panel.violation().cloned().or_else(|| self.stopped.clone())
    }
}

/// The states and transitions that a run is to reach.
fn state(seen: &Observation) -> Option<&'static str> {
    Some(match seen {
        Observation::Voted { node, vote } if vote.committed && vote.voted_for == *node => {
            "a leader was elected"
        }
        Observation::Truncated { .. } => "a log was truncated",
        Observation::Purged { .. } => "a log was purged",
        Observation::Restored { .. } => "a state was restored",
        Observation::Appended { entries, .. }
            if entries.iter().any(|e| e.voters.as_ref().is_some_and(|sets| sets.len() > 1)) =>
        {
            "a membership was joint"
        }
        _ => return None,
    })
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
    let ran = guarded(|| World::run(settings, phases(plan, suite, bug, &record)));
    Bug::plant(None);
    let history = record.entries();
    let mut seen = seen.borrow_mut();
    let mut panicked = None;
    let (result, traces) = ran.unwrap_or_else(|said| {
        let at = Duration::ZERO;
        panicked = Some(Violation { oracle: "panic", at, sentence: said });
        (Err(world::Stop::Halted), Traces::default())
    });
    let violation = seen.violation().or(panicked).or_else(|| {
        if let Some((host, said)) = traces.panics.first() {
            let sentence = format!("a task of host {host} panicked: {said}");
            return Some(Violation { oracle: "panic", at: traces.simulated, sentence });
        }
        let at = traces.simulated;
        let liveness = |sentence| Some(Violation { oracle: "liveness", at, sentence });
        match result {
            Ok(Ok(replicas)) => {
                seen.panel.finish(at, &replicas);
                let judged = guarded(|| judge(suite, &history, &seen.order, &replicas, at));
                let panicked = |sentence| Some(Violation { oracle: "panic", at, sentence });
                seen.violation().or_else(|| judged.unwrap_or_else(panicked))
            }
            Ok(Err(sentence)) => liveness(sentence),
            Err(stop) => liveness(format!("the run cannot go on: {stop}")),
        }
    });
    let looked = seen.panel.coverage();
    let history = if violation.is_some() { record::events(&history) } else { Vec::new() };
    Outcome { traces, violation, history, looked }
}

/// Does what runs code of the user's: a panic there is a finding, and must not cost the seed.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        format!("a generator, an invariant or the machine itself panicked: {}", said(&*panic))
    })
}

/// What the clients saw, when the run itself was clean.
fn judge<S: StateMachine>(
    suite: &Suite<S>,
    history: &[Entry<S>],
    order: &[u64],
    replicas: &[Replica],
    at: Duration,
) -> Option<Violation> {
    let violation = |oracle, sentence| Some(Violation { oracle, at, sentence });
    if let Err(sentence) = replayed(suite, history, order, replicas) {
        return violation("invariant", sentence);
    }
    // Our log's order is what we promise: that another would do is no excuse.
    let followed = replay::follow(&typed(history), order, Clock::Nanoseconds);
    followed.err().and_then(|why| violation("linearizable", in_words(&why)))
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
        Some(Replica { node, .. }) => Err(format!(
            "node {node} holds another state than its commands make, or the same in other bytes"
        )),
        None => Ok(()),
    }
}
