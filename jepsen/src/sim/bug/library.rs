//! The bugs of the library that can be planted, in builds with the feature `plant`.
//!
//! A list for each mode. Each row: name, bug, budget of seeds, sizes of cluster, faults, what all plans have in common, and
//! what is wrong in words. What the bugs themselves are stands beside their switch,
//! [`sixbells::plant`].

use std::time::Duration;

use sixbells::plant::Bug as Lib;

use super::{Bug, CRASHES, Kind, Plan, Planted, busy, slow_syncs};
use crate::sim::{
    fault::{Cut, Fault, Whom},
    plan::Step,
};

fn as_drawn(_plan: &mut Plan) {}

/// Snapshots all the time, and a short log behind them.
fn many_snapshots(plan: &mut Plan) {
    plan.limits.snapshot_entries = 5;
    plan.limits.log_keep_entries = 0;
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

/// Again and again, whoever leads falls asleep, and is cut off from the others before they elect one of
/// them. It wakes up among clients, has heard of no election, and finds replies that came before.
fn sleepers(plan: &mut Plan) {
    busy(plan);
    plan.roaming = true;
    plan.limits.heartbeat = Duration::from_millis(50);
    plan.limits.election_timeout = Duration::from_millis(150)..Duration::from_millis(300);
    // Longer than the sleep, or what was asked for before it has failed when its reply is read.
    plan.limits.append_timeout = Duration::from_secs(2);
    let step = |at, lasting, fault| {
        let (at, lasting) = (Duration::from_millis(at), Duration::from_millis(lasting));
        Step { at, lasting, fault }
    };
    let round = |at| {
        // Late enough for the replies that are under way, and too soon for an election.
        let cut = Fault::Partition(Cut::Alone(Whom::Leader));
        [step(at, 1_700, Fault::Pause(Whom::Leader)), step(at + 100, 2_000, cut)]
    };
    plan.steps = (1_000..12_000).step_by(3_000).flat_map(round).collect();
}

bugs! { STRONG Strong:
    "vote-forgotten" Bug::Library(Lib::VoteForgotten), 40, &[3], CRASHES, as_drawn,
        "a restarted log does not know for whom it voted";
    "ack-before-quorum" Bug::Library(Lib::AckBeforeQuorum), 40, &[3, 5],
        &[Kind::Partition, Kind::Power, Kind::Blackout], busy,
        "a follower that did not answer is counted";
    "one-sided-quorum" Bug::Library(Lib::OneSidedQuorum), 300, &[3, 4, 5],
        &[Kind::Add, Kind::Remove, Kind::Partition, Kind::Loss], busy,
        "one side of a change of the members decides alone";
    "transfer-forgotten" Bug::Library(Lib::TransferForgotten), 40, &[3], &[Kind::Transfer], busy,
        "nobody is asked to take the leadership over";
    "committed-too-far" Bug::Library(Lib::CommittedTooFar), 60, &[3], CRASHES, busy,
        "a restarted node takes its whole log for committed";
    "leader-restore" Bug::Library(Lib::LeaderRestore), 100, &[3],
        &[Kind::Power, Kind::Kill, Kind::Blackout], slow_syncs,
        "a restarted leader goes on in its old term";
    "local-read" Bug::Library(Lib::LocalRead), 20, &[3], &[Kind::Partition, Kind::Pause], busy,
        "a read is answered from the state as it is here";
    "read-point-skipped" Bug::Library(Lib::ReadPointSkipped), 60, &[3, 5],
        &[Kind::Partition, Kind::SlowDisk, Kind::Kill], busy,
        "a read does not wait for the state to be there";
    "lease-read" Bug::Library(Lib::LeaseRead), 300, &[3], &[Kind::Skew], busy,
        "a leader with a slow clock answers reads after its lease is over";
    "reply-passes-for-fresh" Bug::Library(Lib::ReplyPassesForFresh), 40, &[3],
        &[Kind::Pause, Kind::Partition], sleepers,
        "a leader that slept takes an old reply for proof that it leads";
    "no-dedup" Bug::Library(Lib::NoDedup), 20, &[3],
        &[Kind::Duplicates, Kind::Loss, Kind::Resets], busy,
        "a retry is applied again";
    "fresh-retry" Bug::Library(Lib::FreshRetry), 20, &[3], &[Kind::Loss, Kind::Resets], busy,
        "a retry has a number of its own";
    "floor-ignored" Bug::Library(Lib::FloorIgnored), 100, &[3],
        &[Kind::Duplicates, Kind::SlowLinks], busy,
        "a late copy of a command is applied again";
    "expired-session-applies" Bug::Library(Lib::ExpiredSessionApplies), 100, &[3],
        &[Kind::Duplicates, Kind::Loss, Kind::Resets, Kind::SlowLinks], few_sessions,
        "a command of a forgotten session is applied";
    "unknown-as-definite" Bug::Library(Lib::UnknownAsDefinite), 40, &[3],
        &[Kind::Loss, Kind::Partition, Kind::Kill], busy,
        "a write whose reply was lost is called not executed";
    "names-unsynced" Bug::Library(Lib::NamesUnsynced), 60, &[3],
        &[Kind::Power, Kind::Blackout, Kind::PowerDuring], many_snapshots,
        "a snapshot's name is not synced";
    "snapshot-unsynced" Bug::Library(Lib::SnapshotUnsynced), 60, &[3],
        &[Kind::Power, Kind::Blackout, Kind::PowerDuring], many_snapshots,
        "a snapshot's bytes are not synced";
    "purge-early" Bug::Library(Lib::PurgeEarly), 60, &[3],
        &[Kind::Power, Kind::Blackout, Kind::PowerDuring], many_snapshots,
        "the log is purged for a snapshot that is not durable";
    "snapshot-without-last-entry" Bug::Library(Lib::SnapshotWithoutLastEntry), 40, &[3],
        &[Kind::Kill, Kind::Partition, Kind::Snapshots], many_snapshots_and_retries,
        "a snapshot claims an entry that is not in it";
    "snapshot-without-membership" Bug::Library(Lib::SnapshotWithoutMembership), 60, &[3, 4],
        &[Kind::Kill, Kind::Power, Kind::Blackout, Kind::Add, Kind::Snapshots], many_snapshots,
        "a snapshot does not say who the members are";
    "snapshot-without-sessions" Bug::Library(Lib::SnapshotWithoutSessions), 60, &[3],
        &[Kind::Kill, Kind::Loss, Kind::Duplicates, Kind::Blackout], many_snapshots_and_retries,
        "a snapshot forgets what was answered";
    "wiped-votes" Bug::Library(Lib::WipedVotes), 200, &[3],
        &[Kind::LostDisk, Kind::Partition, Kind::Kill], busy,
        "a node that lost its disk votes again";
}

bugs! { EVENTUAL Eventual:
    "ack-before-sync" Bug::Library(Lib::AckBeforeSync), 40, &[3],
        &[Kind::Power, Kind::Blackout], slow_syncs,
        "a write is acknowledged before it is durable";
    "late-applied" Bug::Library(Lib::LateApplied), 40, &[3], &[Kind::Partition], busy,
        "nothing is applied again for an operation that comes late";
    "promise-too-early" Bug::Library(Lib::PromiseTooEarly), 60, &[3],
        &[Kind::Partition, Kind::Loss, Kind::SlowLinks], busy,
        "operations are called final that others may come before";
    "same-incarnation" Bug::Library(Lib::SameIncarnation), 60, &[3],
        &[Kind::Power, Kind::Blackout], slow_syncs,
        "a restarted node gives numbers again that a crash took back";
    "token-ignored" Bug::Library(Lib::TokenIgnored), 40, &[3],
        &[Kind::Partition, Kind::SlowLinks], busy,
        "a node does not wait for what a session has seen";
    "retry-applied" Bug::Library(Lib::NoDedup), 40, &[3],
        &[Kind::Duplicates, Kind::Loss, Kind::Resets], busy,
        "a retry, here or at another node, is applied again";
    "strange-replica" Bug::NondeterministicApply, 10, &[3], &[Kind::Partition], busy,
        "one replica applies a command otherwise";
}
