//! The elements that wait in a queue, cheap to copy and to change in the copy.
//!
//! A replay keeps a state per call, so a queue of many must not be copied to add one at its end or
//! take one from its front. The elements lie in chunks that copies share: a change copies at most one
//! chunk, and the list of chunks.
//!
//! Invariants:
//! - no chunk is empty; `gone` elements of the first chunk, not all, have been taken;
//! - equality and hash are those of the waiting elements, however they are cut.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::datum::Datum;

/// A full chunk is followed by another. Of 100,000 elements, 200 chunks are copied per change.
const CHUNK_MAX: usize = 512;

/// How many elements of each end are hashed: enough to tell states apart, however many wait.
const HASHED: usize = 8;

/// Elements in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Line {
    chunks: Vec<Arc<Vec<Datum>>>,
    gone: usize,
    len: usize,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The one that came first.
    pub(super) fn first(&self) -> Option<Datum> {
        self.chunks.first().map(|chunk| chunk[self.gone])
    }

    /// The same with this one at the end.
    pub(super) fn with(&self, element: Datum) -> Self {
        let mut next = self.clone();
        match next.chunks.last_mut().filter(|last| last.len() < CHUNK_MAX) {
            Some(last) => {
                let mut chunk = Vec::with_capacity(last.len() + 1);
                chunk.extend_from_slice(last);
                chunk.push(element);
                *last = Arc::new(chunk);
            }
            None => next.chunks.push(Arc::new(vec![element])),
        }
        next.len += 1;
        next
    }

    /// The same without the first; none waits where none did.
    pub(super) fn without_first(&self) -> Self {
        let mut next = self.clone();
        let Some(first) = self.chunks.first() else { return next };
        next.gone += 1;
        if next.gone == first.len() {
            next.chunks.remove(0);
            next.gone = 0;
        }
        next.len -= 1;
        next
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = Datum> + '_ {
        let cut = |(at, chunk): (usize, &'_ Arc<Vec<Datum>>)| {
            let gone = if at == 0 { self.gone } else { 0 };
            (gone, Arc::clone(chunk))
        };
        let chunks = self.chunks.iter().enumerate().map(cut);
        chunks.flat_map(|(gone, chunk)| (gone..chunk.len()).map(move |at| chunk[at]))
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for Line {}

impl Hash for Line {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.len.hash(hasher);
        let ends = self.iter().take(HASHED).chain(self.iter().rev().take(HASHED));
        ends.for_each(|element| element.hash(hasher));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn it_holds_what_an_ordinary_queue_holds() {
        let mut line = Line::default();
        let mut ordinary = VecDeque::new();
        for step in 0..20_000_i32 {
            // Mostly filled in the first half, mostly emptied in the second, and beyond.
            if step.rem_euclid(3) == i32::from(step < 10_000) {
                line = line.without_first();
                ordinary.pop_front();
            } else if step < 10_000 || step.rem_euclid(5) == 0 {
                line = line.with(Datum::from(step));
                ordinary.push_back(Datum::from(step));
            } else {
                line = line.without_first();
                ordinary.pop_front();
            }
            assert_eq!((line.len(), line.first()), (ordinary.len(), ordinary.front().copied()));
            if step % 1000 == 0 {
                assert!(line.iter().eq(ordinary.iter().copied()));
                let again = ordinary.iter().fold(Line::default(), |line, one| line.with(*one));
                assert_eq!(line, again);
                assert_ne!(line, again.with(Datum::NIL));
            }
        }
        assert_eq!(line, Line::default());
    }
}
