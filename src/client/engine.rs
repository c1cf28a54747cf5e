//! The engine of a client: the verbs, in bytes, over the network.
//!
//! Owns [`Remote`]: the client's session, its bound on requests under way, and what the attempts of
//! all its requests share.
//!
//! In: commands and queries. Out: responses and answers, or an error that accounts for all attempts.
//!
//! Walk of a write: [`Remote::admitted`] bounds it -> [`SessionSlot`] numbers it, opening a session if
//! there is none -> [`Remote::carry_out`] asks until there is an answer.
//!
//! Invariants
//! - All attempts of a command have the same session and sequence, or the same key.
//! - A command whose session has expired is not sent again under another: that could be a second
//!   effect.
//! - A command that got no session was not sent; whatever became of the session, its error is
//!   definite.
//! - Every wait ends at the deadline.
//!
//! Does not: know types (`Client` does), or whom to ask (`Candidates` does).

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;

use tokio::sync::Semaphore;

use super::{
    ClientConfig, RemoteEngine,
    attempt::Request,
    candidates::{Aim, Candidates},
    retry::Budget,
};
use crate::{
    applier::Outcome,
    error::Error,
    handle::Engine,
    proposal::{Origin, Proposal, RequestId, request_id},
    rpc,
    runtime::{Instant, Runtime},
    sequencer::{SessionSlot, Ticket},
    status::Status,
    transport::{BoxFuture, Kind, Message, Transport},
};

/// What a client says of limits that are not its to set.
const LIMIT_OF_THE_LEADER: u64 = u64::MAX;

/// How is the node that a write would be sent to?
const STATUS: Request<'static, Status> = Request {
    kind: Kind::Status,
    id: 0,
    aim: Aim::Leader,
    body: &Bytes::new,
    answer: rpc::read_reply,
};

/// Carries the verbs out on a cluster elsewhere.
pub(super) struct Remote<R: Runtime> {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) config: ClientConfig,
    born: R::Instant,
    slot: SessionSlot,
    in_flight: Semaphore,
    candidates: Mutex<Candidates>,
    budget: Mutex<Budget>,
}

