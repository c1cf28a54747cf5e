//! The elements of a set, cheap to copy and to change in the copy.
//!
//! A replay keeps a state per call, so adding one element to a set of many must not copy the many.
//! The elements lie sorted in chunks that copies share: a change copies one chunk, and the list of
//! chunks. Comparing with a sorted slice runs over whole chunks.
//!
//! Invariants:
//! - elements are strictly ascending, within and across chunks; no chunk is empty;
//! - equality and hash are those of the elements, however they are cut;
//! - `sum` adds up the mixed words of the elements, so different sets seldom get as far as being
//!   compared element by element.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::datum::Datum;

/// A full chunk is halved. Of 100,000 elements, 200 chunks and 4 KiB are copied per change.
const CHUNK_MAX: usize = 1024;

/// A sorted set of data.
#[derive(Clone, Debug, Default)]
pub struct Elements {
    chunks: Vec<Arc<Vec<Datum>>>,
    len: usize,
    sum: u64,
}

/// Spreads a word over all bits (the finalizer of splitmix64).
fn mixed(element: Datum) -> u64 {
    let mut word = element.bits().wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Elements {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether this one is among them.
    pub(super) fn contains(&self, element: Datum) -> bool {
        let chunk = self.chunks.get(self.chunk_of(element));
        chunk.is_some_and(|chunk| chunk.binary_search(&element).is_ok())
    }

    /// The same with this one, which may be there already.
    pub(super) fn with(&self, element: Datum) -> Self {
        let mut next = self.clone();
        if self.chunks.is_empty() {
            next.chunks.push(Arc::new(vec![element]));
        } else {
            let at = self.chunk_of(element).min(self.chunks.len() - 1);
            let Err(place) = self.chunks[at].binary_search(&element) else { return next };
            let mut chunk = Vec::with_capacity(self.chunks[at].len() + 1);
            chunk.extend_from_slice(&self.chunks[at][..place]);
            chunk.push(element);
            chunk.extend_from_slice(&self.chunks[at][place..]);
            if chunk.len() > CHUNK_MAX {
                let upper = chunk.split_off(CHUNK_MAX / 2);
                next.chunks.insert(at + 1, Arc::new(upper));
            }
            next.chunks[at] = Arc::new(chunk);
        }
        next.len += 1;
        next.sum = next.sum.wrapping_add(mixed(element));
        next
    }

    /// The same without this one, which may not be there.
    pub(super) fn without(&self, element: Datum) -> Self {
        let mut next = self.clone();
        let at = self.chunk_of(element);
        let place = self.chunks.get(at).and_then(|chunk| chunk.binary_search(&element).ok());
        if let Some(place) = place {
            let mut chunk = Vec::clone(&self.chunks[at]);
            chunk.remove(place);
            if chunk.is_empty() {
                next.chunks.remove(at);
            } else {
                next.chunks[at] = Arc::new(chunk);
            }
            next.len -= 1;
            next.sum = next.sum.wrapping_sub(mixed(element));
        }
        next
    }

    /// Whether they are exactly these.
    pub(super) fn are(&self, sorted: &[Datum]) -> bool {
        let mut rest = sorted;
        self.len == sorted.len()
            && self.chunks.iter().all(|chunk| {
                let (same, after) = rest.split_at(chunk.len());
                rest = after;
                same == chunk.as_slice()
            })
    }

    /// The first chunk that could hold this one: the first whose last element is not smaller.
    fn chunk_of(&self, element: Datum) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| *last < element))
    }

    fn iter(&self) -> impl Iterator<Item = Datum> + '_ {
        self.chunks.iter().flat_map(|chunk| chunk.iter().copied())
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.sum == other.sum && self.iter().eq(other.iter())
    }
}

impl Eq for Elements {}

impl Hash for Elements {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.sum);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_holds_what_an_ordinary_set_holds() {
        let mut elements = Elements::default();
        let mut ordinary: BTreeSet<Datum> = BTreeSet::new();
        for step in 0..20_000_i32 {
            let element = Datum::from(step.wrapping_mul(7919).rem_euclid(4001));
            if step % 3 == 2 {
                elements = elements.without(element);
                ordinary.remove(&element);
            } else {
                elements = elements.with(element);
                ordinary.insert(element);
            }
            assert_eq!(elements.contains(element), ordinary.contains(&element));
            assert_eq!(elements.len(), ordinary.len());
        }
        let sorted: Vec<Datum> = ordinary.into_iter().collect();
        assert!(elements.are(&sorted) && !elements.are(&sorted[1..]));
        let again = sorted.iter().rev().fold(Elements::default(), |set, one| set.with(*one));
        assert_eq!(again, elements);
        assert_ne!(again.without(sorted[0]).with(Datum::NIL), elements);
        let none = sorted.iter().fold(elements, |set, one| set.without(*one));
        assert_eq!(none, Elements::default());
    }
}
