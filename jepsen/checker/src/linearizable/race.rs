//! A race of two searches, in turns that grow, in one thread and under one budget.
//!
//! Depth first ([`search`](super::search)) walks straight to an order where there is one, also past
//! many crashed calls, but refutes only after it went back to everything. Breadth first
//! ([`frontier`](super::frontier)) refutes without going back, but carries along whatever may still be
//! of use. Whichever answers first ends the race; it takes at most a small factor longer than the
//! faster of the two alone.
//!
//! One that runs out of memory leaves it to the other. In turns rather than in threads: the result is the
//! same in every run, unless time runs out.

use std::collections::BTreeMap;

use super::Method;
use super::frontier::{Frontier, Outcome};
use super::machine::{Machine, Timed};
use super::search::Search;
use crate::budget::{Budget, Exhausted};

/// How many steps the first turns have, for each call.
const STEPS_PER_CALL: u64 = 64;
/// How much longer a step down takes than one along the frontier, about.
const DEEP_COST: u64 = 8;
/// How many times longer than all turns of another before a turn may be.
const GROWTH: u64 = 4;

/// Runs it to its end. Each search has a machine of its own. `before` holds pairs of calls that time
/// does not order; `holds` replays an order. A search whose order does not hold is no longer listened
/// to: it has a bug, or it is the frontier and some crashed call must come after another.
pub(super) fn run<M: Machine>(
    mut deep: M,
    wide: M,
    calls: &[Timed],
    before: &BTreeMap<u32, u32>,
    holds: impl Fn(&[u32]) -> bool,
    budget: &mut Budget,
) -> Result<(Outcome, Method), Exhausted> {
    // The frontier does not look at what must come before a crashed call.
    let loose = before.keys().any(|second| !calls[*second as usize].happened());
    let mut deep = Search::new(&mut deep, calls, before.clone());
    let mut wide = Some(Frontier::new(wide, calls, before));
    // All that is taken from here on goes with the searches and their machines.
    let taken = budget.bytes_taken();
    let first = STEPS_PER_CALL * (calls.len() as u64 + 1);
    let mut spent = 0;
    let ended = loop {
        if spent == u64::MAX && wide.is_none() {
            break Err(Exhausted::Room);
        }
        let others = wide.as_ref().map_or(u64::MAX, Frontier::spent);
        // Whoever took the fewest steps goes on, for a few times as long as the others did so far.
        let turn = others.min(spent).saturating_mul(GROWTH).saturating_add(first);
        let mut tried = match &mut wide {
            Some(frontier) if others < spent => frontier.attempt(turn, budget),
            _ => deep.attempt(turn / DEEP_COST, budget),
        };
        let method = if others < spent { Method::Frontier } else { Method::Search };
        let other_left = if others < spent { spent < u64::MAX } else { wide.is_some() };
        if matches!(tried, Err(Exhausted::Memory(_))) && other_left {
            tried = Ok(Outcome::TooWide);
        }
        if let Ok(Outcome::Order(order)) = &tried
            && !holds(order)
        {
            debug_assert!(loose, "{method:?} found an order that is none: {order:?}");
            tried = Ok(Outcome::TooWide);
        }
        match (tried, method) {
            (Ok(Outcome::Wider), Method::Search) => spent = spent.saturating_add(turn),
            (Ok(Outcome::Wider), _) => {}
            (Ok(Outcome::TooWide), Method::Search) => {
                deep.end(budget);
                spent = u64::MAX;
            }
            (Ok(Outcome::TooWide), _) => {
                if let Some(mut wide) = wide.take() {
                    wide.end(budget);
                }
            }
            (ended, method) => break ended.map(|outcome| (outcome, method)),
        }
    };
    budget.give(budget.bytes_taken().saturating_sub(taken));
    ended
}
