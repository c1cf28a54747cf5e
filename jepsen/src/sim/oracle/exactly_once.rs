//! Exactly once: a command takes effect once if its client was told so, and never if it was told not.
//!
//! Owns [`ExactlyOnce`]. Clients send a command again when they do not hear of it; it has one number
//! all the same, and that number may be in the agreed order once.
//!
//! In: what clients send and are told, commands applied. Out: a sentence.
//!
//! Invariants:
//! - a machine that applies the same command at the same position again, as every process does after
//!   a restart, is right;
//! - a definite failure is definite before and after it is told.
//!
//! Does not: look for writes that were told ok and are missing; that is
//! [`Durability`](super::durability::Durability).

use std::collections::BTreeSet;

use super::{
    super::observation::{End, Host, Observation},
    Ledger, Oracle,
};

/// Sees commands that took effect twice, that had failed, or that nobody sent.
#[derive(Debug, Default)]
pub(super) struct ExactlyOnce {
    sent: BTreeSet<u64>,
    failed: BTreeSet<u64>,
    looked: u64,
}

impl Oracle for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly once"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Invoked { operation, write: true, .. } => {
                self.sent.insert(*operation);
                Ok(())
            }
            Observation::Completed { operation, end: End::Fail, .. } => {
                self.looked += 1;
                self.failed.insert(*operation);
                ledger.order().position(*operation).map_or(Ok(()), |position| {
                    Err(format!(
                        "operation {operation} was told to have failed, and is command {position}"
                    ))
                })
            }
            Observation::Applied { node, position, command, .. } => {
                self.looked += 1;
                self.once(*node, *position, *command, ledger)
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

impl ExactlyOnce {
    fn once(&self, node: Host, at: u64, command: u64, ledger: &Ledger) -> Result<(), String> {
        if !self.sent.contains(&command) {
            return Err(format!("node {node} applied {command} at {at}, which no client has sent"));
        }
        if self.failed.contains(&command) {
            return Err(format!(
                "node {node} applied {command} at {at}, and its client was told that it had failed"
            ));
        }
        match ledger.order().position(command) {
            Some(known) if known != at => {
                Err(format!("node {node} applied {command} at {at}, and it is command {known}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    /// Command 70 was sent, and applied at 1.
    fn stage_with_a_command() -> Stage {
        let mut stage = Stage::new(ExactlyOnce::default());
        stage.fine(&invoked(70));
        stage.fine(&applied(1, 1, 70));
        stage
    }

    #[test]
    fn a_command_applied_by_all_and_again_after_a_restart_is_right() {
        let mut stage = stage_with_a_command();
        stage.fine(&applied(2, 1, 70));
        stage.fine(&ended(1));
        stage.fine(&started(1, None, &[]));
        stage.fine(&applied(1, 1, 70));
        stage.fine(&completed(70, End::Ok));
        assert_eq!(stage.looked(), 3);
    }

    #[test]
    fn a_command_that_is_applied_twice_is_seen() {
        let mut stage = stage_with_a_command();
        stage.breaks(&applied(1, 2, 70), "node 1 applied 70 at 2, and it is command 1");
    }

    #[test]
    fn a_failure_of_what_took_effect_is_seen() {
        let mut stage = stage_with_a_command();
        stage.breaks(&completed(70, End::Fail), "operation 70 was told to have failed, and is");
    }

    #[test]
    fn an_effect_of_what_had_failed_is_seen() {
        let mut stage = stage_with_a_command();
        stage.fine(&invoked(71));
        stage.fine(&completed(71, End::Fail));
        stage.breaks(&applied(1, 2, 71), "its client was told that it had failed");
    }

    #[test]
    fn a_command_that_nobody_sent_is_seen() {
        let mut stage = stage_with_a_command();
        stage.breaks(&applied(1, 2, 99), "applied 99 at 2, which no client has sent");
    }
}
