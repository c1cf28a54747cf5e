//! The replicated state, and openraft's state machine on top of it.
//!
//! Owns [`State`]: the applier, the position it has reached, the membership as of that position, and
//! the ids that have ever left the cluster. All four change together, under one lock, and are saved
//! together.
//!
//! In: committed entries in order, snapshots. Out: an outcome for each entry, answers to queries,
//! snapshots.
//!
//! Invariants
//! - Entries are applied in order, each once since the snapshot.
//! - A captured state is the state between two entries.
//! - After a panic in the user's machine the state is never read again: it may be half changed.
//!
//! Does not: decide what is committed, or when to take a snapshot.

use std::{
    collections::BTreeSet,
    io,
    marker::PhantomData,
    mem,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    storage::{EntryResponder, RaftStateMachine},
};

use super::{
    log::durable,
    pace::Pace,
    types::{Types, decode_membership, encode_membership, from_raft, to_raft},
};
use crate::{
    applier::{Applier, Outcome},
    batch::{Batch, position},
    codec,
    error::Error,
    hashes::Hashes,
    machine::Machine,
    plant::{Bug, planted},
    runtime::{Runtime, spawn},
    storage::{LogId, LogStore, Reading, SnapshotFile, SnapshotMeta, Snapshots},
};

/// What the log has made so far.
#[derive(Debug)]
pub(crate) struct State<R: Runtime> {
    applier: Applier,
    applied: Option<LogId>,
    membership: StoredMembershipOf<Types<R>>,
    retired: BTreeSet<u64>,
}

/// The state as it is shared between the consensus engine, which changes it, and reads.
#[derive(Debug)]
pub(crate) struct SharedState<R: Runtime> {
    state: RwLock<State<R>>,
    /// Why the state is not to be trusted.
    fault: OnceLock<String>,
}

impl<R: Runtime> SharedState<R> {
    /// The state before the first entry, or as of the snapshot.
    pub(crate) fn open(
        machine: Box<dyn Machine>,
        snapshot: Option<&SnapshotFile>,
    ) -> io::Result<Self> {
        let mut state = State {
            applier: Applier::new(machine),
            applied: None,
            membership: StoredMembershipOf::<Types<R>>::default(),
            retired: BTreeSet::new(),
        };
        if let Some(file) = snapshot {
            state.load(file, Reading::AtOnce)?;
        }
        Ok(Self { state: RwLock::new(state), fault: OnceLock::new() })
    }

    /// From now on the state is neither looked at nor changed, for this reason.
    pub(super) fn fail(&self, reason: String) {
        // The first reason stands.
        let _ = self.fault.set(reason);
    }

    /// Why the state is not to be trusted.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.get().cloned()
    }

    /// Looks at the state.
    ///
    /// # Errors
    /// `Stopped` after a panic in the user's machine, and when its state differs from the others'.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State<R>) -> T) -> Result<T, Error> {
        let state = self.state.read().map_err(|_poisoned| {
            Error::Stopped("the state machine panicked; its state is not used any more".into())
        })?;
        // Under the lock, or it might be the state that a change has left half done meanwhile.
        match self.fault() {
            Some(reason) => Err(Error::Stopped(reason)),
            None => Ok(look(&state)),
        }
    }

    pub(crate) fn query(&self, query: &[u8]) -> Result<Bytes, Error> {
        let answer = self.look(|state| state.applier.query(query))?;
        answer.map(Bytes::from).map_err(|e| Error::Refused(format!("not a query: {e}")))
    }

    /// The state as of now. Quick.
    fn capture(&self) -> io::Result<State<R>> {
        caught(|| self.look(State::capture).map_err(io::Error::other))
    }

    /// Changes the state. After an error, and after a panic, which poisons the lock, nobody looks at it any
    /// more, for it may be half changed.
    fn change<T>(&self, change: impl FnOnce(&mut State<R>) -> io::Result<T>) -> io::Result<T> {
        caught(|| {
            if let Some(reason) = self.fault() {
                return Err(io::Error::other(reason));
            }
            let state = self.state.write();
            let mut state =
                state.map_err(|_poisoned| io::Error::other("the state machine panicked before"))?;
            change(&mut state).inspect_err(|error| self.fail(error.to_string()))
        })
    }
}

