//! Linearizability: is there one order that explains every answer?
//!
//! In go the calls of a history, a model and a budget; out comes a [`Verdict`]. There is no one best
//! algorithm, so [`check`] picks for each object the first of these that applies ([`Method`]):
//!
//! | method | for | cost for `n` calls, `p` in flight |
//! |---|---|---|
//! | [`Method::LogOrder`] | histories that say at which index of a log each call took effect | `O(n log n)` |
//! | [`Method::Zones`] | registers whose written values are unique | `O(n log n)` |
//! | [`Method::Obvious`] | registers whose values repeat: refuting what needs no search | `O(n log n)` |
//! | [`Method::Procedure`] | sets, queues, lists, locks: by rules of their own | see each model |
//! | [`Method::Frontier`] | registers whose values repeat; refuting any model | `O(n)` times a factor exponential in `p` at worst |
//! | [`Method::Search`] | finding an order for any model | exponential at worst |
//!
//! Before that, failed calls and crashed reads are dropped (they did nothing to anybody), objects are
//! set apart (linearizability is local), and crashed writes of values that nobody observes are
//! dropped. The smallest objects come first, under one budget.
//!
//! Invariants:
//! - a verdict of `Linearizable` carries an order for each object, and each was replayed;
//! - a crashed call stays concurrent with everything after it, and need not have happened;
//! - one impossible object makes the history a violation even if others were too hard to decide; one
//!   undecided object makes an otherwise good history unknown;
//! - equal times are concurrent, except within one process. Objects are set apart even so: that two
//!   processes crossed two objects within one instant of a coarse clock, each seeing the other's past,
//!   is not seen, since for that instant locality does not hold;
//! - a violation is explained by a small part of the history that is impossible by itself; if time is
//!   too short to find it, the verdict stands and only the explanation is longer.

#[cfg(test)]
mod differential;
mod explanation;
mod footprint;
mod frontier;
mod grouping;
mod judge;
mod log_order;
mod machine;
mod object;
mod obvious;
mod opaque;
mod race;
mod register;
mod scratch;
mod search;
mod shrink;
mod stream;
mod ties;
#[cfg(test)]
mod ties_differential;
mod touch;
mod verify;
mod zones;

pub use explanation::Context;
pub use judge::{check, check_in};
pub use object::{Contradiction, Decision, NEVER, Object, ObjectCall, Piece};
pub use stream::Stream;

use crate::budget::Budget;
use crate::faults::Band;
use crate::history::{Clock, Operation};
use crate::model::HistoryModel;
use crate::{Explanation, OpError};

/// Whether a history is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Linearizable {
        /// The proof.
        witness: Witness,
    },
    /// It is not.
    Violation {
        /// Why.
        explanation: Explanation,
        /// How that was found.
        method: Method,
    },
    /// That could not be decided.
    Unknown {
        /// What stood in the way, and what to change.
        why: String,
    },
}

/// An order for each object that explains every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// The orders: calls by their position in the history. All that happened are there, and of the
    /// crashed ones those that took effect.
    pub orders: Vec<Order>,
}

/// The order of one object's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The calls, by their position in the history.
    pub calls: Vec<u32>,
    /// How many calls of the object were judged: those that the order leaves out did not happen.
    pub judged: usize,
    /// How it was found.
    pub method: Method,
}

/// How an object was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// By the order of the log that the calls took effect in.
    LogOrder,
    /// By the zones of unique values.
    Zones,
    /// By a contradiction that needs no search.
    Obvious,
    /// By the model's own procedure.
    Procedure,
    /// By all configurations from event to event.
    Frontier,
    /// By depth-first search.
    Search,
}

impl Method {
    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Method::LogOrder => "log order",
            Method::Zones => "zones",
            Method::Obvious => "a contradiction that needs no search",
            Method::Procedure => "procedure",
            Method::Frontier => "frontier",
            Method::Search => "search",
        }
    }

    /// What it does, in a line.
    pub fn describe(self) -> &'static str {
        match self {
            Method::LogOrder => "replayed in the order of the log's indexes: O(n log n)",
            Method::Zones => "written values are unique: O(n log n), whatever crashed",
            Method::Obvious => "a value that was gone for good, or not there yet: O(n log n)",
            Method::Procedure => "the model's own rules: near-linear",
            Method::Frontier => {
                "all configurations from event to event: linear in the history, \
                                 exponential in the calls in flight at worst"
            }
            Method::Search => "depth-first search with memory: exponential at worst",
        }
    }
}

impl Witness {
    /// How many objects each method decided, and how many calls they had.
    pub fn methods(&self) -> std::collections::BTreeMap<Method, (usize, usize)> {
        let mut methods = std::collections::BTreeMap::new();
        for order in &self.orders {
            let (objects, calls) = methods.entry(order.method).or_insert((0, 0));
            *objects += 1;
            *calls += order.calls.len();
        }
        methods
    }
}

/// Judges the operations of a history file. Positions in a witness are those of operations.
///
/// # Errors
/// At an operation that the model cannot read.
pub fn check_operations<M: HistoryModel>(
    model: &mut M,
    operations: &[Operation],
    clock: Clock,
    faults: &[Band],
    budget: &mut Budget,
) -> Result<Verdict, OpError> {
    let (calls, sources) = model.calls(operations)?;
    let node = |call: usize| {
        let operation = sources.get(call).and_then(|source| operations.get(*source));
        operation.and_then(Operation::node).map(ToOwned::to_owned)
    };
    let context = Context { clock, node: &node, faults };
    let mut verdict = check_in(&calls, model, &context, budget);
    match &mut verdict {
        Verdict::Linearizable { witness } => {
            for call in witness.orders.iter_mut().flat_map(|order| &mut order.calls) {
                *call = machine::number(sources[*call as usize]);
            }
        }
        Verdict::Violation { explanation, .. } => {
            let index = |call: &mut usize| *call = operations[sources[*call]].index;
            explanation.culprits.iter_mut().for_each(index);
        }
        Verdict::Unknown { .. } => {}
    }
    Ok(verdict)
}

impl From<Verdict> for crate::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Linearizable { witness } => {
                let operations = witness.orders.iter().map(|order| order.judged).sum();
                Self::Valid { operations, partitions: witness.orders.len() }
            }
            Verdict::Violation { explanation, .. } => Self::Invalid { explanation },
            Verdict::Unknown { why } => Self::Unknown { why },
        }
    }
}
