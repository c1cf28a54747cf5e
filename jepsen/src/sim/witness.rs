//! The witness of a simulated machine.
//!
//! Owns [`InWorld`], which sees what happens to a [`Subject`]. In: what its host's machine applies and
//! restores. Out: observations for the [`oracle`](super::oracle)s, and the trace; and into the machine, the
//! bug that is planted there.
//!
//! Does not: keep anything, or judge.

use super::{Host, Observation, bug::Bug, world};
use crate::subject::{self, Witness};

/// Tells this thread's world.
#[derive(Clone, Copy, Debug, Default)]
pub struct InWorld;

/// A machine on a simulated host.
pub type Subject<S> = subject::Subject<S, InWorld>;

/// A node of this number applies commands differently where the bug is planted.
const STRANGE: Host = 2;

impl Witness for InWorld {
    fn applied(number: u64, position: u64, chain: u64) {
        world::trace("apply", chain, || format!("operation {number} at position {position}"));
        let node = world::here();
        world::observe(&Observation::Applied { node, position, command: number, chain });
    }

    fn restored(position: u64, chain: u64) {
        world::observe(&Observation::Restored { node: world::here(), position, chain });
    }

    fn sees_order() -> bool {
        world::has_log_order()
    }

    fn repeats(number: u64) -> bool {
        world::planted() == Some(Bug::NondeterministicApply)
            && world::here() == STRANGE
            && number.is_multiple_of(7)
    }
}
