//! Eventual mode: apply, then agree on the order.
//!
//! Owns [`Eventual`], one replica with its disk and its peers: accepting, answering, and its faults.
//! The same machine, commands, sessions, wire and client verbs as strong mode; what differs is when
//! the order is agreed on. So a write needs nobody else, also in a partition, and what it is answered
//! may turn out untrue: once the replicas have heard of each other, an operation that comes before it
//! in the order may have taken the money. Then the answer is *revoked*.
//!
//! In: proposals and queries, of this process and of others. Out: outcomes and answers, all of them
//! tentative but those of [`Eventual::read_stable`].
//!
//! Walk of a write: `Handle` encodes it -> `propose` admits it -> `replica` stamps it and
//! applies it -> the log makes it durable, and it is acknowledged -> `sync` sends it to the others.
//!
//! Invariants
//! - An outcome is returned only after its operation is durable here; it was applied before.
//! - A command of a session that is not known here is not accepted: what it answered could not be told.
//! - Operations go to the log in the order in which the replica took them up.
//! - After a fault (a failed disk, a panic in the machine, a state that differs from another's) nothing
//!   is accepted, sent or answered any more.
//!
//! Does not: wait for anybody but its own disk.

#[cfg(test)]
mod clients;
mod digest;
#[cfg(test)]
mod guards;
mod log;
mod node;
mod peer;
mod propose;
mod replica;
mod serve;
mod session;
mod snapshot;
mod stamp;
mod status;
#[cfg(test)]
mod suite;
mod sync;
mod tail;

