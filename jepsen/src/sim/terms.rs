//! The terms of a simulation: what it is given, and what it leaves.
//!
//! Owns [`Settings`], the one way in, and [`Traces`] and [`Stop`], the ways out. [`Stream`] names what
//! randomness is for.
//!
//! Invariant: nothing else decides a run but its settings and its future.
//!
//! Does not: run anything; the [`world`](super::world) does.

use std::{collections::BTreeMap, fmt, time::Duration};

use sixbells::Mode;

use super::{Host, Observation, bug::Bug};

/// What a random number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Which task runs next.
    Schedule,
    /// Delays and losses of messages.
    Network,
    /// How long disks take, and what a crash leaves.
    Disk,
    /// The nodes' and clients' own randomness.
    Program,
    /// What clients do.
    Load,
    /// What breaks.
    Nemesis,
}

/// Why a simulation could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing is ready, and no timer is set: all wait for each other.
    Stalled,
    /// An observer has seen enough.
    Halted,
    /// More steps than a run may take: somebody runs in circles.
    Endless,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Stalled => "everything waits and no timer is set",
            Stop::Halted => "halted",
            Stop::Endless => "too many steps: something runs in circles",
        })
    }
}

/// Looks at what happens; `true` ends the run.
pub type Observer = Box<dyn FnMut(Duration, &Observation) -> bool>;

/// What a run left behind.
#[derive(Debug, Default)]
pub struct Traces {
    /// A hash of everything that happened, and when. Comparable within one build of the program.
    pub hash: u64,
    /// How long it took, in simulated time.
    pub simulated: Duration,
    /// How many steps it took.
    pub steps: u64,
    /// How often each thing was reached.
    pub reached: BTreeMap<&'static str, u64>,
    /// Panics of tasks: on which host, and what they said.
    pub panics: Vec<(Host, String)>,
}

/// How to run.
#[derive(Default)]
pub struct Settings {
    /// Decides everything random.
    pub seed: u64,
    /// What the cluster in it promises.
    pub mode: Mode,
    /// Whether tasks that are ready run in random order.
    pub shuffle: bool,
    /// Looks at what happens.
    pub observer: Option<Observer>,
    /// The bug that is planted in the simulation's own parts.
    pub planted: Option<Bug>,
    /// Gets a line for everything that is traced.
    pub log: Option<Box<dyn FnMut(String)>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("seed", &self.seed).finish_non_exhaustive()
    }
}
