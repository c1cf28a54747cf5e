//! The client in eventual mode: its commands follow each other, wherever they go.
//!
//! Owns what a client carries from node to node: for all its clones one *clock*, the latest stamp that any
//! answer came with. Each command takes the clock along, and the node that accepts it stamps it after
//! that. A session with guarantees has a [`Token`] beside it.
//!
//! Why: a command says from which number on the client may still ask (its floor), and what is below is
//! dropped where it stands behind that in the order. The client pays at one node, hears that it went well, and
//! pays at another, whose clock is behind. Were the second stamped before the first, the first, which
//! was acknowledged, would stand behind a floor above it.
//!
//! In: commands and queries. Out: responses and answers, or an error that accounts for all attempts.
//!
//! Invariants
//! - A command's stamp is larger than those of all that this client was answered before its floor was
//!   taken: the number is read before the clock, and the clock is set before the number is given back.
//! - A command that was sent under one session is sent under another only if no attempt had an effect.
//!
//! Does not: keep the tokens; whoever holds a session does.

use bytes::Bytes;

use super::{
    attempt::{Request, peer},
    candidates::Aim,
    engine::Remote,
};
use crate::{
    applier::Outcome,
    codec,
    error::Error,
    eventual::{EventualStatus, SessionEngine, Token},
    mode::Mode,
    proposal::{Proposal, RequestId},
    rpc,
    runtime::{Instant, Runtime},
    transport::{BoxFuture, Kind, Message},
};

impl<R: Runtime> Remote<R> {
    /// Proposes something that comes after all that was seen; says what was seen by then.
    pub(super) async fn propose_after<T>(
        &self,
        id: RequestId,
        seen: &Token,
        proposal: &(dyn Fn() -> Proposal + Send + Sync),
        read: fn(Outcome) -> Result<T, Error>,
        deadline: R::Instant,
    ) -> Result<(T, Token), Error> {
        let body = || {
            let proposal = proposal();
            let mut token = seen.clone();
            token.follow(&self.clock());
            codec::encode(&(token, proposal)).into()
        };
        let answer = |reply: &Message| {
            let (outcome, token): (Outcome, Token) = rpc::read_reply(reply)?;
            Ok((read(outcome)?, token))
        };
        let (kind, aim) = (Kind::ProposeAfter, Aim::Anyone);
        let request = Request { kind, id, aim, body: &body, answer: &answer };
        let (done, token) = self.carry_out(&request, deadline).await?;
        self.clock().follow(&token);
        Ok((done, token))
    }

    /// Carries out a command that comes after all that was seen.
    pub(super) async fn write_following(
        &self,
        id: RequestId,
        seen: &Token,
        command: &[u8],
        deadline: R::Instant,
    ) -> Result<(Bytes, Token), Error> {
        loop {
            let ticket = self.ticket(id, deadline).await?;
            let proposal = || Proposal::new(id, ticket.origin(), command);
            let read = Outcome::into_response;
            let written = self.propose_after(id, seen, &proposal, read, deadline).await;
            if !matches!(written, Err(Error::SessionExpired)) {
                return written;
            }
            // The node does not know the session, most likely because the one where it was opened
            // cannot be reached from there. No attempt had an effect.
            drop(R::timeout_at(deadline, self.slot.expired(&ticket)).await);
            if R::Instant::now() >= deadline || !self.may_retry() {
                return Err(Error::Unavailable("no node knows the session".into()));
            }
        }
    }

    pub(super) async fn eventual_status_of(
        &self,
        addr: Option<String>,
    ) -> Result<EventualStatus, Error> {
        let body = &|| codec::encode(&Mode::Eventual).into();
        let work = async |id, deadline| {
            let request =
                |aim| Request { kind: Kind::Status, id, aim, body, answer: &rpc::read_reply };
            match &addr {
                // To look at a node does not make it the one that is asked from now on.
                Some(addr) => {
                    let (to, request) = (peer(addr), request(Aim::Nearest));
                    Ok(self.attempt(&to, &request, R::Instant::now(), deadline).await?)
                }
                None => self.carry_out(&request(Aim::Anyone), deadline).await,
            }
        };
        self.admitted("status", 0, work).await
    }

    /// Refuses what a client of the other mode cannot be promised.
    pub(super) fn only_eventual(&self, what: &str) -> Result<(), Error> {
        match self.config.mode {
            Mode::Eventual => Ok(()),
            Mode::Strong => {
                Err(Error::Refused(format!("{what} needs ClientConfig::mode to be eventual")))
            }
        }
    }
}

impl<R: Runtime> SessionEngine for Remote<R> {
    fn write_after(
        &self,
        token: Token,
        command: Vec<u8>,
    ) -> BoxFuture<'_, Result<(Bytes, Token), Error>> {
        Box::pin(async move {
            self.only_eventual("a session")?;
            let work =
                async |id, deadline| self.write_following(id, &token, &command, deadline).await;
            self.admitted("write_after", command.len(), work).await
        })
    }

    fn read_after(
        &self,
        token: Token,
        query: Bytes,
    ) -> BoxFuture<'_, Result<(Bytes, Token), Error>> {
        Box::pin(async move {
            self.only_eventual("a session")?;
            let body = || codec::encode(&(&token, &query)).into();
            let (kind, aim) = (Kind::ReadAfter, Aim::Anyone);
            let work = async |id, deadline| {
                let request = Request { kind, id, aim, body: &body, answer: &rpc::read_reply };
                self.carry_out(&request, deadline).await
            };
            self.admitted("read_after", query.len(), work).await
        })
    }
}
