//! Session guarantees: what one client may count on, wherever it goes.
//!
//! In: [`Sight`], and which processes carried a token. Out: how many reads could be judged, and which of
//! them missed a write of their own process, or one that an earlier read of it had shown.
//!
//! The terms are those of Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (PDIS
//! 1994): read your writes, monotonic reads.
//!
//! Invariant: a guarantee is about which writes are in the state, not about values: a write of somebody
//! else that comes later in the order may hide one's own in a register, and no guarantee is broken. So
//! only writes count that no order refuses.
//!
//! Does not: judge whether a lapse was allowed. Without a token, it was.

use std::collections::BTreeMap;

use super::{Sight, sight::Object};
use crate::{checker::replay::Typed, machine::Workbench};

/// A read that missed what its process had a right to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// The read's operation.
    pub read: usize,
    /// The write that it missed.
    pub write: usize,
    /// Whether the write was the process' own; else an earlier read had shown it.
    pub own: bool,
}

/// What came of all reads of some processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarantees {
    /// How many reads there were with something to miss.
    pub judged: usize,
    /// Those that missed it, each once.
    pub lapses: Vec<Lapse>,
}

/// Judges the reads of the processes that `include`s names.
pub fn guarantees(sight: &Sight<'_>, includes: impl Fn(&Typed<Workbench>) -> bool) -> Guarantees {
    let mut outcome = Guarantees::default();
    // What a process has a right to see of an object: the place and the operation of a write, and
    // whether it is its own.
    let mut rights: BTreeMap<(u64, Object), BTreeMap<usize, (usize, bool)>> = BTreeMap::new();
    let mut reads: Vec<_> = sight.reads().collect();
    reads.sort_by_key(|(read, ..)| sight.operations[*read].invoked);
    for (read, object, shown) in reads {
        let Typed { process, invoked, .. } = sight.operations[read];
        if !includes(&sight.operations[read]) {
            continue;
        }
        let known = rights.entry((process, object)).or_default();
        for effect in sight.acknowledged(object, invoked) {
            let own = sight.operations[effect.operation].process == process;
            if own && !effect.conditional {
                known.insert(effect.place, (effect.operation, true));
            }
        }
        outcome.judged += usize::from(!known.is_empty());
        let missed = known.iter().find(|(place, _)| !shown.has(**place));
        outcome.lapses.extend(missed.map(|(_, (write, own))| Lapse {
            read,
            write: *write,
            own: *own,
        }));
        for effect in sight.effects_of(object) {
            // A phantom says nothing of what else was there.
            if shown.names(effect.place) && !effect.conditional {
                known.entry(effect.place).or_insert((effect.operation, false));
            }
        }
    }
    outcome
}
