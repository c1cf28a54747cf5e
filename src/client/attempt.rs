//! One request, as many attempts as it takes; and what they add up to.
//!
//! Owns the loop every request runs in, and [`Account`], which decides how sure the caller can be.
//!
//! In: a [`Request`], whose attempts are all the same command to the cluster. Out: the answer, or one
//! error for all attempts.
//!
//! Invariants
//! - A definite error is returned only if every attempt ended with one: if one attempt may have had
//!   an effect, so may the request.
//! - In eventual mode, `SessionExpired` is returned only if no attempt had an effect. There a node says
//!   so before it accepts anything, and the command may be sent again under another session.
//! - Each attempt gets what is left of the deadline, at most `ClientConfig::attempt_timeout`.
//! - The first attempt is free. Every other one is paid for from the budget, but for following a node's
//!   word on who leads.
//!
//! Does not: know sessions or commands; `Candidates` knows whom to ask.

use std::time::Duration;

use bytes::Bytes;

use super::{
    candidates::{Aim, Course, Next},
    engine::Remote,
    retry::Backoff,
};
use crate::{
    error::Error,
    proposal::RequestId,
    runtime::{Instant, Runtime},
    transport::{CallError, Kind, Lane, Message, Peer},
};

/// Whoever listens there.
pub(super) fn peer(addr: impl Into<String>) -> Peer {
    Peer { addr: addr.into(), node: None, disk: None }
}

/// What is asked, as often as need be.
pub(super) struct Request<'a, T> {
    pub(super) kind: Kind,
    pub(super) id: RequestId,
    pub(super) aim: Aim,
    /// The body of the next attempt.
    pub(super) body: &'a (dyn Fn() -> Bytes + Send + Sync),
    /// Reads a reply.
    pub(super) answer: &'a (dyn Fn(&Message) -> Result<T, Error> + Send + Sync),
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no reply.
    Call(CallError),
    /// The reply is an error.
    Answer(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer(error) => error,
            Failure::Call(lost @ CallError::Lost { .. }) => lost.into(),
            // A node says `NotLeader` here, for it looks for the leader only. A client has asked
            // everybody, and whoever reads its error wants to know why nobody was there.
            Failure::Call(not_sent @ CallError::NotSent { .. }) => {
                Error::Unavailable(not_sent.to_string())
            }
        }
    }
}

/// What the failed attempts of one request add up to.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Why the first attempt that may have had an effect failed.
    unknown: Option<String>,
    /// How the last attempt failed.
    last: Option<Error>,
}

impl Account {
    pub(super) fn enter(&mut self, error: Error) {
        if !error.is_definite() && self.unknown.is_none() {
            self.unknown = Some(error.to_string());
        }
        self.last = Some(error);
    }

    /// Whether no attempt so far can have had an effect.
    fn is_definite(&self) -> bool {
        self.unknown.is_none()
    }

    /// What the caller is told: nothing more certain than the least certain attempt.
    pub(super) fn close(self) -> Error {
        match (self.last, self.unknown) {
            // Says by itself that an earlier attempt may have been executed.
            (Some(Error::SessionExpired), _) => Error::SessionExpired,
            (_, Some(reason)) => Error::Unknown(reason),
            (Some(definite), None) => definite,
            (None, None) => {
                Error::Overloaded("the deadline passed before the first attempt".into())
            }
        }
    }
}

/// What is kept of a request from attempt to attempt.
struct Tries {
    id: RequestId,
    account: Account,
    course: Course,
    backoff: Backoff,
}

