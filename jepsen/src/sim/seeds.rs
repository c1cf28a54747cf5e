//! Many seeds, on all cores.
//!
//! Owns [`each`]: a seed after the other, each on some thread. In: seeds and what to do with one.
//! Out: the results, in the order of the seeds.
//!
//! Invariants: results do not depend on the number of threads, but for where an early end falls: once
//! a result asks for it, no seed behind it is begun.
//!
//! Does not: share anything between runs. A simulation lives in one thread.

use std::{
    num::NonZero,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// As many threads as there are cores.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does something with each seed, on `jobs` threads. `enough` looks at each result as it comes, in
/// no order; once it says so, no further seed is begun.
pub fn each<T: Send>(
    seeds: Range<u64>,
    jobs: usize,
    run: impl Fn(u64) -> T + Sync,
    enough: impl Fn(u64, &T) -> bool + Sync,
) -> Vec<(u64, T)> {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let results = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return;
            }
            let result = run(seed);
            if enough(seed, &result) {
                end.fetch_min(seed, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((seed, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(seed, _)| *seed);
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_is_run_once_and_in_order_and_no_further_than_enough() {
        let all = each(3..50, 4, |seed| seed * 2, |_, _| false);
        assert_eq!(all, (3..50).map(|seed| (seed, seed * 2)).collect::<Vec<_>>());
        let some = each(0..1_000_000, 2, |seed| seed, |seed, _| seed == 10);
        assert!(some.len() >= 11 && some.len() < 100, "{}", some.len());
    }
}
