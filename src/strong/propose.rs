//! From proposals to log entries: what waits together is proposed together.
//!
//! Owns the queue of proposals, and the task that hands them to openraft as [`Batch`]es.
//!
//! In: proposals that were admitted, of this process and of clients. Out: an [`Outcome`] each.
//!
//! When a batch is cut: at once while none is under way, so that a lone proposal waits for nobody. Otherwise
//! when those that are have been applied, when a full batch waits, or [`PACE`] after the last one was cut. So
//! batches grow with the load, as syncs do, and a sync and a round trip are paid for as many as come meanwhile;
//! where they take longer than that, batches follow each other as in a pipeline, and a proposal waits for
//! a fraction of what it takes anyway. And a leader that has lost its followers gets to hear from openraft
//! that it leads no more, which is a definite answer for those who wait.
//!
//! Invariants
//! - Proposals are logged in the order in which they were submitted; those submitted together are not
//!   torn apart.
//! - What was submitted is proposed once, or answered with an error; when in doubt, with an indefinite one.
//! - An outcome is given only after the entry was committed and applied here.
//!
//! Does not: admit, time out or retry. Whoever submits does.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openraft::{
    OptionalSend,
    async_runtime::Instant,
    errors::ClientWriteError,
    raft::{ClientWriteResult, responder::Responder},
};
use tokio::sync::{Notify, oneshot};

use super::{Strong, Types, not_leader, types};
use crate::{
    applier::Outcome, batch::Batch, error::Error, proposal::Proposal, runtime::Runtime,
    storage::LogId,
};

/// How long a proposal waits at most for others, while a batch is under way.
const PACE: Duration = Duration::from_millis(2);

/// A batch is full with so many bytes. One proposal may be longer.
const BATCH_BYTES: usize = 1 << 16;

/// Where a batch was logged, and what became of its proposals.
pub(super) type Written = Result<(LogId, Vec<Outcome>), Error>;

/// What waits to be proposed, and how much is under way.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Submission>,
    bytes: usize,
    /// Batches that are proposed and not answered.
    under_way: usize,
    closed: bool,
}

/// Proposals that came together.
#[derive(Debug)]
struct Submission {
    proposals: Vec<Proposal>,
    bytes: usize,
    answer: oneshot::Sender<Written>,
}

/// The submissions of one batch, until they are answered. Gone without an answer, openraft has ended: nobody can
/// say whether it was logged.
struct Answering {
    proposals: Arc<Proposals>,
    submissions: Vec<Submission>,
}

/// What openraft calls with the result of a write.
pub(crate) struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<R: Runtime, T: OptionalSend + 'static> Responder<Types<R>, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

impl Proposals {
    /// Puts proposals into the queue: [`PROPOSALS_MAX`](crate::batch::PROPOSALS_MAX) at most, which fit a frame.
    pub(super) fn submit(&self, proposals: Vec<Proposal>) -> oneshot::Receiver<Written> {
        let bytes = proposals.iter().map(|proposal| proposal.bytes().len()).sum();
        let (answer, written) = oneshot::channel();
        let mut queue = self.lock();
        // Once closed, the answer is dropped, and that is one.
        if !queue.closed {
            queue.bytes += bytes;
            queue.waiting.push_back(Submission { proposals, bytes, answer });
            drop(queue);
            self.changed.notify_one();
        }
        written
    }

