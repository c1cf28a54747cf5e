//! The search for an order, for any model: Wing and Gong's, with Lowe's memory.
//!
//! Wing and Gong, "Testing and Verifying Concurrent Objects", J. Parallel and Distributed Computing
//! 17(1-2), 1993; Lowe, "Testing for linearizability", Concurrency and Computation 29(4), 2017. Depth
//! first: take a call that no unordered one precedes, step the machine, go on; take it back when
//! stuck. A configuration (which calls are ordered, and the state) is not entered twice.
//!
//! - It succeeds as soon as every call that happened is ordered. Crashed ones are tried last, and of
//!   equal ones only the earliest unused.
//! - A read that agrees with the state is ordered at once and never reconsidered: it changes nothing,
//!   so any order that works with it later works with it now.
//! - Calls that return first are tried first; of equal ones in flight no others are.
//! - A configuration is remembered as (where the ordered prefix ends, bits behind it, state, crashed
//!   calls used): as large as what is in flight and what crashed, not as the history, unless one call
//!   spans it.
//!
//! Invariants: taking back restores list, bits and state exactly; precedence is by time, and by
//! `before` for calls of one process that a coarse clock cannot tell apart.
//!
//! It explains nothing, but says how far any branch came.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

use super::footprint::table;
use super::frontier::Outcome;
use super::machine::{Machine, NOWHERE, Timed, number};
use super::object::NEVER;
use crate::budget::{Budget, Exhausted, STEPS_PER_LOOK};

/// The sentinel of the list of events; also the end of a walk along it.
const HEAD: u32 = 0;
/// What an allocation costs besides what it holds.
const ALLOCATION_BYTES: usize = 16;
/// No call.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
enum Choice {
    Call(u32),
    Crashed(u32),
}

/// Where to look for the next choice.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// Behind the call that returns then and begins at this event.
    Call(u64, u32),
    Crashed(u32),
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    choice: Choice,
    state_before: u32,
    /// A read that was ordered at once: its alternatives need not be tried.
    forced: bool,
}

/// The search for one object; it can be resumed.
pub(super) struct Search<'a, M> {
    machine: &'a mut M,
    calls: &'a [Timed],
    /// By call: the one of the same process that must come before it, where time does not say so.
    before: BTreeMap<u32, u32>,
    happened: Vec<u32>,
    crashed: Vec<u32>,
    /// By crashed call: the equal one before it.
    twins: Vec<u32>,
    /// The events of unordered calls by time, as a doubly linked list. The `i`th call that happened
    /// begins at event `2i + 1` and returns at `2i + 2`.
    next: Vec<u32>,
    previous: Vec<u32>,
    ordered: Vec<u64>,
    ordered_count: usize,
    /// All calls before this one are ordered.
    prefix: usize,
    crashed_used: Vec<u64>,
    state: u32,
    visited: HashSet<Box<[u64]>, FxBuildHasher>,
    /// What the remembered configurations hold, without the table that they are in.
    remembered: usize,
    charged: usize,
    stack: Vec<Frame>,
    cursor: Cursor,
    stuck: u64,
    /// How many calls were looked at, of which each may take as long as there are calls in flight.
    looked_at: u64,
}

impl<'a, M: Machine> Search<'a, M> {
    pub(super) fn new(machine: &'a mut M, calls: &'a [Timed], before: BTreeMap<u32, u32>) -> Self {
        let all = 0..number(calls.len());
        let (happened, crashed): (Vec<u32>, Vec<u32>) =
            all.partition(|call| calls[*call as usize].happened());
        let mut latest = BTreeMap::new();
        let twins = (0_u32..)
            .zip(&crashed)
            .map(|(at, call)| latest.insert(calls[*call as usize].class, at).unwrap_or(NONE));
        let twins = twins.collect();
        let (next, previous) = link(calls, &happened);
        Self {
            state: machine.initial(),
            machine,
            calls,
            before,
            ordered: vec![0; happened.len().div_ceil(64)],
            crashed_used: vec![0; crashed.len().div_ceil(64)],
            happened,
            crashed,
            twins,
            cursor: Cursor::Call(0, HEAD),
            next,
            previous,
            ordered_count: 0,
            prefix: 0,
            visited: HashSet::default(),
            remembered: 0,
            charged: 0,
            stack: Vec::new(),
            stuck: 0,
            looked_at: 0,
        }
    }

    /// Goes on for at most `steps` steps; [`Outcome::Wider`] if that did not do.
    pub(super) fn attempt(
        &mut self,
        steps: u64,
        budget: &mut Budget,
    ) -> Result<Outcome, Exhausted> {
        if self.stack.is_empty() {
            self.order_reads(budget)?;
            self.cursor = Cursor::Call(0, HEAD);
        }
        let mut left = steps;
        while self.ordered_count < self.happened.len() {
            if left == 0 {
                return Ok(Outcome::Wider);
            }
            left -= 1;
            budget.poll()?;
            if let Some((choice, state)) = self.choose(budget)? {
                self.apply(choice, state, false);
                if self.remember(budget)? {
                    self.order_reads(budget)?;
                    self.cursor = Cursor::Call(0, HEAD);
                    continue;
                }
            }
            match self.backtrack() {
                Some(after) => self.cursor = after,
                None => return Ok(Outcome::Impossible { until: self.stuck }),
            }
        }
        Ok(Outcome::Order(self.stack.iter().map(|frame| self.call(frame.choice)).collect()))
    }

