//! Shrinks an impossible history to a small one that is impossible for the same reason.
//!
//! In go the calls of one object and how far any branch of the search came; out come the positions of a
//! subset that has no order either, from which nothing more was taken. It is found by delta debugging
//! (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002,
//! section 3): take away halves, then quarters, and so on down to single calls, as long as what is left
//! stays impossible.
//!
//! What may be taken away is what leaves every order of the whole an order of the rest. A call that only
//! reads can go altogether. Of one that changes something it can be forgotten when it returned and what it
//! answered: it may then have taken effect at any time after its start, or never.
//!
//! Invariants: the result is impossible whatever became of the others; what the budget cannot decide is not taken away.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::number;
use super::object::{NEVER, Object};
use super::opaque;
use super::register::{self, Found};
use super::scratch::Scratch;
use super::touch::{NOTHING, Touch};
use crate::budget::Budget;
use crate::model::Model;

/// How many steps a subset may take at first; then, how many times more than the last one that was
/// refuted, and at least. A subset is smaller than what was refuted before, so one that takes much longer
/// has an order, most likely, and is left alone. Steps, not time: an explanation is the same in each run.
const STEPS: u64 = 4_000_000;
const STEPS_TIMES: u64 = 4;
const STEPS_MIN: u64 = 20_000;

/// A contradiction with more calls than this is a chain, from which nothing can be taken.
const CORE_MAX: usize = 64;

/// A minimal part of a small contradiction among unique values: with a writer go all that observed it.
pub(super) fn core(touches: &[Touch], initial: u64, core: Vec<u32>) -> Vec<u32> {
    let mut kept = core;
    let mut scratch = Scratch::default();
    let mut at = 0;
    while at < kept.len() && kept.len() <= CORE_MAX {
        let rest = unobserved(touches, &kept, kept[at]);
        let part: Vec<Touch> = rest.iter().map(|call| touches[*call as usize]).collect();
        let found = register::decide_unique(&part, initial, &mut scratch);
        if matches!(found, Some(Found::Contradiction(_))) {
            (kept, at) = (rest, 0);
        } else {
            at += 1;
        }
    }
    kept
}

/// What stays when a call goes, and with it, again and again, all that observed what it wrote.
fn unobserved(touches: &[Touch], kept: &[u32], removed: u32) -> Vec<u32> {
    let mut rest = kept.to_vec();
    let mut gone = vec![removed];
    while let Some(removed) = gone.pop() {
        rest.retain(|call| *call != removed);
        let written = touches[removed as usize].writes;
        let observes =
            |call: &&u32| written != NOTHING && touches[**call as usize].observes == written;
        gone.extend(rest.iter().filter(observes));
    }
    rest
}

/// The touches that contradict each other, whatever became of the others.
pub(super) fn registers(
    touches: &[Touch],
    initial: u64,
    before: &BTreeMap<u32, u32>,
    until: u64,
    budget: &mut Budget,
) -> Vec<u32> {
    // What began later cannot come before what ended by then.
    let reached = (0_u32..).zip(touches).filter(|(_, touch)| touch.invoked <= until);
    let reached: Vec<u32> = reached.map(|(at, _)| at).collect();
    let ended = |at: &u32| touches[*at as usize].returned <= until;
    let held: BTreeSet<u32> = reached.iter().copied().filter(ended).collect();
    let mut scratch = Scratch::default();
    let mut impossible = |held: &BTreeSet<u32>, budget: &mut Budget| {
        let kept = |at: &&u32| held.contains(*at) || !touches[**at as usize].is_read();
        let members: Vec<u32> = reached.iter().filter(kept).copied().collect();
        let relaxed = |at: &u32| match held.contains(at) {
            true => touches[*at as usize],
            false => Touch { returned: NEVER, ..touches[*at as usize] },
        };
        let part: Vec<Touch> = members.iter().map(relaxed).collect();
        let place = |at: &u32| members.binary_search(at).ok().map(number);
        let pairs = before.iter().filter_map(|(second, first)| {
            held.contains(first).then_some(())?;
            Some((place(second)?, place(first)?))
        });
        let found = register::decide(&part, initial, &pairs.collect(), &mut scratch, budget);
        match found {
            Ok((Found::Contradiction(core), _)) => {
                let core = core.into_iter().map(|at| members[at as usize]);
                Some(core.filter(|at| held.contains(at)).collect())
            }
            Ok((Found::Impossible { .. }, _)) => Some(held.clone()),
            _ => None,
        }
    };
    minimize(held, &mut impossible, without, budget).into_iter().collect()
}

fn without(held: &BTreeSet<u32>, part: &[u32]) -> BTreeSet<u32> {
    // A part is a piece of a set in order.
    held.iter().copied().filter(|at| part.binary_search(at).is_err()).collect()
}

/// The calls of any model that contradict each other, whatever the others were told.
pub(super) fn calls<M: Model>(
    model: &M,
    object: &Object<'_, M::Input, M::Output>,
    before: &BTreeMap<u32, u32>,
    until: u64,
    budget: &mut Budget,
) -> Vec<u32> {
    let looked_at = |at: &u32| {
        let call = &object.calls[*at as usize];
        call.invoked <= until && call.happened()
    };
    let all: Vec<u32> = (0..number(object.calls.len())).collect();
    let held: BTreeSet<u32> = all.iter().copied().filter(looked_at).collect();
    let mut impossible = |held: &BTreeSet<u32>, budget: &mut Budget| {
        let kept =
            |at: &u32| held.contains(at) || !model.read_only(object.calls[*at as usize].input);
        let kept: Vec<u32> = all.iter().copied().filter(kept).collect();
        let place = |at: &u32| kept.binary_search(at).ok().map(number);
        let part = kept.iter().map(|at| {
            let mut call = object.calls[*at as usize];
            if !held.contains(at) {
                (call.output, call.returned) = (None, NEVER);
            }
            call
        });
        let part = Object { calls: part.collect() };
        let before = before.iter().filter_map(|(second, first)| {
            held.contains(first).then_some(())?;
            Some((place(second)?, place(first)?))
        });
        let found = opaque::search(model, &part, &before.collect(), budget);
        matches!(found, Ok((opaque::Found::Impossible { .. }, _))).then(|| held.clone())
    };
    minimize(held, &mut impossible, without, budget).into_iter().collect()
}

/// What is left when nothing more can be taken away.
fn minimize(
    mut kept: BTreeSet<u32>,
    impossible: &mut impl FnMut(&BTreeSet<u32>, &mut Budget) -> Option<BTreeSet<u32>>,
    without: impl Fn(&BTreeSet<u32>, &[u32]) -> BTreeSet<u32>,
    budget: &Budget,
) -> BTreeSet<u32> {
    let mut parts = 2;
    let mut steps = STEPS;
    while kept.len() > 1 && budget.look().is_ok() {
        let members: Vec<u32> = kept.iter().copied().collect();
        parts = parts.min(members.len());
        let size = members.len().div_ceil(parts);
        let smaller = members.chunks(size).find_map(|part| {
            budget.look().ok()?;
            let rest = without(&kept, part);
            if rest.is_empty() {
                return None;
            }
            let mut slice = budget.steps(steps);
            let found = impossible(&rest, &mut slice)?;
            steps = slice.steps_taken().saturating_mul(STEPS_TIMES).max(STEPS_MIN);
            Some(found)
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
    kept
}
