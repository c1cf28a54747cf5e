//! The search for an order: Wing and Gong's, with Lowe's memory.
//!
//! In go the operations of one object; out comes whether some order of them respects real time and
//! is accepted by the model. Depth first: take an operation that no unordered one precedes, step
//! the model, go on; take it back when stuck. A configuration (which operations are ordered, and
//! the state) that was visited before is not entered again.
//!
//! - It succeeds as soon as every completed operation is ordered: those nobody knows about may
//!   never have happened. They are tried last, and of equal ones only the earliest unused, since
//!   they are interchangeable.
//! - A read that agrees with the state is ordered at once and never reconsidered: it changes
//!   nothing, so any order that works with it later works with it now.
//! - A configuration is remembered as (where the ordered prefix ends, bits behind it, state): as
//!   large as what is in flight, not as the history.
//!
//! Invariants: [`Entry::precedes`] is the only precedence, so operations of different processes at
//! equal times are concurrent, and those of one process never are; taking back restores list, bits
//! and state exactly.
//!
//! It explains nothing, but reports how far any branch came ([`Outcome::Impossible`]).

use std::collections::{BTreeMap, BTreeSet};

use super::Entry;
use crate::budget::{Budget, Exhausted};
use crate::model::Model;

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is an order.
    Linearizable,
    /// There is none.
    Impossible {
        /// The latest return at which a branch was stuck. No operation invoked later was looked at,
        /// so those before it are impossible by themselves.
        stuck: u64,
    },
    /// The budget ran out.
    Exhausted(Exhausted),
}

/// Searches for an order of `entries`.
pub fn search<M: Model>(model: &M, entries: &[Entry<M::Op>], budget: &mut Budget) -> Outcome {
    let outcome = Search::new(model, entries).run(budget);
    budget.release();
    outcome.unwrap_or_else(Outcome::Exhausted)
}

/// The sentinel of the list of events; also the end of a walk along it.
const HEAD: usize = 0;
/// What a remembered configuration costs besides its words.
const CONFIGURATION_BYTES: usize = 48;

/// A choice: order this operation next.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// A completed operation.
    Completed(usize),
    /// One that nobody knows about.
    Crashed(usize),
}

/// Where to look for the next choice.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// At this event of the list.
    Event(usize),
    /// At this crashed operation, after all completed ones.
    Crashed(usize),
}

/// A choice made, and how to take it back.
#[derive(Debug)]
struct Frame {
    choice: Choice,
    state_before: usize,
    /// Alternatives need not be tried.
    forced: bool,
}