use std::{
    collections::BTreeMap,
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use self::{
    log::OperationLog,
    replica::{Fault, Limits, Replica},
    tail::{Base, State},
};
pub use self::{
    log::{Author, Vector},
    node::EventualNode,
    session::{EventualSession, Token},
    status::EventualStatus,
};
pub(crate) use self::{node::RunningEventual, serve::Server, session::SessionEngine};
use crate::{
    admission::Admission,
    applier::{Applier, Outcome},
    config::Config,
    error::{Error, StartError},
    handle::Engine,
    machine::Erased,
    proposal::{Origin, Proposal, RequestId, request_id},
    runtime::{Instant, Runtime},
    sequencer::{SessionSlot, Ticket},
    storage::{Disk, Identity, LogStore, Reading, SnapshotFile, Snapshots},
    transfer::Inbox,
    transport::{BoxFuture, Transport},
};

/// What must be let go of before the data directory is free again.
struct Stored {
    log: Arc<OperationLog>,
    snapshots: Snapshots,
    /// The newest one.
    snapshot: Option<SnapshotFile>,
}

/// A replica in eventual mode.
pub(crate) struct Eventual<R: Runtime> {
    pub(crate) identity: Identity,
    pub(crate) config: Arc<Config>,
    /// The other members, and where they listen.
    peers: BTreeMap<u64, String>,
    replica: Mutex<Replica>,
    /// Gone once the replica was stopped.
    stored: Mutex<Option<Stored>>,
    transport: Arc<dyn Transport>,
    admission: Admission,
    machine: Erased,
    inbox: Inbox,
    slot: SessionSlot,
    /// How many arrivals are durable. The log says so, on a thread of its own.
    durable: Arc<AtomicU64>,
    /// Something happened that the others should hear of.
    news: Vec<Notify>,
    /// Something arrived from others.
    arrived: Notify,
    /// Stamps may be given that could not be before.
    raised: Notify,
    fault: OnceLock<String>,
    /// Has no permits, ever: waiting for one ends when the replica stops.
    running: Semaphore,
    runtime: std::marker::PhantomData<fn() -> R>,
}

impl<R: Runtime> Eventual<R> {
    /// Goes on from what is on disk.
    pub(crate) fn open(
        machine: Erased,
        identity: Identity,
        config: Arc<Config>,
        peers: BTreeMap<u64, String>,
        (log, disk): (Arc<dyn LogStore>, Arc<dyn Disk>),
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        let limits = Limits {
            tentative_max: config.tentative_operations_max,
            ahead_max_ms: i64::try_from(config.clock_ahead_max.as_millis()).unwrap_or(i64::MAX),
            state_hash_entries: config.state_hash_entries,
        };
        let first = R::random_below(u64::MAX >> 1);
        let (log, found) = OperationLog::open(log, first)
            .map_err(|e| StartError::io("read the log of operations", e))?;
        let me = Author { node: identity.node, incarnation: found.incarnation };
        let members = peers.keys().copied().collect();
        let opened = Snapshots::open(disk).map_err(|e| StartError::io("open snapshots", e));
        let (snapshots, snapshot) = opened?;
        let initial = match &snapshot {
            Some(file) => snapshot::load(file, Reading::AtOnce, (machine.boxed)())
                .map_err(|e| StartError::io("load snapshot", e))?,
            None => {
                let applier = Applier::new((machine.boxed)());
                (State { applier, count: 0 }, Base::default())
            }
        };
        let replica = Replica::open(me, &members, limits, found.ceiling, initial, found.operations)
            .map_err(|e| StartError::io("replay operations", std::io::Error::other(e)))?;
        let durable = Arc::new(AtomicU64::new(replica.arrived()));
        let others: BTreeMap<u64, String> =
            peers.into_iter().filter(|(node, _)| *node != identity.node).collect();
        Ok(Self {
            admission: Admission::new(&config),
            identity,
            config,
            arrived: Notify::new(),
            raised: Notify::new(),
            news: others.keys().map(|_| Notify::new()).collect(),
            peers: others,
            replica: Mutex::new(replica),
            inbox: Inbox::new(snapshots.clone()),
            stored: Mutex::new(Some(Stored { log: Arc::new(log), snapshots, snapshot })),
            transport,
            machine,
            slot: SessionSlot::default(),
            durable,
            fault: OnceLock::new(),
            running: Semaphore::new(0),
            runtime: std::marker::PhantomData,
        })
    }

    /// Changes the replica, or looks at it. A panic in the user's machine and a fault of the protocol
    /// stop it for good: its state is not to be trusted any more.
    fn with<T>(&self, change: impl FnOnce(&mut Replica) -> Result<T, Fault>) -> Result<T, Error> {
        self.works()?;
        let mut replica = self.replica();
        replica.synced(self.durable.load(Ordering::Acquire));
        let changed = panic::catch_unwind(AssertUnwindSafe(|| change(&mut replica)));
        let reason = match changed {
            Ok(Ok(done)) => {
                if let Some(State { applier, count }) = replica.due() {
                    replica.tail().hashes().hash::<R>(count, applier);
                }
                return Ok(done);
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(_panic) => "the state machine panicked".to_owned(),
        };
        drop(replica);
        self.fail(&reason);
        Err(Error::Stopped(reason))
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops, for good.
    fn fail(&self, reason: &str) {
        if self.fault.set(reason.to_owned()).is_ok() {
            tracing::warn!(node = self.identity.node, reason, "stopped");
        }
        self.running.close();
        self.transport.close();
        self.news.iter().for_each(Notify::notify_one);
    }

    fn works(&self) -> Result<(), Error> {
        match self.fault.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Stopped(reason.clone())),
        }
    }

    /// Stops everything and lets go of the disk.
    pub(crate) async fn stop(&self) {
        self.close();
        self.inbox.close().await;
        self.transport.closed().await;
        let stored = self.stored().take();
        if R::blocking(move || drop(stored)).await.is_err() {
            tracing::warn!("the log of operations did not end well");
        }
    }

    fn log(&self) -> Option<Arc<OperationLog>> {
        self.stored().as_ref().map(|stored| stored.log.clone())
    }

    fn snapshots(&self) -> Option<Snapshots> {
        self.stored().as_ref().map(|stored| stored.snapshots.clone())
    }

    fn snapshot(&self) -> Option<SnapshotFile> {
        self.stored().as_ref().and_then(|stored| stored.snapshot.clone())
    }

    /// This snapshot is the newest from now on, if it is.
    fn keep(&self, file: SnapshotFile) {
        if let Some(stored) = &mut *self.stored() {
            let newest = |file: &SnapshotFile| file.meta.last;
            if stored.snapshot.as_ref().map(newest) < Some(newest(&file)) {
                stored.snapshot = Some(file);
            }
        }
    }

    fn stored(&self) -> MutexGuard<'_, Option<Stored>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the replica has stopped, and says why.
    pub(crate) async fn stopped(&self) -> String {
        // Ends with an error, when it is closed.
        let _closed = self.running.acquire().await;
        self.fault.get().cloned().unwrap_or_default()
    }

    /// Stops serving, at once.
    pub(crate) fn close(&self) {
        self.fail("it was shut down or dropped");
    }

    async fn write_here(
        &self,
        request: RequestId,
        key: Option<Bytes>,
        command: Vec<u8>,
    ) -> Result<Bytes, Error> {
        let deadline = R::Instant::now() + self.config.request_timeout;
        if let Some(key) = key {
            let origin = Origin::Once { key: &key, keys_max: self.config.keys_max };
            let proposal = Proposal::new(request, origin, &command);
            let outcome = self.propose(proposal, &mut Token::default(), deadline).await?;
            return outcome.into_response();
        }
        self.write_numbered(request, &command, &mut Token::default(), deadline).await
    }

    /// Carries out a command under this node's own session.
    async fn write_numbered(
        &self,
        request: RequestId,
        command: &[u8],
        token: &mut Token,
        deadline: R::Instant,
    ) -> Result<Bytes, Error> {
        let ticket = self.ticket(deadline).await?;
        let proposal = Proposal::new(request, ticket.origin(), command);
        let response = self.propose(proposal, token, deadline).await;
        let response = response.and_then(Outcome::into_response);
        if response == Err(Error::SessionExpired) {
            self.slot.expired(&ticket).await;
        }
        response
    }

    /// A number for a new command. Whatever became of the session, the command was not sent yet.
    async fn ticket(&self, deadline: R::Instant) -> Result<Ticket, Error> {
        let ticket = self.slot.ticket(self.open_session(deadline)).await;
        ticket.map_err(|error| match error {
            Error::Unknown(reason) => Error::Unavailable(format!("no session yet: {reason}")),
            error => error,
        })
    }

    async fn open_session(&self, deadline: R::Instant) -> Result<u64, Error> {
        let origin = Origin::Open { sessions_max: self.config.sessions_max };
        let proposal = Proposal::new(request_id::<R>(), origin, &[]);
        match self.propose(proposal, &mut Token::default(), deadline).await? {
            Outcome::Opened(session) => Ok(session),
            other => Err(Error::Unknown(format!("opening a session was answered with {other:?}"))),
        }
    }

    /// Answers from the state as it is here, with all that has arrived.
    pub(crate) fn read_local(&self, query: &[u8]) -> Result<Bytes, Error> {
        self.admission.fits("query", query)?;
        self.with(|replica| Ok(answer(replica.tail().current(), query)))?
    }

    /// Answers from the state up to the frontier: an answer that nothing will revoke.
    pub(crate) fn read_stable(&self, query: &[u8]) -> Result<Bytes, Error> {
        self.admission.fits("query", query)?;
        self.with(|replica| Ok(answer(replica.tail().folded().0, query)))?
    }

    pub(crate) fn status(&self) -> EventualStatus {
        EventualStatus::of(&self.identity, &self.replica(), self.fault.get().cloned())
    }

    fn wall_ms() -> u64 {
        u64::try_from(R::wall().as_millis()).unwrap_or(u64::MAX >> 16)
    }
}

fn answer(state: &State, query: &[u8]) -> Result<Bytes, Error> {
    let answer = state.applier.query(query);
    answer.map(Bytes::from).map_err(|e| Error::Refused(format!("not a query: {e}")))
}

impl<R: Runtime> Engine for Eventual<R> {
    fn write(&self, key: Option<Bytes>, command: Vec<u8>) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(self.write_here(request_id::<R>(), key, command))
    }

    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move { self.read_local(&query) })
    }

    fn read_local(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move { self.read_local(&query) })
    }
}

impl<R: Runtime> fmt::Debug for Eventual<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.identity)
    }
}