    /// Gives back the memory that it and its machine hold.
    pub(super) fn end(&mut self, budget: &mut Budget) {
        self.machine.end(budget);
        budget.give(std::mem::take(&mut self.charged));
        self.visited = HashSet::default();
    }

    fn call(&self, choice: Choice) -> u32 {
        match choice {
            Choice::Call(at) => self.happened[at as usize],
            Choice::Crashed(at) => self.crashed[at as usize],
        }
    }

    fn timed(&self, choice: Choice) -> Timed {
        self.calls[self.call(choice) as usize]
    }

    /// The next choice at or after the cursor, with the state it leads to. Reads are no choices: those
    /// that agree with the state are ordered already.
    fn choose(&mut self, budget: &mut Budget) -> Result<Option<(Choice, u32)>, Exhausted> {
        let from = match self.cursor {
            Cursor::Call(returned, event) => match self.choose_call((returned, event), budget)? {
                Some(choice) => return Ok(Some(choice)),
                None => 0,
            },
            Cursor::Crashed(at) => at,
        };
        let first_return = self.first_return();
        for at in from..number(self.crashed.len()) {
            let choice = Choice::Crashed(at);
            let Timed { class, invoked, .. } = self.timed(choice);
            if invoked > first_return {
                break;
            }
            let twin = self.twins[at as usize];
            // A twin whose process is not there yet cannot stand in for this one.
            let twin_unused = twin != NONE
                && !bit(&self.crashed_used, twin)
                && self.is_turn(Choice::Crashed(twin));
            if bit(&self.crashed_used, at) || twin_unused || !self.is_turn(choice) {
                continue;
            }
            let state = self.machine.step(self.state, class, budget)?;
            if state != NOWHERE && state != self.state {
                return Ok(Some((choice, state)));
            }
        }
        self.stuck = self.stuck.max(first_return);
        Ok(None)
    }

    /// Of the calls behind this place that lead somewhere, the one that returns first.
    fn choose_call(
        &mut self,
        tried: (u64, u32),
        budget: &mut Budget,
    ) -> Result<Option<(Choice, u32)>, Exhausted> {
        let mut best: Option<((u64, u32), u32)> = None;
        let mut event = self.next[HEAD as usize];
        while is_call(event) {
            let choice = Choice::Call(call_at(event));
            let Timed { class, returned, .. } = self.timed(choice);
            let place = (returned, event);
            self.looked_at += 1;
            if self.looked_at.is_multiple_of(STEPS_PER_LOOK) {
                budget.look()?;
            }
            let nearer = place > tried && best.is_none_or(|(best, _)| place < best);
            if nearer && !self.machine.reads(class) && self.is_turn(choice) && self.is_first(event)
            {
                let state = self.machine.step(self.state, class, budget)?;
                if state != NOWHERE {
                    best = Some((place, state));
                }
            }
            event = self.next[event as usize];
        }
        Ok(best.map(|((_, event), state)| (Choice::Call(call_at(event)), state)))
    }

    /// Whether what its process did before is ordered.
    fn is_turn(&self, choice: Choice) -> bool {
        let call = self.call(choice);
        let place = |before: &u32| self.happened.binary_search(before);
        self.before.is_empty()
            || self
                .before
                .get(&call)
                .is_none_or(|before| place(before).is_ok_and(|at| bit(&self.ordered, number(at))))
    }

    /// Whether no equal call that may come now returns earlier. Those before it in the list were
    /// invoked earlier, those behind it later; any of them may return first.
    fn is_first(&self, event: u32) -> bool {
        if !self.before.is_empty() {
            return true;
        }
        let Timed { class, returned, .. } = self.timed(Choice::Call(call_at(event)));
        let mut other = self.next[HEAD as usize];
        while is_call(other) {
            let twin = self.timed(Choice::Call(call_at(other)));
            if twin.class == class && (twin.returned, other) < (returned, event) {
                return false;
            }
            other = self.next[other as usize];
        }
        true
    }

    /// When the first unordered call returned: later ones cannot be ordered before it.
    fn first_return(&self) -> u64 {
        let mut event = self.next[HEAD as usize];
        while is_call(event) {
            event = self.next[event as usize];
        }
        match event {
            HEAD => NEVER,
            event => self.timed(Choice::Call(call_at(event))).returned,
        }
    }

