//! One simulated run: from the first start of a cluster to the verdict.
//!
//! ```text
//!   start -> clients beside nemesis -> heal -> liveness: leader, replacement, what is asked of a calm
//!            \------ safety ------/            cluster, fresh writes, equal replicas -> checkers
//!            \-------------------- oracles look all the time --------------------/
//! ```
//!
//! In: a [`Plan`], a [`Suite`] and perhaps a planted bug. Out: an [`Outcome`], with the first violation;
//! or a [`Story`], for whoever wants to look at all that happened.
//!
//! In eventual mode there are no oracles on the way, but for a node that stops: what is promised is about
//! the end, and judged there.
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

use sixbells::{Mode, StateMachine};

use super::{
    Host, Observation, Replica,
    bug::Bug,
    convergence,
    oracle::{Panel, Violation},
    phases::{Rest, phases},
    plan::{Manner, Plan},
    record::{self, Entry, Record, typed},
    runtime::said,
    world::{self, Settings, Traces, World},
};
use crate::{
    checker::{
        Explanation,
        eventual::{CONVERGENCE, DURABILITY, EXACTLY_ONCE, settled},
        replay::{self, Typed},
    },
    digest::digest,
    history::{Clock, Event},
    suite::{Op, Suite},
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

/// All that happened in a run.
#[derive(Debug)]
pub struct Story<S: StateMachine> {
    /// Its hash, simulated time, steps, panics, and what was reached.
    pub traces: Traces,
    /// The first thing that was wrong, before anybody looked at what clients saw.
    pub violation: Option<Violation>,
    /// What the clients did.
    pub entries: Vec<Entry<S>>,
    /// The commands in the order on which the replicas agreed.
    pub order: Vec<u64>,
    /// What it came to; nothing much, if it did not come to its end.
    pub rest: Rest,
    /// When each node first applied each command.
    pub applied: BTreeMap<u64, BTreeMap<Host, Duration>>,
    /// How often each oracle has looked.
    pub looked: Vec<(&'static str, u64)>,
}

/// What the oracles know, and the order in which commands were applied.
#[derive(Default)]
struct Seen {
    mode: Mode,
    panel: Panel,
    order: Vec<u64>,
    applied: BTreeMap<u64, BTreeMap<Host, Duration>>,
    stopped: Option<Violation>,
}

impl Seen {
    /// `true` ends the run.
    fn observe(&mut self, at: Duration, seen: &Observation) -> bool {
        match seen {
            Observation::Applied { node, position, command, .. } => {
                if *position == self.order.len() as u64 + 1 {
                    self.order.push(*command);
                }
                self.applied.entry(*command).or_default().entry(*node).or_insert(at);
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
        if self.mode == Mode::Strong {
            self.panel.observe(at, seen);
        }
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

/// Carries a plan out, and judges it. Lines of the trace go to `log`.
pub fn run<S: StateMachine>(
    plan: &Plan,
    suite: &Suite<S>,
    bug: Option<Bug>,
    log: Option<Box<dyn FnMut(String)>>,
) -> Outcome {
    let story = tell(plan, suite, bug, log);
    let at = story.traces.simulated;
    let (violation, looked) = match story.violation.clone() {
        Some(violation) => (Some(violation), Vec::new()),
        None => {
            let judged = guarded(|| judge(plan.mode, suite, &story));
            let panicked = |sentence| (Some(("panic", sentence)), Vec::new());
            let (wrong, looked) = judged.unwrap_or_else(panicked);
            (wrong.map(|(oracle, sentence)| Violation { oracle, at, sentence }), looked)
        }
    };
    let history = if violation.is_some() { record::events(&story.entries) } else { Vec::new() };
    let looked = story.looked.into_iter().chain(looked).collect();
    Outcome { traces: story.traces, violation, history, looked }
}

/// Carries a plan out, and tells all that happened. Lines of the trace go to `log`.
pub fn tell<S: StateMachine>(
    plan: &Plan,
    suite: &Suite<S>,
    bug: Option<Bug>,
    log: Option<Box<dyn FnMut(String)>>,
) -> Story<S> {
    let seen = Rc::new(RefCell::new(Seen { mode: plan.mode, ..Seen::default() }));
    let observer = {
        let seen = seen.clone();
        Box::new(move |at, happened: &Observation| seen.borrow_mut().observe(at, happened))
    };
    let settings = Settings {
        seed: plan.seed,
        mode: plan.mode,
        shuffle: plan.shuffle,
        observer: Some(observer),
        log,
        planted: bug,
    };
    let record = Record::<S>::default();
    Bug::plant(bug);
    let ran = guarded(|| World::run(settings, phases(plan, suite, bug, &record)));
    Bug::plant(None);
    let mut seen = seen.take();
    let mut panicked = None;
    let (result, traces) = ran.unwrap_or_else(|said| {
        let at = Duration::ZERO;
        panicked = Some(Violation { oracle: "panic", at, sentence: said });
        (Err(world::Stop::Halted), Traces::default())
    });
    let at = traces.simulated;
    let mut rest = Rest::default();
    let mut violation = seen.violation().or(panicked).or_else(|| {
        let (host, said) = traces.panics.first()?;
        let sentence = format!("a task of host {host} panicked: {said}");
        Some(Violation { oracle: "panic", at, sentence })
    });
    if violation.is_none() {
        let liveness = |sentence| Some(Violation { oracle: "liveness", at, sentence });
        match result {
            Ok(Ok(end)) => {
                if plan.mode == Mode::Strong {
                    seen.panel.finish(at, &end.replicas);
                }
                (violation, rest) = (seen.violation(), end);
            }
            Ok(Err(sentence)) => violation = liveness(sentence),
            Err(stop) => violation = liveness(format!("the run cannot go on: {stop}")),
        }
    }
    let (order, looked) = match plan.mode {
        Mode::Strong => (seen.order, seen.panel.coverage()),
        Mode::Eventual => (rest.order.clone(), Vec::new()),
    };
    let (entries, applied) = (record.entries(), seen.applied);
    Story { traces, violation, entries, order, rest, applied, looked }
}

/// Does what runs code of the user's: a panic there is a finding, and must not cost the seed.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        format!("a generator, an invariant or the machine itself panicked: {}", said(&*panic))
    })
}

/// What was wrong, and how often each judge of the end has looked.
type Judged = (Option<(&'static str, String)>, Vec<(&'static str, u64)>);

/// What the clients saw, when the run itself was clean.
fn judge<S: StateMachine>(mode: Mode, suite: &Suite<S>, story: &Story<S>) -> Judged {
    let Story { entries, order, rest, .. } = story;
    let operations = typed(entries);
    if mode == Mode::Eventual {
        return judge_eventual(suite, story, &operations);
    }
    if let Err(sentence) = replayed(suite, entries, order, &rest.replicas) {
        return (Some(("invariant", sentence)), Vec::new());
    }
    // Our log's order is what we promise: that another would do is no excuse.
    let followed = replay::follow(&operations, order, Clock::Nanoseconds);
    (followed.err().map(|why| ("linearizable", in_words(&why))), Vec::new())
}

/// Whether a mode kept what it promises beside linearizability, in a run that came to its end.
///
/// # Errors
/// What was broken, and how.
pub fn kept<S: StateMachine>(
    suite: &Suite<S>,
    mode: Mode,
    story: &Story<S>,
    operations: &[Typed<S>],
) -> Result<(), String> {
    let wrong = match mode {
        Mode::Strong => None,
        Mode::Eventual => judge_eventual(suite, story, operations).0,
    };
    wrong.map_or(Ok(()), |(promise, sentence)| Err(format!("{promise}: {sentence}")))
}

/// What eventual mode promises: that the replicas agree, on all that was acknowledged, each once.
fn judge_eventual<S: StateMachine>(
    suite: &Suite<S>,
    story: &Story<S>,
    operations: &[Typed<S>],
) -> Judged {
    let Story { entries, order, rest, .. } = story;
    let acknowledged = operations.iter().filter(|o| o.is_write() && o.returned.is_some()).count();
    let mut looked = vec![
        (CONVERGENCE, rest.replicas.len() as u64),
        (DURABILITY, acknowledged as u64),
        (EXACTLY_ONCE, order.len() as u64),
    ];
    let wrong = convergence::same(&rest.replicas)
        .map_err(|sentence| (CONVERGENCE, sentence))
        .and_then(|()| settled(operations, order))
        .and_then(|()| {
            let replayed = replayed(suite, entries, order, &rest.replicas);
            replayed.map_err(|sentence| (CONVERGENCE, sentence))
        });
    let mut lapse = None;
    if let Some(judge) = &suite.guarantees {
        let with_token = entries.iter().filter(|entry| entry.manner == Manner::Session);
        let processes = with_token.map(|entry| entry.process).collect();
        let (judged, sentence) = judge(operations, order, &processes);
        looked.push((GUARANTEES, judged));
        lapse = sentence.map(|sentence| (GUARANTEES, sentence));
    }
    (wrong.err().or(lapse), looked)
}

/// A client that carries a token reads its own writes, and never less than before.
pub const GUARANTEES: &str = "session guarantees";

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
    let state = digest(sixbells::encode(&machine));
    match replicas.iter().find(|replica| replica.state != state) {
        Some(Replica { node, .. }) => Err(format!(
            "node {node} holds another state than its commands make, or the same in other bytes"
        )),
        None => Ok(()),
    }
}
