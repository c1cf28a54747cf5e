//! Histories made up: when calls began, took effect and ended, before anybody said what they did.
//!
//! Clients call one after the other; each call takes effect at a moment between its start and its
//! end. A working object that answers at those moments makes a legal history of them. The clock is
//! coarse, so that calls of different clients often touch; one client's never do.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sixbells_checker::linearizable::{NEVER, Object, ObjectCall};

/// A call of a history that is being made up.
#[derive(Clone, Debug)]
pub(crate) struct Made<I, O> {
    pub(crate) input: I,
    pub(crate) output: Option<O>,
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
}

impl<I, O> Made<I, O> {
    pub(crate) fn happened(&self) -> bool {
        self.returned != NEVER
    }
}

/// When a call takes place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
    /// Whether it takes effect: only a crashed call may not.
    pub(crate) effective: bool,
}

/// How a history is shaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) clients: u64,
    pub(crate) calls: usize,
    /// How long a call may take; the longer, the more calls overlap.
    pub(crate) duration: u64,
    /// Of a thousand calls, how many crash.
    pub(crate) crashes: u64,
}

impl Shape {
    /// A few calls of a few clients: fewer where many crash, since those can stand anywhere.
    pub(crate) fn small(rng: &mut StdRng) -> Self {
        let crashes = [0, 0, 100, 300, 500][rng.random_range(0..5)];
        Self {
            clients: rng.random_range(2..=6),
            calls: rng.random_range(2..=9 - usize::try_from(crashes / 250).expect("0, 1 or 2")),
            duration: rng.random_range(1..=12),
            crashes,
        }
    }

    /// The calls' times, in the order in which they take effect.
    pub(crate) fn slots(self, rng: &mut StdRng) -> Vec<Slot> {
        let mut free: Vec<u64> = (0..self.clients).map(|_| rng.random_range(1..=3)).collect();
        let mut slots: Vec<(u64, u32, Slot)> = (0..self.calls)
            .map(|_| {
                // The client that has waited longest: all are about equally far.
                let client = (0..free.len()).min_by_key(|client| free[*client]).unwrap_or(0);
                let invoked = free[client] + rng.random_range(0..=2);
                let ended = invoked + rng.random_range(0..=self.duration);
                free[client] = ended + rng.random_range(1..=3);
                let crashed = rng.random_range(0..1000) < self.crashes;
                let late = if crashed { rng.random_range(0..=2) * self.duration } else { 0 };
                let point = rng.random_range(invoked..=ended + late);
                let returned = if crashed { NEVER } else { ended };
                let effective = !crashed || rng.random_bool(0.5);
                (point, rng.random(), Slot { invoked, returned, effective })
            })
            .collect();
        slots.sort_by_key(|(point, tie, _)| (*point, *tie));
        slots.into_iter().map(|(_, _, slot)| slot).collect()
    }
}

/// The calls as a procedure gets them.
pub(crate) fn object<I, O>(made: &[Made<I, O>]) -> Object<'_, I, O> {
    let calls = made.iter().map(|call| ObjectCall {
        input: &call.input,
        output: call.output.as_ref().filter(|_| call.happened()),
        invoked: call.invoked,
        returned: call.returned,
    });
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by_key(|call| call.invoked);
    Object { calls }
}

/// Random choices that come from the seed and nothing else.
pub(crate) fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
