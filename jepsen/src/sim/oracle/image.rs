//! Image: what one log holds, as observed from outside.
//!
//! Owns [`Image`], the content of a log as far as oracles care (positions and hashes), and
//! [`Write`], one change of it. A node has two: the one that it reads, and the one that a power loss
//! would leave. The second follows the first through the same writes, later.
//!
//! In: writes. Out: entries by index, and the [`LogState`].
//!
//! Invariants:
//! - a write has the effect that the door `LogStore` gives it: purging beyond the end leaves an empty
//!   log that goes on from there, truncating beyond the end changes nothing;
//! - entries are kept after the purged position and up to the last one only.
//!
//! Does not: refuse anything. Whether a write was right is what oracles judge.

use std::collections::BTreeMap;

use sixbells::storage::{LogId, LogState, Vote};

use super::super::observation::Logged;

/// What is known of an entry, apart from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Term of the leader that proposed it.
    pub term: u64,
    /// A hash of what it says.
    pub hash: u64,
}

/// One change of a log, an append entry by entry: a sync may end between two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Write {
    /// The vote.
    Vote(Vote),
    /// An entry at the end, and the hash of what it says.
    Entry(LogId, u64),
    /// What comes after this entry goes.
    Truncate(Option<LogId>),
    /// What comes up to this entry goes.
    Purge(LogId),
}

impl Write {
    /// What this write makes of what a log says of itself.
    pub(super) fn step(self, state: &mut LogState) {
        match self {
            Write::Vote(vote) => state.vote = Some(vote),
            Write::Entry(id, _) => state.last = Some(id),
            Write::Truncate(last) => {
                let keep = later(last, state.purged);
                if index(keep) < index(state.last) {
                    state.last = keep;
                }
            }
            Write::Purge(upto) if index(state.purged) < Some(upto.index) => {
                state.purged = Some(upto);
                state.last = later(state.last, Some(upto));
            }
            Write::Purge(_) => {}
        }
    }
}

/// The content of one log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    state: LogState,
    entries: BTreeMap<u64, Held>,
}

impl Image {
    /// What a process found on its disk.
    pub(super) fn found(state: &LogState, log: &[Logged]) -> Self {
        let held =
            |entry: &Logged| (entry.id.index, Held { term: entry.id.term, hash: entry.hash });
        Self { state: *state, entries: log.iter().map(held).collect() }
    }

    /// Carries out one write.
    pub(super) fn write(&mut self, write: Write) {
        write.step(&mut self.state);
        match write {
            Write::Entry(id, hash) => {
                self.entries.insert(id.index, Held { term: id.term, hash });
            }
            Write::Truncate(_) => {
                let end = self.state.last.map_or(0, |last| last.index.saturating_add(1));
                drop(self.entries.split_off(&end));
            }
            Write::Purge(upto) => {
                self.entries = self.entries.split_off(&upto.index.saturating_add(1));
            }
            Write::Vote(_) => {}
        }
    }

    /// What the log says of itself. Its committed position is that of the start.
    pub fn state(&self) -> &LogState {
        &self.state
    }

    /// The entry at an index, if it is there and not purged.
    pub fn entry(&self, index: u64) -> Option<Held> {
        self.entries.get(&index).copied()
    }

    /// The entries up to and including `index`, in order.
    pub fn upto(&self, index: u64) -> impl DoubleEndedIterator<Item = (LogId, Held)> {
        self.entries
            .range(..=index)
            .map(|(index, held)| (LogId { term: held.term, index: *index }, *held))
    }

    /// Whether the entry at `index` went into a snapshot.
    pub fn purged(&self, index: u64) -> bool {
        self.state.purged.is_some_and(|purged| purged.index >= index)
    }

    /// Whether the log holds this very entry, or has purged what was at its place.
    pub fn covers(&self, id: LogId) -> bool {
        self.purged(id.index) || self.entry(id.index).is_some_and(|held| held.term == id.term)
    }

    /// The same, the content of the entry included.
    pub fn covers_content(&self, id: LogId, hash: u64) -> bool {
        self.purged(id.index) || self.entry(id.index) == Some(Held { term: id.term, hash })
    }
}

/// Which of two positions is further on; the second if neither is.
pub(super) fn later(one: Option<LogId>, other: Option<LogId>) -> Option<LogId> {
    if index(one) > index(other) { one } else { other }
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    fn image_of_three() -> Image {
        let mut image = Image::default();
        for index in 0..3 {
            image.write(Write::Entry(id(1, index), index));
        }
        image
    }

    /// An installed snapshot is often beyond the end of the log: it leaves nothing but its position.
    #[test]
    fn purging_beyond_the_end_leaves_an_empty_log_that_goes_on_from_there() {
        let mut image = image_of_three();
        image.write(Write::Purge(id(2, 7)));
        assert_eq!((image.state().purged, image.state().last), (Some(id(2, 7)), Some(id(2, 7))));
        assert_eq!(image.upto(u64::MAX).count(), 0);
        assert!(image.covers(id(2, 6)) && !image.covers(id(2, 8)));
    }

    #[test]
    fn truncating_keeps_what_came_before_and_what_was_purged() {
        let mut image = image_of_three();
        image.write(Write::Truncate(Some(id(1, 9))));
        assert_eq!(image.state().last, Some(id(1, 2)));
        image.write(Write::Purge(id(1, 0)));
        image.write(Write::Truncate(None));
        assert_eq!(image.state().last, Some(id(1, 0)));
        assert_eq!(image.entry(1), None);
    }
}
