//! Shrinks an impossible history to a small one that is impossible for the same reason.
//!
//! In go the operations of one object and how far any branch of the search came; out comes a subset
//! that has no order either, from which no single operation can be taken. It is found by delta
//! debugging: take away halves, then quarters, and so on down to single operations, as long as what
//! is left stays impossible.
//!
//! Invariants:
//! - whoever observes a value keeps all its writers. Without that rule, "a read of 17" alone would
//!   be the minimal contradiction of every history with one; with it, every order of the whole
//!   yields an order of the subset, so an impossible subset proves the whole impossible;
//! - the result is always impossible: whatever the budget cannot decide is not taken away.
//!
//! It needs [`Model::effect`]; a model that cannot say gets only the operations up to where the
//! search was stuck.

use std::collections::BTreeSet;
use std::time::Duration;

use super::search::{Outcome, search};
use super::{Entry, without_unobserved};
use crate::budget::Budget;
use crate::model::{Effect, Model};

/// How long one subset may take. A subset is smaller than what was just refuted, so most take far
/// less; one that does not is left alone.
const SUBSET_TIME: Duration = Duration::from_millis(500);

/// A minimal impossible part of `entries`.
pub fn shrink<M: Model>(
    model: &M,
    entries: &[Entry<M::Op>],
    stuck: u64,
    budget: &mut Budget,
) -> Vec<Entry<M::Op>> {
    let entries: Vec<_> = entries.iter().filter(|e| e.invoked <= stuck).cloned().collect();
    let effects: Option<Vec<Effect>> = entries.iter().map(|e| model.effect(&e.op)).collect();
    let Some(effects) = effects else { return entries };
    let pick = |kept: &BTreeSet<usize>| -> Vec<Entry<M::Op>> {
        kept.iter().map(|&at| entries[at].clone()).collect()
    };
    let mut kept: BTreeSet<usize> = (0..entries.len()).collect();
    let mut parts = 2;
    while kept.len() > 1 && budget.look().is_ok() {
        let members: Vec<usize> = kept.iter().copied().collect();
        parts = parts.min(members.len());
        let size = members.len().div_ceil(parts);
        let smaller = members.chunks(size).find_map(|part| {
            let rest = without(&kept, part, &effects);
            // With its observers gone, a crashed operation would only slow the search down.
            let relevant = without_unobserved(model, &pick(&rest));
            let outcome = search(model, &relevant, &mut budget.slice(SUBSET_TIME));
            matches!(outcome, Outcome::Impossible { .. }).then_some(rest)
        });
        match smaller {
            Some(rest) => {
                kept = rest;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts *= 2,
        }
    }
    pick(&kept)
}

/// What stays when `part` goes, and with it, again and again, all that observed what it wrote.
fn without(kept: &BTreeSet<usize>, part: &[usize], effects: &[Effect]) -> BTreeSet<usize> {
    let mut rest = kept.clone();
    let mut gone: Vec<usize> = part.to_vec();
    while let Some(removed) = gone.pop() {
        rest.remove(&removed);
        let Some(written) = &effects[removed].writes else { continue };
        let observes = |at: &&usize| effects[**at].observes.as_ref() == Some(written);
        gone.extend(rest.iter().filter(observes).copied().collect::<Vec<_>>());
    }
    rest
}
