//! Linearizable reads, on any member.
//!
//! Owns the read barrier, and what openraft's errors say about a read.
//!
//! Walk of a read: who leads says how far it had committed, after a majority has confirmed that it
//! still leads -> this node waits until its own state is there -> the machine answers.
//!
//! Invariants
//! - A read sees every write that was acknowledged anywhere before the read began.
//! - No clock is relied on: not a lease but a round of messages confirms the leader.
//!
//! Does not: write anything, to the log or elsewhere. A read that failed had no effect.

use bytes::Bytes;
use openraft::{
    ReadPolicy,
    async_runtime::Instant,
    errors::{LinearizableReadError, RaftError},
};

use super::{Leader, Strong, Types, not_leader, types};
use crate::{
    error::Error,
    plant::{Bug, planted},
    proposal::RequestId,
    runtime::Runtime,
    storage::LogId,
    transport::{Kind, Message},
};

impl<R: Runtime> Strong<R> {
    pub(super) async fn read_here(&self, request: RequestId, query: Bytes) -> Result<Bytes, Error> {
        self.admission.fits("query", &query)?;
        let deadline = R::Instant::now() + self.config.request_timeout;
        let _permit = self.admission.admit(query.len())?;
        loop {
            match self.answer_when_ready(request, &query, deadline).await {
                Err(Error::NotLeader { .. }) if self.pause(deadline).await => {}
                answer => return answer,
            }
        }
    }

    /// Answers from the state, once it holds every write acknowledged before the query came.
    pub(super) async fn answer_when_ready(
        &self,
        request: RequestId,
        query: &[u8],
        deadline: R::Instant,
    ) -> Result<Bytes, Error> {
        self.ready_to_answer(request, deadline).await?;
        self.state.query(query)
    }

    /// Waits until the state holds every write acknowledged before this was called.
    pub(super) async fn ready_to_answer(
        &self,
        request: RequestId,
        deadline: R::Instant,
    ) -> Result<(), Error> {
        if planted(Bug::LocalRead) {
            return Ok(());
        }
        self.barrier(request, deadline).await
    }

    /// Makes sure that this node leads, and returns what a read has to wait for.
    pub(super) async fn read_point(&self, deadline: R::Instant) -> Result<LogId, Error> {
        let policy = match planted(Bug::LeaseRead) {
            true => ReadPolicy::LeaseRead,
            false => ReadPolicy::ReadIndex,
        };
        match R::timeout_at(deadline, self.raft.get_read_log_id(policy)).await {
            Ok(Ok((point, _applied))) => Ok(types::from_raft::<R>(point.log_id())),
            Ok(Err(error)) => Err(read_error(error)),
            Err(_elapsed) => Err(Error::NotLeader { leader: None }),
        }
    }

    /// Waits until the state holds what the leader, wherever it is, had committed when asked.
    pub(super) async fn barrier(
        &self,
        request: RequestId,
        deadline: R::Instant,
    ) -> Result<(), Error> {
        self.works()?;
        let point = match self.leader() {
            Leader::Here => self.read_point(deadline).await?,
            Leader::There(id, member) => {
                let request = Message { kind: Kind::ReadIndex, request, body: Bytes::new() };
                self.forward(id, &member, request, deadline).await?
            }
            Leader::Unknown => return Err(Error::NotLeader { leader: None }),
        };
        if planted(Bug::ReadPointSkipped) {
            return Ok(());
        }
        let mut applied = self.raft.watch_apply_progress();
        while self.state.look(|state| state.applied() < Some(point))? {
            match R::timeout_at(deadline, applied.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => {
                    return Err(Error::Stopped("the consensus engine ended".into()));
                }
                Err(_elapsed) => {
                    let reason = format!("this node has not applied entry {point} yet");
                    return Err(Error::Unavailable(reason));
                }
            }
        }
        Ok(())
    }
}

fn read_error<R: Runtime>(error: RaftError<Types<R>, LinearizableReadError<Types<R>>>) -> Error {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => not_leader(forward),
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
            Error::NotLeader { leader: None }
        }
        RaftError::Fatal(fatal) => Error::Stopped(fatal.to_string()),
    }
}
