//! Durability: what was promised is not lost.
//!
//! Owns [`Durability`]. Two promises are looked at: a log tells its node that a vote and entries are
//! on disk, and a node tells a client that a write happened. A process that begins must find the
//! first, and the agreed order must contain the second, for good.
//!
//! In: what a process finds on its disk, what clients were told, the replicas at the end. Out: a
//! sentence.
//!
//! Invariants:
//! - a node may take back what it was promised, by truncating, and purge it; a disk that was thrown
//!   away owes nothing;
//! - what a process found when it began, it relies on: that is a promise too.
//!
//! Does not: ask whether more survived than was promised. It may.

use std::collections::{BTreeMap, BTreeSet};

use sixbells::storage::LogState;

use super::{
    super::observation::{End, Host, Logged, Observation, Replica},
    Account, Ledger, Oracle, words,
};

/// Sees votes, entries and acknowledged writes that were lost.
#[derive(Debug, Default)]
pub(super) struct Durability {
    writes: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    looked: u64,
}

impl Oracle for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Started { node, state, log } => {
                let Some(account) = ledger.account(*node) else { return Ok(()) };
                self.looked += 1;
                vote_is_there(*node, account, state)?;
                entries_are_there(*node, account, state, log)
            }
            Observation::Invoked { operation, write: true, .. } => {
                self.writes.insert(*operation);
                Ok(())
            }
            Observation::Completed { operation, end: End::Ok, .. } => {
                if self.writes.contains(operation) {
                    self.acknowledged.insert(*operation);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, replicas: &[Replica], ledger: &Ledger) -> Result<(), String> {
        for operation in &self.acknowledged {
            self.looked += 1;
            let Some(position) = ledger.order().position(*operation) else {
                return Err(format!(
                    "operation {operation} was told ok, and no machine has ever applied it"
                ));
            };
            if let Some(short) = replicas.iter().find(|replica| replica.position < position) {
                return Err(format!(
                    "operation {operation} was told ok and applied as command {position}, and node \
                     {} ends with {} commands",
                    short.node, short.position
                ));
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

fn vote_is_there(node: Host, account: &Account, state: &LogState) -> Result<(), String> {
    let Some(promised) = account.promised_vote() else { return Ok(()) };
    if state.vote.is_some_and(|found| found >= promised) {
        return Ok(());
    }
    Err(format!(
        "node {node} was promised {}, and found {}",
        words(Some(promised)),
        words(state.vote)
    ))
}

/// The log of the process before says what was promised, up to where it was.
fn entries_are_there(
    node: Host,
    account: &Account,
    state: &LogState,
    log: &[Logged],
) -> Result<(), String> {
    let Some(promised) = account.promised_last() else { return Ok(()) };
    let purged = |index| state.purged.is_some_and(|purged| purged.index >= index);
    let found: BTreeMap<u64, &Logged> = log.iter().map(|entry| (entry.id.index, entry)).collect();
    let known = account.log().upto(promised.index).map(|(id, held)| (id, Some(held.hash)));
    // The last one may have been purged since, and the purge lost: then its hash is not at hand.
    for (id, hash) in known.chain([(promised, None)]).filter(|(id, _)| !purged(id.index)) {
        let there = found.get(&id.index);
        let same = |entry: &&Logged| entry.id == id && hash.is_none_or(|hash| hash == entry.hash);
        if there.is_some_and(same) {
            continue;
        }
        let instead = there.map_or_else(
            || "nothing".to_owned(),
            |entry| format!("{} with hash {:x}", entry.id, entry.hash),
        );
        return Err(format!(
            "node {node} was promised all up to {promised}, and found {instead} where {id} was"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    /// Node 1 was promised a vote in term 1 and entries up to 1.2.
    fn stage_with_a_promise() -> Stage {
        let mut stage = Stage::new(Durability::default());
        stage.begin(&[1]);
        stage.fine(&voted(1, lead(1, 1)));
        stage.fine(&appended(1, &[entry(0, 0), entry(1, 1), entry(1, 2)]));
        stage.promise(1);
        stage
    }

    fn log_of_three() -> [Logged; 3] {
        [entry(0, 0), entry(1, 1), entry(1, 2)]
    }

    #[test]
    fn a_crash_may_take_what_was_not_promised() {
        let mut stage = stage_with_a_promise();
        stage.fine(&appended(1, &[entry(1, 3)]));
        stage.fine(&voted(1, vote(2, 2)));
        stage.fine(&ended(1));
        stage.fine(&started(1, Some(lead(1, 1)), &log_of_three()));
        assert_eq!(stage.looked(), 1);
    }

    #[test]
    fn a_lost_vote_is_seen() {
        let mut stage = stage_with_a_promise();
        let found = started(1, Some(vote(1, 1)), &log_of_three());
        stage.breaks(&found, "was promised the vote for 1, leader of term 1, and found the vote");
    }

    #[test]
    fn a_lost_entry_is_seen() {
        let mut stage = stage_with_a_promise();
        let found = started(1, Some(lead(1, 1)), &[entry(0, 0), entry(1, 1)]);
        stage.breaks(&found, "promised all up to 1.2, and found nothing where 1.2 was");
    }

    #[test]
    fn an_entry_that_changed_is_seen() {
        let mut stage = stage_with_a_promise();
        let found = started(1, Some(lead(1, 1)), &[entry(0, 0), other(1, 1), entry(1, 2)]);
        stage.breaks(&found, "and found 1.1 with hash 7 where 1.1 was");
    }

    /// What one process found and relied on, the next must find too, whether or not it was synced.
    #[test]
    fn what_a_process_found_is_promised_to_the_next() {
        let mut stage = Stage::new(Durability::default());
        stage.fine(&started(1, None, &[entry(0, 0)]));
        stage.fine(&ended(1));
        stage.breaks(&started(1, None, &[]), "promised all up to 0.0, and found nothing");
    }

    #[test]
    fn a_truncation_takes_its_promise_along_even_if_told_later() {
        let mut stage = stage_with_a_promise();
        stage.fine(&appended(1, &[entry(1, 3)]));
        let late = stage.state(1);
        stage.fine(&truncated(1, Some(id(1, 1))));
        stage.fine(&Observation::Promised { node: 1, state: late });
        stage.fine(&ended(1));
        stage.fine(&started(1, Some(lead(1, 1)), &[entry(0, 0), entry(1, 1)]));
    }

    #[test]
    fn an_installed_snapshot_that_was_promised_must_be_there() {
        let mut stage = stage_with_a_promise();
        stage.fine(&purged(1, id(1, 9)));
        stage.fine(&ended(1));
        stage.fine(&started(1, Some(lead(1, 1)), &log_of_three()));
        stage.fine(&purged(1, id(1, 9)));
        stage.promise(1);
        stage.fine(&ended(1));
        let found = started(1, Some(lead(1, 1)), &log_of_three());
        stage.breaks(&found, "promised all up to 1.9, and found nothing where 1.9 was");
    }

    #[test]
    fn a_disk_thrown_away_owes_nothing() {
        let mut stage = stage_with_a_promise();
        stage.fine(&ended(1));
        stage.fine(&Observation::Wiped { node: 1 });
        stage.fine(&started(1, None, &[]));
    }

    /// A write that was told ok and applied, at 1.
    fn stage_with_an_acknowledged_write() -> Stage {
        let mut stage = Stage::new(Durability::default());
        stage.fine(&invoked(70));
        stage.fine(&applied(1, 1, 70));
        stage.fine(&completed(70, End::Ok));
        stage
    }

    #[test]
    fn an_acknowledged_write_that_all_replicas_have_seen_is_kept() {
        let mut stage = stage_with_an_acknowledged_write();
        stage.fine(&invoked(71));
        stage.fine(&completed(71, End::Info));
        assert_eq!(stage.finish(&[replica(1, 1, 0, 0), replica(2, 1, 0, 0)]), Ok(()));
        assert_eq!(stage.looked(), 1);
    }

    #[test]
    fn an_acknowledged_write_that_nobody_applied_is_seen() {
        let mut stage = stage_with_an_acknowledged_write();
        stage.fine(&invoked(71));
        stage.fine(&completed(71, End::Ok));
        let said = stage.finish(&[replica(1, 1, 0, 0)]).unwrap_err();
        assert!(said.contains("operation 71 was told ok, and no machine"), "{said}");
    }

    #[test]
    fn an_acknowledged_write_that_a_replica_lacks_is_seen() {
        let mut stage = stage_with_an_acknowledged_write();
        let said = stage.finish(&[replica(1, 1, 0, 0), replica(2, 0, 0, 0)]).unwrap_err();
        assert!(said.contains("node 2 ends with 0 commands"), "{said}");
    }
}
