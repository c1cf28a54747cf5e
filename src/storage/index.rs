//! Where the entries of the write-ahead log are.
//!
//! Owns [`Index`]: the files, and for each entry its place in them. It follows what records say, both those of a
//! scan and those just written.
//!
//! Invariants
//! - Later entries have later places: what is truncated is written anew behind it.
//! - A file is needed while an entry is in it or before it, and the newest one always is.
//!
//! Does not: read or write.

use std::{collections::VecDeque, fs::File, ops::Range, path::PathBuf, sync::Arc};

use super::{
    LogState,
    records::{Change, Place, Said},
};

/// A file of the log, for readers to share.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Position of its first byte.
    pub(super) start: u64,
}

/// Entries that are in one file.
pub(super) struct Span {
    pub(super) segment: Segment,
    pub(super) places: Vec<Place>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: VecDeque<Segment>,
    /// Index of the first entry, if there is one.
    first: u64,
    places: VecDeque<Place>,
}

impl Index {
    pub(super) fn begin_file(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    /// Takes notice of a record, after which the log is in `state`.
    pub(super) fn follow(&mut self, said: &Said, place: Place, state: &LogState) {
        match said {
            Said::Entry(id) => {
                if self.places.is_empty() {
                    self.first = id.index;
                }
                self.places.push_back(place);
            }
            Said::Change(Change::TruncateAfter(_)) => {
                self.places.truncate(self.count_to(state.end()));
            }
            Said::Change(Change::Purge(_)) => {
                let gone = self.count_to(state.floor());
                self.places.drain(..gone);
                self.first += gone as u64;
            }
            Said::Checkpoint(_) | Said::Change(Change::Vote(_) | Change::Committed(_)) => {}
        }
    }

    /// How many entries have a lower index.
    fn count_to(&self, index: u64) -> usize {
        let count = index.saturating_sub(self.first);
        usize::try_from(count).unwrap_or(usize::MAX).min(self.places.len())
    }

    /// Forgets the files that are not needed any more.
    pub(super) fn forget_files(&mut self) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        while let Some(next) = self.segments.get(1)
            && self.places.front().is_none_or(|place| place.position >= next.start)
        {
            gone.extend(self.segments.pop_front().map(|segment| segment.path));
        }
        gone
    }

    /// Where the entries of `range` are, as far as `bytes_max` of payload allows, but at least one.
    pub(super) fn find(&self, range: &Range<u64>, bytes_max: u64) -> Vec<Span> {
        let (from, to) = (self.count_to(range.start), self.count_to(range.end));
        let (mut spans, mut bytes): (Vec<Span>, u64) = (Vec::new(), 0);
        for place in self.places.range(from..to.max(from)) {
            bytes = bytes.saturating_add(place.payload_bytes());
            if bytes > bytes_max && !spans.is_empty() {
                break;
            }
            let file = self.segments.partition_point(|segment| segment.start <= place.position);
            let segment = &self.segments[file - 1];
            match spans.last_mut() {
                Some(span) if span.segment.start == segment.start => span.places.push(*place),
                _ => spans.push(Span { segment: segment.clone(), places: vec![*place] }),
            }
        }
        spans
    }
}
