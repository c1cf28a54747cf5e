//! Registers: the portfolio for states that are one value.
//!
//! 1. [`zones`] where written values are unique;
//! 2. what is [`obvious`] where they repeat;
//! 3. the [`race`] of two searches, after crashed writes of values that nobody observes are
//!    dropped: an order with one remains an order without it.
//!
//! Every order that is found is replayed.

use std::collections::{BTreeMap, BTreeSet};

use super::frontier::Outcome;
use super::machine::{Registers, number};
use super::scratch::Scratch;
use super::touch::{NOTHING, Touch};
use super::zones::{self, Zones};
use super::{Method, obvious, race, verify};
use crate::budget::{Budget, Exhausted};

/// What was found. Touches by their position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This order explains all.
    Order(Vec<u32>),
    /// These contradict each other, given who wrote the values.
    Contradiction(Vec<u32>),
    /// Those that began at or before this time contradict each other.
    Impossible { until: u64 },
}

/// Decides with the quick method alone, if it applies.
pub(super) fn decide_unique(
    touches: &[Touch],
    initial: u64,
    scratch: &mut Scratch,
) -> Option<Found> {
    match zones::decide(touches, initial, scratch) {
        Zones::Order(order) => {
            let holds = verify::touches(&order, touches, &BTreeMap::new(), initial);
            debug_assert!(holds, "zones found an order that is none: {order:?}");
            holds.then_some(Found::Order(order))
        }
        Zones::Contradiction(calls) => Some(Found::Contradiction(calls)),
        Zones::NotApplicable => None,
    }
}

/// Decides by search. `before` holds pairs of touches that time does not order.
pub(super) fn decide_repeated(
    touches: &[Touch],
    initial: u64,
    before: &BTreeMap<u32, u32>,
    budget: &mut Budget,
) -> Result<(Found, Method), Exhausted> {
    if let Some(core) = obvious::contradiction(touches, initial) {
        return Ok((Found::Contradiction(core), Method::Obvious));
    }
    let kept = observed(touches);
    let part: Vec<Touch> = kept.iter().map(|at| touches[*at as usize]).collect();
    let place = |at: &u32| kept.binary_search(at).ok().map(number);
    let pairs = before.iter().filter_map(|(second, first)| Some((place(second)?, place(first)?)));
    let before: BTreeMap<u32, u32> = pairs.collect();
    let (machine, calls) = Registers::new(&part, initial);
    let holds = |order: &[u32]| verify::touches(order, &part, &before, initial);
    let (outcome, method) = race::run(machine.clone(), machine, &calls, &before, holds, budget)?;
    let found = match outcome {
        Outcome::Order(order) => {
            Found::Order(order.into_iter().map(|at| kept[at as usize]).collect())
        }
        Outcome::Impossible { until } => Found::Impossible { until },
        Outcome::Wider | Outcome::TooWide => return Err(Exhausted::Room),
    };
    Ok((found, method))
}

/// Decides as best it can.
pub(super) fn decide(
    touches: &[Touch],
    initial: u64,
    before: &BTreeMap<u32, u32>,
    scratch: &mut Scratch,
    budget: &mut Budget,
) -> Result<(Found, Method), Exhausted> {
    let unique = before.is_empty().then(|| decide_unique(touches, initial, scratch)).flatten();
    match unique {
        Some(found) => Ok((found, Method::Zones)),
        None => decide_repeated(touches, initial, before, budget),
    }
}

/// The touches that matter: all that happened, and crashed ones whose value one of these observes, or
/// that another such one observes.
fn observed(touches: &[Touch]) -> Vec<u32> {
    let observes = |touch: &&Touch| touch.observes != NOTHING;
    let (happened, crashed): (Vec<&Touch>, Vec<&Touch>) =
        touches.iter().filter(observes).partition(|touch| touch.happened());
    let mut behind: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for touch in crashed {
        behind.entry(touch.writes).or_default().push(touch.observes);
    }
    let mut seen: BTreeSet<u64> = BTreeSet::new();
    let mut open: Vec<u64> = happened.iter().map(|touch| touch.observes).collect();
    while let Some(value) = open.pop() {
        if seen.insert(value) {
            open.extend(behind.remove(&value).unwrap_or_default());
        }
    }
    let matters = |touch: &Touch| touch.happened() || seen.contains(&touch.writes);
    (0_u32..).zip(touches).filter(|(_, touch)| matters(touch)).map(|(at, _)| at).collect()
}
