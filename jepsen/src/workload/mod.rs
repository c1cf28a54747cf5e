//! Workloads: what clients do to the [`Workbench`], on simulated clusters and on real ones, in both modes.
//!
//! Owns [`Workload`], their names. In: a name, a seed. Out: a [`Suite`], which says what clients do, for the
//! simulation and the contrast; a [`Script`], which says so for real processes, and how the history tells it
//! and is judged. Most scripts are made of the suite ([`Suited`]); registers and sets have generators and
//! specifications of their own, one file each.
//!
//! Does not: send anything.

mod register;
mod script;
mod set;
mod suited;
mod suites;

use std::{fmt, sync::Arc};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::generator::{RegisterWorkload, SetWorkload};
use crate::machine::Workbench;
use crate::suite::Suite;

pub use register::Registers;
use script::strange;
pub use script::{Action, Evidence, Generator, Reply, Request, Script, failed};
pub use set::Elements;
pub use suited::Suited;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Read, write and compare-and-set registers: each must be linearizable.
    Register,
    /// Add unique elements to a set: none that was acknowledged may be lost.
    Set,
    /// Pay from account to account: no payment that was called done may be taken back.
    Bank,
    /// Claim names: the first to ask for one gets it, and nobody else.
    Claim,
    /// Add to counters, which nobody reads before the end: a final sum, whatever the order.
    Counter,
    /// Append to lists: all see one order.
    Append,
    /// Take and give back a lock: one at a time holds it.
    Lock,
}

impl Workload {
    /// The one whose turn it is.
    pub fn of_seed(seed: u64) -> Self {
        let all = Self::value_variants();
        let count = all.len() as u64;
        let at = usize::try_from(seed % count).unwrap_or(0);
        all[at]
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Register => "register",
            Workload::Set => "set",
            Workload::Bank => "bank",
            Workload::Claim => "claim",
            Workload::Counter => "counter",
            Workload::Append => "append",
            Workload::Lock => "lock",
        }
    }

    /// Whether its commands lead to the same state and answer the same in any order, and nobody looks
    /// on the way. Then an order that is agreed on late is as good as one agreed on before.
    pub fn commutes(self) -> bool {
        self == Workload::Counter
    }

    /// What clients do, and what is asked in the end.
    pub fn suite(self) -> Suite<Workbench> {
        suites::of(self)
    }

    /// How so many workers do it to real processes, and how that is judged.
    pub fn script(self, seed: u64, concurrency: u64) -> Arc<dyn Script> {
        match self {
            Workload::Register => Arc::new(Registers(RegisterWorkload::new(seed, concurrency))),
            Workload::Set => Arc::new(Elements(SetWorkload::new(seed, concurrency))),
            workload => Arc::new(Suited { workload, seed }),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
