//! Staleness: how old what is read is.
//!
//! In: [`Sight`]. Out: of each read, how long ago the newest write had been acknowledged that it should
//! have shown, and whether it did; and how many acknowledged writes it missed.
//!
//! After Bailis et al., "Probabilistically Bounded Staleness for Practical Partial Quorums" (VLDB 2012):
//! the probability that a read is stale, by the time since the acknowledgement (t-visibility), and by
//! how many versions (k-staleness).
//!
//! Does not: say what is too old. That is for whoever uses it.

use super::Sight;

/// One read that had something to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// The read's operation.
    pub read: usize,
    /// When it was called.
    pub called: u64,
    /// How long the newest write had been acknowledged, in nanoseconds.
    pub since: u64,
    /// How many acknowledged writes it missed.
    pub missed: usize,
    /// Whether it missed the newest.
    pub stale: bool,
}

/// All reads together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staleness {
    /// One by one, by the time since the acknowledgement.
    pub ages: Vec<Age>,
}

/// Where the curve is looked at, in milliseconds.
const MARKS_MS: [u64; 10] = [0, 1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000];

impl Staleness {
    /// How many reads missed something.
    pub fn stale(&self) -> usize {
        self.ages.iter().filter(|age| age.missed > 0).count()
    }

    /// The most that one missed.
    pub fn worst(&self) -> Option<&Age> {
        self.ages.iter().filter(|age| age.missed > 0).max_by_key(|age| (age.missed, age.since))
    }

    /// The share of stale reads, by at least how many milliseconds had passed since the newest write
    /// was acknowledged. Marks that no read reached are left out.
    pub fn curve(&self) -> Vec<(u64, f64)> {
        let share = |(at, mark): (usize, &u64)| {
            let upto = MARKS_MS.get(at + 1).map_or(u64::MAX, |next| next * 1_000_000);
            let from = mark * 1_000_000;
            let reads = self.ages.iter().filter(|age| (from..upto).contains(&age.since));
            let (stale, all) = reads
                .fold((0_u32, 0_u32), |(stale, all), age| (stale + u32::from(age.stale), all + 1));
            (all > 0).then(|| (*mark, f64::from(stale) / f64::from(all)))
        };
        MARKS_MS.iter().enumerate().filter_map(share).collect()
    }
}

/// Measures all reads that say what they saw.
pub fn staleness(sight: &Sight<'_>) -> Staleness {
    let ages = sight.reads().filter_map(|(read, object, shown)| {
        let called = sight.operations[read].invoked;
        let known: Vec<_> = sight.acknowledged(object, called).collect();
        let newest = known.iter().max_by_key(|effect| effect.returned)?;
        let missed = known.iter().filter(|effect| !shown.has(effect.place)).count();
        let since = called - newest.returned.unwrap_or(called);
        Some(Age { read, called, since, missed, stale: !shown.has(newest.place) })
    });
    let mut ages: Vec<Age> = ages.collect();
    ages.sort_by_key(|age| (age.since, age.read));
    Staleness { ages }
}
