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
//! Does not: know types (`Client` does), or whom to ask (`Candidates` does). What is different in
//! eventual mode is in `following`.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    ClientConfig, RemoteEngine,
    attempt::{Request, peer},
    candidates::{Aim, Candidates},
    retry::Budget,
};
use crate::{
    applier::Outcome,
    error::Error,
    eventual::{EventualStatus, Token},
    handle::Engine,
    mode::Mode,
    places::Places,
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
    answer: &rpc::read_reply,
};

/// Carries the verbs out on a cluster elsewhere.
pub(super) struct Remote<R: Runtime> {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) config: ClientConfig,
    born: R::Instant,
    pub(super) slot: SessionSlot,
    in_flight: Places,
    /// In eventual mode, up to when this client was answered.
    clock: Mutex<Token>,
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
            in_flight: Places::new(config.in_flight_max),
            clock: Mutex::default(),
            candidates: Mutex::new(Candidates::new(addrs)),
            budget: Mutex::new(Budget::new(&config)),
            config,
        }
    }

    /// Carries out one request of the user's within the bounds on its size and on what is under way,
    /// and counts how it ended.
    pub(super) async fn admitted<T>(
        &self,
        op: &'static str,
        bytes: usize,
        work: impl AsyncFnOnce(RequestId, R::Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let began = R::Instant::now();
        let result = async {
            let limit = self.config.command_bytes_max;
            if bytes > limit {
                return Err(Error::TooLarge(format!("{bytes} bytes, the limit is {limit}")));
            }
            let _permit = self.in_flight.take(1).ok_or_else(|| {
                Error::Overloaded(format!("{} requests under way", self.config.in_flight_max))
            })?;
            self.budget().deposit(self.age(began));
            work(request_id::<R>(), began + self.config.deadline).await
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
        let proposal = || Proposal::new(id, ticket.origin(), command);
        let response = self.propose(id, &proposal, Outcome::into_response, deadline).await;
        if response == Err(Error::SessionExpired) {
            // Who holds the slot for so long is opening another session already.
            drop(Box::pin(R::timeout_at(deadline, self.slot.expired(&ticket))).await);
        }
        response
    }

    /// A number for a command, in the current session or in one opened now.
    pub(super) async fn ticket(
        &self,
        id: RequestId,
        deadline: R::Instant,
    ) -> Result<Ticket, Error> {
        if let Some(ticket) = self.slot.ticket_at_hand() {
            return Ok(ticket);
        }
        // Seldom, so it is not to make every command's future larger.
        let ticket = self.slot.ticket(self.open_session(id, deadline));
        match Box::pin(R::timeout_at(deadline, ticket)).await {
            Ok(Ok(ticket)) => Ok(ticket),
            Ok(Err(definite)) if definite.is_definite() => Err(definite),
            Ok(Err(unknown)) => Err(Error::Unavailable(format!("no session yet: {unknown}"))),
            Err(_elapsed) => Err(Error::Unavailable("no session was opened in time".into())),
        }
    }

    /// Opens a session. Harmless if done twice: the one that nobody uses is crowded out in time.
    async fn open_session(&self, id: RequestId, deadline: R::Instant) -> Result<u64, Error> {
        let origin = Origin::Open { sessions_max: LIMIT_OF_THE_LEADER };
        // In eventual mode its name is the session's, so a second one for the same command needs its own.
        let id = if self.config.mode == Mode::Eventual { request_id::<R>() } else { id };
        let proposal = Proposal::new(id, origin, &[]);
        let opened = |outcome| match outcome {
            Outcome::Opened(session) => Ok(session),
            other => Err(Error::Unknown(format!("a session was answered with {other:?}"))),
        };
        self.propose(id, &|| proposal.clone(), opened, deadline).await
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
        self.propose(id, &|| proposal.clone(), Outcome::into_response, deadline).await
    }

    async fn propose<T>(
        &self,
        id: RequestId,
        proposal: &(dyn Fn() -> Proposal + Send + Sync),
        read: fn(Outcome) -> Result<T, Error>,
        deadline: R::Instant,
    ) -> Result<T, Error> {
        if self.config.mode == Mode::Eventual {
            let nothing = Token::default();
            let proposed = self.propose_after(id, &nothing, proposal, read, deadline);
            return Ok(Box::pin(proposed).await?.0);
        }
        let body = &|| proposal().into_bytes();
        let answer = &|reply: &Message| read(rpc::read_reply(reply)?);
        let request = Request { kind: Kind::Propose, id, aim: Aim::Leader, body, answer };
        self.carry_out(&request, deadline).await
    }

    pub(super) async fn query(
        &self,
        op: &'static str,
        kind: Kind,
        aim: Aim,
        query: Bytes,
    ) -> Result<Bytes, Error> {
        let work = async |id, deadline| {
            let body = &|| query.clone();
            let request = Request { kind, id, aim, body, answer: &rpc::read_reply };
            self.carry_out(&request, deadline).await
        };
        self.admitted(op, query.len(), work).await
    }

    /// Asks one node how it is, and remembers who it is. One attempt.
    async fn status_from(&self, addr: &str, deadline: R::Instant) -> Result<Status, Error> {
        let status = self.attempt(&peer(addr), &STATUS, R::Instant::now(), deadline).await?;
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
        let granted = self.budget().withdraw(self.age(R::Instant::now()));
        if granted {
            metrics::counter!("sixbells_client_retries_total").increment(1);
        } else {
            metrics::counter!("sixbells_client_retry_budget_exhausted_total").increment(1);
        }
        granted
    }

    /// How long before `now` the client was made: the time that budget and breakers live in.
    pub(super) fn age(&self, now: R::Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    pub(super) fn clock(&self) -> MutexGuard<'_, Token> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
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
                    let work = async |id, deadline| match self.config.mode {
                        Mode::Strong => self.write_in_session(id, &command, deadline).await,
                        Mode::Eventual => {
                            let nothing = Token::default();
                            let written = self.write_following(id, &nothing, &command, deadline);
                            Ok(Box::pin(written).await?.0)
                        }
                    };
                    self.admitted("write", bytes, work).await
                }
            }
        })
    }

    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(match self.config.mode {
            Mode::Strong => self.query("read", Kind::Read, Aim::Leader, query),
            Mode::Eventual => self.query("read", Kind::ReadLocal, Aim::Anyone, query),
        })
    }

    fn read_local(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        let aim = match self.config.mode {
            Mode::Strong => Aim::Nearest,
            Mode::Eventual => Aim::Anyone,
        };
        Box::pin(self.query("read_local", Kind::ReadLocal, aim, query))
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

    fn eventual_status(
        &self,
        addr: Option<String>,
    ) -> BoxFuture<'_, Result<EventualStatus, Error>> {
        Box::pin(self.eventual_status_of(addr))
    }

    fn read_stable(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            self.only_eventual("read_stable")?;
            self.query("read_stable", Kind::ReadStable, Aim::Anyone, query).await
        })
    }
}

impl<R: Runtime> fmt::Debug for Remote<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Remote");
        out.field("config", &self.config).field("candidates", &*self.candidates()).finish()
    }
}
