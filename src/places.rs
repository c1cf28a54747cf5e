//! A bounded number of places, taken or not.
//!
//! Owns [`Places`]. Nobody waits for one: who finds too few is told so. That makes it two additions for each
//! request, without a lock.
//!
//! Invariant: no more is taken at once than there is.
//!
//! Does not: say what a place is.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    taken: AtomicUsize,
}

/// Places that are taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    places: &'a Places,
    count: usize,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, taken: AtomicUsize::new(0) }
    }

    /// Takes so many, if they are free.
    pub(crate) fn take(&self, count: usize) -> Option<Taken<'_>> {
        let more = |taken: usize| taken.checked_add(count).filter(|taken| *taken <= self.max);
        self.taken.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Taken { places: self, count })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(self.count, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let places = Places::new(3);
        let two = places.take(2).unwrap();
        assert!(places.take(2).is_none() && places.take(usize::MAX).is_none());
        let _one = places.take(1).unwrap();
        assert!(places.take(0).is_some());
        drop(two);
        assert!(places.take(2).is_some());
    }
}