/// Makes an error of a panic in the user's code. openraft would not notice that the task which
/// applies is gone, and the node would neither go on nor stop.
fn caught<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(io::Error::other(format!("the state machine panicked: {said}")))
    })
}

impl<R: Runtime> State<R> {
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    pub(crate) fn applier(&self) -> &Applier {
        &self.applier
    }

    /// Whether a node of this id was once a member and left.
    pub(crate) fn is_retired(&self, node: u64) -> bool {
        self.retired.contains(&node)
    }

    fn apply(&mut self, id: LogId, payload: Payload) -> io::Result<Vec<Outcome>> {
        let last = self.applied;
        assert!(last < Some(id), "no entry is applied twice: {id} comes after {last:?}");
        let outcomes = match payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Normal(batch) => self.apply_batch(id, &batch)?,
            EntryPayload::Membership(membership) => {
                let left = self.membership.nodes().map(|(node, _)| *node);
                let left = left.filter(|node| membership.get_node(node).is_none());
                self.retired.extend(left.collect::<Vec<_>>());
                self.membership =
                    StoredMembershipOf::<Types<R>>::new(Some(to_raft::<R>(id)), membership);
                Vec::new()
            }
        };
        self.applied = Some(id);
        Ok(outcomes)
    }

    fn apply_batch(&mut self, id: LogId, batch: &Batch) -> io::Result<Vec<Outcome>> {
        let each = batch.proposals().enumerate().map(|(nth, proposal)| {
            let request = proposal.request();
            tracing::trace!(request = format_args!("{request:032x}"), %id, nth, "apply");
            Ok(self.applier.apply(position(id.index, nth), &proposal)?)
        });
        each.collect()
    }

    fn capture(&self) -> Self {
        Self {
            applier: self.applier.capture(),
            applied: self.applied,
            membership: self.membership.clone(),
            retired: self.retired.clone(),
        }
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        codec::write(&self.retired, out)?;
        self.applier.save(out)
    }

    fn load(&mut self, file: &SnapshotFile, reading: Reading) -> io::Result<()> {
        let membership = decode_membership::<R>(&file.meta.membership)?;
        file.load(reading, |input| {
            let retired = codec::read(input)?;
            self.applier.load(input)?;
            self.retired = retired;
            Ok(())
        })?;
        self.applied = file.meta.last;
        self.membership = membership;
        Ok(())
    }

    fn meta(&self) -> SnapshotMeta {
        let membership = match planted(Bug::SnapshotWithoutMembership) {
            true => encode_membership::<R>(&StoredMembershipOf::<Types<R>>::default()),
            false => encode_membership::<R>(&self.membership),
        };
        SnapshotMeta { last: self.applied, membership }
    }
}

type Payload = EntryPayload<Batch, u64, crate::status::Member>;

/// openraft's state machine and snapshot builder. Clones share the state.
pub(crate) struct StateMachineStore<R: Runtime> {
    state: Arc<SharedState<R>>,
    snapshots: Snapshots,
    current: Arc<Mutex<Option<SnapshotFile>>>,
    log: Arc<dyn LogStore>,
    hashes: Arc<Hashes>,
    pace: Arc<Pace>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Clone for StateMachineStore<R> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            snapshots: self.snapshots.clone(),
            current: self.current.clone(),
            log: self.log.clone(),
            hashes: self.hashes.clone(),
            pace: self.pace.clone(),
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> StateMachineStore<R> {
    pub(crate) fn new(
        state: Arc<SharedState<R>>,
        snapshots: Snapshots,
        current: Option<SnapshotFile>,
        log: Arc<dyn LogStore>,
        (hashes, pace): (Arc<Hashes>, Arc<Pace>),
    ) -> Self {
        pace.taken(current.as_ref().map_or(0, |file| file.bytes));
        let current = Arc::new(Mutex::new(current));
        Self { state, snapshots, current, log, hashes, pace, runtime: PhantomData }
    }

    fn current(&self) -> Option<SnapshotFile> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A snapshot that was built while a newer one was installed does not take its place.
    fn set_current(&self, file: &SnapshotFile) {
        self.pace.taken(file.bytes);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|current| current.meta.last <= file.meta.last) {
            *current = Some(file.clone());
        }
    }
}

