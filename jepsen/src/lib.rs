//! A Jepsen-style test kit.
//!
//! A test runs clients and a nemesis against a cluster, records a history, and lets checkers judge
//! it. The parts, in the order data flows through them:
//!
//! - [`generator`] decides what clients do to registers and sets, from a seed;
//! - [`suite`] is what clients do to any machine, and what must hold of it;
//! - [`workload`] names the suites on the [`machine`] of ours, and says how the history of real processes
//!   tells them; [`load`] sends what it says to a [`cluster`] of these;
//! - [`subject`] is any machine under test as nodes replicate it, simulated or real: it says which commands
//!   made it;
//! - [`nemesis`] decides what breaks, from a seed, and [`proxy`] cuts links;
//! - [`history`] records what happened, and reads foreign histories;
//! - [`model`] says what a correct object would have answered;
//! - [`checker`] compares the two and returns a three-valued verdict;
//! - [`journal`] keeps the operations in the machine's own types, and [`eventual`] judges them where
//!   answers may be revoked;
//! - [`replicas`] compares what the nodes hold in the end;
//! - [`sim`] runs all of that on a simulated cluster, in one thread, from one seed;
//! - [`contrast`] does so in both modes, and puts them side by side;
//! - [`report`] puts it into words, [`store`] keeps it.
//!
//! [`trial`] is one whole run. Other clusters are plugged in through [`nemesis::Target`], other
//! clients through [`history::Worker`].
//!
//! Invariants of the whole:
//! - every random choice comes from the run's seed, which every report repeats;
//! - a verdict is valid, invalid or unknown; unknown is never shown as green;
//! - a fault that never fired and a check that saw no operation are failures of the harness, not
//!   evidence.

pub mod bank;
pub mod checker;
pub mod cluster;
pub mod contrast;
mod digest;
pub mod eventual;
pub mod generator;
pub mod journal;
pub mod load;
pub mod machine;
pub mod nemesis;
pub mod observer;
pub mod proxy;
pub mod replicas;
pub mod sim;
pub mod store;
pub mod subject;
pub mod suite;
pub mod trial;
pub mod workload;

pub use sixbells_checker::{faults, history, junit, model, page, report, terminal};

/// The random source that generators draw from, in the version that they have to name.
pub use rand;
