//! Histories of any object that works: clients call without pause, and each call takes effect at a
//! random instant within its interval.
//!
//! In go a size, the object's first state and two functions: what is asked, and what that does to the
//! state; out come calls that are linearizable by construction, by invocation.
//!
//! Registers have a generator of their own in the crate, with crashes and stale reads; this one is
//! for objects that only the bench knows.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells_checker::call::Call;

/// How long a call takes at most, in nanoseconds.
const LENGTH_MAX: u64 = 2_000_000;

/// How much to simulate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) operations: usize,
    pub(crate) clients: u64,
    pub(crate) seed: u64,
}

impl Size {
    /// The calls of an object that begins in this state.
    pub(crate) fn simulate<S, I, O>(
        self,
        mut state: S,
        mut ask: impl FnMut(&mut SmallRng) -> I,
        mut answer: impl FnMut(&mut S, &I) -> Option<O>,
    ) -> Vec<Call<I, O>> {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        // When each client is free, soonest first.
        let mut free: BTreeSet<(u64, u64)> =
            (0..self.clients).map(|client| (rng.random_range(0..LENGTH_MAX), client)).collect();
        let mut calls = Vec::with_capacity(self.operations);
        let mut effects = Vec::with_capacity(self.operations);
        for at in 0..self.operations {
            let Some((invoked, process)) = free.pop_first() else { break };
            let returned = invoked + rng.random_range(1..LENGTH_MAX);
            effects.push((rng.random_range(invoked..returned), at));
            let (input, returned, log_index) = (ask(&mut rng), Some(returned), None);
            free.extend(returned.map(|returned| (returned + 1, process)));
            calls.push(Call { process, input, output: None, invoked, returned, log_index });
        }
        effects.sort_unstable();
        for (_, at) in effects {
            calls[at].output = answer(&mut state, &calls[at].input);
        }
        calls
    }
}
