//! Election safety: at most one leader in a term.
//!
//! Owns [`ElectionSafety`]. It looks at votes, where elections are decided: one saved as committed
//! names the leader of its term, and no node may vote for two candidates in one term, whatever
//! happened to its process in between. A disk that was thrown away forgets; the library refuses to
//! begin on it, and this oracle would see the second leader.
//!
//! In: votes written, promised and found. Out: a sentence.
//!
//! Invariants:
//! - following the winner of a term after voting for a loser is right: [`Vote`] is ordered so;
//! - a vote that was written, but of which nobody was told that it is durable, binds the process that
//!   wrote it and not the next one.
//!
//! Does not: ask whether the leader's log is complete.

use std::collections::BTreeMap;

use sixbells::storage::Vote;

use super::{
    super::observation::{Host, Observation},
    Account, Ledger, Oracle, words,
};

/// Sees two leaders of one term, and votes that were taken back.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, Host>,
    looked: u64,
}

impl Oracle for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Voted { node, vote } => {
                self.looked += 1;
                let account = ledger.account(*node);
                keeps(*node, account.and_then(|account| account.log().state().vote), Some(*vote))?;
                keeps(*node, account.and_then(Account::promised_vote), Some(*vote))?;
                self.leads(*node, *vote)
            }
            Observation::Started { node, state, .. } => {
                let promised = ledger.account(*node).and_then(Account::promised_vote);
                keeps(*node, promised, state.vote)?;
                state.vote.map_or(Ok(()), |vote| self.leads(*node, vote))
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

impl ElectionSafety {
    fn leads(&mut self, node: Host, vote: Vote) -> Result<(), String> {
        if !vote.committed {
            return Ok(());
        }
        let leader = *self.leaders.entry(vote.term).or_insert(vote.voted_for);
        if leader == vote.voted_for {
            return Ok(());
        }
        Err(format!(
            "term {} has two leaders: node {leader}, and node {} by the vote of node {node}",
            vote.term, vote.voted_for
        ))
    }
}

/// Whether a node that stood by one vote may stand by the other.
fn keeps(node: Host, old: Option<Vote>, new: Option<Vote>) -> Result<(), String> {
    match (old, new) {
        (Some(old), Some(new)) if old.term == new.term && old.partial_cmp(&new).is_none() => {
            Err(format!(
                "node {node} votes twice in term {}: for {} and for {}",
                old.term, old.voted_for, new.voted_for
            ))
        }
        (Some(vote), new) if new.is_none_or(|new| new < vote) => {
            Err(format!("node {node} goes back from {} to {}", words(old), words(new)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    #[test]
    fn voting_for_the_loser_and_then_following_the_winner_is_right() {
        let mut stage = Stage::new(ElectionSafety::default());
        stage.begin(&[1, 2]);
        stage.fine(&voted(1, vote(1, 1)));
        stage.fine(&voted(2, vote(1, 2)));
        stage.fine(&voted(2, lead(1, 2)));
        stage.fine(&voted(1, lead(1, 2)));
        stage.fine(&voted(1, vote(2, 1)));
        assert_eq!(stage.looked(), 5);
    }

    #[test]
    fn two_leaders_of_one_term_are_seen_on_any_node() {
        let mut stage = Stage::new(ElectionSafety::default());
        stage.begin(&[1, 2, 3]);
        stage.fine(&voted(1, lead(4, 1)));
        stage.breaks(&voted(3, lead(4, 2)), "term 4 has two leaders: node 1, and node 2");
    }

    #[test]
    fn a_leader_found_on_a_disk_counts_too() {
        let mut stage = Stage::new(ElectionSafety::default());
        stage.begin(&[1, 2]);
        stage.fine(&voted(1, lead(4, 1)));
        stage.fine(&ended(2));
        stage.breaks(&started(2, Some(lead(4, 2)), &[]), "term 4 has two leaders");
    }

    #[test]
    fn a_second_vote_in_a_term_is_one_too_many() {
        let mut stage = Stage::new(ElectionSafety::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, vote(3, 1)));
        stage.breaks(&voted(1, vote(3, 2)), "node 1 votes twice in term 3: for 1 and for 2");
    }

    #[test]
    fn a_promised_vote_binds_the_next_process() {
        let mut stage = Stage::new(ElectionSafety::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, vote(3, 1)));
        stage.promise(1);
        stage.fine(&ended(1));
        stage.breaks(&started(1, Some(vote(2, 1)), &[]), "node 1 goes back from the vote for 1");
    }

    #[test]
    fn a_vote_that_nobody_relied_on_may_be_lost_in_a_crash() {
        let mut stage = Stage::new(ElectionSafety::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, vote(3, 1)));
        stage.fine(&ended(1));
        stage.fine(&started(1, None, &[]));
        stage.fine(&voted(1, vote(3, 2)));
    }

    #[test]
    fn a_new_disk_may_have_no_vote() {
        let mut stage = Stage::new(ElectionSafety::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, vote(3, 1)));
        stage.promise(1);
        stage.fine(&ended(1));
        stage.fine(&Observation::Wiped { node: 1 });
        stage.fine(&started(1, None, &[]));
    }
}
