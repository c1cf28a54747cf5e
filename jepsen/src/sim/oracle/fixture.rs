//! Fixture: a stage on which one oracle is shown what happens.
//!
//! Owns the builders of observations that the tests of all oracles share, and [`Stage`].
//!
//! Invariant: an entry built twice is the same entry; its hash is made of its position.
//!
//! Does not: hold tests.

use std::collections::BTreeSet;

use sixbells::storage::{LogId, LogState, Vote};

use super::{
    super::observation::{End, Host, Logged, Observation, Replica},
    Ledger, Oracle,
};

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

pub(super) fn vote(term: u64, voted_for: Host) -> Vote {
    Vote { term, voted_for, committed: false }
}

pub(super) fn lead(term: u64, voted_for: Host) -> Vote {
    Vote { term, voted_for, committed: true }
}

pub(super) fn entry(term: u64, index: u64) -> Logged {
    Logged { id: id(term, index), hash: term * 1_000 + index, voters: None }
}

/// An entry that says something else than [`entry`] does.
pub(super) fn other(term: u64, index: u64) -> Logged {
    Logged { hash: 7, ..entry(term, index) }
}

/// A change of the membership to these sets of voters.
pub(super) fn change(term: u64, index: u64, voters: &[&[Host]]) -> Logged {
    let voters = voters.iter().map(|set| set.iter().copied().collect::<BTreeSet<_>>()).collect();
    Logged { voters: Some(voters), ..entry(term, index) }
}

pub(super) fn started(node: Host, vote: Option<Vote>, log: &[Logged]) -> Observation {
    let last = log.last().map(|entry| entry.id);
    let state = LogState { vote, last, ..LogState::default() };
    Observation::Started { node, state, log: log.to_vec() }
}

/// A start from a log whose front went into a snapshot.
pub(super) fn started_after(node: Host, purged: LogId, log: &[Logged]) -> Observation {
    let last = log.last().map_or(purged, |entry| entry.id);
    let state = LogState { purged: Some(purged), last: Some(last), ..LogState::default() };
    Observation::Started { node, state, log: log.to_vec() }
}

pub(super) fn ended(node: Host) -> Observation {
    Observation::Ended { node }
}

pub(super) fn voted(node: Host, vote: Vote) -> Observation {
    Observation::Voted { node, vote }
}

pub(super) fn appended(node: Host, entries: &[Logged]) -> Observation {
    Observation::Appended { node, entries: entries.to_vec() }
}

pub(super) fn truncated(node: Host, last: Option<LogId>) -> Observation {
    Observation::Truncated { node, last }
}

pub(super) fn purged(node: Host, upto: LogId) -> Observation {
    Observation::Purged { node, upto }
}

pub(super) fn committed(node: Host, upto: LogId) -> Observation {
    Observation::Committed { node, upto }
}

/// The chain is made of position and command.
pub(super) fn applied(node: Host, position: u64, command: u64) -> Observation {
    Observation::Applied { node, position, command, chain: position * 1_000 + command }
}

pub(super) fn restored(node: Host, position: u64, chain: u64) -> Observation {
    Observation::Restored { node, position, chain }
}

pub(super) fn snapshot(node: Host, last: LogId, hash: u64) -> Observation {
    Observation::Snapshot { node, name: format!("{last}.snapshot"), last, hash }
}

pub(super) fn invoked(operation: u64) -> Observation {
    Observation::Invoked { client: 100, operation, write: true }
}

pub(super) fn completed(operation: u64, end: End) -> Observation {
    Observation::Completed { client: 100, operation, end }
}

pub(super) fn replica(node: Host, position: u64, chain: u64, state: u64) -> Replica {
    Replica { node, position, chain, state, applied: None }
}

/// One oracle and its ledger.
#[derive(Debug)]
pub(super) struct Stage {
    oracle: Box<dyn Oracle>,
    ledger: Ledger,
}

impl Stage {
    pub(super) fn new(oracle: impl Oracle + 'static) -> Self {
        Self { oracle: Box::new(oracle), ledger: Ledger::default() }
    }

    /// Starts nodes with empty logs.
    pub(super) fn begin(&mut self, nodes: &[Host]) {
        for node in nodes {
            self.fine(&started(*node, None, &[]));
        }
    }

    /// Shows what must be right.
    #[track_caller]
    pub(super) fn fine(&mut self, seen: &Observation) {
        assert_eq!(self.oracle.observe(seen, &self.ledger), Ok(()), "{seen:?}");
        assert_eq!(self.ledger.observe(seen), Ok(()), "{seen:?}");
    }

    /// Shows what must be wrong, and be told so.
    #[track_caller]
    pub(super) fn breaks(&mut self, seen: &Observation, sentence: &str) {
        let said = self.oracle.observe(seen, &self.ledger).unwrap_err();
        assert!(said.contains(sentence), "{said}");
    }

    /// Syncs all that a node has written.
    #[track_caller]
    pub(super) fn sync(&mut self, node: Host) {
        let state = self.state(node);
        self.fine(&Observation::Synced { node, state });
    }

    /// Tells a node that all it has written is durable, whether it is or not.
    #[track_caller]
    pub(super) fn promise(&mut self, node: Host) {
        let state = self.state(node);
        self.fine(&Observation::Promised { node, state });
    }

    /// Appends and syncs.
    #[track_caller]
    pub(super) fn store(&mut self, node: Host, entries: &[Logged]) {
        self.fine(&appended(node, entries));
        self.sync(node);
    }

    pub(super) fn state(&self, node: Host) -> LogState {
        self.ledger.account(node).map(|account| *account.log().state()).unwrap_or_default()
    }

    pub(super) fn finish(&mut self, replicas: &[Replica]) -> Result<(), String> {
        self.oracle.finish(replicas, &self.ledger)
    }

    pub(super) fn looked(&self) -> u64 {
        self.oracle.looked()
    }
}
