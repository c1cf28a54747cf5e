//! The log's order as a witness: is it a linearization?
//!
//! In go the operations and the order of the applied writes; out comes the first [`Flaw`], or none,
//! which is a full proof. The idea of a witness is that of Gibbons and Korach, "Testing Shared
//! Memories" (SIAM J. Comput. 26(4), 1997, the variant with a given write order); queries of any
//! machine instead of reads of a register are placed by the argument below.
//!
//! # Why it is right
//! `m` writes leave `m + 1` gaps; in gap `g` the state is that after `g` writes. A linearization with
//! the writes in this order is a gap `g(r)` for each read `r` such that
//!
//! 1. `low(r) <= g(r) <= high(r)`: after each write that precedes `r`, before each that `r` precedes;
//! 2. the state in gap `g(r)` answers as `r` was answered;
//! 3. `g(r) <= g(s)` where `r` precedes `s`; inside one gap reads stand by precedence.
//!
//! Each read is put into the first gap that is at or above `low` and the gaps of all reads that
//! precede it, and that answers so. By induction along precedence no solution has a read in a lower
//! gap, and all that is asked from above is the fixed `high`. So if this fails, every solution does:
//! the test is sound **and complete** for the given order.
//!
//! # Why it is cheap
//! Gaps are walked upwards with one machine and no copies. A read waits in the window until a gap
//! answers it, and one that was called after a waiting one returned is not even looked at; so the
//! waiting reads were all open at one moment. `n` operations of at most `c` clients take
//! `O(n log n)` steps, `n` commands, and at most `n * c` queries.
//!
//! Invariants: nothing in the order is believed; unknown writes that it lacks did not happen.
//!
//! Does not: say whether another order would do.

use std::collections::BTreeMap;

use sixbells::StateMachine;

use super::{Act, Typed, precedes};
use crate::checker::budget::{Budget, Exhausted};

/// Why the log's order is no linearization. Operations by their position in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The log applied what no client sent, or what was said to have failed.
    Foreign { number: u64 },
    /// The log applied a write twice.
    Twice { write: usize },
    /// The log lacks a write that was acknowledged.
    Missing { write: usize },
    /// The log has `write` before `finished`, which had returned when `write` was called.
    Reversed { write: usize, finished: usize },
    /// The write should have been told something else.
    Response { write: usize, expected: String },
    /// The read has no gap.
    Unplaced(Unplaced),
    /// Time ran out: no flaw was found.
    Exhausted(Exhausted),
}

/// A read that no state in its reach answers so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unplaced {
    /// The read.
    pub(super) read: usize,
    /// What it should have been told, by the earliest state in its reach.
    pub(super) expected: String,
    /// It was answered from before that: the write that replaced the answer, and the operation that
    /// shows, having returned before the read was called, that this was over.
    pub(super) stale: Option<(usize, usize)>,
    /// It was answered from what came later: the write that first gave the answer, and the one called
    /// after the read returned that does not stand behind it.
    pub(super) early: Option<(usize, usize)>,
}

impl Flaw {
    /// The operations it is about.
    pub(super) fn named(&self) -> Vec<usize> {
        let mut named = match self {
            Flaw::Foreign { .. } | Flaw::Exhausted(_) => Vec::new(),
            Flaw::Twice { write } | Flaw::Missing { write } | Flaw::Response { write, .. } => {
                vec![*write]
            }
            Flaw::Reversed { write, finished } => vec![*write, *finished],
            Flaw::Unplaced(Unplaced { read, stale, early, .. }) => {
                let bounds = stale.or(*early).map(|(one, other)| [one, other]);
                bounds.into_iter().flatten().chain([*read]).collect()
            }
        };
        named.sort_unstable();
        named.dedup();
        named
    }
}

/// The gaps in which an operation may stand, and who says so.
#[derive(Clone, Copy, Debug)]
struct Room {
    low: usize,
    after: Option<usize>,
    high: usize,
    before: Option<usize>,
}

/// A history beside its log.
pub(super) struct Witness<'a, S: StateMachine> {
    operations: &'a [Typed<S>],
    /// The applied writes.
    order: Vec<usize>,
    /// By operation: its place in the order.
    positions: Vec<Option<usize>>,
    rooms: Vec<Room>,
    /// By operation: the last one that its process was answered before it.
    before: Vec<Option<usize>>,
    /// By operation: the gap that a read was given.
    gaps: Vec<Option<usize>>,
}

