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

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use sixbells::StateMachine;

use super::{
    Observation, Replica,
    bug::Bug,
    oracle::{Panel, Violation},
    phases::phases,
    plan::Plan,
    record::{self, Entry, Op, Record, typed},
    suite::Suite,
    world::{self, Settings, Traces, World},
};
use crate::{
    checker::{Explanation, Verdict, budget::Budget, replay},
    history::{Clock, Event},
};

/// How long the checker searches, and in how much memory, where the log's order is no witness.
const CHECK_MAX: Duration = Duration::from_secs(20);
const CHECK_BYTES_MAX: usize = 256 << 20;
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
