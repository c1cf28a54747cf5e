//! Contradictions that need no search, of registers whose values repeat: a value that was overwritten for
//! good, and one that was observed before anybody wrote it.
//!
//! If every writer of `v` had returned when `c` began, and `c` left or saw another value and had returned
//! when `r` began, then `r` cannot observe `v`: it stands behind `c`, and `c` behind every writer of `v`. Most
//! violations of real systems are of this kind, and so is their explanation. `O(n log n)` for `n` calls.
//!
//! It finds contradictions, never orders: that it finds none says nothing.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::object::NEVER;
use super::touch::{NOTHING, Touch};

/// What is known of the writers of a value.
#[derive(Clone, Copy, Debug)]
struct Writers {
    first_invoked: u64,
    last_returned: u64,
}

/// A call that had returned, by when it began and which value was there at its end.
type Seen = (u64, u64, u32);

/// Calls that contradict each other, if it is obvious: the last of them observed what cannot have been
/// there, the others wrote that value, or show that it was gone.
pub(super) fn contradiction(touches: &[Touch], initial: u64) -> Option<Vec<u32>> {
    let mut writers: HashMap<u64, Writers, FxBuildHasher> = HashMap::default();
    writers.insert(initial, Writers { first_invoked: 0, last_returned: 0 });
    for touch in touches.iter().filter(|touch| touch.writes != NOTHING) {
        let first = Writers { first_invoked: NEVER, last_returned: 0 };
        let writers = writers.entry(touch.writes).or_insert(first);
        writers.first_invoked = writers.first_invoked.min(touch.invoked);
        writers.last_returned = writers.last_returned.max(touch.returned);
    }
    let happened = || (0_u32..).zip(touches).filter(|(_, touch)| touch.happened());
    let mut by_return: Vec<(u64, u32)> =
        happened().map(|(at, touch)| (touch.returned, at)).collect();
    by_return.sort_unstable();
    let mut observers: Vec<(u64, u32)> = happened()
        .filter(|(_, touch)| touch.observes != NOTHING)
        .map(|(at, touch)| (touch.invoked, at))
        .collect();
    observers.sort_unstable();
    let mut returned = by_return.into_iter().peekable();
    // Of those that have returned: the one that began last, and the one of another value that did.
    let mut latest: [Option<Seen>; 2] = [None; 2];
    for (invoked, observer) in observers {
        while let Some((_, call)) = returned.next_if(|(returned, _)| *returned < invoked) {
            note(&mut latest, call, &touches[call as usize]);
        }
        let Touch { observes: value, returned: end, .. } = touches[observer as usize];
        let Some(known) = writers.get(&value) else { return Some(vec![observer]) };
        let gone = latest.iter().flatten().find(|(_, other, _)| *other != value);
        let witness = match gone {
            _ if end < known.first_invoked => None,
            Some((began, _, call)) if known.last_returned < *began => Some(*call),
            _ => continue,
        };
        let wrote = |(_, touch): &(u32, &Touch)| touch.writes == value;
        let wrote = (0_u32..).zip(touches).filter(wrote).map(|(at, _)| at);
        let mut core: Vec<u32> = wrote.chain(witness).chain([observer]).collect();
        core.sort_unstable();
        core.dedup();
        return Some(core);
    }
    None
}

/// Keeps the two that began last, of different values.
fn note(latest: &mut [Option<Seen>; 2], call: u32, touch: &Touch) {
    let value = if touch.writes == NOTHING { touch.observes } else { touch.writes };
    let seen = Some((touch.invoked, value, call));
    let [first, second] = *latest;
    let began = |seen: Option<Seen>| seen.map_or(0, |(began, ..)| began);
    let value_of = |seen: Option<Seen>| seen.map(|(_, value, _)| value);
    *latest = match touch.invoked {
        invoked if first.is_none() || invoked > began(first) => {
            match value_of(first) == Some(value) {
                true => [seen, second],
                false => [seen, first],
            }
        }
        invoked if value_of(first) != Some(value) && invoked > began(second) => [first, seen],
        _ => [first, second],
    };
}
