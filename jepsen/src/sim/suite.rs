//! The suites that `cargo jepsen sim` runs: what clients do, on machines of our own.
//!
//! Owns the [`register`] and [`set`] suites on the [`Workbench`]. In: a random source. Out: operations.
//!
//! Invariants: few keys, so that clients meet; values are written once, so that a read says who wrote it.
//!
//! Does not: judge. The machine itself is the specification.

use std::sync::Arc;

use rand::{RngExt, rngs::SmallRng};

use super::{record::Op, run::Suite};
use crate::machine::{Command, Query, Workbench};

fn suite(next: fn(&mut SmallRng) -> Op<Workbench>) -> Suite<Workbench> {
    Suite {
        setup: Vec::new(),
        generator: Arc::new(move |_, _| Box::new(next)),
        invariants: Vec::new(),
        checks: Vec::new(),
    }
}

/// Reads, writes and compare-and-sets of a few registers.
pub fn register() -> Suite<Workbench> {
    suite(|rng| {
        let key = rng.random_range(0..3);
        let to = rng.random_range(0..i64::MAX);
        match rng.random_range(0..10) {
            0..5 => Op::Read(Query::Register(key)),
            5..8 => Op::Write(Command::Write { key, value: to }),
            _ => Op::Write(Command::Cas { key, from: None, to }),
        }
    })
}

/// Additions to one set, and reads of all of it.
pub fn set() -> Suite<Workbench> {
    suite(|rng| match rng.random_range(0..3) {
        0 => Op::Read(Query::Set),
        _ => Op::Write(Command::Add(rng.random_range(0..i64::MAX))),
    })
}
