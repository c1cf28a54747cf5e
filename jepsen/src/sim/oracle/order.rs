//! Order: the one sequence of commands that the machines have agreed on.
//!
//! Owns [`Order`]. Who applies the k-th command first says what the k-th command is; whether the
//! others agree is for the oracles to judge.
//!
//! In: commands and restored states, by position. Out: what is at a position, and where a command is.
//!
//! Invariants:
//! - the first word counts: what is known of a position is never replaced;
//! - a position that only a snapshot reached has a chain, but no command until someone applies it.
//!
//! Does not: judge.

use std::collections::BTreeMap;

/// What is known of a position in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The command there, if a machine was seen to apply it.
    pub command: Option<u64>,
    /// A hash of all commands and responses so far, in order.
    pub chain: u64,
}

/// The sequence of commands, by position; the first command is at 1.
#[derive(Clone, Debug, Default)]
pub struct Order {
    steps: BTreeMap<u64, Step>,
    positions: BTreeMap<u64, u64>,
}

impl Order {
    /// A machine applied `command` at `position`.
    pub(super) fn apply(&mut self, position: u64, command: u64, chain: u64) {
        let step = self.steps.entry(position).or_insert(Step { command: None, chain });
        step.command.get_or_insert(command);
        self.positions.entry(command).or_insert(position);
    }

    /// A machine's state was replaced by that of `position`.
    pub(super) fn restore(&mut self, position: u64, chain: u64) {
        self.steps.entry(position).or_insert(Step { command: None, chain });
    }

    /// What is known of a position.
    pub fn step(&self, position: u64) -> Option<Step> {
        self.steps.get(&position).copied()
    }

    /// Where a command was applied first.
    pub fn position(&self, command: u64) -> Option<u64> {
        self.positions.get(&command).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_about_a_position_counts() {
        let mut order = Order::default();
        order.restore(2, 22);
        order.apply(1, 70, 11);
        order.apply(2, 71, 22);
        order.apply(2, 72, 99);
        assert_eq!(order.step(2), Some(Step { command: Some(71), chain: 22 }));
        assert_eq!((order.position(70), order.position(71)), (Some(1), Some(2)));
    }
}
