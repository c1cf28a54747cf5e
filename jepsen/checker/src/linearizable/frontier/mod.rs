//! The frontier: all configurations that explain the history so far, from event to event.
//!
//! Lowe's just-in-time linearization ("Testing for linearizability", Concurrency and Computation 29(4),
//! 2017, section 5): a call is ordered no earlier than the first return that needs it. What it costs
//! does not depend on how long the history is, only on how much is in flight: `O(n)` times the size of
//! the frontier, which is exponential in the calls in flight at worst, and held down by:
//!
//! 1. *Eager reads*: a read that agrees with the state is ordered at once.
//! 2. *Absorption*: a write puts all writes in flight into the past, unseen, if they like.
//! 3. *Use*: two writes in a row are not tried unless somebody saw the first.
//! 4. *Symmetry*: of equal calls in flight the one that returns first goes first; a crashed one goes
//!    after those that are known to have happened.
//! 5. *Dominance*: a configuration is dropped if another can do all that it can (see `config`).
//! 6. *Width*: only the most promising configurations are kept, at first few, then four times as many,
//!    and so on. Legal histories pass with few; a history is impossible only if nothing was cut.
//! 7. *Counting on demand*, for registers: crashed calls are at first available without end. If no order
//!    is found even so, there is none. If the one that is found uses a kind of them too often, that kind
//!    is counted from then on (the abstraction refinement of Clarke et al., "Counterexample-guided
//!    abstraction refinement", CAV 2000).
//!
//! In go classes of calls with their times and a [`Machine`](super::machine::Machine); out comes an
//! [`Outcome`]. It does not verify the order that it finds: the caller does.

mod bits;
mod carry;
mod config;
mod crashed;
mod path;
mod search;
mod window;

use std::collections::BTreeMap;

pub(super) use self::carry::Carried;
use self::carry::Carry;
use self::crashed::Crashed;
use self::path::{Overused, Path};
pub(super) use self::search::Event;
use self::search::{Case, Search, Walk};
use super::machine::{Machine, Timed, number};
use crate::budget::{Budget, Exhausted};

/// What was found. Calls by their position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An order of all calls that happened, and of some that may have.
    Order(Vec<u32>),
    /// There is none, and calls after this position in time are not to blame: those invoked at or
    /// before this time contradict each other by themselves.
    Impossible { until: u64 },
    /// The width did not do; try with this one.
    Wider,
    /// More is in flight, or more crashed, than this search has room for.
    TooWide,
}

/// How wide the frontier is at first.
const WIDTH_MIN: usize = 4;
/// How much wider it gets where that did not do.
const WIDER: usize = 4;
/// How many crashed calls can be counted.
const BITS_MAX: usize = 512;

/// The search for one object; it can be resumed with more and more effort.
pub(super) struct Frontier<'a, M> {
    machine: M,
    calls: &'a [Timed],
    events: Vec<Event>,
    spans: Vec<(u32, u32)>,
    before: &'a BTreeMap<u32, u32>,
    in_flight: usize,
    /// Two ways to go about it, in turns: crashed calls counted on demand, which refutes, and all of
    /// them counted from the start, which finds orders. One of them is enough where they are the same.
    modes: Vec<Mode>,
    turn: usize,
}

/// How the next walk is to go.
struct Mode {
    crashed: Crashed,
    width: usize,
    /// How many steps this mode took so far.
    spent: u64,
}

impl<'a, M: Machine> Frontier<'a, M> {
    /// `before` holds pairs of calls in flight at one instant of which the one must come first. Where
    /// the second crashed, the pair is not looked at: what is impossible is so all the more, and an
    /// order may not hold.
    pub(super) fn new(machine: M, calls: &'a [Timed], before: &'a BTreeMap<u32, u32>) -> Self {
        let (events, spans) = line_up(calls);
        let on_demand = Crashed::new(calls, &spans, &machine);
        let mut counted = on_demand.clone();
        let all: Vec<u32> = (0..number(counted.kinds.len())).collect();
        counted.count(&all);
        let mut modes = Vec::new();
        if M::FINITE && counted.bits() > 0 {
            modes.push(Mode { crashed: on_demand, width: WIDTH_MIN, spent: 0 });
        }
        if modes.is_empty() || counted.bits() <= BITS_MAX {
            modes.push(Mode { crashed: counted, width: WIDTH_MIN, spent: 0 });
        }
        let in_flight = most_in_flight(calls, &events);
        Self { machine, calls, events, spans, before, in_flight, modes, turn: 0 }
    }

    /// How many steps the mode took that took fewest: that is whose turn it is.
    pub(super) fn spent(&self) -> u64 {
        self.modes.iter().map(|mode| mode.spent).min().unwrap_or(u64::MAX)
    }

    /// Gives back the memory that its machine holds.
    pub(super) fn end(&mut self, budget: &mut Budget) {
        self.machine.end(budget);
    }

