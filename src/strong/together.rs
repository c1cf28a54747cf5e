//! Requests of clients that arrived together.
//!
//! Owns what is done once for all of them: proposals are submitted as one, under one clock; reads share one
//! round of messages that confirms the leader.
//!
//! Invariants
//! - Each request is admitted, refused or timed out by itself, as if it had come alone. A panic of the
//!   user's code loses the reply of its own request, and of no other.
//! - The round that reads share begins after the last of them has arrived.
//!
//! Does not: serve anything that it would not serve alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use openraft::async_runtime::Instant;
use serde::Serialize;

use super::{
    Strong,
    propose::{self, Written},
    serve::{not_me, refused},
};
use crate::{
    admission::Permit,
    applier::Outcome,
    error::Error,
    proposal::Proposal,
    rpc,
    runtime::{Runtime, yield_now},
    transport::{Kind, Message, Request},
};

/// Queries answered before others have their turn: each may take a while.
const QUERIES_AT_ONCE: usize = 16;

/// A request that waits.
struct Asked<'a, I> {
    id: u128,
    deadline: I,
    answer: Box<dyn FnOnce(Message) + Send>,
    _permit: Permit<'a>,
}

impl<I> Asked<'_, I> {
    fn reply<T: Serialize>(self, result: &Result<T, Error>) {
        (self.answer)(rpc::reply(self.id, result));
    }
}

/// Runs the user's code for one request. After a panic, which the program's hook has told of, there is no reply.
fn alone<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

impl<R: Runtime> Strong<R> {
    pub(super) async fn answer_together(&self, requests: Vec<Request>) {
        match requests.first().map(|first| first.message.kind) {
            Some(Kind::Propose) => self.propose_together(requests).await,
            _ => self.read_together(requests).await,
        }
    }

    /// Waits for what all of them need; meanwhile each whose deadline passes is answered with `late`. `None` if
    /// nobody is left.
    async fn together<T>(
        &self,
        asked: &mut [Option<Asked<'_, R::Instant>>],
        needed: impl Future<Output = T> + Send,
        late: impl Fn(Asked<'_, R::Instant>),
    ) -> Option<T> {
        let mut needed = pin!(needed);
        loop {
            let soonest = asked.iter().flatten().map(|one| one.deadline).min()?;
            if let Ok(there) = R::timeout_at(soonest, needed.as_mut()).await {
                return Some(there);
            }
            let now = R::Instant::now();
            asked
                .iter_mut()
                .filter_map(|one| one.take_if(|one| one.deadline <= now))
                .for_each(&late);
        }
    }

    async fn propose_together(&self, requests: Vec<Request>) {
        let began = R::Instant::now();
        let works = self.works().map_err(not_me);
        let mut asked = Vec::with_capacity(requests.len());
        let mut proposals = Vec::with_capacity(requests.len());
        for Request { message, remaining, answer } in requests {
            let Message { request: id, body, .. } = message;
            let admitted =
                alone(|| works.clone().and_then(|()| self.admit_proposal(body, remaining)));
            match admitted {
                Some(Ok((proposal, _permit))) => {
                    let deadline = began + remaining;
                    asked.push(Some(Asked { id, deadline, answer, _permit }));
                    proposals.push(proposal);
                }
                Some(Err(error)) => answer(rpc::reply::<Outcome>(id, &Err(error))),
                None => {}
            }
        }
        if proposals.is_empty() {
            return;
        }
        metrics::counter!("sixbells_raft_proposals_total").increment(proposals.len() as u64);
        let submitted = self.proposals.submit(proposals);
        let late = |one: Asked<'_, _>| {
            propose::count_failed(&propose::late());
            one.reply::<Outcome>(&Err(propose::late()));
        };
        if let Some(answer) = self.together(&mut asked, submitted, late).await {
            propose::record_commit(began, R::Instant::now());
            self.answer_each(asked, self.settled(answer));
        }
    }

    fn admit_proposal(
        &self,
        body: Bytes,
        remaining: Duration,
    ) -> Result<(Proposal, Permit<'_>), Error> {
        let proposal = Proposal::from_bytes(body).map_err(|e| refused(&e))?;
        let admitted = self.admission.take_on(proposal, self.accepts)?;
        if remaining.is_zero() {
            return Err(propose::expired());
        }
        Ok(admitted)
    }

    fn answer_each(&self, asked: Vec<Option<Asked<'_, R::Instant>>>, written: Written) {
        match written {
            Ok((id, outcomes)) => {
                for (one, outcome) in asked.into_iter().zip(outcomes) {
                    let Some(one) = one else { continue };
                    self.trace_committed(one.id, id);
                    one.reply(&Ok(outcome));
                }
            }
            Err(error) => {
                let error = propose::for_another(error);
                for one in asked.into_iter().flatten() {
                    propose::count_failed(&error);
                    one.reply::<Outcome>(&Err(error.clone()));
                }
            }
        }
    }

    async fn read_together(&self, requests: Vec<Request>) {
        let began = R::Instant::now();
        let latest = requests.iter().map(|request| request.remaining).max().unwrap_or_default();
        let (mut asked, mut queries) = (Vec::new(), Vec::new());
        for Request { message, remaining, answer } in requests {
            let Message { request: id, body, .. } = message;
            let fits = self.admission.fits("query", &body);
            match fits.and_then(|()| self.admission.admit(body.len())) {
                Ok(_permit) => {
                    let deadline = began + remaining;
                    asked.push(Some(Asked { id, deadline, answer, _permit }));
                    queries.push(body);
                }
                Err(error) => answer(rpc::reply::<Bytes>(id, &Err(error))),
            }
        }
        let first = asked.iter().flatten().map(|one| one.id).next().unwrap_or_default();
        let ready = self.ready_to_answer(first, began + latest);
        // As alone: who leads is not known, and a read has no effect.
        let late = |one: Asked<'_, _>| {
            one.reply::<Bytes>(&Err(Error::NotLeader { leader: None }));
        };
        let Some(ready) = self.together(&mut asked, ready, late).await else { return };
        for (count, (one, query)) in asked.into_iter().zip(queries).enumerate() {
            let answered = alone(|| ready.clone().and_then(|()| self.state.query(&query)));
            if let Some((one, answer)) = one.zip(answered) {
                one.reply(&answer);
            }
            if count % QUERIES_AT_ONCE == QUERIES_AT_ONCE - 1 {
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
#[path = "together_test.rs"]
mod tests;
