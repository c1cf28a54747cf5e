//! Commit safety: what is committed is on the disks of a quorum, and never changes.
//!
//! Owns [`CommitSafety`]. The first node that finds an entry committed says what it is, and at that
//! moment a quorum must hold it on disk; every other node must then find the same.
//!
//! In: committed positions, truncations, purges and snapshots. Out: a sentence.
//!
//! Invariants:
//! - a quorum is one of the membership that its leader went by, and the leader's log may have been
//!   ahead of the log of the node that says so. So it is one of the membership in force at the entry,
//!   or of any that was ever written after it; of every set, if that is joint;
//! - a log that went into a snapshot counts as holding what was in it, a learner's disk does not
//!   count, and a disk thrown away since counts for what it held then;
//! - only what is committed may be purged or put into a snapshot, and nobody truncates what he found
//!   committed.
//!
//! Does not: compare machines.

use std::collections::{BTreeMap, BTreeSet};

use sixbells::storage::LogId;

use super::{
    super::observation::{Host, Observation},
    Account, Ledger, Oracle,
};

/// Sees commits without a quorum, and committed entries that change.
#[derive(Debug, Default)]
pub(super) struct CommitSafety {
    /// How far each process's log has been compared.
    compared: BTreeMap<Host, u64>,
    looked: u64,
}

impl Oracle for CommitSafety {
    fn name(&self) -> &'static str {
        "commit safety"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Started { node, .. } | Observation::Wiped { node } => {
                self.compared.remove(node);
                Ok(())
            }
            Observation::Committed { node, upto } => {
                holds(*node, *upto, ledger)?;
                self.compare(*node, *upto, ledger)?;
                self.count(*node, *upto, ledger)
            }
            Observation::Truncated { node, last } => keeps(*node, *last, ledger),
            Observation::Purged { node, upto } => is_settled(*node, "purged", *upto, ledger),
            Observation::Snapshot { node, last, .. } => {
                is_settled(*node, "put into a snapshot", *last, ledger)
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

impl CommitSafety {
    /// Compares the node's log with what the others found, as far as it has not been.
    fn compare(&mut self, node: Host, upto: LogId, ledger: &Ledger) -> Result<(), String> {
        let Some(account) = ledger.account(node) else { return Ok(()) };
        let from = self.compared.get(&node).map_or(0, |index| index.saturating_add(1));
        let log = account.log().upto(upto.index).rev().take_while(|(id, _)| id.index >= from);
        for (id, held) in log {
            let Some(settled) = ledger.settled(id.index) else { continue };
            if settled.id != id || settled.hash != held.hash {
                return Err(format!(
                    "node {node} found {id} with hash {:x} committed, where {} with hash {:x} was",
                    held.hash, settled.id, settled.hash
                ));
            }
        }
        let furthest = self.compared.entry(node).or_default();
        *furthest = upto.index.max(*furthest);
        Ok(())
    }

    /// Asks for a quorum, if this node is the first that goes so far.
    fn count(&mut self, node: Host, upto: LogId, ledger: &Ledger) -> Result<(), String> {
        if ledger.settled(upto.index).is_some() {
            return Ok(());
        }
        let held = ledger.account(node).and_then(|account| account.log().entry(upto.index));
        let (Some(held), Some(voters)) = (held, ledger.voters(node, upto.index)) else {
            return Ok(());
        };
        self.looked += 1;
        let vouchers = ledger.vouchers(upto, held.hash);
        let mut memberships = std::iter::once(voters).chain(ledger.voters_after(upto.index));
        if memberships.any(|voters| is_quorum(&vouchers, voters)) {
            return Ok(());
        }
        Err(format!(
            "node {node} found {upto} committed, but it is on the disks of {vouchers:?} only, \
             which is no quorum of {voters:?}"
        ))
    }
}

/// Whether every set of a membership has more than half of its voters among `nodes`.
fn is_quorum(nodes: &BTreeSet<Host>, voters: &[BTreeSet<Host>]) -> bool {
    voters.iter().all(|set| set.intersection(nodes).count() > set.len() / 2)
}

fn holds(node: Host, upto: LogId, ledger: &Ledger) -> Result<(), String> {
    let log = ledger.account(node).map(Account::log);
    if log.is_some_and(|log| log.purged(upto.index)) {
        return is_settled(node, "found committed and had purged", upto, ledger);
    }
    let held = log.and_then(|log| log.entry(upto.index));
    if held.is_some_and(|held| held.term == upto.term) {
        return Ok(());
    }
    let instead = held.map_or_else(
        || "nothing".to_owned(),
        |held| LogId { term: held.term, index: upto.index }.to_string(),
    );
    Err(format!("node {node} found {upto} committed, and holds {instead} there"))
}

fn keeps(node: Host, last: Option<LogId>, ledger: &Ledger) -> Result<(), String> {
    let Some(account) = ledger.account(node) else { return Ok(()) };
    let Some(committed) = account.committed() else { return Ok(()) };
    let kept = last.is_some_and(|last| last.index >= committed.index);
    if kept || account.log().purged(committed.index) {
        return Ok(());
    }
    let end = last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
    Err(format!("node {node} cut its log back to {end}, and had found {committed} committed"))
}

fn is_settled(node: Host, done: &str, id: LogId, ledger: &Ledger) -> Result<(), String> {
    match ledger.settled(id.index) {
        Some(settled) if settled.id == id => Ok(()),
        Some(settled) => {
            Err(format!("node {node} {done} {id}, where {} was committed", settled.id))
        }
        None => Err(format!("node {node} {done} {id}, which nobody had found committed")),
    }
}

#[cfg(test)]
#[path = "commit_safety_test.rs"]
mod tests;
