//! A configuration: how far one branch of the search has come.
//!
//! Of the calls in flight, `fresh` ones are still to be ordered; `optional` ones are writes that may
//! already count as overwritten, unseen, or may yet be ordered for effect; all others are done. Of the
//! calls that nobody knows about, `used` says how many of each kind took effect: one bit each, from
//! the bottom of the kind's range up, so that "at most as many of each" is "a subset".

use std::hash::{Hash, Hasher};

use super::super::machine::NOWHERE;
use super::bits::Bits;

/// What the future depends on, and beside it how it came about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config<const L: usize, const N: usize> {
    pub(super) state: u32,
    pub(super) fresh: Bits<L>,
    pub(super) optional: Bits<L>,
    pub(super) used: Bits<N>,
    /// How many calls that nobody knows about took effect so far.
    pub(super) uses: u32,
    /// The last step of the way here.
    pub(super) step: u32,
}

impl<const L: usize, const N: usize> Config<L, N> {
    /// Whether every future of `other` is one of this too.
    ///
    /// What `other` may still order for effect, this may too; what `other` still has to order, this
    /// still can (or it is a read, which changes nothing); what `other` is done with, this need not do.
    pub(super) fn dominates(&self, other: &Self, pending: &Bits<L>, reads: &Bits<L>) -> bool {
        let done = pending.without(&self.fresh).without(&self.optional);
        let other_done = pending.without(&other.fresh).without(&other.optional);
        self.state == other.state
            && other.optional.within(&self.optional)
            && other.fresh.and(&done).within(reads)
            && other_done.and(&self.fresh).is_empty()
            && self.used.within(&other.used)
    }

    /// What to try first: few crashed calls used, few obligations, many options.
    pub(super) fn rank(&self) -> u32 {
        let options = self.optional.count();
        4 * self.uses + 2 * self.fresh.count() + 256 - options.min(256)
    }
}

impl<const L: usize, const N: usize> PartialEq for Config<L, N> {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
            && self.fresh == other.fresh
            && self.optional == other.optional
            && self.used == other.used
    }
}

impl<const L: usize, const N: usize> Eq for Config<L, N> {}

impl<const L: usize, const N: usize> Hash for Config<L, N> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u32(self.state);
        self.fresh.hash(hasher);
        self.optional.hash(hasher);
        self.used.hash(hasher);
    }
}

/// Keeps `width` configurations, of each state the most promising ones. They stand by state and rank.
pub(super) fn narrow<const L: usize, const N: usize>(
    configs: &mut Vec<Config<L, N>>,
    width: usize,
) {
    // Those of equal place within their states come together.
    let mut places = Vec::with_capacity(configs.len());
    let mut place = (NOWHERE, 0_u32);
    for (at, config) in configs.iter().enumerate() {
        place = match place.0 == config.state {
            true => (config.state, place.1 + 1),
            false => (config.state, 0),
        };
        places.push((place.1, config.rank(), at));
    }
    places.sort_unstable();
    places.truncate(width);
    let mut kept: Vec<usize> = places.into_iter().map(|(_, _, at)| at).collect();
    kept.sort_unstable();
    *configs = kept.into_iter().map(|at| configs[at]).collect();
}

/// Where the call in this slot is optional, decides: it is in the past, unseen, or still to come.
pub(super) fn settle<const L: usize, const N: usize>(configs: &mut Vec<Config<L, N>>, slot: usize) {
    for at in 0..configs.len() {
        let config = &mut configs[at];
        if config.optional.has(slot) {
            config.optional = config.optional.without(&Bits::one(slot));
            let mut still_to_come = *config;
            still_to_come.fresh.insert(slot);
            configs.push(still_to_come);
        }
    }
}
