//! Leader completeness: what was committed in a term is in the log of every leader of a later term.
//!
//! Owns [`LeaderCompleteness`]. A node becomes a leader when it saves its own vote as committed; that
//! is when its log is compared with all that anyone had found committed by then.
//!
//! In: votes written. Out: a sentence.
//!
//! Invariants:
//! - the term that counts is the one in which an entry was committed, not the one of the entry: a
//!   leader of term 3 that hears of its election late need not hold an entry of term 2 that a leader
//!   of term 4 has committed by then;
//! - an entry that went into a snapshot is held.
//!
//! Does not: ask whether what was found committed is so.

use sixbells::storage::Vote;

use super::{
    super::observation::{Host, Observation},
    Account, Ledger, Oracle, Settled,
};

/// Sees leaders that lack committed entries.
#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness {
    looked: u64,
}

impl Oracle for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Voted { node, vote } if vote.committed && vote.voted_for == *node => {
                self.complete(*node, *vote, ledger)
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

impl LeaderCompleteness {
    fn complete(&mut self, node: Host, vote: Vote, ledger: &Ledger) -> Result<(), String> {
        let log = ledger.account(node).map(Account::log);
        let purged = |index| log.is_some_and(|log| log.purged(index));
        let unpurged = ledger.all_settled().rev().take_while(|settled| !purged(settled.id.index));
        for Settled { id, hash, in_term } in unpurged.filter(|s| s.in_term < vote.term) {
            self.looked += 1;
            let held = log.and_then(|log| log.entry(id.index));
            if held.is_some_and(|held| held.term == id.term && held.hash == *hash) {
                continue;
            }
            let instead = held.map_or_else(
                || "nothing".to_owned(),
                |held| format!("{}.{} with hash {:x}", held.term, id.index, held.hash),
            );
            return Err(format!(
                "node {node} leads term {} and holds {instead} where {id} with hash {hash:x} was \
                 committed by term {in_term}",
                vote.term
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    /// Node 1 leads term 1 and has committed 1.1; nodes 2 and 3 follow.
    fn stage_with_a_committed_entry() -> Stage {
        let mut stage = Stage::new(LeaderCompleteness::default());
        stage.begin(&[1, 2, 3]);
        for node in 1..=3 {
            stage.fine(&appended(node, &[entry(0, 0)]));
            stage.fine(&voted(node, lead(1, 1)));
        }
        stage.fine(&appended(1, &[entry(1, 1)]));
        stage.fine(&appended(2, &[entry(1, 1)]));
        stage.fine(&committed(1, id(1, 1)));
        stage
    }

    #[test]
    fn a_leader_that_holds_what_was_committed_is_right() {
        let mut stage = stage_with_a_committed_entry();
        stage.fine(&voted(2, vote(2, 2)));
        stage.fine(&voted(2, lead(2, 2)));
        assert_eq!(stage.looked(), 2);
    }

    #[test]
    fn a_leader_that_holds_it_in_a_snapshot_is_right() {
        let mut stage = stage_with_a_committed_entry();
        stage.fine(&purged(3, id(1, 1)));
        stage.fine(&voted(3, lead(2, 3)));
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_seen() {
        let mut stage = stage_with_a_committed_entry();
        stage.breaks(&voted(3, lead(2, 3)), "node 3 leads term 2 and holds nothing where 1.1");
    }

    #[test]
    fn a_leader_with_another_entry_in_its_place_is_seen() {
        let mut stage = stage_with_a_committed_entry();
        stage.fine(&appended(3, &[entry(2, 1)]));
        stage.breaks(&voted(3, lead(3, 3)), "holds 2.1 with hash 7d1 where 1.1");
    }

    /// Node 3 won term 2 long ago, and hears of it after node 1 has committed an entry of term 1 in
    /// term 3. It will never commit anything; it need not hold the entry.
    #[test]
    fn a_leader_that_hears_late_of_its_election_is_right() {
        let mut stage = Stage::new(LeaderCompleteness::default());
        stage.begin(&[1, 3]);
        stage.fine(&voted(3, vote(2, 3)));
        stage.fine(&appended(1, &[entry(0, 0), entry(1, 1)]));
        stage.fine(&voted(1, lead(3, 1)));
        stage.fine(&committed(1, id(1, 1)));
        stage.fine(&voted(3, lead(2, 3)));
        stage.breaks(&voted(3, lead(4, 3)), "was committed by term 3");
    }
}
