//! A history of typed operations against the user's own machine: one spec, three uses.
//!
//! In go the operations of the clients on some `S`, and the order in which the log applied the
//! writes; out comes a [`Judgement`]. `S` itself says what each answer should have been.
//!
//! 1. `witness`: replay `S` along the log. If every answer fits and the order agrees with real
//!    time, the history is linearizable, and the log is the proof. The usual case, in one pass.
//! 2. `spec`: otherwise look for any order at all, with `S` as the model of
//!    [`linearizable`]. That decides the verdict, and finds the operations that
//!    contradict each other whatever the order.
//! 3. `words` says what was wrong with the log's order.
//!
//! Invariants:
//! - the witness is verified, never trusted: an order that repeats a write, invents one or lacks an
//!   acknowledged one proves nothing;
//! - `Valid` means linearizable, as promised to clients. That the log tells another story than the
//!   clients is no violation of that, but never silent: [`Judgement::witness`] says so;
//! - operations whose outcome is unknown stay concurrent with everything after their call, and
//!   need not have happened;
//! - input that makes no sense is `Unknown` with the reason, never a verdict.
//!
//! Does not: look at failed operations (the caller leaves them out), or find a bug in `S`, whose
//! answers are right by definition. The search applies commands in orders that never happened, so an
//! `apply` that panics on one ends the check.

mod spec;
#[cfg(test)]
mod tests;
mod witness;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use sixbells::StateMachine;

use self::spec::Spec;
use self::witness::{Flaw, Witness};
use self::words::Story;
pub(crate) use self::words::show;
use super::budget::Budget;
use super::linearizable;
use super::{Explanation, Verdict};
use crate::history::Clock;

/// One operation of a client on a machine. The operations of one process stand in the order in which
/// it did them.
#[derive(Clone)]
pub struct Typed<S: StateMachine> {
    /// Who called.
    pub process: u64,
    /// What the log calls it; unique in the run.
    pub number: u64,
    /// The node spoken to, where known.
    pub node: Option<String>,
    /// When it was called, on the history's clock.
    pub invoked: u64,
    /// When it returned; `None` if nobody knows whether it happened.
    pub returned: Option<u64>,
    /// What it did.
    pub act: Act<S>,
}

/// What an operation did. A result counts only if the operation returned; one that is not known
/// fits every state.
#[derive(Clone)]
pub enum Act<S: StateMachine> {
    /// Sent a command.
    Write {
        /// The command.
        command: S::Command,
        /// What it was told.
        response: Option<S::Response>,
    },
    /// Asked.
    Read {
        /// The question.
        query: S::Query,
        /// What it was told.
        answer: Option<S::Answer>,
    },
}

impl<S: StateMachine> Typed<S> {
    /// Whether it may have changed the state.
    pub fn is_write(&self) -> bool {
        matches!(self.act, Act::Write { .. })
    }

    /// Whether it is a read that says something: one without an answer did nothing to anybody.
    fn observes(&self) -> bool {
        self.returned.is_some() && matches!(self.act, Act::Read { answer: Some(_), .. })
    }
}

impl<S: StateMachine> fmt::Debug for Typed<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, number, invoked, returned, act, .. } = self;
        write!(out, "#{number} process {process} {invoked}..{returned:?} {act:?}")
    }
}

impl<S: StateMachine> fmt::Debug for Act<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Write { command, response } => write!(out, "{command:?} -> {response:?}"),
            Act::Read { query, answer } => write!(out, "{query:?} -> {answer:?}"),
        }
    }
}

/// What the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether some order explains what the clients saw.
    pub verdict: Verdict,
    /// Whether the log's order does, and if it was not shown to, why. `Err` beside a valid verdict:
    /// the clients cannot tell, but the log contradicts what they saw.
    pub witness: Result<(), Explanation>,
}

impl Judgement {
    fn unknown(why: String) -> Self {
        let witness = Err(Explanation { sentence: why.clone(), ..Explanation::default() });
        Self { verdict: Verdict::Unknown { why }, witness }
    }
}

