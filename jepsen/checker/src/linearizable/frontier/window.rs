//! The calls in flight at an event, each in a slot that is given back when it returns.

use super::super::machine::{Machine, Timed};
use super::bits::Bits;

/// The calls in flight.
#[derive(Clone, Debug)]
pub(super) struct Window<const L: usize> {
    /// By slot: the call in it.
    calls: Vec<u32>,
    /// By slot: those of the same class that return earlier.
    earlier: Vec<Bits<L>>,
    /// By slot: the one that must come before it, while it is in flight.
    after: Vec<Bits<L>>,
    /// The calls that wait for another, and those that are waited for.
    bound: Bits<L>,
    free: Vec<usize>,
    pub(super) pending: Bits<L>,
    /// The ones that change nothing, and the ones that overwrite whatever is there.
    pub(super) reads: Bits<L>,
    pub(super) writes: Bits<L>,
    tied: Bits<L>,
}

impl<const L: usize> Window<L> {
    pub(super) fn new() -> Self {
        Self {
            calls: vec![0; 64 * L],
            earlier: vec![Bits::EMPTY; 64 * L],
            after: vec![Bits::EMPTY; 64 * L],
            bound: Bits::EMPTY,
            free: (0..64 * L).rev().collect(),
            pending: Bits::EMPTY,
            reads: Bits::EMPTY,
            writes: Bits::EMPTY,
            tied: Bits::EMPTY,
        }
    }

    /// Lets a call in; its slot, or nothing if there is none left. One that is tied to another cannot
    /// be exchanged for an equal one.
    pub(super) fn enter<M: Machine>(
        &mut self,
        call: u32,
        calls: &[Timed],
        machine: &M,
        tied: bool,
    ) -> Option<usize> {
        let slot = self.free.pop()?;
        let Timed { class, returned, .. } = calls[call as usize];
        let mut earlier = Bits::EMPTY;
        for other in self.pending.members() {
            let twin = &calls[self.calls[other] as usize];
            if twin.class != class || tied || self.tied.has(other) {
                continue;
            }
            match twin.returned < returned {
                true => earlier.insert(other),
                false => self.earlier[other].insert(slot),
            }
        }
        if tied {
            self.tied.insert(slot);
        }
        self.calls[slot] = call;
        self.earlier[slot] = earlier;
        self.pending.insert(slot);
        if machine.reads(class) {
            self.reads.insert(slot);
        }
        if machine.overwrites(class) {
            self.writes.insert(slot);
        }
        Some(slot)
    }

    /// Lets a call out.
    pub(super) fn leave(&mut self, slot: usize) {
        let gone = Bits::one(slot);
        for set in [&mut self.pending, &mut self.reads, &mut self.writes, &mut self.tied] {
            *set = set.without(&gone);
        }
        for other in self.pending.members() {
            self.earlier[other] = self.earlier[other].without(&gone);
            if self.after[other].has(slot) {
                self.after[other] = Bits::EMPTY;
            }
        }
        self.after[slot] = Bits::EMPTY;
        self.free.push(slot);
        if !self.bound.is_empty() {
            self.bind();
        }
    }

    /// Says that the one call must not be ordered before the other.
    pub(super) fn put_after(&mut self, slot: usize, first: usize) {
        self.after[slot] = Bits::one(first);
        self.bind();
    }

    fn bind(&mut self) {
        self.bound = Bits::EMPTY;
        for slot in self.pending.members().filter(|slot| !self.after[*slot].is_empty()) {
            self.bound.insert(slot);
            self.bound = self.bound.or(&self.after[slot]);
        }
    }

    /// The calls that wait for another, and those that are waited for: where they stand matters even
    /// if nobody sees them.
    pub(super) fn bound(&self) -> &Bits<L> {
        &self.bound
    }

    /// Whether the call that must come before is ordered.
    pub(super) fn is_turn(&self, slot: usize, fresh: &Bits<L>) -> bool {
        self.after[slot].and(fresh).is_empty()
    }

    pub(super) fn call(&self, slot: usize) -> u32 {
        self.calls[slot]
    }

    /// Of the calls of one class, only the one that returns first needs to be tried: any order with
    /// another is one with the two exchanged.
    pub(super) fn is_first(&self, slot: usize, open: &Bits<L>) -> bool {
        self.earlier[slot].and(open).is_empty()
    }
}
