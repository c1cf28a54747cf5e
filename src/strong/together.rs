//! Requests of clients that arrived together.
//!
//! Owns what is done once for all of them: proposals are submitted as one, under one clock; reads share one
//! round of messages that confirms the leader.
//!
//! Invariants
//! - Each request is admitted, refused or timed out by itself, as if it had come alone.
//! - The round that reads share begins after the last of them has arrived.
//!
//! Does not: serve anything that it would not serve alone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use openraft::async_runtime::Instant;

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

type Answer = Box<dyn FnOnce(Message) + Send>;

/// A proposal of a client that waits.
struct Asked<I> {
    id: u128,
    deadline: I,
    answer: Answer,
}

impl<I> Asked<I> {
    fn reply(self, outcome: &Result<Outcome, Error>) {
        (self.answer)(rpc::reply(self.id, outcome));
    }
}

impl<R: Runtime> Strong<R> {
    pub(super) async fn answer_together(&self, kind: Kind, requests: Vec<Request>) {
        match kind {
            Kind::Propose => self.propose_together(requests).await,
            Kind::Read => self.read_together(requests).await,
            _ => {
                let began = R::Instant::now();
                let each = requests.into_iter().map(async |request| {
                    let deadline = began + request.remaining;
                    (request.answer)(self.answer(request.message, deadline).await);
                });
                join_all(each).await;
            }
        }
    }

    async fn propose_together(&self, requests: Vec<Request>) {
        let began = R::Instant::now();
        let works = self.works().map_err(not_me);
        let (mut asked, mut proposals, mut permits) = (Vec::new(), Vec::new(), Vec::new());
        for Request { message, remaining, answer } in requests {
            let one = Asked { id: message.request, deadline: began + remaining, answer };
            let admitted =
                works.clone().and_then(|()| self.admit_proposal(message.body, remaining));
            match admitted {
                Ok((proposal, permit)) => {
                    asked.push(Some(one));
                    proposals.push(proposal);
                    permits.push(permit);
                }
                Err(error) => one.reply(&Err(error)),
            }
        }
        if proposals.is_empty() {
            return;
        }
        metrics::counter!("sixbells_raft_proposals_total").increment(proposals.len() as u64);
        let mut submitted = self.proposals.submit(proposals);
        // Ends as well when everybody was told that it is late.
        while let Some(soonest) = asked.iter().flatten().map(|one| one.deadline).min() {
            if let Ok(answer) = R::timeout_at(soonest, &mut submitted).await {
                propose::record_commit(began, R::Instant::now());
                return self.answer_each(asked, self.settled(answer));
            }
            let now = R::Instant::now();
            for one in asked.iter_mut().filter_map(|one| one.take_if(|one| one.deadline <= now)) {
                propose::count_failed(&propose::late());
                one.reply(&Err(propose::late()));
            }
        }
    }

    fn admit_proposal(
        &self,
        body: Bytes,
        remaining: Duration,
    ) -> Result<(Proposal, Permit<'_>), Error> {
        let proposal = Proposal::from_bytes(body).map_err(refused)?;
        let admitted = self.admission.take_on(proposal, self.accepts)?;
        if remaining.is_zero() {
            return Err(propose::expired());
        }
        Ok(admitted)
    }

    fn answer_each(&self, asked: Vec<Option<Asked<R::Instant>>>, written: Written) {
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
                    one.reply(&Err(error.clone()));
                }
            }
        }
    }

    async fn read_together(&self, requests: Vec<Request>) {
        let latest = requests.iter().map(|request| request.remaining).max().unwrap_or_default();
        let deadline = R::Instant::now() + latest;
        let first = requests.first().map_or(0, |first| first.message.request);
        let (mut asked, mut permits) = (Vec::new(), Vec::new());
        for Request { message, answer, .. } in requests {
            let fits = self.admission.fits("query", &message.body);
            match fits.and_then(|()| self.admission.admit(message.body.len())) {
                Ok(permit) => {
                    asked.push((message, answer));
                    permits.push(permit);
                }
                Err(error) => answer(rpc::reply::<Bytes>(message.request, &Err(error))),
            }
        }
        let ready = self.ready_to_answer(first, deadline).await;
        for (count, (message, answer)) in asked.into_iter().enumerate() {
            let found = ready.clone().and_then(|()| self.state.query(&message.body));
            answer(rpc::reply(message.request, &found));
            if count % QUERIES_AT_ONCE == QUERIES_AT_ONCE - 1 {
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
#[path = "together_test.rs"]
mod tests;
