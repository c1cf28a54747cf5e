//! What a node lets the outside see by itself: gauges, and a line in the log when something changes.
//!
//! Owns the task that follows openraft's own metrics and turns them into ours, through the `metrics`
//! facade and `tracing`. The counters and histograms of single operations stand where they happen.
//!
//! Invariants: reads only; ends with the engine it watches, at most [`PAUSE`] later.
//!
//! Does not: install a recorder or a subscriber; binaries do.

use std::time::Duration;

use openraft::{
    RaftMetrics,
    alias::WatchReceiverOf,
    async_runtime::{Instant, watch::WatchReceiver},
    errors::Fatal,
};

use super::Types;
use crate::runtime::Runtime;

/// How long nothing is looked at after a look. The engine says something several times for each write, and
/// to wake up and set ten gauges each time is a good part of what a write costs a node with few clients.
const PAUSE: Duration = Duration::from_millis(25);

type Metrics<R> = WatchReceiverOf<Types<R>, RaftMetrics<Types<R>>>;

/// What is worth a line in the log when it changes.
#[derive(Clone, PartialEq)]
struct Standing {
    term: u64,
    leader: Option<u64>,
    voters: Vec<u64>,
    stopped: Option<Stopped>,
}

#[derive(Clone, PartialEq)]
enum Stopped {
    /// As it was told.
    Ordered,
    /// Because of this fault.
    Fault(String),
}

/// Follows the metrics of a node until its engine is gone.
pub(crate) async fn watch<R: Runtime>(node: u64, mut metrics: Metrics<R>) {
    let mut before = None;
    loop {
        let now = publish::<R>(&metrics.borrow_watched());
        if before.as_ref() != Some(&now) {
            report(node, before.as_ref(), &now);
            before = Some(now);
        }
        if !changed::<R>(&mut metrics).await {
            return;
        }
    }
}

/// Waits for something new, for a while at least; `false` once there will be nothing.
async fn changed<R: Runtime>(metrics: &mut Metrics<R>) -> bool {
    R::sleep(PAUSE).await;
    metrics.changed().await.is_ok()
}

/// Waits until the engine has stopped because of a fault, or is gone.
pub(crate) async fn stopped<R: Runtime>(mut metrics: Metrics<R>) -> String {
    loop {
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            return fatal.to_string();
        }
        if !changed::<R>(&mut metrics).await {
            return "the consensus engine ended".into();
        }
    }
}

fn report(node: u64, before: Option<&Standing>, now: &Standing) {
    let Standing { term, leader, voters, stopped } = now;
    if before.is_some_and(|before| before.leader != *leader) && leader.is_some() {
        metrics::counter!("sixbells_raft_leader_changes_total").increment(1);
    }
    match stopped {
        Some(Stopped::Fault(reason)) => tracing::error!(node, term, reason, "stopped"),
        Some(Stopped::Ordered) => tracing::info!(node, term, "shut down"),
        None => tracing::info!(node, term, ?leader, ?voters, "standing"),
    }
}

/// When a majority last answered this node, if it leads. Where it is one by itself, nobody does, and nobody has to.
pub(super) fn quorum_acked<R: Runtime>(metrics: &RaftMetrics<Types<R>>) -> Option<R::Instant> {
    let mut voters = metrics.membership_config.membership().voter_ids();
    let alone = metrics.state.is_leader() && voters.all(|voter| voter == metrics.id);
    if alone { Some(R::Instant::now()) } else { metrics.last_quorum_acked.as_deref().copied() }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point")]
fn publish<R: Runtime>(metrics: &RaftMetrics<Types<R>>) -> Standing {
    let gauge = |name: &'static str, value: Option<u64>| {
        metrics::gauge!(name).set(value.map_or(-1.0, |value| value as f64));
    };
    gauge("sixbells_raft_has_leader", Some(u64::from(metrics.current_leader.is_some())));
    gauge("sixbells_raft_is_leader", Some(u64::from(metrics.current_leader == Some(metrics.id))));
    gauge("sixbells_raft_term", Some(metrics.current_term));
    gauge("sixbells_raft_last_log_index", metrics.last_log_index);
    gauge("sixbells_raft_committed_index", metrics.local_committed.as_ref().map(|id| id.index));
    gauge("sixbells_raft_applied_index", metrics.last_applied.as_ref().map(|id| id.index));
    gauge("sixbells_raft_snapshot_index", metrics.snapshot.as_ref().map(|id| id.index));
    if let Some(acked) = quorum_acked(metrics) {
        let age = (R::Instant::now() - acked).as_secs_f64();
        metrics::gauge!("sixbells_raft_quorum_ack_age_seconds").set(age);
    }
    for (peer, matched) in metrics.replication.iter().flatten() {
        let last = metrics.last_log_index.map_or(0, |last| last + 1);
        let lag = last.saturating_sub(matched.as_ref().map_or(0, |id| id.index + 1));
        let peer = peer.to_string();
        metrics::gauge!("sixbells_raft_replication_lag_entries", "peer" => peer).set(lag as f64);
    }
    Standing {
        term: metrics.current_term,
        leader: metrics.current_leader,
        voters: metrics.membership_config.membership().voter_ids().collect(),
        stopped: metrics.running_state.as_ref().err().map(|fatal| match fatal {
            Fatal::Stopped => Stopped::Ordered,
            fault => Stopped::Fault(fault.to_string()),
        }),
    }
}
