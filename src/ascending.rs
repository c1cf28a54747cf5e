//! Things by number, where numbers are added in ascending order and mostly go in that order too.
//!
//! Owns [`Ascending`]: what a map would do, without its nodes. Invariant: memory grows with what is in it, not
//! with how long the oldest stays.
//!
//! Does not: give numbers.

use std::collections::VecDeque;

/// Gaps that are kept at most, beside as many as there are things.
const GAPS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Ascending<T> {
    /// The first one is there; of the others, what was taken left a gap.
    places: VecDeque<(u64, Option<T>)>,
    len: usize,
}

impl<T> Default for Ascending<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), len: 0 }
    }
}

impl<T> Ascending<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the thing of a number, which is larger than all before.
    pub(crate) fn push(&mut self, number: u64, thing: T) {
        self.places.push_back((number, Some(thing)));
        self.len += 1;
    }

    /// The smallest number.
    pub(crate) fn first(&self) -> Option<u64> {
        self.places.front().map(|(number, _)| *number)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(u64, T)> {
        let number = self.first()?;
        self.take(number).map(|thing| (number, thing))
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<T> {
        let at = match self.places.front()? {
            (first, _) if *first == number => 0,
            _ => self.places.binary_search_by_key(&number, |(number, _)| *number).ok()?,
        };
        let taken = self.places[at].1.take()?;
        self.len -= 1;
        while self.places.pop_front_if(|(_, thing)| thing.is_none()).is_some() {}
        if self.places.len() > 2 * self.len + GAPS_MAX {
            self.places.retain(|(_, thing)| thing.is_some());
        }
        Some(taken)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.places.iter().filter_map(|(number, thing)| Some((*number, thing.as_ref()?)))
    }

    pub(crate) fn into_things(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|(_, thing)| thing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn it_holds_what_a_map_holds_and_few_gaps() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut map, mut same) = (BTreeMap::new(), Ascending::default());
        for number in 0..20_000_u64 {
            map.insert(number, number);
            same.push(number, number);
            let other = rng.random_range(0..=number);
            assert_eq!(same.take(other), map.remove(&other));
            // The oldest stays for long, but not for ever.
            if number % 5_000 == 0 {
                assert_eq!(same.pop_first(), map.pop_first());
            }
            for _ in 0..rng.random_range(0..3) {
                let newest = map.last_key_value().map_or(0, |(number, _)| *number);
                assert_eq!(same.take(newest), map.remove(&newest));
            }
            assert_eq!((same.len(), same.is_empty()), (map.len(), map.is_empty()));
            assert!(same.places.len() <= 2 * same.len() + GAPS_MAX);
        }
        assert!(same.iter().eq(map.iter().map(|(number, thing)| (*number, thing))));
        assert!(same.into_things().eq(map.into_values()));
    }
}
