//! How a replica takes a proposal on.
//!
//! Owns the walk of one proposal from its admission to its acknowledgement, and the way of operations to the log.
//!
//! In: proposals of this process and of clients, and operations of other replicas. Out: outcomes, which may
//! still be revoked, of operations that are durable here.
//!
//! Invariants
//! - An outcome is returned only after its operation is durable here; it was applied before.
//! - An error that says that nothing was executed is told before anything was taken up.
//!
//! Does not: number commands, or try again.

use std::sync::atomic::Ordering;

use tokio::sync::{Notify, oneshot};

use super::{
    Eventual,
    log::Operation,
    replica::{Replica, low_ceiling},
    session::Token,
};
use crate::{
    applier::Outcome,
    error::Error,
    plant::{Bug, planted},
    proposal::Proposal,
    runtime::Runtime,
    storage::Done,
};

/// Word of the log that something is durable.
type Synced = oneshot::Receiver<std::io::Result<()>>;

impl<R: Runtime> Eventual<R> {
    /// Accepts a proposal; returns once it is durable here, and with it all that the token grew by.
    pub(super) async fn propose(
        &self,
        proposal: Proposal,
        token: &mut Token,
        deadline: R::Instant,
    ) -> Result<Outcome, Error> {
        let (proposal, _permit) = self.admission.take_on(proposal, self.machine.accepts)?;
        let (outcome, accepted) = loop {
            let raised = self.raised.notified();
            if let Some(accepted) = self.accept(&proposal, token)? {
                break accepted;
            }
            if R::timeout_at(deadline, raised).await.is_err() {
                return Err(low_ceiling());
            }
        };
        if planted(Bug::AckBeforeSync) {
            return Ok(outcome);
        }
        match R::timeout_at(deadline, self.synced(accepted)).await {
            Ok(synced) => synced?,
            Err(_elapsed) => return Err(Error::Unknown("the disk did not sync in time".into())),
        }
        self.news.iter().for_each(Notify::notify_one);
        Ok(outcome)
    }

    /// Takes a proposal up, unless the clock's ceiling must be raised first.
    fn accept(
        &self,
        proposal: &Proposal,
        token: &mut Token,
    ) -> Result<Option<(Outcome, Synced)>, Error> {
        let wall_ms = Self::wall_ms();
        self.with(|replica| {
            if !replica.knows_session(proposal) {
                return Ok(Err(Error::SessionExpired));
            }
            if replica.awaits_ceiling(wall_ms) {
                return Ok(Ok(None));
            }
            let operation = match replica.accept(proposal.clone(), wall_ms)? {
                Ok(operation) => operation,
                Err(refused) => return Ok(Err(refused)),
            };
            let outcome = replica.tail().outcome(operation.stamp, operation.author).cloned();
            token.grow(replica);
            let (durable, accepted) = oneshot::channel();
            self.append(replica, vec![operation], durable);
            Ok(Ok(Some((outcome.unwrap_or(Outcome::Nothing), accepted))))
        })?
    }

    /// Waits until the log says that it has synced. If it could not, the replica stops.
    pub(super) async fn synced(&self, durable: Synced) -> Result<(), Error> {
        match durable.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.fail(&format!("the log of operations: {error}"));
                Err(Error::Stopped(error.to_string()))
            }
            Err(_dropped) => Err(Error::Stopped("the log is gone".into())),
        }
    }

    /// Hands operations to the log. Under the replica's lock, so that they come in order.
    pub(super) fn append(
        &self,
        replica: &Replica,
        operations: Vec<Operation>,
        durable: oneshot::Sender<std::io::Result<()>>,
    ) {
        let (arrived, count) = (replica.arrived(), self.durable.clone());
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                count.fetch_max(arrived, Ordering::Release);
            }
            // Who has given up waiting does not need to know.
            let _ = durable.send(result);
        });
        if let Some(log) = self.log() {
            log.append(operations, done);
        }
    }
}