impl<R: Runtime> Remote<R> {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        addrs: Vec<String>,
        config: ClientConfig,
    ) -> Self {
        Self {
            transport,
            born: R::Instant::now(),
            slot: SessionSlot::default(),
            in_flight: Semaphore::new(config.in_flight_max.min(Semaphore::MAX_PERMITS)),
            candidates: Mutex::new(Candidates::new(addrs)),
            budget: Mutex::new(Budget::new(&config)),
            config,
        }
    }

    /// Carries out one request of the user's within the bounds on its size and on what is under way,
    /// and counts how it ended.
    async fn admitted<T>(
        &self,
        op: &'static str,
        bytes: usize,
        work: impl AsyncFnOnce(RequestId, R::Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let deadline = R::Instant::now() + self.config.deadline;
        let result = async {
            let limit = self.config.command_bytes_max;
            if bytes > limit {
                return Err(Error::TooLarge(format!("{bytes} bytes, the limit is {limit}")));
            }
            let _permit = self.in_flight.try_acquire().map_err(|_full| {
                Error::Overloaded(format!("{} requests under way", self.config.in_flight_max))
            })?;
            self.budget().deposit(self.age());
            work(request_id::<R>(), deadline).await
        };
        let result = result.await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) if error.is_definite() => "definite",
            Err(_) => "unknown",
        };
        metrics::counter!("sixbells_client_requests_total", "op" => op, "outcome" => outcome)
            .increment(1);
        result
    }

    async fn write_in_session(
        &self,
        id: RequestId,
        command: &[u8],
        deadline: R::Instant,
    ) -> Result<Bytes, Error> {
        let ticket = self.ticket(id, deadline).await?;
        let body = || Proposal::new(id, ticket.origin(), command).bytes().clone();
        let response = self.propose(id, &body, deadline).await;
        if response == Err(Error::SessionExpired) {
            // Who holds the slot for so long is opening another session already.
            drop(R::timeout_at(deadline, self.slot.expired(&ticket)).await);
        }
        response
    }

    /// A number for a command, in the current session or in one opened now.
    async fn ticket(&self, id: RequestId, deadline: R::Instant) -> Result<Ticket, Error> {
        let ticket = self.slot.ticket(self.open_session(id, deadline));
        match R::timeout_at(deadline, ticket).await {
            Ok(Ok(ticket)) => Ok(ticket),
            Ok(Err(definite)) if definite.is_definite() => Err(definite),
            Ok(Err(unknown)) => Err(Error::Overloaded(format!("no session yet: {unknown}"))),
            Err(_elapsed) => Err(Error::Overloaded("no session was opened in time".into())),
        }
    }

    /// Opens a session. Harmless if done twice: the one that nobody uses is crowded out in time.
    async fn open_session(&self, id: RequestId, deadline: R::Instant) -> Result<u64, Error> {
        let origin = Origin::Open { sessions_max: LIMIT_OF_THE_LEADER };
        let proposal = Proposal::new(id, origin, &[]);
        let request = Request {
            kind: Kind::Propose,
            id,
            aim: Aim::Leader,
            body: &|| proposal.bytes().clone(),
            answer: |reply| match rpc::read_reply(reply)? {
                Outcome::Opened(session) => Ok(session),
                other => Err(Error::Unknown(format!("a session was answered with {other:?}"))),
            },
        };
        self.carry_out(&request, deadline).await
    }

    async fn write_once(
        &self,
        id: RequestId,
        key: &[u8],
        command: &[u8],
        deadline: R::Instant,
    ) -> Result<Bytes, Error> {
        let origin = Origin::Once { key, keys_max: LIMIT_OF_THE_LEADER };
        let proposal = Proposal::new(id, origin, command);
        self.propose(id, &|| proposal.bytes().clone(), deadline).await
    }

    async fn propose(
        &self,
        id: RequestId,
        body: &(dyn Fn() -> Bytes + Send + Sync),
        deadline: R::Instant,
    ) -> Result<Bytes, Error> {
        let answer = |reply: &Message| rpc::read_reply::<Outcome>(reply)?.into_response();
        let request = Request { kind: Kind::Propose, id, aim: Aim::Leader, body, answer };
        self.carry_out(&request, deadline).await
    }

    async fn query(
        &self,
        op: &'static str,
        kind: Kind,
        aim: Aim,
        query: Bytes,
    ) -> Result<Bytes, Error> {
        let work = async |id, deadline| {
            let body = &|| query.clone();
            let request = Request { kind, id, aim, body, answer: rpc::read_reply };
            self.carry_out(&request, deadline).await
        };
        self.admitted(op, query.len(), work).await
    }

    /// Asks one node how it is, and remembers who it is. One attempt.
    async fn status_from(&self, addr: &str, deadline: R::Instant) -> Result<Status, Error> {
        let status = self.attempt(addr, &STATUS, deadline).await?;
        self.candidates().identified(addr, status.id);
        Ok(status)
    }

    /// Finds out who listens at the configured addresses.
    pub(super) async fn identify(&self, deadline: R::Instant) {
        let addrs = self.candidates().unidentified();
        join_all(addrs.iter().map(|addr| self.status_from(addr, deadline))).await;
    }

    /// Whether the budget allows one more attempt; counts it.
    pub(super) fn may_retry(&self) -> bool {
        let granted = self.budget().withdraw(self.age());
        if granted {
            metrics::counter!("sixbells_client_retries_total").increment(1);
        } else {
            metrics::counter!("sixbells_client_retry_budget_exhausted_total").increment(1);
        }
        granted
    }

    /// How long ago the client was made: the time that budget and breakers live in.
    pub(super) fn age(&self) -> Duration {
        R::Instant::now().saturating_duration_since(self.born)
    }

    pub(super) fn candidates(&self) -> MutexGuard<'_, Candidates> {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> Engine for Remote<R> {
    fn write(&self, key: Option<Bytes>, command: Vec<u8>) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            let bytes = command.len();
            match key {
                Some(key) => {
                    let work =
                        async |id, deadline| self.write_once(id, &key, &command, deadline).await;
                    self.admitted("write_once", bytes, work).await
                }
                None => {
                    let work =
                        async |id, deadline| self.write_in_session(id, &command, deadline).await;
                    self.admitted("write", bytes, work).await
                }
            }
        })
    }

    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(self.query("read", Kind::Read, Aim::Leader, query))
    }

    fn read_local(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(self.query("read_local", Kind::ReadLocal, Aim::Nearest, query))
    }
}

impl<R: Runtime> RemoteEngine for Remote<R> {
    fn status(&self, addr: Option<String>) -> BoxFuture<'_, Result<Status, Error>> {
        Box::pin(async move {
            let work = async |_id, deadline| match &addr {
                Some(addr) => self.status_from(addr, deadline).await,
                None => self.carry_out(&STATUS, deadline).await,
            };
            self.admitted("status", 0, work).await
        })
    }
}

impl<R: Runtime> fmt::Debug for Remote<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Remote");
        out.field("config", &self.config).field("candidates", &*self.candidates()).finish()
    }
}
