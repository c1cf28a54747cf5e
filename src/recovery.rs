//! What a node finds on its disk, and whether that is all it ever promised.
//!
//! Owns the checks that take more than one file: identity, log and snapshot against each other. Each
//! file's own checks are in `storage`.
//!
//! In: the doors, and who the node is to be. Out: who it is and the state it starts from.
//!
//! Invariants: a node starts only if log and snapshot together hold all that they once held. A built
//! snapshot never ran ahead of its log, so a log that is shorter has lost something; a received one
//! may.
//!
//! Does not: repair.

use std::{path::Path, sync::Arc};

use crate::{
    error::{Damage, StartError},
    machine::Erased,
    runtime::Runtime,
    storage::{
        Disk, Identity, LOG_FORMAT_FILE, LogState, LogStore, SnapshotFile, SnapshotOrigin,
        Snapshots,
    },
    strong::SharedState,
};

pub(crate) type Recovered<R> = (Identity, Snapshots, Option<SnapshotFile>, Arc<SharedState<R>>);

/// Finds out who this is and what it had reached, and refuses to go on if anything is missing.
pub(crate) fn recover<R: Runtime>(
    machine: Erased,
    wanted: Identity,
    disk: &Arc<dyn Disk>,
    log: &dyn LogStore,
) -> Result<Recovered<R>, StartError> {
    let fresh_disk = wanted.disk;
    let identity = Identity::open(&**disk, wanted)?;
    let found = log.state();
    if identity.disk == fresh_disk && found != LogState::default() {
        return Err(StartError::Foreign {
            file: disk.path("identity"),
            reason: "there is a log here, but no identity file".into(),
        });
    }
    let (snapshots, snapshot) =
        Snapshots::open(disk.clone()).map_err(|e| StartError::io("open snapshots", e))?;
    check_log(&**disk, &identity, &found, snapshot.as_ref())?;
    let state = SharedState::open((machine.boxed)(), snapshot.as_ref())
        .map_err(|e| StartError::io("load snapshot", e))?;
    Ok((identity, snapshots, snapshot, Arc::new(state)))
}

/// Whether log and snapshot together hold all that they once held. A log that is shorter than a
/// snapshot built from it, or shorter than what was committed, has lost something promised.
fn check_log(
    disk: &dyn Disk,
    identity: &Identity,
    log: &LogState,
    snapshot: Option<&SnapshotFile>,
) -> Result<(), StartError> {
    let damaged = |reason: String| {
        let file = disk.path(&identity.engine);
        StartError::Damaged(Damage { file, offset: 0, reason })
    };
    let position =
        |id: &Option<crate::storage::LogId>| id.map_or("nothing".into(), |id| id.to_string());
    let reached = snapshot.and_then(|file| file.meta.last);
    if log.purged > reached {
        return Err(damaged(format!(
            "the log begins after {}, but the newest snapshot holds {}",
            position(&log.purged),
            position(&reached)
        )));
    }
    let built = snapshot.is_some_and(|file| file.origin == SnapshotOrigin::Built);
    if built && log.last < reached {
        return Err(damaged(format!(
            "the log ends at {}, but this node's own snapshot holds {}",
            position(&log.last),
            position(&reached)
        )));
    }
    if log.committed > log.last.max(reached) {
        return Err(damaged(format!(
            "the log ends at {}, but {} was committed",
            position(&log.last),
            position(&log.committed)
        )));
    }
    Ok(())
}

/// An identity without its log: somebody deleted what the node has promised. The log's format file
/// is durable before the identity is written.
pub(crate) fn require_log(dir: &Path) -> Result<(), StartError> {
    if dir.join(LOG_FORMAT_FILE).is_file() {
        return Ok(());
    }
    let reason = "this node was started before, but its log is gone".to_owned();
    Err(StartError::Damaged(Damage { file: dir.to_owned(), offset: 0, reason }))
}
