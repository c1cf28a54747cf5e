//! Linearizability: is there one order that explains every answer?
//!
//! In go a model, the operations of a history and a budget; out comes a verdict. The work is cut up
//! before it is searched ([`search`]):
//!
//! 1. failed operations are dropped: they did not happen;
//! 2. crashed reads are dropped: they did nothing and nobody saw their answer;
//! 3. objects are checked apart, smallest first, under one budget;
//! 4. crashed writes of values that no later operation observes are dropped: an order with one
//!    remains an order without it. Only on the word of [`Model::effect`].
//!
//! Invariants:
//! - crashed operations stay concurrent with everything after their call, and need not happen;
//! - one impossible object makes the history invalid even if others were too hard to decide; one
//!   undecided object makes an otherwise good history unknown;
//! - an invalid verdict is explained from a minimal contradiction ([`shrink`], [`explanation`]); if
//!   the budget is too short to shrink, the verdict stands and only the explanation is longer.

pub mod explanation;
pub mod search;
pub mod shrink;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::search::Outcome as Found;
use super::budget::Budget;
use super::{OpError, Verdict};
use crate::history::{Clock, Operation, Outcome, Value};
use crate::model::Model;

/// How long finding a short explanation may take, once the verdict is known.
const EXPLAIN_TIME: Duration = Duration::from_secs(5);

/// One operation of one object, as the search sees it.
#[derive(Clone, Debug)]
pub struct Entry<O> {
    /// What it did.
    pub op: O,
    /// When it was called.
    pub invoked: u64,
    /// When it returned; `None` if nobody knows whether it happened.
    pub returned: Option<u64>,
    /// Which of the history's operations it is: those of one process stand in program order.
    pub source: usize,
    /// Who did it.
    pub process: u64,
}

impl<O> Entry<O> {
    /// Whether it had returned when the other was called. A process does one thing after the other,
    /// also where the clock is too coarse to tell.
    pub fn precedes(&self, other: &Self) -> bool {
        self.returned.is_some_and(|returned| {
            let earlier = self.process == other.process && self.source < other.source;
            returned < other.invoked || (earlier && returned == other.invoked)
        })
    }
}

/// The operations of a history by object.
type Partitions<O> = BTreeMap<Value, Vec<Entry<O>>>;

/// Judges a history. The error names an operation that the model cannot read.
pub fn check<M: Model>(
    model: &M,
    operations: &[Operation],
    clock: Clock,
    budget: &mut Budget,
) -> Result<Verdict, OpError> {
    let mut partitions: Vec<_> = partition(model, operations)?.into_iter().collect();
    if partitions.is_empty() {
        let why = "the history has no operation that could be judged".to_owned();
        return Ok(Verdict::Unknown { why });
    }
    partitions.sort_by_key(|(_, entries)| entries.len());
    let several = partitions.len() > 1;
    let checked = partitions.iter().map(|(_, entries)| entries.len()).sum();
    let mut undecided = None;
    for (key, entries) in &partitions {
        let relevant = without_unobserved(model, entries);
        match search::search(model, &relevant, budget) {
            Found::Linearizable => {}
            Found::Impossible { stuck } => {
                let mut spare = budget.slice(EXPLAIN_TIME);
                let core = shrink::shrink(model, &relevant, stuck, &mut spare);
                let story = explanation::Story { model, operations, clock, entries, core: &core };
                let explanation = story.explain((several || *key != Value::Nil).then_some(key));
                return Ok(Verdict::Invalid { explanation });
            }
            Found::Exhausted(why) => {
                let object = if several { format!(" at key {key}") } else { String::new() };
                let size = entries.len();
                undecided.get_or_insert(format!("{why}{object} ({size} operations)"));
            }
        }
    }
    Ok(match undecided {
        Some(why) => Verdict::Unknown { why },
        None => Verdict::Valid { operations: checked, partitions: partitions.len() },
    })
}

/// The operations that can be judged, by object.
fn partition<M: Model>(model: &M, operations: &[Operation]) -> Result<Partitions<M::Op>, OpError> {
    let mut partitions: Partitions<M::Op> = BTreeMap::new();
    for (source, operation) in operations.iter().enumerate() {
        if operation.outcome == Outcome::Fail {
            continue;
        }
        let explain = |reason| OpError { index: operation.index, reason };
        let op = model.op(operation).map_err(explain)?;
        if operation.outcome == Outcome::Info && model.read_only(&op) {
            continue;
        }
        let key = model.key(operation).map_err(explain)?;
        let Operation { process, invoked, returned, .. } = *operation;
        let entry = Entry { op, invoked, returned, source, process };
        partitions.entry(key).or_default().push(entry);
    }
    // An object whose every operation is unknown has nothing to say.
    partitions.retain(|_, entries| entries.iter().any(|entry| entry.returned.is_some()));
    Ok(partitions)
}

/// Drops crashed operations whose value nobody observes. A crashed operation that is observed may
/// observe another's value in turn, so this runs until nothing is added.
fn without_unobserved<M: Model>(model: &M, entries: &[Entry<M::Op>]) -> Vec<Entry<M::Op>> {
    let mut observed = BTreeSet::new();
    let mut kept = vec![false; entries.len()];
    loop {
        let mut grew = false;
        for (at, entry) in entries.iter().enumerate() {
            if kept[at] {
                continue;
            }
            let effect = model.effect(&entry.op);
            let needed = match (entry.returned, &effect) {
                (Some(_), _) | (None, None) => true,
                (None, Some(effect)) => {
                    effect.writes.as_ref().is_some_and(|v| observed.contains(v))
                }
            };
            if needed {
                kept[at] = true;
                grew = true;
                observed.extend(effect.and_then(|effect| effect.observes));
            }
        }
        if !grew {
            break;
        }
    }
    let kept = entries.iter().zip(kept).filter(|(_, kept)| *kept);
    kept.map(|(entry, _)| entry.clone()).collect()
}
