//! Stamps: when an operation happened, as far as a replica could tell.
//!
//! Owns the hybrid logical clock (Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in
//! Globally Distributed Databases", OPODIS 2014): near the wall clock, and always after everything
//! that was heard of. A [`Stamp`] is one number, 48 bits of milliseconds since 1970 and 16 bits that
//! count within one.
//!
//! In: readings of the wall clock, and the stamps of others. Out: stamps, each larger than all before.
//!
//! Invariants
//! - A stamp that was given is larger than every stamp given or observed before it.
//! - A stamp is given only below the ceiling, which is durable: so after a restart, whatever the wall
//!   clock says by then, none is given twice and none is given that was promised not to be.
//!
//! Does not: read a clock, or write the ceiling down.

use std::fmt;

/// How many bits count within a millisecond.
const COUNT_BITS: u32 = 16;

/// See the module.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    pub(crate) fn at(wall_ms: u64) -> Self {
        Self(wall_ms << COUNT_BITS)
    }

    pub(crate) fn wall_ms(self) -> u64 {
        self.0 >> COUNT_BITS
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall_ms(), self.0 & ((1 << COUNT_BITS) - 1))
    }
}

/// One replica's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    last: Stamp,
    promised: Stamp,
    ceiling: Stamp,
}

impl Clock {
    /// A clock that never gave a stamp beyond this ceiling.
    pub(crate) fn new(ceiling: Stamp) -> Self {
        Self { last: ceiling, promised: ceiling, ceiling }
    }

    /// The next stamp, if it is below the ceiling.
    pub(crate) fn next(&mut self, wall_ms: u64) -> Option<Stamp> {
        let next = self.reading(wall_ms);
        (next < self.ceiling).then(|| {
            self.last = next;
            next
        })
    }

    /// From now on, stamps are larger than this one.
    pub(crate) fn observe(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
    }

    /// Promises to give no stamp up to the one returned. Not beyond the ceiling, for a promise must
    /// outlive a crash.
    pub(crate) fn promise(&mut self, wall_ms: u64) -> Stamp {
        let promised = Stamp(self.reading(wall_ms).0 - 1).min(self.ceiling);
        self.observe(promised);
        self.promised = self.promised.max(promised);
        promised
    }

    /// The last promise.
    pub(crate) fn promised(&self) -> Stamp {
        self.promised
    }

    /// The largest stamp given or observed.
    pub(crate) fn last(&self) -> Stamp {
        self.last
    }

    /// What would be the next stamp.
    pub(crate) fn reading(&self, wall_ms: u64) -> Stamp {
        Stamp::at(wall_ms).max(Stamp(self.last.0.saturating_add(1)))
    }

    pub(crate) fn ceiling(&self) -> Stamp {
        self.ceiling
    }

    /// The ceiling is durable up to here.
    pub(crate) fn raise(&mut self, ceiling: Stamp) {
        self.ceiling = self.ceiling.max(ceiling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        let mut clock = Clock::new(Stamp(0));
        clock.raise(Stamp::at(1_000_000));
        clock
    }

    #[test]
    fn a_stamp_is_larger_than_all_before_it_though_the_wall_clock_goes_back() {
        let mut clock = clock();
        let mut last = Stamp(0);
        for wall in [50, 50, 51, 10, 10, 60] {
            let next = clock.next(wall).unwrap();
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert_eq!(last, Stamp::at(60));
    }

    #[test]
    fn whoever_has_heard_of_a_stamp_gives_a_larger_one() {
        let mut clock = clock();
        clock.observe(Stamp::at(500));
        assert!(clock.next(20).unwrap() > Stamp::at(500));
    }

    #[test]
    fn no_stamp_is_given_up_to_a_promise() {
        let mut clock = clock();
        let promised = clock.promise(100);
        assert!(clock.next(90).unwrap() > promised);
        assert!(clock.promise(90) >= promised, "a promise is not taken back");
    }

    /// A node heard of a stamp far ahead, and promised; it may only promise what a restart keeps.
    #[test]
    fn no_promise_goes_beyond_the_ceiling() {
        let mut clock = clock();
        clock.observe(Stamp::at(5_000_000));
        assert_eq!(clock.promise(100), Stamp::at(1_000_000));
    }

    /// No clock says such a thing, but a message may.
    #[test]
    fn behind_the_last_stamp_of_all_there_is_none() {
        let mut clock = clock();
        clock.observe(Stamp(u64::MAX));
        assert_eq!(clock.next(20), None);
    }

    /// The node gave stamps, its wall clock was set back, and it restarted.
    #[test]
    fn after_a_restart_no_stamp_is_given_again() {
        let mut before = Clock::new(Stamp(0));
        before.raise(Stamp::at(1_000));
        let last = before.next(999).unwrap();
        assert_eq!(before.next(1_000), None, "beyond the ceiling");
        let mut after = Clock::new(before.ceiling());
        assert_eq!(after.next(5), None, "until the ceiling is raised");
        after.raise(Stamp::at(2_000));
        assert!(after.next(5).unwrap() > last);
    }
}
