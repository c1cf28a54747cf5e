//! Walks in parts: what one walk leaves behind is where the next one begins.
//!
//! In go the calls in flight and the configurations that a walk ended with, as [`Carried`] without slots
//! and bits; out come the same behind further events. So a history can be followed while it grows, in
//! memory that does not grow with it.
//!
//! Invariants: crashed calls that were carried over began at time 0, and no walk knows what comes after
//! its last event.

use super::super::machine::Machine;
use super::bits::Bits;
use super::config::Config;
use super::path::ROOT;
use super::search::{Event, Search, Walk};
use crate::budget::{Budget, Exhausted};

/// A configuration without slots and bits, to be taken up by another walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Carried {
    pub(in super::super) state: u32,
    /// The calls in flight that are still to be ordered, and those that may be.
    pub(in super::super) fresh: Vec<u32>,
    pub(in super::super) optional: Vec<u32>,
    /// By kind: how many crashed calls took effect.
    pub(in super::super) used: Vec<(usize, usize)>,
}

/// What is carried over, and the calls in flight that it speaks of; the error is the call that nothing
/// explains.
pub(super) type Carry = Result<(Vec<u32>, Vec<Carried>), u32>;

impl<M: Machine, const L: usize, const N: usize> Search<'_, M, L, N> {
    /// Begins in the middle: with calls in flight, and with what was carried over.
    pub(super) fn resume(mut self, pending: &[u32], carried: &[Carried]) -> Option<Self> {
        for call in pending {
            let slot = self.window.enter(*call, self.calls, self.machine, false)?;
            self.slots[*call as usize] = slot;
        }
        self.configs.clear();
        for carried in carried {
            let mut bits = [Bits::EMPTY; 2];
            for (bits, calls) in bits.iter_mut().zip([&carried.fresh, &carried.optional]) {
                calls.iter().for_each(|call| bits.insert(self.slots[*call as usize]));
            }
            let mut used = Bits::EMPTY;
            for (kind, count) in &carried.used {
                let base = self.crashed.kinds[*kind].base;
                base.into_iter()
                    .flat_map(|base| base..base + count)
                    .for_each(|bit| used.insert(bit));
            }
            let [fresh, optional] = bits;
            let (state, uses, step) = (carried.state, 0, ROOT);
            self.configs.push(Config { state, fresh, optional, used, uses, step });
        }
        // What crashed before was made before.
        for (at, kind) in self.crashed.kinds.iter().enumerate() {
            let old = kind.calls.iter().filter(|call| self.calls[**call as usize].invoked == 0);
            self.made[at] = old.count();
        }
        Some(self)
    }

    /// Walks along the events, and says what is to be carried over behind them: the calls in flight
    /// and the configurations. The error is the call that nothing explains.
    pub(super) fn carry(
        mut self,
        events: &[Event],
        budget: &mut Budget,
    ) -> Result<Carry, Exhausted> {
        let walked = self.run(events, budget);
        budget.give(self.charged);
        if let Walk::Stuck { event, .. } = walked? {
            return Ok(Err(events[event as usize].call));
        }
        let calls =
            |bits: &Bits<L>| bits.members().map(|slot| self.window.call(slot)).collect::<Vec<_>>();
        let carried = self.configs.iter().map(|config| Carried {
            state: config.state,
            fresh: calls(&config.fresh),
            optional: calls(&config.optional),
            used: (0..self.crashed.kinds.len())
                .map(|kind| (kind, config.used.and(&self.crashed.range(kind)).count() as usize))
                .filter(|(_, count)| *count > 0)
                .collect(),
        });
        Ok(Ok((calls(&self.window.pending), carried.collect())))
    }
}