impl<'a, S: StateMachine> Witness<'a, S> {
    /// Reads the order, and checks that it is one of these writes.
    pub(super) fn new(operations: &'a [Typed<S>], numbers: &[u64]) -> Result<Self, Flaw> {
        let sources: BTreeMap<u64, usize> =
            operations.iter().enumerate().map(|(at, o)| (o.number, at)).collect();
        let mut positions = vec![None; operations.len()];
        let mut order = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let write = sources.get(&number).copied().filter(|at| operations[*at].is_write());
            let write = write.ok_or(Flaw::Foreign { number })?;
            if positions[write].replace(order.len()).is_some() {
                return Err(Flaw::Twice { write });
            }
            order.push(write);
        }
        let missing = operations.iter().zip(&positions).position(|(operation, position)| {
            operation.is_write() && operation.returned.is_some() && position.is_none()
        });
        if let Some(write) = missing {
            return Err(Flaw::Missing { write });
        }
        let open = Room { low: 0, after: None, high: order.len(), before: None };
        let size = operations.len();
        let (rooms, before, gaps) = (vec![open; size], vec![None; size], vec![None; size]);
        let mut witness = Self { operations, order, positions, rooms, before, gaps };
        witness.measure();
        Ok(witness)
    }

    /// Verifies that the order is a linearization.
    pub(super) fn verify(mut self, budget: &mut Budget) -> Result<(), Flaw> {
        for (position, &write) in self.order.iter().enumerate() {
            let Room { low, after, .. } = self.rooms[write];
            if let Some(finished) = after.filter(|_| low > position) {
                return Err(Flaw::Reversed { write, finished });
            }
        }
        let mut reads = self.reads().into_iter().peekable();
        let mut waiting = Vec::new();
        let mut machine = S::default();
        for gap in 0..=self.order.len() {
            budget.poll().map_err(Flaw::Exhausted)?;
            let mut first_return = u64::MAX;
            waiting.retain(|&read| {
                let placed = self.place(read, gap, &machine);
                if !placed {
                    first_return = first_return.min(self.returned(read));
                }
                !placed
            });
            while let Some(read) = reads.next_if(|&read| {
                self.rooms[read].low <= gap && self.operations[read].invoked <= first_return
            }) {
                budget.poll().map_err(Flaw::Exhausted)?;
                if !self.place(read, gap, &machine) {
                    first_return = first_return.min(self.returned(read));
                    waiting.push(read);
                }
            }
            if let Some(&read) = waiting.iter().find(|&&read| self.rooms[read].high <= gap) {
                return Err(Flaw::Unplaced(self.unplaced(read)));
            }
            if let Some(&write) = self.order.get(gap) {
                self.apply(write, &mut machine)?;
            }
        }
        assert!(reads.next().is_none(), "a read waits, but for none that waits");
        Ok(())
    }

    /// The reads to be placed, by call: each behind all that precede it. Those called in one instant
    /// may differ in `low`, by what their own processes did; of those called later none has less.
    fn reads(&self) -> Vec<usize> {
        let operations = self.operations;
        let mut reads: Vec<usize> =
            (0..operations.len()).filter(|&at| operations[at].observes()).collect();
        reads.sort_by_key(|&at| (operations[at].invoked, self.rooms[at].low, at));
        reads
    }

    /// Gives a read this gap, if it may stand there.
    fn place(&mut self, read: usize, gap: usize, machine: &S) -> bool {
        let waits =
            |before: usize| self.operations[before].observes() && self.gaps[before].is_none();
        if self.before[read].is_some_and(waits) {
            return false;
        }
        let placed = answers(machine, &self.operations[read].act);
        if placed {
            self.gaps[read] = Some(gap);
        }
        placed
    }

    fn apply(&self, write: usize, machine: &mut S) -> Result<(), Flaw> {
        let operation = &self.operations[write];
        let Act::Write { command, response } = &operation.act else { return Ok(()) };
        let expected = machine.apply(command.clone());
        match response {
            Some(told) if operation.returned.is_some() && *told != expected => {
                Err(Flaw::Response { write, expected: format!("{expected:?}") })
            }
            _ => Ok(()),
        }
    }

    fn returned(&self, read: usize) -> u64 {
        self.operations[read].returned.unwrap_or(u64::MAX)
    }

    /// Finds the room that real time leaves to each operation. By time alone that is a search among
    /// the sorted writes; at one instant a process' own order counts, and is handed along.
    fn measure(&mut self) {
        let takes_part =
            |at: &usize| self.positions[*at].is_some() || self.operations[*at].observes();
        let parts: Vec<usize> = (0..self.operations.len()).filter(takes_part).collect();
        self.measure_low(&parts);
        self.measure_high(&parts);
    }

    fn measure_low(&mut self, parts: &[usize]) {
        let operations = self.operations;
        let returned = |&write: &usize| Some((operations[write].returned?, write));
        let returns =
            Extremes::new(self.order.iter().filter_map(returned), &self.positions, Ord::max);
        let mut last: BTreeMap<u64, usize> = BTreeMap::new();
        for &at in parts {
            let Typed { process, invoked, returned, .. } = operations[at];
            let latest = returns.before(invoked);
            let mut low = latest.map_or(0, |(position, _)| position + 1);
            let mut after = latest.map(|(_, write)| write);
            let own = last.get(&process).copied().filter(|&own| precedes(operations, own, at));
            self.before[at] = own;
            if let Some(own) = own {
                let (bound, by) = match self.positions[own] {
                    Some(position) => (position + 1, Some(own)),
                    None => (self.rooms[own].low, self.rooms[own].after),
                };
                if bound > low {
                    (low, after) = (bound, by);
                }
            }
            self.rooms[at] = Room { low, after, ..self.rooms[at] };
            if returned.is_some() {
                last.insert(process, at);
            }
        }
    }

    fn measure_high(&mut self, parts: &[usize]) {
        let operations = self.operations;
        // Time runs backwards, so that "before" reads "after".
        let called = |&write: &usize| (u64::MAX - operations[write].invoked, write);
        let calls = Extremes::new(self.order.iter().map(called), &self.positions, Ord::min);
        let mut next: BTreeMap<u64, usize> = BTreeMap::new();
        for &at in parts.iter().rev() {
            let Typed { process, returned, .. } = operations[at];
            let own = next.insert(process, at).filter(|&own| precedes(operations, at, own));
            let Some(returned) = returned else { continue };
            let first = calls.before(u64::MAX - returned);
            let mut high = first.map_or(self.order.len(), |(position, _)| position);
            let mut before = first.map(|(_, write)| write);
            if let Some(own) = own {
                let (bound, by) = match self.positions[own] {
                    Some(position) => (position, Some(own)),
                    None => (self.rooms[own].high, self.rooms[own].before),
                };
                if bound < high {
                    (high, before) = (bound, by);
                }
            }
            self.rooms[at] = Room { high, before, ..self.rooms[at] };
        }
    }

    /// Replays once more to see where the answer of a read without a gap came from.
    fn unplaced(&self, read: usize) -> Unplaced {
        let Room { mut low, mut after, high, before } = self.rooms[read];
        for (other, gap) in self.gaps.iter().enumerate() {
            if let Some(gap) = gap.filter(|gap| *gap > low)
                && precedes(self.operations, other, read)
            {
                (low, after) = (gap, Some(other));
            }
        }
        let act = &self.operations[read].act;
        let (mut last_before, mut first_after, mut expected) = (None, None, String::new());
        let mut machine = S::default();
        for gap in 0..=self.order.len() {
            if gap == low
                && let Act::Read { query, .. } = act
            {
                expected = format!("{:?}", machine.query(query.clone()));
            }
            if (gap < low || gap > high) && answers(&machine, act) {
                if gap < low {
                    last_before = Some(self.order[gap]);
                } else {
                    first_after = Some(self.order[gap - 1]);
                    break;
                }
            }
            if let Some(Act::Write { command, .. }) =
                self.order.get(gap).map(|&write| &self.operations[write].act)
            {
                machine.apply(command.clone());
            }
        }
        Unplaced { read, expected, stale: last_before.zip(after), early: first_after.zip(before) }
    }
}

/// Whether the machine answers as the client was answered.
fn answers<S: StateMachine>(machine: &S, act: &Act<S>) -> bool {
    match act {
        Act::Read { query, answer: Some(answer) } => machine.query(query.clone()) == *answer,
        Act::Read { answer: None, .. } | Act::Write { .. } => true,
    }
}

/// Of all writes before a moment, the one farthest along the order.
struct Extremes(Vec<(u64, (usize, usize))>);

impl Extremes {
    fn new(
        moments: impl Iterator<Item = (u64, usize)>,
        positions: &[Option<usize>],
        farther: impl Fn((usize, usize), (usize, usize)) -> (usize, usize),
    ) -> Self {
        let mut sorted: Vec<_> =
            moments.filter_map(|(time, write)| Some((time, (positions[write]?, write)))).collect();
        sorted.sort_unstable();
        for at in 1..sorted.len() {
            sorted[at].1 = farther(sorted[at].1, sorted[at - 1].1);
        }
        Self(sorted)
    }

    /// Its position and itself.
    fn before(&self, time: u64) -> Option<(usize, usize)> {
        let earlier = self.0.partition_point(|(moment, _)| *moment < time);
        Some(self.0[earlier.checked_sub(1)?].1)
    }
}
