//! Revocations: answers that turned out untrue.
//!
//! In: what clients were told of their commands, and the final order. Out: each command whose answer
//! differs from the one that it has in that order, with both.
//!
//! A checker that looks only at the final state calls such a run clean: applying again refuses what
//! cannot be, so the books are in order. What is wrong is what somebody was told, and acted on.
//!
//! Invariant: the machine says what an answer should have been; nothing here knows what it means.

use std::{collections::BTreeMap, fmt};

use sixbells::StateMachine;

use crate::checker::replay::{Act, Typed};

/// A command whose acknowledged answer was revoked.
#[derive(Clone)]
pub struct Revocation<S: StateMachine> {
    /// The operation's number.
    pub number: u64,
    /// What was asked.
    pub command: S::Command,
    /// What the client was told.
    pub told: S::Response,
    /// What became of it.
    pub settled: S::Response,
}

impl<S: StateMachine> fmt::Debug for Revocation<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, command, told, settled } = self;
        write!(out, "#{number} {command:?} was answered {told:?}, and became {settled:?}")
    }
}

/// Replays the final order. Returns the machine that it makes, and what was revoked, in that order.
/// Numbers that are no operation's are passed over: [`settled`](super::settled()) finds them.
pub fn revocations<S: StateMachine>(
    operations: &[Typed<S>],
    order: &[u64],
) -> (S, Vec<Revocation<S>>) {
    let writes: BTreeMap<u64, &Typed<S>> = operations.iter().map(|o| (o.number, o)).collect();
    let mut machine = S::default();
    let mut revoked = Vec::new();
    for number in order {
        let Some(Typed { returned, act: Act::Write { command, response }, .. }) =
            writes.get(number)
        else {
            continue;
        };
        let settled = machine.apply(command.clone());
        if let (Some(_), Some(told)) = (returned, response)
            && *told != settled
        {
            let (number, command, told) = (*number, command.clone(), told.clone());
            revoked.push(Revocation { number, command, told, settled });
        }
    }
    (machine, revoked)
}
