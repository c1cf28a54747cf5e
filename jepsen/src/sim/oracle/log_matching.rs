//! Log matching: two logs with an entry of the same index and term agree up to there.
//!
//! Owns [`LogMatching`]. It holds by induction: an index and a term mean one content and one
//! predecessor, in any log at any time, so it is enough to compare each entry once, as it is written.
//!
//! In: entries appended and found. Out: a sentence.
//!
//! Invariants:
//! - a log has no hole: an entry follows the last one, or what was purged, or is the first of all;
//! - terms never fall along a log;
//! - what a position meant once it means forever, also if every copy was lost in a crash: only the
//!   leader of the term may name it, and a leader that forgets its log does not lead that term again.
//!
//! Does not: ask who holds an entry, or whether it is committed.

use std::collections::BTreeMap;

use sixbells::storage::LogId;

use super::{
    super::observation::{Host, Logged, Observation},
    Ledger, Oracle,
};

/// Sees an index and a term that mean two things, and logs with holes.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    meanings: BTreeMap<LogId, Meaning>,
    looked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Meaning {
    hash: u64,
    before: Option<LogId>,
    node: Host,
}

impl Oracle for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String> {
        match seen {
            Observation::Appended { node, entries } => {
                let last = ledger.account(*node).and_then(|account| account.log().state().last);
                self.follow(*node, last, entries)?;
                Ok(())
            }
            Observation::Started { node, state, log } => {
                let last = self.follow(*node, state.purged, log)?;
                if last == state.last {
                    return Ok(());
                }
                Err(format!(
                    "node {node} began with a log that should end {}, and ends {}",
                    place(state.last),
                    place(last)
                ))
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}

impl LogMatching {
    /// The last of the entries, each of which must follow the one before it, in a log that held
    /// entries up to `last`.
    fn follow(
        &mut self,
        node: Host,
        mut last: Option<LogId>,
        entries: &[Logged],
    ) -> Result<Option<LogId>, String> {
        for entry in entries {
            let id = entry.id;
            let next = last.map_or(0, |last| last.index.saturating_add(1));
            if id.index != next || last.is_some_and(|last| last.term > id.term) {
                return Err(format!("node {node} holds {id} in a log that ended {}", place(last)));
            }
            self.means(node, entry, last)?;
            last = Some(id);
        }
        Ok(last)
    }

    fn means(&mut self, node: Host, entry: &Logged, before: Option<LogId>) -> Result<(), String> {
        self.looked += 1;
        let id = entry.id;
        let meaning = Meaning { hash: entry.hash, before, node };
        let known = *self.meanings.entry(id).or_insert(meaning);
        if known.hash != entry.hash {
            return Err(format!(
                "{id} means two things: {:x} on node {}, {:x} on node {node}",
                known.hash, known.node, entry.hash
            ));
        }
        if known.before != before {
            return Err(format!(
                "{id} comes {} on node {}, and {} on node {node}",
                after(known.before),
                known.node,
                after(before)
            ));
        }
        Ok(())
    }
}

fn place(last: Option<LogId>) -> String {
    last.map_or_else(|| "with nothing".to_owned(), |last| format!("with {last}"))
}

fn after(before: Option<LogId>) -> String {
    before.map_or_else(|| "first".to_owned(), |before| format!("after {before}"))
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    /// A follower is overtaken by a new leader, installs a snapshot and restarts; all of it is right.
    #[test]
    fn logs_that_agree_are_silent_through_truncation_snapshot_and_restart() {
        let mut stage = Stage::new(LogMatching::default());
        stage.begin(&[1, 2]);
        stage.fine(&appended(1, &[entry(0, 0), entry(1, 1), entry(2, 2)]));
        stage.fine(&appended(2, &[entry(0, 0), entry(1, 1), entry(1, 2)]));
        stage.fine(&truncated(2, Some(id(1, 1))));
        stage.fine(&appended(2, &[entry(2, 2)]));
        stage.fine(&purged(2, id(2, 5)));
        stage.fine(&appended(2, &[entry(2, 6)]));
        stage.fine(&ended(2));
        stage.fine(&started_after(2, id(2, 5), &[entry(2, 6)]));
        stage.fine(&appended(1, &[entry(2, 3), entry(2, 4), entry(2, 5), entry(2, 6)]));
        assert_eq!(stage.looked(), 13);
    }

    #[test]
    fn an_entry_that_says_two_things_is_seen() {
        let mut stage = Stage::new(LogMatching::default());
        stage.begin(&[1, 2]);
        stage.fine(&appended(1, &[entry(0, 0), entry(1, 1)]));
        stage.breaks(&appended(2, &[entry(0, 0), other(1, 1)]), "1.1 means two things");
    }

    #[test]
    fn an_entry_with_two_predecessors_is_seen() {
        let mut stage = Stage::new(LogMatching::default());
        stage.begin(&[1, 2]);
        stage.fine(&appended(1, &[entry(0, 0), entry(1, 1), entry(2, 2)]));
        let log = [entry(0, 0), entry(0, 1), entry(2, 2)];
        stage.breaks(&appended(2, &log), "2.2 comes after 1.1 on node 1, and after 0.1 on node 2");
    }

    #[test]
    fn a_log_found_on_disk_is_compared_too() {
        let mut stage = Stage::new(LogMatching::default());
        stage.begin(&[1]);
        stage.fine(&appended(1, &[entry(0, 0)]));
        stage.breaks(&started(2, None, &[other(0, 0)]), "0.0 means two things");
    }

    #[test]
    fn a_hole_is_seen_when_it_is_written() {
        let mut stage = Stage::new(LogMatching::default());
        stage.begin(&[1, 2]);
        stage.fine(&appended(1, &[entry(0, 0)]));
        stage.breaks(&appended(1, &[entry(1, 2)]), "node 1 holds 1.2 in a log that ended with 0.0");
        stage.breaks(&appended(2, &[entry(1, 2)]), "in a log that ended with nothing");
    }

    #[test]
    fn a_term_that_falls_along_a_log_is_seen() {
        let mut stage = Stage::new(LogMatching::default());
        stage.begin(&[1]);
        stage.breaks(&appended(1, &[entry(2, 0), entry(1, 1)]), "holds 1.1 in a log that ended");
    }

    #[test]
    fn a_log_that_ends_elsewhere_than_it_says_is_seen() {
        let mut stage = Stage::new(LogMatching::default());
        let state = sixbells::storage::LogState { last: Some(id(1, 3)), ..Default::default() };
        let found = Observation::Started { node: 1, state, log: vec![entry(0, 0)] };
        stage.breaks(&found, "should end with 1.3, and ends with 0.0");
    }
}
