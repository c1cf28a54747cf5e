//! Memory that one object after the other is decided in.
//!
//! Invariants: what is left in it from the object before is never read.

use super::zones::Cluster;

/// Reused from object to object.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) clusters: Vec<Cluster>,
    pub(super) values: Values,
    pub(super) owners: Vec<u32>,
    pub(super) work: Vec<u32>,
}

/// Numbers by value: open addressing, emptied by raising the round.
#[derive(Debug, Default)]
pub(super) struct Values {
    slots: Vec<Slot>,
    round: u32,
    shift: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    value: u64,
    number: u32,
    round: u32,
}

/// Odd, and with about as many ones as zeros: the multiplier of Fibonacci hashing (Knuth, TAOCP
/// volume 3, section 6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Values {
    /// Forgets everything, and makes room for `count` values.
    pub(super) fn reset(&mut self, count: usize) {
        let size = (2 * count).next_power_of_two().max(16);
        if self.slots.len() < size || self.round == u32::MAX {
            self.slots.clear();
            self.slots.resize(size, Slot::default());
            self.round = 0;
        }
        self.round += 1;
        self.shift = 64 - self.slots.len().trailing_zeros();
    }

    /// Notes a value's number, unless it has one: then that.
    pub(super) fn insert(&mut self, value: u64, number: u32) -> Option<u32> {
        let slot = self.slot(value);
        let found = &mut self.slots[slot];
        if found.round == self.round {
            return Some(found.number);
        }
        *found = Slot { value, number, round: self.round };
        None
    }

    /// The number of a value.
    pub(super) fn find(&self, value: u64) -> Option<u32> {
        let found = &self.slots[self.slot(value)];
        (found.round == self.round).then_some(found.number)
    }

    /// Where the value stands, or would.
    fn slot(&self, value: u64) -> usize {
        let hash = (value ^ value >> 32).wrapping_mul(GOLDEN) >> self.shift;
        let mut at = usize::try_from(hash).unwrap_or(0);
        let mask = self.slots.len() - 1;
        while self.slots[at].round == self.round && self.slots[at].value != value {
            at = (at + 1) & mask;
        }
        at
    }
}