/// openraft's view of a snapshot file.
pub(super) fn to_snapshot<R: Runtime>(
    file: SnapshotFile,
) -> io::Result<SnapshotOf<Types<R>, SnapshotFile>> {
    let meta = SnapshotMetaOf::<Types<R>> {
        last_log_id: file.meta.last.map(to_raft::<R>),
        last_membership: decode_membership::<R>(&file.meta.membership)?,
    };
    Ok(SnapshotOf::<Types<R>, _> { meta, snapshot: file })
}

impl<R: Runtime> RaftSnapshotBuilder<Types<R>> for StateMachineStore<R> {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types<R>, SnapshotFile>, io::Error> {
        let captured = self.state.capture()?;
        // What was applied may not be durable here yet: a leader applies what its followers hold.
        // A built snapshot must not run ahead of the log, or a lost log could not be told from one.
        durable(|done| self.log.append(Vec::new(), done)).await?;
        let meta = match planted(Bug::SnapshotWithoutLastEntry) {
            true => self.state.capture()?.meta(),
            false => captured.meta(),
        };
        let snapshots = self.snapshots.clone();
        let file = R::aside(move || snapshots.build(meta, |out| captured.save(out))).await??;
        tracing::info!(last = ?file.meta.last, bytes = file.bytes, "snapshot taken");
        self.set_current(&file);
        self.snapshots.tidy::<R>();
        to_snapshot::<R>(file)
    }
}

impl<R: Runtime> RaftStateMachine<Types<R>> for StateMachineStore<R> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types<R>>>, StoredMembershipOf<Types<R>>), io::Error> {
        self.state
            .look(|state| (state.applied.map(to_raft::<R>), state.membership.clone()))
            .map_err(io::Error::other)
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> Result<(), io::Error>
    where
        Entries: Stream<Item = Result<EntryResponder<Types<R>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = from_raft::<R>(&entry.log_id);
            if let EntryPayload::Normal(batch) = &entry.payload {
                self.pace.applied(batch.bytes().len());
            }
            let (outcomes, hashed) = self.state.change(|state| {
                let outcomes = state.apply(id, entry.payload);
                let outcomes = outcomes.map_err(|error| {
                    io::Error::new(error.kind(), format!("log entry {id}: {error}"))
                })?;
                Ok((outcomes, self.hashes.due(id.index).then(|| state.applier.capture())))
            })?;
            if let Some(state) = hashed {
                self.hashes.hash::<R>(id.index, state);
            }
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<Types<R>>,
        file: SnapshotFile,
    ) -> Result<(), io::Error> {
        let snapshots = self.snapshots.clone();
        let mut next = self.state.capture()?;
        let (file, next) = R::blocking(move || {
            // Loaded before it takes the old one's place: were it unreadable, the node could still go
            // back. Durable under its name before this returns: openraft purges the log next.
            next.load(&file, Reading::InTurns)?;
            let file = snapshots.publish(file)?;
            io::Result::Ok((file, next))
        })
        .await??;
        tracing::info!(last = ?file.meta.last, bytes = file.bytes, "snapshot installed");
        let old = self.state.change(|state| Ok(mem::replace(state, next)))?;
        // It may be large: neither who reads nor who applies waits until it is gone.
        spawn::<R>(async move { drop(R::aside(move || drop(old)).await) });
        self.set_current(&file);
        self.snapshots.tidy::<R>();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<Types<R>, SnapshotFile>>, io::Error> {
        self.current().map(to_snapshot::<R>).transpose()
    }
}

#[cfg(test)]
#[path = "state_test.rs"]
mod tests;
