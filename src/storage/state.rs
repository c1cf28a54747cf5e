//! How each write changes what a log holds, and which writes are refused.
//!
//! Owns [`Op`], one write of the `LogStore` door as a value, and its effect on a [`LogState`]. The
//! memory log, the group-commit front and the engines all step through here, so that they cannot
//! disagree.
//!
//! Invariants, asserted with values because a caller that breaks one has a fault of its own:
//! - an append follows the last entry without a gap, and terms never fall;
//! - a vote is never taken back;
//! - what was purged is never truncated.
//!
//! An empty log that was never purged may begin at any index: a node restored from elsewhere does.
//!
//! Does not: hold entries, or touch a disk.

use std::{cmp::Ordering, ops::Range};

use super::{LogId, LogState, Record, Vote};

/// One write.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append(Vec<Record>),
    SaveVote(Vote),
    SaveCommitted(LogId),
    /// Removes every entry after this one.
    TruncateAfter(Option<LogId>),
    /// Removes every entry up to this one.
    Purge(LogId),
}

impl LogState {
    /// The first index that may hold an entry.
    pub(crate) fn floor(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    /// The index after the last entry; the floor if there is none.
    pub(crate) fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// The part of `range` that can hold entries.
    pub(crate) fn clip(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start.max(self.floor());
        start..range.end.min(self.end()).max(start)
    }

    /// Carries out `op`. Whether anything changed.
    pub(crate) fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::Append(records) => self.append(records),
            Op::SaveVote(vote) => self.save_vote(*vote),
            Op::SaveCommitted(committed) => self.committed = Some(*committed),
            Op::TruncateAfter(last) => return self.truncate_after(*last),
            Op::Purge(upto) => return self.purge(*upto),
        }
        true
    }

    fn append(&mut self, records: &[Record]) {
        // Checked whole before anything changes.
        self.last = records.iter().fold(self.last, |last, Record { id, .. }| {
            if let Some(last) = last {
                assert!(
                    id.index == last.index + 1 && id.term >= last.term,
                    "an append must follow the last entry: last {last}, appended {id}"
                );
            }
            Some(*id)
        });
    }

    fn save_vote(&mut self, vote: Vote) {
        if let Some(old) = self.vote {
            assert!(
                matches!(vote.partial_cmp(&old), Some(Ordering::Equal | Ordering::Greater)),
                "a vote is never taken back: saved {old:?}, now {vote:?}"
            );
        }
        self.vote = Some(vote);
    }

    /// Whether entries were removed.
    fn truncate_after(&mut self, last: Option<LogId>) -> bool {
        let end = match last {
            Some(last) => {
                assert!(
                    last.index + 1 >= self.floor(),
                    "what was purged cannot be truncated: purged {:?}, keep up to {last}",
                    self.purged
                );
                last.index + 1
            }
            None => 0,
        };
        let removes = end.max(self.floor()) < self.end();
        if removes {
            self.last = if end <= self.floor() { self.purged } else { last };
        }
        removes
    }

    /// Whether anything changed; purging again what is purged does nothing.
    fn purge(&mut self, upto: LogId) -> bool {
        if upto.index < self.floor() {
            return false;
        }
        assert!(
            self.purged.is_none_or(|purged| purged.term <= upto.term),
            "terms never fall: purged {:?}, purge up to {upto}",
            self.purged
        );
        // By index, not by id: an uncommitted entry of a later term gives way to a snapshot too.
        if upto.index >= self.end().saturating_sub(1) {
            self.last = Some(upto);
        }
        self.purged = Some(upto);
        true
    }
}

/// Takes records while their payload fits `bytes_max`, but at least one.
pub(crate) fn take_bytes(records: impl Iterator<Item = Record>, bytes_max: u64) -> Vec<Record> {
    let mut bytes = 0_u64;
    let mut taken = Vec::new();
    for record in records {
        bytes = bytes.saturating_add(record.payload.len() as u64);
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(record);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    fn record(term: u64, index: u64) -> Record {
        Record { id: id(term, index), payload: bytes::Bytes::from_static(b"abcd") }
    }

    #[test]
    fn steps_through_a_life() {
        let mut state = LogState::default();
        state.append(&[record(1, 0), record(1, 1), record(2, 2)]);
        assert!(!state.truncate_after(Some(id(9, 9))), "beyond the end: nothing to do");
        assert!(state.truncate_after(Some(id(1, 1))));
        assert_eq!(state.last, Some(id(1, 1)));
        assert!(state.purge(id(1, 0)));
        assert!(!state.purge(id(1, 0)));
        assert!(state.truncate_after(None));
        assert_eq!((state.purged, state.last), (Some(id(1, 0)), Some(id(1, 0))));
        state.append(&[record(5, 1)]);
        // A snapshot of term 4 replaces an entry of term 5 that was never committed.
        assert!(state.purge(id(4, 7)));
        assert_eq!(state.last, Some(id(4, 7)));
        assert_eq!(state.clip(&(0..100)), 8..8);
    }

    /// The leader of a term was elected by others, after this node voted for somebody else.
    #[test]
    fn a_committed_vote_replaces_one_for_a_rival() {
        let mut state = LogState::default();
        state.save_vote(Vote { term: 3, voted_for: 1, committed: false });
        state.save_vote(Vote { term: 3, voted_for: 2, committed: true });
        assert_eq!(state.vote.unwrap().voted_for, 2);
    }

    #[test]
    #[should_panic(expected = "last 1.0, appended 1.2")]
    fn a_gap_is_a_fault_of_the_caller() {
        let mut state = LogState::default();
        state.append(&[record(1, 0), record(1, 2)]);
    }

    #[test]
    #[should_panic(expected = "never taken back")]
    fn a_vote_for_a_rival_is_a_fault_of_the_caller() {
        let mut state = LogState::default();
        state.save_vote(Vote { term: 3, voted_for: 1, committed: false });
        state.save_vote(Vote { term: 3, voted_for: 2, committed: false });
    }

    #[test]
    #[should_panic(expected = "cannot be truncated")]
    fn truncating_the_purged_is_a_fault_of_the_caller() {
        let mut state = LogState::default();
        state.purge(id(1, 5));
        state.truncate_after(Some(id(1, 3)));
    }

    #[test]
    fn takes_at_least_one() {
        let records = || (0..3).map(|i| record(1, i));
        assert_eq!(take_bytes(records(), 0).len(), 1);
        assert_eq!(take_bytes(records(), 8).len(), 2);
        assert_eq!(take_bytes(records(), u64::MAX).len(), 3);
    }
}
