//! Snapshots of a replica: so that its log does not grow for ever, and a newcomer can catch up.
//!
//! Owns when one is taken, what it says of itself, and its way to a replica that lacks what was
//! forgotten here.
//!
//! Invariants
//! - A snapshot holds a final state alone: nothing in it will ever be revoked.
//! - An operation is forgotten only once it is part of a durable snapshot and every other member has
//!   said that it has it. So only a newcomer, or one that lost its disk, needs a snapshot.
//!
//! Does not: resume a broken transfer; the next begins from the start.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Eventual,
    tail::{Base, State},
};
use crate::applier::Applier;
use crate::{
    codec,
    error::Error,
    machine::Machine,
    rpc::Chunk,
    runtime::Runtime,
    storage::{LogId, Reading, SnapshotFile, SnapshotMeta, Snapshots},
    transfer::{self, SnapshotReply},
    transport::Peer,
};

/// What a snapshot says of itself.
fn meta(state: &State, base: &Base) -> SnapshotMeta {
    let last = Some(LogId { term: 0, index: state.count });
    SnapshotMeta { last, membership: codec::encode(base).into() }
}

/// The state in a file, and what made it.
pub(super) fn load(
    file: &SnapshotFile,
    reading: Reading,
    machine: Box<dyn Machine>,
) -> std::io::Result<(State, Base)> {
    let base = codec::decode(&file.meta.membership)?;
    let mut applier = Applier::new(machine);
    file.load(reading, |input| applier.load(input))?;
    Ok((State { applier, count: file.meta.last.map_or(0, |last| last.index) }, base))
}

impl<R: Runtime> Eventual<R> {
    /// Takes a snapshot whenever enough became final, and forgets what it makes superfluous. Ends with
    /// the replica.
    pub(super) async fn compact(self: Arc<Self>) {
        while self.works().is_ok() {
            if let Err(error) = self.compact_once().await {
                return self.fail(&format!("snapshot: {error}"));
            }
            R::sleep(self.config.heartbeat).await;
        }
    }

    async fn compact_once(&self) -> Result<(), Error> {
        let last = self.snapshot().and_then(|file| file.meta.last).map_or(0, |last| last.index);
        let due = self.with(|replica| {
            let (state, base) = replica.tail().folded();
            let due = state.count >= last + self.config.snapshot_entries;
            Ok(due.then(|| (state.capture(), base.clone())))
        })?;
        if let (Some((state, base)), Some(snapshots)) = (due, self.snapshots()) {
            self.take_snapshot(snapshots, state, base).await?;
        }
        let Some(file) = self.snapshot() else { return Ok(()) };
        let base: Base = codec::decode(&file.meta.membership)
            .map_err(|e| Error::Stopped(format!("own snapshot: {e}")))?;
        self.with(|replica| {
            let forgotten = replica.forget(&base.covered);
            if let Some(log) = self.log() {
                log.purge(&forgotten);
            }
            Ok(())
        })
    }

    async fn take_snapshot(
        &self,
        snapshots: Snapshots,
        state: State,
        base: Base,
    ) -> Result<(), Error> {
        let store = snapshots.clone();
        let built =
            R::aside(move || store.build(meta(&state, &base), |out| state.applier.save(out)));
        let file = built.await.and_then(|built| built).map_err(stopped)?;
        self.keep(file);
        snapshots.tidy::<R>();
        Ok(())
    }

    /// Sends the newest snapshot to a peer.
    pub(super) async fn send_snapshot(&self, peer: &Peer) -> Result<(), Error> {
        let Some(file) = self.snapshot() else { return Ok(()) };
        let from = (self.identity.node, Bytes::new());
        transfer::send::<R, ()>(&*self.transport, peer, from, file, &self.config).await
    }

    /// Takes a piece of a snapshot. With the last it is installed; before, says where the next begins.
    pub(super) async fn take_chunk(&self, chunk: Chunk) -> Result<SnapshotReply<()>, Error> {
        let taken = self.inbox.take::<R>(chunk).await;
        let file = match taken.map_err(|e| Error::Refused(format!("snapshot: {e}")))? {
            Err(next) => return Ok(SnapshotReply::Next(next)),
            Ok(file) => file,
        };
        let Some(snapshots) = self.snapshots() else { return Ok(SnapshotReply::Done(())) };
        let (machine, read) = ((self.machine.boxed)(), file.clone());
        let loaded = R::blocking(move || load(&read, Reading::InTurns, machine))
            .await
            .and_then(|loaded| loaded);
        let (state, base) = loaded.map_err(|e| Error::Refused(format!("snapshot: {e}")))?;
        let count = state.count;
        let wanted = self.with(|replica| Ok(replica.tail().folded().0.count < count))?;
        let store = snapshots.clone();
        let published = R::blocking(move || match wanted {
            true => store.publish(file).map(Some),
            false => file.discard().map(|()| None),
        });
        if let Some(file) = published.await.and_then(|file| file).map_err(stopped)? {
            self.keep(file);
            snapshots.tidy::<R>();
            self.with(|replica| replica.install(state, base))?;
        }
        Ok(SnapshotReply::Done(()))
    }
}

fn stopped(error: impl std::fmt::Display) -> Error {
    Error::Stopped(error.to_string())
}
