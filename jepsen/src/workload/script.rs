//! Scripts: a workload on real processes.
//!
//! A [`Script`] is everything a run needs to know about one kind of test: its generator, what each
//! [`Action`] asks of the [`Workbench`] and what its reply means, which reads end the run, and which
//! checkers look at the [`Evidence`].
//!
//! Invariants:
//! - an error of the client becomes `fail` or `info` in one place, [`failed`], and by
//!   [`sixbells::Error::is_definite`] alone;
//! - what a script says is a pure function of seed, worker and answers: the waiting and sending is
//!   done by [`crate::load`].

use std::fmt::Debug;

use crate::checker::OpError;
use crate::checker::budget::Budget;
use crate::checker::replay::Typed;
use crate::generator::Invocation;
use crate::history::{Clock, Completion, Event, Operation};
use crate::machine::Workbench;
use crate::report::Check;
use crate::suite::{Op, Told};

/// One kind of test.
pub trait Script: Debug + Send + Sync {
    /// What is done before anything breaks, in order.
    fn setup(&self) -> Vec<Action> {
        Vec::new()
    }

    /// What one worker does.
    fn generator(&self, worker: u64) -> Box<dyn Generator>;

    /// How an operation with this reply ended.
    fn completion(&self, action: &Action, reply: &Reply) -> Completion;

    /// The reads that end the run, each with the node that it goes through. Each is repeated until
    /// it succeeds.
    fn final_reads(&self, nodes: &[u64], events: &[Event]) -> Vec<(u64, Action)>;

    /// Judges what happened.
    ///
    /// # Errors
    /// For an operation that no script could have produced.
    fn check(&self, evidence: &Evidence<'_>, budget: &mut Budget) -> Result<Vec<Check>, OpError>;
}

/// What a run is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The clock of all times.
    pub clock: Clock,
    /// The history.
    pub operations: &'a [Operation],
    /// The same in the machine's own types, without what definitely failed.
    pub typed: &'a [Typed<Workbench>],
    /// The numbers of the commands in the order in which the nodes applied them; empty if that is not
    /// known.
    pub order: &'a [u64],
}

/// The operations of one worker, without end.
pub trait Generator: Debug + Send {
    /// The next operation.
    fn next_operation(&mut self) -> Action;

    /// Learns what its worker was answered.
    fn observe(&mut self, action: &Action, reply: &Reply);
}

/// An operation: what is asked of the cluster, and how the history tells it.
#[derive(Clone, Debug)]
pub struct Action {
    /// For the history.
    pub invocation: Invocation,
    /// For the cluster.
    pub request: Request,
}

/// What is asked of the cluster.
pub type Request = Op<Workbench>;

/// What the cluster answered.
pub type Reply = Told<Workbench>;

/// How an operation ended that got an error.
pub fn failed(error: &sixbells::Error) -> Completion {
    match error.is_definite() {
        true => Completion::Fail(error.to_string()),
        false => Completion::Info(error.to_string()),
    }
}

/// How an operation ended whose reply answers another question. It may have been carried out.
pub(super) fn strange(reply: &Reply) -> Completion {
    Completion::Info(format!("a strange reply: {reply:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Booking an unknown outcome as `fail` invents violations; a definite one as `info` hides them.
    #[test]
    fn only_a_definite_error_is_a_failure() {
        let definite = sixbells::Error::NotLeader { leader: None };
        assert!(matches!(failed(&definite), Completion::Fail(_)));
        let unknown = sixbells::Error::Unknown("timed out".to_owned());
        assert!(matches!(failed(&unknown), Completion::Info(_)));
        assert!(matches!(failed(&sixbells::Error::SessionExpired), Completion::Info(_)));
    }
}
