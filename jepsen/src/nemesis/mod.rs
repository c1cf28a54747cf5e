//! The nemesis: what breaks, when, and whether it really did.
//!
//! A [`Schedule`] draws faults from a seed, installs and heals them on a
//! [`Target`], and writes each step into the history. [`partition`] computes which links a partition
//! cuts; [`coverage`] counts what fired.
//!
//! Invariants:
//! - every choice comes from the seed, the nodes and the leader of the moment;
//! - at most one fault is installed at a time, and none is left when a schedule ends;
//! - each step leaves an event in the history whose `result` is `installed`, `healed`, `skipped`
//!   (with the reason) or `failed`;
//! - a fault that was requested and never fired is a gap: the run is no evidence. A partition fired
//!   only if its links held something back.
//!
//! It never touches a process or a socket itself: that is the target's part.

pub mod coverage;
pub mod partition;
pub mod schedule;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::str::FromStr;

pub use coverage::Coverage;
pub use partition::{Link, Shape};
pub use schedule::Schedule;

/// What can be asked for on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Processes die at once and are started again.
    Kill,
    /// Processes stand still and go on.
    Pause,
    /// Links are cut and healed.
    Partition,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 3] = [Fault::Kill, Fault::Pause, Fault::Partition];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Pause => "pause",
            Fault::Partition => "partition",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Fault::ALL
            .into_iter()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| format!("`{name}` is none of kill, pause, partition"))
    }
}

/// A cluster that can be broken.
///
/// An error from any method is a failure of the harness, and ends the run. All but `nodes` and
/// `leader` must be idempotent: healing starts nodes that may be running.
pub trait Target: Sync {
    /// The nodes there are, in a fixed order.
    fn nodes(&self) -> Vec<u64>;

    /// Who leads, if anybody knows. May be wrong by the time it is used.
    fn leader(&self) -> impl Future<Output = Option<u64>> + Send;

    /// Ends a process without warning, and returns once it is gone.
    fn kill(&self, node: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Starts a killed process on the data it left.
    fn start(&self, node: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Makes a process stand still.
    fn pause(&self, node: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Lets a paused process go on.
    fn resume(&self, node: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Cuts exactly these links.
    fn block(&self, links: &BTreeSet<Link>) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Lets everything through again, and returns how many bytes and connections the cut held back
    /// since [`Target::block`]: zero means that nobody noticed it.
    fn heal(&self) -> impl Future<Output = anyhow::Result<u64>> + Send;
}