    /// Orders every read that may come now and agrees with the state.
    fn order_reads(&mut self, budget: &mut Budget) -> Result<(), Exhausted> {
        let mut event = self.next[HEAD as usize];
        while is_call(event) {
            let choice = Choice::Call(call_at(event));
            let class = self.timed(choice).class;
            if self.machine.reads(class)
                && self.is_turn(choice)
                && self.machine.step(self.state, class, budget)? != NOWHERE
            {
                budget.poll()?;
                self.apply(choice, self.state, true);
                // Its return no longer holds back others: look again from the start.
                event = self.next[HEAD as usize];
            } else {
                event = self.next[event as usize];
            }
        }
        Ok(())
    }

    /// Remembers the configuration; false if it was here before.
    fn remember(&mut self, budget: &mut Budget) -> Result<bool, Exhausted> {
        let start = self.prefix / 64;
        let mut words = vec![start as u64, u64::from(self.state)];
        words.extend(&self.crashed_used);
        let mut missing = self.ordered_count - start * 64;
        for word in &self.ordered[start..] {
            if missing == 0 {
                break;
            }
            words.push(*word);
            missing -= word.count_ones() as usize;
        }
        let words = words.into_boxed_slice();
        let bytes = words.len() * 8 + ALLOCATION_BYTES;
        let fresh = self.visited.insert(words);
        if fresh {
            self.remembered += bytes;
        }
        self.charge(budget)?;
        Ok(fresh)
    }

    /// Takes what it holds now from the budget, in place of what it held before.
    fn charge(&mut self, budget: &mut Budget) -> Result<(), Exhausted> {
        let visited = table::<Box<[u64]>>(self.visited.len(), self.visited.capacity());
        budget.give(self.charged);
        self.charged = visited + self.remembered;
        budget.take(self.charged)?;
        // The other half is for whoever races against this search.
        match self.charged > budget.bytes_max() / 2 {
            true => Err(Exhausted::Memory(budget.bytes_max())),
            false => Ok(()),
        }
    }

    fn apply(&mut self, choice: Choice, state: u32, forced: bool) {
        self.stack.push(Frame { choice, state_before: self.state, forced });
        self.state = state;
        match choice {
            Choice::Call(at) => {
                self.ordered[at as usize / 64] |= 1 << (at % 64);
                self.ordered_count += 1;
                while self.prefix < self.happened.len() && bit(&self.ordered, number(self.prefix)) {
                    self.prefix += 1;
                }
                for event in [call_of(at), return_of(at)] {
                    let (before, after) =
                        (self.previous[event as usize], self.next[event as usize]);
                    self.next[before as usize] = after;
                    self.previous[after as usize] = before;
                }
            }
            Choice::Crashed(at) => self.crashed_used[at as usize / 64] |= 1 << (at % 64),
        }
    }

    /// Takes back the last choice that has alternatives, and says where to look for them.
    fn backtrack(&mut self) -> Option<Cursor> {
        loop {
            let frame = self.stack.pop()?;
            self.state = frame.state_before;
            let after = match frame.choice {
                Choice::Call(at) => {
                    self.ordered[at as usize / 64] &= !(1 << (at % 64));
                    self.ordered_count -= 1;
                    self.prefix = self.prefix.min(at as usize);
                    // In the opposite order of taking them out.
                    for event in [return_of(at), call_of(at)] {
                        let (before, after) =
                            (self.previous[event as usize], self.next[event as usize]);
                        self.next[before as usize] = event;
                        self.previous[after as usize] = event;
                    }
                    Cursor::Call(self.timed(frame.choice).returned, call_of(at))
                }
                Choice::Crashed(at) => {
                    self.crashed_used[at as usize / 64] &= !(1 << (at % 64));
                    Cursor::Crashed(at + 1)
                }
            };
            if !frame.forced {
                return Some(after);
            }
        }
    }
}

/// Links the events by time. At equal times calls come first, which makes them concurrent.
fn link(calls: &[Timed], happened: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut events = Vec::with_capacity(happened.len() * 2);
    for (at, call) in (0_u32..).zip(happened) {
        let Timed { invoked, returned, .. } = calls[*call as usize];
        events.push((invoked, false, call_of(at)));
        events.push((returned, true, return_of(at)));
    }
    events.sort_unstable();
    let mut next = vec![HEAD; events.len() + 1];
    let mut previous = vec![HEAD; events.len() + 1];
    let mut last = HEAD;
    for (_, _, event) in events {
        next[last as usize] = event;
        previous[event as usize] = last;
        last = event;
    }
    previous[HEAD as usize] = last;
    (next, previous)
}

fn call_of(at: u32) -> u32 {
    2 * at + 1
}

fn return_of(at: u32) -> u32 {
    2 * at + 2
}

fn is_call(event: u32) -> bool {
    event % 2 == 1
}

fn call_at(event: u32) -> u32 {
    (event - 1) / 2
}

fn bit(words: &[u64], at: u32) -> bool {
    words[at as usize / 64] >> (at % 64) & 1 == 1
}
