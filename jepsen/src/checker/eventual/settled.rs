//! What the final order must hold: every acknowledged command, each once, and no other.
//!
//! In: the operations of the clients, and the numbers of the commands in the order on which the replicas
//! agreed. Out: the first thing that is wrong, under the name of what was promised.
//!
//! Does not: look at answers. That they may turn out untrue is what this mode does not promise.

use std::collections::{BTreeMap, BTreeSet};

use sixbells::StateMachine;

use crate::checker::replay::Typed;

/// All replicas end in one state, and it is what the union of the commands makes.
pub const CONVERGENCE: &str = "convergence";
/// No acknowledged command is lost.
pub const DURABILITY: &str = "durability";
/// No command has an effect twice, or without having been sent.
pub const EXACTLY_ONCE: &str = "exactly once";

/// Judges a final order. `operations` are those that may have happened.
///
/// # Errors
/// The name of the promise that was broken, and how.
pub fn settled<S: StateMachine>(
    operations: &[Typed<S>],
    order: &[u64],
) -> Result<(), (&'static str, String)> {
    let writes: BTreeMap<u64, &Typed<S>> =
        operations.iter().filter(|o| o.is_write()).map(|o| (o.number, o)).collect();
    let mut seen = BTreeSet::new();
    for number in order {
        let Some(write) = writes.get(number) else {
            let sentence = format!(
                "the replicas applied number {number}, which is no client's write that may have happened"
            );
            return Err((EXACTLY_ONCE, sentence));
        };
        if !seen.insert(number) {
            return Err((EXACTLY_ONCE, format!("{write:?} has an effect twice")));
        }
    }
    let lost =
        |(number, write): &(&u64, &&Typed<S>)| write.returned.is_some() && !seen.contains(number);
    match writes.iter().find(lost) {
        None => Ok(()),
        Some((_, write)) => {
            let sentence = format!("{write:?} was acknowledged, and no replica has it in the end");
            Err((DURABILITY, sentence))
        }
    }
}
