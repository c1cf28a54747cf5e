//! State machine safety: the k-th command is the same everywhere, and so is what comes of it.
//!
//! Owns [`StateMachineSafety`]. It compares commands and chains by position as machines apply and
//! restore them, snapshots of one position by their bytes, and the replicas at the end.
//!
//! In: commands applied, states restored, snapshots, the replicas at the end. Out: a sentence.
//!
//! Invariants:
//! - a chain is a hash of all commands and responses so far, so one position compared is all positions
//!   before it compared;
//! - the bytes of a snapshot are made of the state alone: two of one position are equal.
//!
//! Does not: ask whether a command should have been applied, or how often.

use std::collections::BTreeMap;

use sixbells::storage::LogId;

use super::{
    super::observation::{Host, Observation, Replica},
    Ledger, Oracle,
};

/// Sees machines that go different ways.
#[derive(Debug, Default)]
pub(super) struct StateMachineSafety {
    snapshots: BTreeMap<LogId, (Host, u64)>,
    looked: u64,
}

impl Oracle for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state machine safety"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Applied { node, position, command, chain } => {
                self.looked += 1;
                let known = ledger.order().step(*position).and_then(|step| step.command);
                if let Some(known) = known.filter(|known| known != command) {
                    return Err(format!(
                        "node {node} applied {command} as command {position}, which is {known}"
                    ));
                }
                agrees(*node, *position, *chain, ledger)
            }
            Observation::Restored { node, position, chain } => {
                self.looked += 1;
                agrees(*node, *position, *chain, ledger)
            }
            Observation::Snapshot { node, name, last, hash } => {
                self.looked += 1;
                let (first, known) = *self.snapshots.entry(*last).or_insert((*node, *hash));
                if known == *hash {
                    return Ok(());
                }
                Err(format!(
                    "the snapshots of {last} differ: {known:x} on node {first}, {hash:x} on node \
                     {node} ({name})"
                ))
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, replicas: &[Replica], ledger: &Ledger) -> Result<(), String> {
        let Some(first) = replicas.first() else { return Ok(()) };
        for replica in replicas {
            self.looked += 1;
            agrees(replica.node, replica.position, replica.chain, ledger)?;
            let ends = |r: &Replica| (r.position, r.chain, r.state);
            if ends(replica) != ends(first) {
                return Err(format!("{} and {}", words(first), words(replica)));
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

fn agrees(node: Host, position: u64, chain: u64, ledger: &Ledger) -> Result<(), String> {
    match ledger.order().step(position) {
        Some(step) if step.chain != chain => Err(format!(
            "node {node} came to {chain:x} with {position} commands, and another to {:x}",
            step.chain
        )),
        _ => Ok(()),
    }
}

fn words(replica: &Replica) -> String {
    let Replica { node, position, chain, state, .. } = replica;
    format!("node {node} ends with {position} commands, chain {chain:x} and state {state:x}")
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    /// Node 1 has applied 70 and 71.
    fn stage_with_two_commands() -> Stage {
        let mut stage = Stage::new(StateMachineSafety::default());
        stage.fine(&applied(1, 1, 70));
        stage.fine(&applied(1, 2, 71));
        stage
    }

    #[test]
    fn machines_that_agree_are_silent_to_the_end() {
        let mut stage = stage_with_two_commands();
        stage.fine(&applied(2, 1, 70));
        stage.fine(&restored(3, 2, 2_071));
        stage.fine(&snapshot(1, id(1, 4), 5));
        stage.fine(&snapshot(2, id(1, 4), 5));
        assert_eq!(stage.finish(&[replica(1, 2, 2_071, 9), replica(3, 2, 2_071, 9)]), Ok(()));
        assert_eq!(stage.looked(), 8);
    }

    #[test]
    fn another_command_in_its_place_is_seen() {
        let mut stage = stage_with_two_commands();
        stage.breaks(&applied(2, 1, 71), "node 2 applied 71 as command 1, which is 70");
    }

    #[test]
    fn another_response_to_the_same_command_is_seen() {
        let mut stage = stage_with_two_commands();
        let seen = Observation::Applied { node: 2, position: 1, command: 70, chain: 0xbad };
        stage.breaks(&seen, "node 2 came to bad with 1 commands");
    }

    #[test]
    fn a_restored_state_is_compared_before_and_after_the_others_come_there() {
        let mut stage = stage_with_two_commands();
        stage.breaks(&restored(2, 2, 0xbad), "node 2 came to bad with 2 commands");
        stage.fine(&restored(2, 3, 0xbad));
        stage.breaks(&applied(1, 3, 72), "node 1 came to c00 with 3 commands");
    }

    #[test]
    fn snapshots_that_differ_are_seen() {
        let mut stage = stage_with_two_commands();
        stage.fine(&snapshot(1, id(1, 4), 5));
        stage.breaks(&snapshot(2, id(1, 4), 6), "the snapshots of 1.4 differ: 5 on node 1, 6 on");
    }

    #[test]
    fn replicas_that_end_differently_are_seen() {
        for (position, chain, state) in [(1, 1_070, 9), (2, 2_071, 8)] {
            let mut stage = stage_with_two_commands();
            let replicas = [replica(1, 2, 2_071, 9), replica(2, position, chain, state)];
            let said = stage.finish(&replicas).unwrap_err();
            assert!(said.contains("and node 2 ends with"), "{said}");
        }
    }

    #[test]
    fn replicas_that_all_end_elsewhere_than_agreed_are_seen() {
        let mut stage = stage_with_two_commands();
        let said = stage.finish(&[replica(1, 2, 0xbad, 9), replica(2, 2, 0xbad, 9)]).unwrap_err();
        assert!(said.contains("node 1 came to bad with 2 commands"), "{said}");
    }
}