/// Whether the log's order explains what the clients saw; the first of the two steps of [`check`], and
/// linear in the history. `order` holds the numbers of the writes in the order in which the log applied
/// them; failed operations are in neither list.
///
/// # Errors
/// If it does not: what contradicts it.
pub fn follow<S: StateMachine>(
    operations: &[Typed<S>],
    order: &[u64],
    clock: Clock,
) -> Result<(), Explanation> {
    well_formed(operations)
        .map_err(|sentence| Explanation { sentence, ..Explanation::default() })?;
    let mut budget = Budget::new(UNLIMITED, usize::MAX);
    let witness = Witness::new(operations, order).and_then(|witness| witness.verify(&mut budget));
    witness.map_err(|flaw| Story { operations, clock }.of_the_log(&flaw))
}

/// Judges a history. `order` holds the numbers of the writes in the order in which the log applied
/// them; failed operations are in neither list.
pub fn check<S: StateMachine>(
    operations: &[Typed<S>],
    order: &[u64],
    clock: Clock,
    budget: &mut Budget,
) -> Judgement {
    if let Err(why) = well_formed(operations) {
        return Judgement::unknown(why);
    }
    let story = Story { operations, clock };
    let flaw = match Witness::new(operations, order).and_then(|witness| witness.verify(budget)) {
        Ok(()) => {
            let judged = order.len() + operations.iter().filter(|o| o.observes()).count();
            let verdict = Verdict::Valid { operations: judged, partitions: 1 };
            return match operations.iter().any(|o| o.returned.is_some()) {
                true => Judgement { verdict, witness: Ok(()) },
                false => Judgement { verdict: nothing_to_judge(), witness: Ok(()) },
            };
        }
        Err(Flaw::Exhausted(why)) => return Judgement::unknown(why.to_string()),
        Err(flaw) => flaw,
    };
    let verdict = search_any_order(operations, &flaw, &story, budget);
    Judgement { verdict, witness: Err(story.of_the_log(&flaw)) }
}

/// The verdict where the log's order is no help.
fn search_any_order<S: StateMachine>(
    operations: &[Typed<S>],
    flaw: &Flaw,
    story: &Story<'_, S>,
    budget: &mut Budget,
) -> Verdict {
    let spec = Spec::new(operations);
    let (calls, sources) = spec.calls();
    if calls.iter().all(|call| call.returned.is_none()) {
        return nothing_to_judge();
    }
    match linearizable::check(&calls, &spec, budget) {
        linearizable::Verdict::Linearizable { .. } => {
            Verdict::Valid { operations: calls.len(), partitions: 1 }
        }
        linearizable::Verdict::Violation { explanation, .. } => {
            let core: Vec<usize> = explanation.culprits.iter().map(|call| sources[*call]).collect();
            Verdict::Invalid { explanation: story.of_no_order(flaw, &core) }
        }
        linearizable::Verdict::Unknown { why } => {
            let log = story.of_the_log(flaw).sentence;
            Verdict::Unknown { why: format!("{why}; the log's order is no proof: {log}") }
        }
    }
}

fn nothing_to_judge() -> Verdict {
    Verdict::Unknown { why: "the history has no operation that could be judged".to_owned() }
}

/// A pass over a history takes what it takes.
const UNLIMITED: Duration = Duration::from_secs(24 * 3_600);

/// What every history keeps, or its recorder is broken.
fn well_formed<S: StateMachine>(operations: &[Typed<S>]) -> Result<(), String> {
    let mut numbers = BTreeSet::new();
    for operation in operations {
        let number = operation.number;
        if !numbers.insert(number) {
            return Err(format!("two operations have the number {number}"));
        }
        if operation.returned.is_some_and(|returned| returned < operation.invoked) {
            return Err(format!("operation {number} returned before it was invoked"));
        }
    }
    Ok(())
}

/// Whether the one had returned when the other was called; operations by their position. A process does
/// one thing after the other, also where the clock is too coarse to tell.
fn precedes<S: StateMachine>(operations: &[Typed<S>], one: usize, other: usize) -> bool {
    let (a, b) = (&operations[one], &operations[other]);
    a.returned.is_some_and(|returned| {
        let earlier = a.process == b.process && one < other;
        returned < b.invoked || (earlier && returned == b.invoked)
    })
}
