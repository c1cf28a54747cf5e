//! openraft's settings.
//!
//! Owns the translation of our [`Config`] to openraft's, and the choices that are not settings.
//!
//! Invariants
//! - Pre-vote is on: a node that was cut off does not depose the leader when it comes back.
//! - Leader restore is off, always: with it, openraft lets a restarted leader go on in its old term,
//!   and give a log id to a second entry if its log was not synced. `restore` shows it.
//!
//! Does not: check relations; [`Config`] did.

use std::time::Duration;

use openraft::SnapshotPolicy;

use crate::{
    config::Config,
    error::StartError,
    plant::{Bug, planted},
    storage::Identity,
};

pub(crate) fn raft_config(
    identity: &Identity,
    config: &Config,
) -> Result<openraft::Config, StartError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    openraft::Config {
        cluster_name: identity.cluster.clone(),
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: millis(config.election_timeout.start),
        election_timeout_max: millis(config.election_timeout.end),
        install_snapshot_timeout: millis(config.snapshot_timeout),
        max_payload_entries: config.append_entries_max,
        max_append_entries: Some(config.append_entries_max),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        max_in_snapshot_log_to_keep: config.log_keep_entries,
        // A little, often: sled gives no space back after a bulk purge. But a full batch is kept
        // beside what is to be kept, so it must be small beside that.
        purge_batch_size: (config.log_keep_entries / 4).clamp(1, 1_024),
        enable_pre_vote: Some(true),
        enable_leader_restore: (!planted(Bug::LeaderRestore)).then_some(false),
        ..openraft::Config::default()
    }
    .validate()
    .map_err(|e| StartError::Config(e.to_string()))
}