    /// Walks once along the history, in at most about so many steps.
    pub(super) fn attempt(
        &mut self,
        steps: u64,
        budget: &mut Budget,
    ) -> Result<Outcome, Exhausted> {
        let spent = |turn: &usize| self.modes[*turn].spent;
        self.turn = (0..self.modes.len()).min_by_key(spent).unwrap_or(0);
        let (walk, left) = match self.walk(steps, budget) {
            Err(Exhausted::Memory(_)) if self.modes.len() > 1 => (Walk::TooWide, steps),
            walked => walked?,
        };
        self.modes[self.turn].spent += steps - left;
        if matches!(walk, Walk::TooWide) {
            self.modes.remove(self.turn);
            return Ok(if self.modes.is_empty() { Outcome::TooWide } else { Outcome::Wider });
        }
        let mode = &mut self.modes[self.turn];
        let ways = match walk {
            Walk::TooWide => return Ok(Outcome::TooWide),
            Walk::Tired => return Ok(Outcome::Wider),
            Walk::Stuck { event, cut: false } => {
                let call = self.events[event as usize].call;
                return Ok(Outcome::Impossible { until: self.calls[call as usize].returned });
            }
            Walk::Stuck { cut: true, .. } => {
                mode.width = mode.width.saturating_mul(WIDER);
                return Ok(Outcome::Wider);
            }
            Walk::Through(ways) => ways,
        };
        let (calls, spans, before) = (self.calls, &self.spans, self.before);
        let path = Path { calls, spans, before, crashed: &mode.crashed };
        let mut least: Option<Vec<u32>> = None;
        for way in ways {
            match path.order(&way, &mut self.machine, budget)? {
                Ok(order) => return Ok(Outcome::Order(order)),
                Err(Overused(kinds)) => {
                    if least.as_ref().is_none_or(|least| kinds.len() < least.len()) {
                        least = Some(kinds);
                    }
                }
            }
        }
        mode.crashed.count(&least.unwrap_or_default());
        Ok(Outcome::Wider)
    }

    fn walk(&mut self, steps: u64, budget: &mut Budget) -> Result<(Walk, u64), Exhausted> {
        let bits = self.modes[self.turn].crashed.bits();
        match (self.in_flight, bits) {
            (0..=64, 0) => self.walk_in::<1, 0>(steps, budget),
            (0..=64, 1..=64) => self.walk_in::<1, 1>(steps, budget),
            (0..=64, 65..=128) => self.walk_in::<1, 2>(steps, budget),
            (0..=64, 129..=512) => self.walk_in::<1, 8>(steps, budget),
            (65..=256, 0) => self.walk_in::<4, 0>(steps, budget),
            (65..=256, 1..=512) => self.walk_in::<4, 8>(steps, budget),
            _ => Ok((Walk::TooWide, steps)),
        }
    }

    fn walk_in<const L: usize, const N: usize>(
        &mut self,
        steps: u64,
        budget: &mut Budget,
    ) -> Result<(Walk, u64), Exhausted> {
        let Mode { crashed, width, .. } = &self.modes[self.turn];
        let case = Case { calls: self.calls, before: self.before, crashed };
        Search::<M, L, N>::new(&mut self.machine, case, *width, steps).walk(&self.events, budget)
    }
}

/// Follows a history: walks from what was carried over to what is to be carried over, with at most so
/// many configurations. As many crashed calls are counted as there is room for; nothing if there are too
/// many calls in flight.
pub(super) fn follow<M: Machine>(
    machine: &mut M,
    calls: &[Timed],
    events: &[Event],
    (pending, carried): (&[u32], &[Carried]),
    width: usize,
    budget: &mut Budget,
) -> Result<Option<Carry>, Exhausted> {
    let mut crashed = Crashed::without_a_future(calls);
    for kind in 0..number(crashed.kinds.len()) {
        if crashed.bits() + crashed.kinds[kind as usize].calls.len() <= BITS_MAX {
            crashed.count(&[kind]);
        }
    }
    let before = BTreeMap::new();
    let case = Case { calls, before: &before, crashed: &crashed };
    match crashed.bits() {
        0 => Search::<M, 4, 0>::new(machine, case, width, u64::MAX)
            .resume(pending, carried)
            .map(|search| search.carry(events, budget))
            .transpose(),
        _ => Search::<M, 4, 8>::new(machine, case, width, u64::MAX)
            .resume(pending, carried)
            .map(|search| search.carry(events, budget))
            .transpose(),
    }
}

/// The events by time, and for each call those at which it begins and ends. At equal times calls come
/// first, which makes them concurrent.
fn line_up(calls: &[Timed]) -> (Vec<Event>, Vec<(u32, u32)>) {
    let mut moments = Vec::with_capacity(2 * calls.len());
    for (at, call) in (0_u32..).zip(calls) {
        moments.push((call.invoked, false, at));
        if call.happened() {
            moments.push((call.returned, true, at));
        }
    }
    moments.sort_unstable();
    let mut spans = vec![(0, u32::MAX); calls.len()];
    for (event, &(_, returns, call)) in (0_u32..).zip(&moments) {
        match returns {
            false => spans[call as usize].0 = event,
            true => spans[call as usize].1 = event,
        }
    }
    (moments.into_iter().map(|(_, returns, call)| Event { call, returns }).collect(), spans)
}

/// How many calls that happened are in flight at once.
fn most_in_flight(calls: &[Timed], events: &[Event]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for event in events.iter().filter(|event| calls[event.call as usize].happened()) {
        match event.returns {
            true => now -= 1,
            false => now += 1,
        }
        most = most.max(now);
    }
    most
}
