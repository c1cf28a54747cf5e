//! Counts and latencies, per function.
//!
//! In go operations, out comes a [`Stats`]: how many of each function ended how, and how long the
//! successful ones took. [`Stats::verdict`] refuses to call a function tested that never succeeded.
//!
//! Invariants:
//! - quantiles are exact, by the nearest rank: no buckets, no interpolation;
//! - latencies count successful operations only: a quick failure is no good service. They are
//!   absent if the history has no times.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Verdict;
use crate::history::{Clock, Operation, Outcome};

/// Counts and latencies of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// By function.
    pub functions: BTreeMap<String, FunctionStats>,
}

/// Counts and latencies of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FunctionStats {
    /// How many happened.
    pub ok: usize,
    /// How many definitely did not.
    pub fail: usize,
    /// How many nobody knows about.
    pub info: usize,
    /// How long the successful ones took.
    pub latency: Option<Latency>,
}

/// Quantiles of a latency in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half took at most this long.
    pub p50_ns: u64,
    /// 95 of a hundred took at most this long.
    pub p95_ns: u64,
    /// 99 of a hundred took at most this long.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

impl Stats {
    /// Counts the operations.
    pub fn of(operations: &[Operation], clock: Clock) -> Self {
        let mut functions: BTreeMap<String, FunctionStats> = BTreeMap::new();
        let mut latencies: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for operation in operations {
            let stats = functions.entry(operation.f.to_string()).or_default();
            match (operation.outcome, operation.returned) {
                (Outcome::Ok, returned) => {
                    stats.ok += 1;
                    let took = returned.unwrap_or(operation.invoked) - operation.invoked;
                    latencies.entry(&operation.f).or_default().push(took);
                }
                (Outcome::Fail, _) => stats.fail += 1,
                (Outcome::Info, _) => stats.info += 1,
            }
        }
        if clock == Clock::Nanoseconds {
            for (f, took) in &mut latencies {
                if let Some(stats) = functions.get_mut(*f) {
                    stats.latency = quantiles(took);
                }
            }
        }
        Self { functions }
    }

    /// How many operations ended, by outcome: ok, fail, info.
    pub fn totals(&self) -> (usize, usize, usize) {
        self.functions.values().fold((0, 0, 0), |(ok, fail, info), stats| {
            (ok + stats.ok, fail + stats.fail, info + stats.info)
        })
    }

    /// Unknown if nothing succeeded, or if some function never did: that is no evidence about it.
    pub fn verdict(&self) -> Verdict {
        let idle: Vec<&str> = self
            .functions
            .iter()
            .filter(|(_, stats)| stats.ok == 0)
            .map(|(f, _)| f.as_str())
            .collect();
        let (ok, fail, info) = self.totals();
        if ok == 0 {
            return Verdict::Unknown { why: "no operation succeeded".to_owned() };
        }
        match idle.is_empty() {
            true => Verdict::Valid { operations: ok + fail + info, partitions: 1 },
            false => Verdict::Unknown { why: format!("no {} succeeded", idle.join(" and no ")) },
        }
    }
}

fn quantiles(took: &mut [u64]) -> Option<Latency> {
    took.sort_unstable();
    // Nearest rank: the smallest value that at least `percent` of a hundred do not exceed.
    let at = |percent: usize| {
        let rank = (took.len() * percent).div_ceil(100);
        took.get(rank.saturating_sub(1)).copied()
    };
    Some(Latency { p50_ns: at(50)?, p95_ns: at(95)?, p99_ns: at(99)?, max_ns: at(100)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact() {
        let mut took: Vec<u64> = (1..=200).rev().collect();
        let latency = quantiles(&mut took).unwrap();
        assert_eq!((latency.p50_ns, latency.p95_ns), (100, 190));
        assert_eq!((latency.p99_ns, latency.max_ns), (198, 200));
        assert_eq!(quantiles(&mut [7]).unwrap().p50_ns, 7);
        assert_eq!(quantiles(&mut []), None);
    }
}
