//! Planted bugs: what the simulation must find, or it proves nothing.
//!
//! Owns [`Bug`], wherever it is planted (in the library, in the simulated log, in the machine), and
//! the [`CATALOGUE`]: for each, in which plans it can show itself, and within how many seeds it must be
//! caught.
//!
//! Invariants
//! - a bug in the library is there only if this program was built with the feature `plant`, which
//!   nothing turns on but `cargo jepsen`;
//! - the plans of a bug are plans like any other: without the bug, all of them pass.
//!
//! Does not: run anything.

use std::time::Duration;

use super::{
    fault::Kind,
    log::LogBug,
    plan::{Frame, Plan},
};

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
            ..Frame::default()
        };
        let mut plan = Plan::draw(seed, &frame);
        (self.shape)(&mut plan);
        plan
    }

    /// The bug of this name.
    pub fn named(name: &str) -> Option<&'static Planted> {
        CATALOGUE.iter().find(|planted| planted.name == name)
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

fn as_drawn(_plan: &mut Plan) {}

/// Snapshots all the time, and a short log behind them.
fn many_snapshots(plan: &mut Plan) {
    plan.limits.snapshot_entries = 5;
    plan.limits.log_keep_entries = 0;
}

/// More commands, sooner.
fn busy(plan: &mut Plan) {
    plan.think = Duration::from_millis(30);
    plan.operations = 200;
    plan.clients = 6;
}

fn slow_syncs(plan: &mut Plan) {
    busy(plan);
    plan.sync = Duration::from_millis(5)..Duration::from_millis(60);
}

fn many_snapshots_and_retries(plan: &mut Plan) {
    many_snapshots(plan);
    busy(plan);
    plan.limits.sessions_max = 1_000;
}

fn few_sessions(plan: &mut Plan) {
    busy(plan);
    plan.limits.sessions_max = 3;
}