    /// The next batch, if it is to be cut now; if `due`, whatever is under way.
    fn cut(self: &Arc<Self>, due: bool) -> Option<Answering> {
        let mut queue = self.lock();
        if queue.under_way > 0 && queue.bytes < BATCH_BYTES && !due {
            return None;
        }
        let (mut submissions, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.waiting.front() {
            if !submissions.is_empty() && bytes + next.bytes > BATCH_BYTES {
                break;
            }
            queue.bytes -= next.bytes;
            let next = queue.waiting.pop_front().expect("invariant: there is a front");
            // Whoever gave up was told that nobody knows; so it need not be.
            if !next.answer.is_closed() {
                bytes += next.bytes;
                submissions.push(next);
            }
        }
        if submissions.is_empty() {
            return None;
        }
        queue.under_way += 1;
        Some(Answering { proposals: self.clone(), submissions })
    }

    /// Nothing is proposed any more; what waits is answered.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let waiting = mem::take(&mut queue.waiting);
        queue.bytes = 0;
        drop(queue);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Whether something waits; `None` once closed.
    fn waits(&self) -> Option<bool> {
        let queue = self.lock();
        (!queue.closed).then_some(!queue.waiting.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answering {
    fn batch(&self) -> Batch {
        let proposals = self.submissions.iter().flat_map(|submission| &submission.proposals);
        Batch::of(&proposals.collect::<Vec<_>>())
    }

    fn answer(mut self, written: Written) {
        let mut written = written.map(|(id, outcomes)| (id, outcomes.into_iter()));
        for Submission { proposals, answer, .. } in mem::take(&mut self.submissions) {
            let its = match &mut written {
                Ok((id, outcomes)) => Ok((*id, outcomes.by_ref().take(proposals.len()).collect())),
                Err(error) => Err(error.clone()),
            };
            // Whoever has stopped waiting does not mind.
            let _ = answer.send(its);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.proposals.lock().under_way -= 1;
        self.proposals.changed.notify_one();
    }
}

impl<R: Runtime> Strong<R> {
    /// Proposes what is submitted. Ends with the node.
    pub(crate) async fn propose_submitted(self: Arc<Self>) {
        let mut due = R::Instant::now();
        loop {
            while let Some(answering) = self.proposals.cut(R::Instant::now() >= due) {
                let batch = answering.batch();
                let answer = move |result| answering.answer(written::<R>(result));
                let callback = Callback(Box::new(answer));
                // Were it refused, openraft would have ended, and dropped the callback.
                let _ = self.raft.client_write_ff(batch, Some(callback)).await;
                due = R::Instant::now() + PACE;
            }
            let changed = self.proposals.changed.notified();
            match self.proposals.waits() {
                // Either is a reason to look again.
                Some(true) => drop(R::timeout_at(due, changed).await),
                Some(false) => changed.await,
                None => return,
            }
        }
    }

    /// Proposes here. Needs leadership.
    pub(super) async fn propose(
        &self,
        proposal: Proposal,
        deadline: R::Instant,
    ) -> Result<Outcome, Error> {
        let (proposal, _permit) = self.admission.take_on(proposal, self.accepts)?;
        let request = proposal.request();
        let began = R::Instant::now();
        if began >= deadline {
            return Err(expired());
        }
        metrics::counter!("sixbells_raft_proposals_total").increment(1);
        let submitted = self.proposals.submit(vec![proposal]);
        let result = R::timeout_at(deadline, submitted).await;
        record_commit(began, R::Instant::now());
        let outcome = match result {
            Ok(written) => self.settled(written).map(|(id, mut outcomes)| {
                self.trace_committed(request, id);
                outcomes.pop().unwrap_or(Outcome::Nothing)
            }),
            Err(_elapsed) => Err(late()),
        };
        outcome.inspect_err(count_failed)
    }

    /// What an answer, or its absence, says.
    pub(super) fn settled(&self, answer: Result<Written, oneshot::error::RecvError>) -> Written {
        answer.unwrap_or_else(|_gone| {
            // It may have been logged before the engine ended.
            self.works()?;
            Err(Error::Stopped("the consensus engine ended".into()))
        })
    }

    pub(super) fn trace_committed(&self, request: u128, LogId { term, index }: LogId) {
        let request = format_args!("{request:032x}");
        tracing::debug!(node = self.identity.node, %request, term, index, "committed");
    }
}

/// Those that were submitted together count as one.
pub(super) fn record_commit<I: Instant>(began: I, ended: I) {
    let took = (ended - began).as_secs_f64();
    metrics::histogram!("sixbells_raft_commit_duration_seconds").record(took);
}

/// That nobody knows yet what became of a proposal.
pub(super) fn late() -> Error {
    Error::Unknown("no majority answered in time".into())
}

/// That nobody waits any more for what was not proposed yet.
pub(super) fn expired() -> Error {
    metrics::counter!("sixbells_shed_total", "reason" => "expired").increment(1);
    Error::Overloaded("the deadline passed before it was proposed".into())
}

/// That this node has stopped is no reason for the one who asks to stop: another will lead.
pub(super) fn for_another(error: Error) -> Error {
    match error {
        Error::Stopped(reason) => Error::Unknown(format!("the leader stopped: {reason}")),
        error => error,
    }
}

pub(super) fn count_failed(error: &Error) {
    let reason = if error.is_definite() { "refused" } else { "unknown" };
    metrics::counter!("sixbells_raft_proposals_failed_total", "reason" => reason).increment(1);
}

fn written<R: Runtime>(result: ClientWriteResult<Types<R>>) -> Written {
    match result {
        Ok(written) => Ok((types::from_raft::<R>(&written.log_id), written.data)),
        Err(error) => Err(write_error::<R>(error)),
    }
}

/// What an error of openraft's says about a write.
fn write_error<R: Runtime>(error: ClientWriteError<Types<R>>) -> Error {
    match error {
        ClientWriteError::ForwardToLeader(forward) => not_leader(forward),
        ClientWriteError::LogEntryDiscarded(_) => {
            Error::Unknown("leadership was lost after the entry was logged".into())
        }
        // Not said of a command.
        other @ (ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_)) => Error::Unknown(other.to_string()),
    }
}

#[cfg(test)]
#[path = "propose_test.rs"]
mod tests;
