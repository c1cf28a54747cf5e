//! Workloads: what is done to the cluster, and how it is judged, one file each.
//!
//! A [`Workload`] is everything a run needs to know about one kind of test: its generator, how an
//! operation becomes a request to the [`Workbench`](crate::machine::Workbench) and its reply a
//! result, which reads end the run, and which checkers look at the history.
//!
//! Invariants:
//! - an error of the client becomes `fail` or `info` in one place, [`failed`], and by
//!   [`sixbells::Error::is_definite`] alone;
//! - what a workload says is a pure function of seed, worker and answers: the waiting and sending is
//!   done by [`crate::load`].

mod register;
mod set;

use std::fmt::Debug;

use crate::checker::OpError;
use crate::checker::budget::Budget;
use crate::generator::Invocation;
use crate::history::{Clock, Completion, Event, Operation, Value};
use crate::machine::{Answer, Command, Query, Response};
use crate::report::Check;

pub use register::Registers;
pub use set::Elements;

/// One kind of test.
pub trait Workload: Debug + Send + Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// What one worker does.
    fn generator(&self, worker: u64) -> Box<dyn Generator>;

    /// What to ask the cluster.
    fn request(&self, invocation: &Invocation) -> Request;

    /// How an operation with this reply ended.
    fn completion(&self, invocation: &Invocation, reply: &Reply) -> Completion;

    /// The reads that end the run, each with the node that it goes through. Each is repeated until
    /// it succeeds.
    fn final_reads(&self, nodes: &[u64], events: &[Event]) -> Vec<(u64, Invocation)>;

    /// Judges the history.
    ///
    /// # Errors
    /// For an operation that no workload could have produced.
    fn check(
        &self,
        clock: Clock,
        operations: &[Operation],
        budget: &mut Budget,
    ) -> Result<Vec<Check>, OpError>;
}

/// The operations of one worker, without end.
pub trait Generator: Debug + Send {
    /// The next operation.
    fn next_operation(&mut self) -> Invocation;

    /// Learns the result of an operation that was `ok`, as it is recorded.
    fn observe(&mut self, invocation: &Invocation, result: &Value);
}

/// What is asked of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A change.
    Write(Command),
    /// A question.
    Read(Query),
}

/// What the cluster answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a change.
    Response(Response),
    /// To a question.
    Answer(Answer),
}

/// How an operation ended that got an error.
pub fn failed(error: &sixbells::Error) -> Completion {
    match error.is_definite() {
        true => Completion::Fail(error.to_string()),
        false => Completion::Info(error.to_string()),
    }
}

/// How an operation ended whose reply answers another question. It may have been carried out.
fn strange(reply: &Reply) -> Completion {
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