macro_rules! catalogue {
    ($($(#[$cfg:meta])? $name:literal $bug:expr, $budget:literal, $nodes:expr, $faults:expr, $shape:expr,
        $about:literal;)*) => {
        /// Every bug that can be planted.
        pub const CATALOGUE: &[Planted] = &[$($(#[$cfg])? Planted {
            name: $name, about: $about, bug: $bug, budget: $budget, faults: $faults, nodes: $nodes,
            shape: $shape,
        }),*];
    };
}

#[cfg(feature = "plant")]
use sixbells::plant::Bug as Lib;

catalogue! {
    "unsynced-log" Bug::Log(LogBug::UnsyncedLog), 20, &[3], CRASHES, slow_syncs,
        "entries are promised before they are synced";
    "unsynced-vote" Bug::Log(LogBug::UnsyncedVote), 20, &[3], CRASHES, slow_syncs,
        "votes are promised before they are synced";
    "torn-tail" Bug::Log(LogBug::TornTailAccepted), 40, &[3], CRASHES, slow_syncs,
        "recovery takes a torn tail for entries";
    "sync-error-ignored" Bug::Log(LogBug::SyncErrorIgnored), 40, &[3],
        &[Kind::SyncFails, Kind::Power, Kind::Blackout], busy,
        "a failed sync is reported as done";
    "enospc-swallowed" Bug::Log(LogBug::EnospcSwallowed), 40, &[3],
        &[Kind::DiskFull, Kind::Power, Kind::Kill], busy,
        "a write that found no room is reported as done";
    "truncate-forgets" Bug::Log(LogBug::TruncateForgets), 100, &[3, 5],
        &[Kind::Partition, Kind::Power, Kind::Kill, Kind::Blackout], busy,
        "a truncated suffix is there again after a restart";
    #[cfg(feature = "plant")]
    "vote-forgotten" Bug::Library(Lib::VoteForgotten), 40, &[3], CRASHES, as_drawn,
        "a restarted log does not know for whom it voted";
    "nondeterministic-apply" Bug::NondeterministicApply, 10, &[3], &[Kind::Kill], busy,
        "one node applies a command otherwise";
    #[cfg(feature = "plant")]
    "ack-before-quorum" Bug::Library(Lib::AckBeforeQuorum), 40, &[3, 5],
        &[Kind::Partition, Kind::Power, Kind::Blackout], busy,
        "a follower that did not answer is counted";
    #[cfg(feature = "plant")]
    "committed-too-far" Bug::Library(Lib::CommittedTooFar), 60, &[3], CRASHES, busy,
        "a restarted node takes its whole log for committed";
    #[cfg(feature = "plant")]
    "leader-restore" Bug::Library(Lib::LeaderRestore), 100, &[3],
        &[Kind::Power, Kind::Kill, Kind::Blackout], slow_syncs,
        "a restarted leader goes on in its old term";
    #[cfg(feature = "plant")]
    "local-read" Bug::Library(Lib::LocalRead), 20, &[3], &[Kind::Partition, Kind::Pause], busy,
        "a read is answered from the state as it is here";
    #[cfg(feature = "plant")]
    "read-point-skipped" Bug::Library(Lib::ReadPointSkipped), 60, &[3, 5],
        &[Kind::Partition, Kind::SlowDisk, Kind::Kill], busy,
        "a read does not wait for the state to be there";
    #[cfg(feature = "plant")]
    "lease-read" Bug::Library(Lib::LeaseRead), 300, &[3], &[Kind::Skew], busy,
        "a leader with a slow clock answers reads after its lease is over";
    #[cfg(feature = "plant")]
    "no-dedup" Bug::Library(Lib::NoDedup), 20, &[3],
        &[Kind::Duplicates, Kind::Loss, Kind::Resets], busy,
        "a retry is applied again";
    #[cfg(feature = "plant")]
    "fresh-retry" Bug::Library(Lib::FreshRetry), 20, &[3], &[Kind::Loss, Kind::Resets], busy,
        "a retry has a number of its own";
    #[cfg(feature = "plant")]
    "floor-ignored" Bug::Library(Lib::FloorIgnored), 100, &[3],
        &[Kind::Duplicates, Kind::SlowLinks], busy,
        "a late copy of a command is applied again";
    #[cfg(feature = "plant")]
    "expired-session-applies" Bug::Library(Lib::ExpiredSessionApplies), 100, &[3],
        &[Kind::Duplicates, Kind::Loss, Kind::Resets, Kind::SlowLinks], few_sessions,
        "a command of a forgotten session is applied";
    #[cfg(feature = "plant")]
    "unknown-as-definite" Bug::Library(Lib::UnknownAsDefinite), 40, &[3],
        &[Kind::Loss, Kind::Partition, Kind::Kill], busy,
        "a write whose reply was lost is called not executed";
    #[cfg(feature = "plant")]
    "names-unsynced" Bug::Library(Lib::NamesUnsynced), 60, &[3],
        &[Kind::Power, Kind::Blackout, Kind::PowerDuring], many_snapshots,
        "a snapshot's name is not synced";
    #[cfg(feature = "plant")]
    "snapshot-unsynced" Bug::Library(Lib::SnapshotUnsynced), 60, &[3],
        &[Kind::Power, Kind::Blackout, Kind::PowerDuring], many_snapshots,
        "a snapshot's bytes are not synced";
    #[cfg(feature = "plant")]
    "purge-early" Bug::Library(Lib::PurgeEarly), 60, &[3],
        &[Kind::Power, Kind::Blackout, Kind::PowerDuring], many_snapshots,
        "the log is purged for a snapshot that is not durable";
    #[cfg(feature = "plant")]
    "snapshot-without-last-entry" Bug::Library(Lib::SnapshotWithoutLastEntry), 40, &[3],
        &[Kind::Kill, Kind::Partition, Kind::Snapshots], many_snapshots_and_retries,
        "a snapshot claims an entry that is not in it";
    #[cfg(feature = "plant")]
    "snapshot-without-membership" Bug::Library(Lib::SnapshotWithoutMembership), 60, &[3, 4],
        &[Kind::Kill, Kind::Power, Kind::Blackout, Kind::Add, Kind::Snapshots], many_snapshots,
        "a snapshot does not say who the members are";
    #[cfg(feature = "plant")]
    "snapshot-without-sessions" Bug::Library(Lib::SnapshotWithoutSessions), 60, &[3],
        &[Kind::Kill, Kind::Loss, Kind::Duplicates, Kind::Blackout], many_snapshots_and_retries,
        "a snapshot forgets what was answered";
    #[cfg(feature = "plant")]
    "wiped-votes" Bug::Library(Lib::WipedVotes), 200, &[3],
        &[Kind::LostDisk, Kind::Partition, Kind::Kill], busy,
        "a node that lost its disk votes again";
}
