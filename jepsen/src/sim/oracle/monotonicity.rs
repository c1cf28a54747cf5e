//! Monotonicity: a node does not go back.
//!
//! Owns [`Monotonicity`]. Terms never fall, also from one process of a node to the next; within one
//! process neither the committed position nor the state falls, and commands are applied one by one.
//!
//! In: votes, committed positions, applied and restored states. Out: a sentence.
//!
//! Invariants:
//! - a process begins with an empty state, or with that of a snapshot; what it found committed before
//!   is forgotten with it;
//! - a state may be replaced by a snapshot of itself, not by an earlier one.
//!
//! Does not: compare nodes.

use std::collections::BTreeMap;

use sixbells::storage::{LogId, Vote};

use super::{
    super::observation::{Host, Observation},
    Account, Ledger, Oracle,
};

/// Sees nodes that go back, and states that skip a command.
#[derive(Debug, Default)]
pub(super) struct Monotonicity {
    positions: BTreeMap<Host, u64>,
    commits: BTreeMap<Host, LogId>,
    looked: u64,
}

impl Oracle for Monotonicity {
    fn name(&self) -> &'static str {
        "monotonicity"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Started { node, state, .. } => {
                let account = ledger.account(*node);
                // Whoever restores the state may do so before the log is opened.
                if account.is_some_and(Account::alive) {
                    self.forget(*node);
                }
                self.vote(*node, account.and_then(Account::promised_vote), state.vote)
            }
            Observation::Ended { node }
            | Observation::Failed { node, .. }
            | Observation::Wiped { node } => {
                self.forget(*node);
                Ok(())
            }
            Observation::Voted { node, vote } => {
                let account = ledger.account(*node);
                self.vote(
                    *node,
                    account.and_then(|a: &Account| a.log().state().vote),
                    Some(*vote),
                )?;
                self.vote(*node, account.and_then(Account::promised_vote), Some(*vote))
            }
            Observation::Committed { node, upto } => self.commit(*node, *upto),
            Observation::Applied { node, position, .. } => self.apply(*node, *position),
            Observation::Restored { node, position, .. } => self.restore(*node, *position),
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

impl Monotonicity {
    fn forget(&mut self, node: Host) {
        self.positions.remove(&node);
        self.commits.remove(&node);
    }

    fn vote(&mut self, node: Host, old: Option<Vote>, new: Option<Vote>) -> Result<(), String> {
        let Some(old) = old else { return Ok(()) };
        self.looked += 1;
        let new = new.map_or(0, |vote| vote.term);
        if new >= old.term {
            return Ok(());
        }
        Err(format!("node {node} goes back from term {} to term {new}", old.term))
    }

    fn commit(&mut self, node: Host, upto: LogId) -> Result<(), String> {
        self.looked += 1;
        match self.commits.insert(node, upto) {
            Some(old) if old.index > upto.index => Err(format!(
                "node {node} found {upto} committed after it had found {old} committed"
            )),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, node: Host, position: u64) -> Result<(), String> {
        self.looked += 1;
        let old = self.positions.insert(node, position).unwrap_or(0);
        if old.checked_add(1) == Some(position) {
            return Ok(());
        }
        Err(format!("node {node} applied command {position} to a state of {old}"))
    }

    fn restore(&mut self, node: Host, position: u64) -> Result<(), String> {
        self.looked += 1;
        match self.positions.insert(node, position) {
            Some(old) if old > position => {
                Err(format!("node {node} replaced a state of {old} commands by one of {position}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    #[test]
    fn a_process_goes_forward_and_the_next_one_begins_again() {
        let mut stage = Stage::new(Monotonicity::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, vote(1, 1)));
        stage.fine(&voted(1, lead(1, 1)));
        stage.promise(1);
        stage.fine(&committed(1, id(1, 4)));
        stage.fine(&committed(1, id(1, 4)));
        stage.fine(&applied(1, 1, 70));
        stage.fine(&restored(1, 3, 33));
        stage.fine(&applied(1, 4, 73));
        stage.fine(&ended(1));
        stage.fine(&restored(1, 2, 22));
        stage.fine(&started(1, Some(lead(1, 1)), &[]));
        stage.fine(&applied(1, 3, 72));
        stage.fine(&committed(1, id(1, 2)));
        assert_eq!(stage.looked(), 10);
    }

    #[test]
    fn a_term_that_falls_is_seen() {
        let mut stage = Stage::new(Monotonicity::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, vote(3, 1)));
        stage.breaks(&voted(1, vote(2, 2)), "node 1 goes back from term 3 to term 2");
    }

    #[test]
    fn a_term_that_falls_over_a_restart_is_seen() {
        let mut stage = Stage::new(Monotonicity::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, vote(3, 1)));
        stage.promise(1);
        stage.fine(&ended(1));
        stage.breaks(&started(1, None, &[]), "node 1 goes back from term 3 to term 0");
    }

    #[test]
    fn a_committed_position_that_falls_is_seen() {
        let mut stage = Stage::new(Monotonicity::default());
        stage.begin(&[1]);
        stage.fine(&committed(1, id(1, 4)));
        stage.breaks(&committed(1, id(1, 3)), "found 1.3 committed after it had found 1.4");
    }

    #[test]
    fn a_command_that_is_skipped_or_applied_again_is_seen() {
        for position in [1, 3] {
            let mut stage = Stage::new(Monotonicity::default());
            stage.begin(&[1]);
            stage.fine(&applied(1, 1, 70));
            stage.breaks(&applied(1, position, 70), "to a state of 1");
        }
    }

    #[test]
    fn a_new_process_does_not_begin_in_the_middle() {
        let mut stage = Stage::new(Monotonicity::default());
        stage.begin(&[1]);
        stage.fine(&applied(1, 1, 70));
        stage.fine(&ended(1));
        stage.fine(&started(1, None, &[]));
        stage.breaks(&applied(1, 2, 71), "node 1 applied command 2 to a state of 0");
    }

    #[test]
    fn a_state_replaced_by_an_earlier_one_is_seen() {
        let mut stage = Stage::new(Monotonicity::default());
        stage.begin(&[1]);
        stage.fine(&restored(1, 3, 33));
        stage.breaks(&restored(1, 2, 22), "node 1 replaced a state of 3 commands by one of 2");
    }
}