struct Search<'a, M: Model> {
    model: &'a M,
    /// By invocation.
    completed: Vec<&'a Entry<M::Op>>,
    /// By invocation.
    crashed: Vec<&'a Entry<M::Op>>,
    /// For each crashed operation the equal one before it.
    twin: Vec<Option<usize>>,
    /// For each completed operation the completed one that its process did before. The list of
    /// events cannot say so where that one returned in the instant of the call.
    before_completed: Vec<Option<usize>>,
    /// The same for each crashed operation.
    before_crashed: Vec<Option<usize>>,
    /// The events of unordered completed operations by time, as a doubly linked list. Operation `i`
    /// is called at event `2i + 1` and returns at `2i + 2`.
    next: Vec<usize>,
    previous: Vec<usize>,
    ordered: Vec<u64>,
    ordered_count: usize,
    /// All completed operations before this one are ordered.
    prefix: usize,
    crashed_used: Vec<u64>,
    states: Vec<M::State>,
    state_ids: BTreeMap<M::State, usize>,
    state: usize,
    visited: BTreeSet<Box<[u64]>>,
    stack: Vec<Frame>,
    stuck: u64,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, entries: &'a [Entry<M::Op>]) -> Self {
        let mut completed: Vec<_> = entries.iter().filter(|e| e.returned.is_some()).collect();
        let mut crashed: Vec<_> = entries.iter().filter(|e| e.returned.is_none()).collect();
        completed.sort_by_key(|entry| (entry.invoked, entry.returned, entry.source));
        crashed.sort_by_key(|entry| entry.invoked);
        let mut latest = BTreeMap::new();
        let twin = crashed.iter().enumerate().map(|(at, e)| latest.insert(&e.op, at)).collect();
        let (next, previous) = link(&completed);
        let (before_completed, before_crashed) = program_order(&completed, &crashed);
        let initial = model.initial();
        Self {
            model,
            ordered: vec![0; completed.len().div_ceil(64)],
            crashed_used: vec![0; crashed.len().div_ceil(64)],
            completed,
            crashed,
            twin,
            before_completed,
            before_crashed,
            next,
            previous,
            ordered_count: 0,
            prefix: 0,
            states: vec![initial.clone()],
            state_ids: BTreeMap::from([(initial, 0)]),
            state: 0,
            visited: BTreeSet::new(),
            stack: Vec::new(),
            stuck: 0,
        }
    }

    fn run(&mut self, budget: &mut Budget) -> Result<Outcome, Exhausted> {
        budget.look()?;
        self.order_reads(budget)?;
        let mut cursor = Cursor::Event(self.next[HEAD]);
        while self.ordered_count < self.completed.len() {
            budget.poll()?;
            if let Some((choice, state)) = self.choose(cursor) {
                let state = self.intern(state, budget)?;
                self.apply(choice, state, false);
                if self.remember(budget)? {
                    self.order_reads(budget)?;
                    cursor = Cursor::Event(self.next[HEAD]);
                    continue;
                }
            }
            match self.backtrack() {
                Some(after) => cursor = after,
                None => return Ok(Outcome::Impossible { stuck: self.stuck }),
            }
        }
        Ok(Outcome::Linearizable)
    }

    /// The next choice at or after the cursor, with the state it leads to. Reads are no choices:
    /// those that agree with the state are ordered already.
    fn choose(&mut self, cursor: Cursor) -> Option<(Choice, M::State)> {
        let state = &self.states[self.state];
        let mut from = 0;
        match cursor {
            Cursor::Event(mut event) => {
                while is_call(event) {
                    let at = operation_of(event);
                    let op = &self.completed[at].op;
                    if !self.model.read_only(op)
                        && self.is_turn(self.before_completed[at])
                        && let Some(next) = self.model.step(state, op)
                    {
                        return Some((Choice::Completed(at), next));
                    }
                    event = self.next[event];
                }
            }
            Cursor::Crashed(at) => from = at,
        }
        let first_return = self.first_return();
        for at in from..self.crashed.len() {
            let entry = self.crashed[at];
            if entry.invoked > first_return {
                break;
            }
            // A twin whose process is not there yet cannot stand in for this one.
            let twin_unused = self.twin[at].is_some_and(|twin| {
                !bit(&self.crashed_used, twin) && self.is_turn(self.before_crashed[twin])
            });
            let is_turn = self.is_turn(self.before_crashed[at]);
            if bit(&self.crashed_used, at) || twin_unused || !is_turn {
                continue;
            }
            if let Some(next) = self.model.step(state, &entry.op) {
                return Some((Choice::Crashed(at), next));
            }
        }
        self.stuck = self.stuck.max(first_return);
        None
    }

    /// Whether what a process did before is ordered, so that its next operation may be.
    fn is_turn(&self, before: Option<usize>) -> bool {
        before.is_none_or(|before| bit(&self.ordered, before))
    }

    /// When the first unordered operation returned: later ones cannot be ordered before it.
    fn first_return(&self) -> u64 {
        let mut event = self.next[HEAD];
        while is_call(event) {
            event = self.next[event];
        }
        match event {
            HEAD => u64::MAX,
            event => self.completed[operation_of(event)].returned.unwrap_or(u64::MAX),
        }
    }

    /// Orders every read that may come now and agrees with the state.
    fn order_reads(&mut self, budget: &mut Budget) -> Result<(), Exhausted> {
        let mut event = self.next[HEAD];
        while is_call(event) {
            let at = operation_of(event);
            let op = &self.completed[at].op;
            let reads = self.model.read_only(op) && self.is_turn(self.before_completed[at]);
            if reads && self.model.step(&self.states[self.state], op).is_some() {
                budget.poll()?;
                self.apply(Choice::Completed(at), self.state, true);
                // Its return no longer holds back others: look again from the start.
                event = self.next[HEAD];
            } else {
                event = self.next[event];
            }
        }
        Ok(())
    }

    fn intern(&mut self, state: M::State, budget: &mut Budget) -> Result<usize, Exhausted> {
        if let Some(&id) = self.state_ids.get(&state) {
            return Ok(id);
        }
        budget.take(2 * self.model.state_bytes(&state))?;
        let id = self.states.len();
        self.states.push(state.clone());
        self.state_ids.insert(state, id);
        Ok(id)
    }

    /// Remembers the configuration; false if it was here before.
    fn remember(&mut self, budget: &mut Budget) -> Result<bool, Exhausted> {
        let start = self.prefix / 64;
        let mut words = vec![start as u64, self.state as u64];
        words.extend(&self.crashed_used);
        let mut missing = self.ordered_count - start * 64;
        for word in &self.ordered[start..] {
            if missing == 0 {
                break;
            }
            words.push(*word);
            missing -= word.count_ones() as usize;
        }
        budget.take(words.len() * 8 + CONFIGURATION_BYTES)?;
        Ok(self.visited.insert(words.into_boxed_slice()))
    }

    fn apply(&mut self, choice: Choice, state: usize, forced: bool) {
        self.stack.push(Frame { choice, state_before: self.state, forced });
        self.state = state;
        match choice {
            Choice::Completed(at) => {
                self.ordered[at / 64] |= 1 << (at % 64);
                self.ordered_count += 1;
                while self.prefix < self.completed.len() && bit(&self.ordered, self.prefix) {
                    self.prefix += 1;
                }
                for event in [call_of(at), return_of(at)] {
                    let (before, after) = (self.previous[event], self.next[event]);
                    self.next[before] = after;
                    self.previous[after] = before;
                }
            }
            Choice::Crashed(at) => self.crashed_used[at / 64] |= 1 << (at % 64),
        }
    }

    /// Takes back the last choice that has alternatives, and says where to look for them.
    fn backtrack(&mut self) -> Option<Cursor> {
        loop {
            let frame = self.stack.pop()?;
            self.state = frame.state_before;
            let after = match frame.choice {
                Choice::Completed(at) => {
                    self.ordered[at / 64] &= !(1 << (at % 64));
                    self.ordered_count -= 1;
                    self.prefix = self.prefix.min(at);
                    // In the opposite order of taking them out.
                    for event in [return_of(at), call_of(at)] {
                        let (before, after) = (self.previous[event], self.next[event]);
                        self.next[before] = event;
                        self.previous[after] = event;
                    }
                    Cursor::Event(self.next[call_of(at)])
                }
                Choice::Crashed(at) => {
                    self.crashed_used[at / 64] &= !(1 << (at % 64));
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
fn link<O>(completed: &[&Entry<O>]) -> (Vec<usize>, Vec<usize>) {
    let mut events = Vec::with_capacity(completed.len() * 2);
    for (at, entry) in completed.iter().enumerate() {
        events.push((entry.invoked, false, call_of(at)));
        events.push((entry.returned.unwrap_or(u64::MAX), true, return_of(at)));
    }
    events.sort_unstable();
    let mut next = vec![HEAD; events.len() + 1];
    let mut previous = vec![HEAD; events.len() + 1];
    let mut last = HEAD;
    for (_, _, event) in events {
        next[last] = event;
        previous[event] = last;
        last = event;
    }
    previous[HEAD] = last;
    (next, previous)
}

/// For each completed and each crashed operation, the completed one before it of the same process.
fn program_order<O>(
    completed: &[&Entry<O>],
    crashed: &[&Entry<O>],
) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let places: BTreeMap<(u64, usize), usize> =
        completed.iter().enumerate().map(|(at, e)| ((e.process, e.source), at)).collect();
    let before = |entry: &&Entry<O>| {
        let earlier = places.range((entry.process, 0)..(entry.process, entry.source));
        let (_, &at) = earlier.last()?;
        completed[at].precedes(entry).then_some(at)
    };
    (completed.iter().map(before).collect(), crashed.iter().map(before).collect())
}

fn call_of(at: usize) -> usize {
    2 * at + 1
}

fn return_of(at: usize) -> usize {
    2 * at + 2
}

fn is_call(event: usize) -> bool {
    event % 2 == 1
}

fn operation_of(event: usize) -> usize {
    (event - 1) / 2
}

fn bit(words: &[u64], at: usize) -> bool {
    words[at / 64] >> (at % 64) & 1 == 1
}
