//! The operations that contradict each other, out of a history that no order explains.
//!
//! In go the entries that the search refuted; out come the positions of a small part of them, by
//! delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE
//! TSE 28(2), 2002, section 3).
//!
//! Nothing is known of what a command changes, so no write can be taken away: an answer may rest on
//! it. But what it was *told* and when it *returned* can be forgotten, which leaves a write that may
//! have happened at any time after its call, or never. A read can be taken away whole. Both only
//! allow more orders, so whatever stays impossible proves the whole impossible.
//!
//! Invariants: the result is a contradiction whatever the other operations were told; what the budget
//! cannot decide is not taken away.
//!
//! Does not: find the smallest such part, only one from which nothing more was taken in time.

use std::collections::BTreeSet;
use std::time::Duration;

use sixbells::StateMachine;

use super::spec::{Op, Spec};
use crate::checker::budget::Budget;
use crate::checker::linearizable::Entry;
use crate::checker::linearizable::search::{Outcome, search};
use crate::model::Model;

/// How long finding a short explanation may take, once the verdict is known.
const EXPLAIN_TIME: Duration = Duration::from_secs(5);

/// How long one part may take. Each write that is forgotten may double the orders, so many parts
/// take for ever; those are left alone.
const PART_TIME: Duration = Duration::from_millis(250);

/// The operations that contradict each other. `guess` is where to look first.
pub(super) fn find<S: StateMachine>(
    spec: &Spec<'_, S>,
    entries: &[Entry<Op>],
    stuck: u64,
    guess: &[usize],
    budget: &Budget,
) -> Vec<usize> {
    let spare = budget.slice(EXPLAIN_TIME);
    // No branch of the search looked at what was called later. But once something is taken away, it
    // may: a read that came too early for one write has time for another.
    let looked_at = |e: &&Entry<Op>| e.invoked <= stuck;
    let reached: Vec<_> =
        entries.iter().filter(|e| looked_at(e) || !spec.read_only(&e.op)).cloned().collect();
    let all: BTreeSet<usize> =
        reached.iter().filter(|e| looked_at(e) && e.returned.is_some()).map(|e| e.source).collect();
    let impossible = |held: &BTreeSet<usize>| {
        let part: Vec<_> = reached.iter().filter_map(|e| relaxed(spec, e, held)).collect();
        matches!(search(spec, &part, &mut spare.slice(PART_TIME)), Outcome::Impossible { .. })
    };
    let guess: BTreeSet<usize> = guess.iter().copied().filter(|at| all.contains(at)).collect();
    let held = if !guess.is_empty() && impossible(&guess) { guess } else { all };
    // Reads first: without one the search has less to go through, without a write it has more.
    let reads = reached.iter().filter(|e| spec.read_only(&e.op)).map(|e| e.source).collect();
    let held = minimize(held, Some(&reads), &spare, impossible);
    minimize(held, None, &spare, impossible).into_iter().collect()
}

/// What is left when nothing more can be taken away; only of `these`, if they are given.
fn minimize(
    mut held: BTreeSet<usize>,
    these: Option<&BTreeSet<usize>>,
    spare: &Budget,
    impossible: impl Fn(&BTreeSet<usize>) -> bool,
) -> BTreeSet<usize> {
    let mut parts = 2;
    while held.len() > 1 && spare.look().is_ok() {
        let mine = |at: &usize| these.is_none_or(|these| these.contains(at));
        let candidates: Vec<usize> = held.iter().copied().filter(mine).collect();
        let size = candidates.len().div_ceil(parts).max(1);
        let smaller = candidates.chunks(size).find_map(|part| {
            let gone = |at: &usize| part.binary_search(at).is_ok();
            let rest: BTreeSet<usize> = held.iter().copied().filter(|at| !gone(at)).collect();
            impossible(&rest).then_some(rest)
        });
        match smaller {
            Some(rest) => {
                held = rest;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts *= 2,
        }
    }
    held
}

/// The entry as it is, if it is held; else without what makes it a witness.
fn relaxed<S: StateMachine>(
    spec: &Spec<'_, S>,
    entry: &Entry<Op>,
    held: &BTreeSet<usize>,
) -> Option<Entry<Op>> {
    if held.contains(&entry.source) || entry.returned.is_none() {
        return Some(entry.clone());
    }
    (!spec.read_only(&entry.op)).then(|| spec.forgotten(entry.source))
}