impl<R: Runtime> Remote<R> {
    /// Asks until there is an answer, an error that asking again cannot cure, or no time or budget
    /// left.
    pub(super) async fn carry_out<T>(
        &self,
        request: &Request<'_, T>,
        deadline: R::Instant,
    ) -> Result<T, Error> {
        let (account, course) = (Account::default(), Course::new(request.aim));
        let backoff = Backoff::new(&self.config);
        let mut tries = Tries { id: request.id, account, course, backoff };
        loop {
            let now = R::Instant::now();
            if now >= deadline {
                break;
            }
            let to = peer(self.candidates().pick(&mut tries.course, self.age(now)));
            let failure = match self.attempt(&to, request, now, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // Seldom, so it is not to make every request's future larger.
            if !Box::pin(self.goes_on(&mut tries, &to.addr, failure, deadline)).await {
                break;
            }
        }
        Err(tries.account.close())
    }

    /// Learns from an attempt at `addr` that failed, and pauses before the next one. `false` if it was the last.
    async fn goes_on(
        &self,
        tries: &mut Tries,
        addr: &str,
        failure: Failure,
        deadline: R::Instant,
    ) -> bool {
        let Tries { id, account, course, backoff } = tries;
        tracing::debug!(request = format_args!("{id:032x}"), addr, ?failure, "attempt failed");
        let age = || self.age(R::Instant::now());
        let next = self.candidates().next(course, addr, &failure, age());
        let mut error = Error::from(failure);
        let unknown_session = course.aim == Aim::Anyone && error == Error::SessionExpired;
        let last = unknown_session && account.is_definite();
        if unknown_session && !last {
            // This node has not heard of the session, but an attempt at another may have had an
            // effect: only under the same number can it be asked about.
            error = Error::NotYet("the session is not known here".into());
        }
        account.enter(error);
        match next {
            _ if last => false,
            Next::Stop => false,
            Next::Follow => true,
            Next::AtOnce => self.may_retry(),
            Next::Pause => self.pause(backoff, deadline).await,
            Next::Identify(node, hint) => {
                let goes_on = self.may_retry();
                if goes_on {
                    self.identify(deadline).await;
                    self.candidates().follow(course, addr, node, &hint, age());
                }
                goes_on
            }
        }
    }

    /// One attempt at one address, which begins now.
    pub(super) async fn attempt<T>(
        &self,
        to: &Peer,
        request: &Request<'_, T>,
        now: R::Instant,
        deadline: R::Instant,
    ) -> Result<T, Failure> {
        let message = Message { kind: request.kind, request: request.id, body: (request.body)() };
        let remaining = deadline.saturating_duration_since(now);
        let timeout = remaining.min(self.config.attempt_timeout);
        let reply = self.transport.call(to, Lane::Client, message, timeout).await;
        let answer = (request.answer)(&reply.map_err(Failure::Call)?).map_err(Failure::Answer)?;
        let mut candidates = self.candidates();
        candidates.reached(&to.addr);
        if request.kind == Kind::Propose || request.aim == Aim::Anyone {
            candidates.preferred(&to.addr);
        }
        Ok(answer)
    }

    /// Pauses before a retry. `false` if there is no time for it, or no budget.
    async fn pause(&self, backoff: &mut Backoff, deadline: R::Instant) -> bool {
        let pause: Duration = backoff.pause(R::random_below);
        if R::Instant::now() + pause >= deadline || !self.may_retry() {
            return false;
        }
        R::sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn failure(kind: u32) -> Failure {
        let (to, reason) = (String::new(), String::new());
        match kind {
            0 => Failure::Call(CallError::NotSent { to, reason }),
            1 => Failure::Answer(Error::NotLeader { leader: None }),
            2 => Failure::Answer(Error::Overloaded(reason)),
            3 => Failure::Answer(Error::TooLarge(reason)),
            4 => Failure::Answer(Error::Refused(reason)),
            5 => Failure::Answer(Error::Unavailable(reason)),
            6 => Failure::Answer(Error::NotYet(reason)),
            7 => Failure::Call(CallError::Lost { to, reason }),
            8 => Failure::Answer(Error::Unknown(reason)),
            9 => Failure::Answer(Error::Stopped(reason)),
            _ => Failure::Answer(Error::SessionExpired),
        }
    }

    /// The worst lie a client can tell: the first attempt was lost and carried out, the second one
    /// refused, and the caller, told "definitely not executed", pays again.
    #[test]
    fn one_uncertain_attempt_makes_the_request_uncertain() {
        for seed in 0..2_000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let kinds: Vec<u32> =
                (0..rng.random_range(0..5)).map(|_| rng.random_range(0..11)).collect();
            let mut account = Account::default();
            kinds.iter().for_each(|kind| account.enter(failure(*kind).into()));
            let all_definite = kinds.iter().all(|kind| *kind < 7);
            let told = account.close();
            assert_eq!(told.is_definite(), all_definite, "{kinds:?} gave {told:?}");
            if kinds.last() == Some(&10) {
                assert_eq!(told, Error::SessionExpired);
            }
        }
    }
}
