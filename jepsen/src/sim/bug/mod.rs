//! Planted bugs: what the simulation must find, or it proves nothing.
//!
//! Owns [`Bug`], wherever it is planted (in the library, in the simulated log, in the machine), and
//! the [`catalogue`]: for each, in which plans it can show itself, and within how many seeds it must be
//! caught.
//!
//! Invariants
//! - a bug in the library is there only if this program was built with the feature `plant`, which
//!   nothing turns on but `cargo jepsen`;
//! - the plans of a bug are plans like any other: without the bug, all of them pass.
//!
//! Does not: run anything.

use std::time::Duration;

use sixbells::Mode;

use super::{
    fault::Kind,
    log::LogBug,
    plan::{Frame, Plan},
};

macro_rules! bugs {
    ($list:ident $mode:ident: $($name:literal $bug:expr, $budget:literal, $nodes:expr, $faults:expr, $shape:expr,
        $about:literal;)*) => {
        pub(super) const $list: &[Planted] = &[$(Planted {
            name: $name, about: $about, bug: $bug, budget: $budget, faults: $faults, nodes: $nodes,
            shape: $shape, mode: sixbells::Mode::$mode,
        }),*];
    };
}

// Behind the macro, for it uses it.
#[cfg(feature = "plant")]
mod library;

/// A mistake that somebody has made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// In the library.
    #[cfg(feature = "plant")]
    Library(sixbells::plant::Bug),
    /// In the log.
    Log(LogBug),
    /// One node's machine answers otherwise than the others'.
    NondeterministicApply,
}

/// A bug, and where to look for it.
#[derive(Clone, Debug)]
pub struct Planted {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is wrong.
    pub about: &'static str,
    /// What is planted.
    pub bug: Bug,
    /// Among how many seeds one must catch it.
    pub budget: u64,
    /// The faults that can bring it to light.
    faults: &'static [Kind],
    nodes: &'static [u64],
    /// The mode in which it can show itself.
    mode: Mode,
    /// What its plans have in common.
    shape: fn(&mut Plan),
}

impl Planted {
    /// The plan in which this seed looks for the bug.
    pub fn plan(&self, seed: u64) -> Plan {
        let frame = Frame {
            nodes: self.nodes.to_vec(),
            faults: self.faults.to_vec(),
            insist: true,
            ..Frame::of(self.mode)
        };
        let mut plan = Plan::draw(seed, &frame);
        (self.shape)(&mut plan);
        plan
    }

    /// The bug of this name.
    pub fn named(name: &str) -> Option<&'static Planted> {
        catalogue().find(|planted| planted.name == name)
    }
}

impl Bug {
    /// The bug of the log, if it is one.
    pub fn of_log(self) -> Option<LogBug> {
        match self {
            Bug::Log(bug) => Some(bug),
            _ => None,
        }
    }

    /// Plants a bug of the library in everything that this thread runs from now on, in the place of
    /// the last one.
    pub fn plant(bug: Option<Bug>) {
        #[cfg(feature = "plant")]
        sixbells::plant::plant(match bug {
            Some(Bug::Library(bug)) => Some(bug),
            _ => None,
        });
        #[cfg(not(feature = "plant"))]
        let _nothing_of_the_library = bug;
    }
}

const CRASHES: &[Kind] = &[Kind::Power, Kind::Blackout, Kind::Kill, Kind::Partition];

/// More commands, sooner.
fn busy(plan: &mut Plan) {
    plan.think = Duration::from_millis(30);
    plan.operations = 200;
    plan.clients = 6;
}

/// A command now and then, so that what a cut off leader logged is not overwritten at once.
fn now_and_then(plan: &mut Plan) {
    busy(plan);
    plan.think = Duration::from_millis(400);
}

fn slow_syncs(plan: &mut Plan) {
    busy(plan);
    plan.sync = Duration::from_millis(5)..Duration::from_millis(60);
}

bugs! { OUTSIDE Strong:
    "unsynced-log" Bug::Log(LogBug::UnsyncedLog), 20, &[3], CRASHES, slow_syncs,
        "entries are promised before they are synced";
    "unsynced-vote" Bug::Log(LogBug::UnsyncedVote), 20, &[3], CRASHES, slow_syncs,
        "votes are promised before they are synced";
    "torn-tail" Bug::Log(LogBug::TornTailAccepted), 40, &[3], CRASHES, slow_syncs,
        "recovery takes a torn tail for entries";
    "damage-cut" Bug::Log(LogBug::DamageCut), 40, &[3, 5], &[Kind::Rot], busy,
        "recovery takes damage for a torn tail, and cuts it off";
    "sync-error-ignored" Bug::Log(LogBug::SyncErrorIgnored), 40, &[3],
        &[Kind::SyncFails, Kind::Power, Kind::Blackout], busy,
        "a failed sync is reported as done";
    "enospc-swallowed" Bug::Log(LogBug::EnospcSwallowed), 40, &[3],
        &[Kind::DiskFull, Kind::Power, Kind::Kill], busy,
        "a write that found no room is reported as done";
    "truncate-forgets" Bug::Log(LogBug::TruncateForgets), 300, &[3, 5],
        &[Kind::Partition, Kind::Power, Kind::Kill, Kind::Blackout], now_and_then,
        "a truncated suffix is there again after a restart";
    "nondeterministic-apply" Bug::NondeterministicApply, 10, &[3], &[Kind::Kill], busy,
        "one node applies a command otherwise";
}

/// Every bug that can be planted in this build.
pub fn catalogue() -> impl Iterator<Item = &'static Planted> {
    #[cfg(feature = "plant")]
    let library = library::STRONG.iter().chain(library::EVENTUAL);
    #[cfg(not(feature = "plant"))]
    let library: &[Planted] = &[];
    OUTSIDE.iter().chain(library)
}
