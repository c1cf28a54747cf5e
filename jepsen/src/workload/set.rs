//! A set: everybody adds elements that nobody else adds; in the end all must be there.
//!
//! In go operations of [`SetWorkload`], out come requests, completions, a last read through each
//! node, and two verdicts: nothing acknowledged was lost ([`set`]), and the reads on the way are
//! explained by one order ([`linearizable`]).
//!
//! Invariant: the last reads go through each node, since one that has lost its memory may answer
//! while the others are asked.

use std::collections::BTreeSet;

use super::{Action, Evidence, Generator, Reply, Request, Script, strange};
use crate::checker::budget::Budget;
use crate::checker::{OpError, linearizable, set};
use crate::generator::{Invocation, SetWorker, SetWorkload};
use crate::history::{Completion, Event, Value};
use crate::machine::{Answer, Command, Query, Response};
use crate::model::Set;
use crate::report::Check;

/// The script of `set`.
#[derive(Clone, Copy, Debug)]
pub struct Elements(pub SetWorkload);

impl Script for Elements {
    fn generator(&self, worker: u64) -> Box<dyn Generator> {
        Box::new(self.0.worker(worker))
    }

    fn completion(&self, action: &Action, reply: &Reply) -> Completion {
        let invocation = &action.invocation;
        match (reply, invocation.f) {
            (Reply::Response(Response::Done), "add") => Completion::Ok(invocation.value()),
            (Reply::Answer(Answer::Set(elements)), "read") => {
                let elements: BTreeSet<Value> = elements.iter().copied().map(Value::Int).collect();
                Completion::Ok(Value::Set(elements))
            }
            _ => strange(reply),
        }
    }

    fn final_reads(&self, nodes: &[u64], _events: &[Event]) -> Vec<(u64, Action)> {
        nodes.iter().map(|node| (*node, action(SetWorkload::final_read()))).collect()
    }

    fn check(&self, evidence: &Evidence<'_>, budget: &mut Budget) -> Result<Vec<Check>, OpError> {
        let Evidence { clock, operations, .. } = *evidence;
        let report = set::check(operations)?;
        let details = serde_json::to_value(&report).unwrap_or_default();
        let kept = Check { name: "set".to_owned(), verdict: report.verdict, details };
        let mut model = Set::whole();
        let verdict =
            linearizable::check_operations(&mut model, operations, clock, &[], budget)?.into();
        let name = "linearizable (set)".to_owned();
        Ok(vec![kept, Check { name, verdict, details: serde_json::Value::Null }])
    }
}

impl Generator for SetWorker {
    fn next_operation(&mut self) -> Action {
        action(SetWorker::next_operation(self))
    }

    fn observe(&mut self, _action: &Action, _reply: &Reply) {}
}

/// What an operation asks of the cluster.
fn action(invocation: Invocation) -> Action {
    let request = match (invocation.f, &invocation.argument) {
        ("add", Value::Int(element)) => Request::Write(Command::Add(*element)),
        _ => Request::Read(Query::Set),
    };
    Action { invocation, request }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_become_requests_and_replies_results() {
        let elements = Elements(SetWorkload::new(1, 2));
        let add = action(Invocation { f: "add", key: None, argument: 5.into() });
        assert!(matches!(add.request, Request::Write(Command::Add(5))));
        let done = elements.completion(&add, &Reply::Response(Response::Done));
        assert_eq!(done, Completion::Ok(5.into()));
        let read = action(SetWorkload::final_read());
        assert!(matches!(read.request, Request::Read(Query::Set)));
        let seen = elements.completion(&read, &Reply::Answer(Answer::Set(vec![1, 2])));
        assert_eq!(seen, Completion::Ok(Value::Set([1, 2].map(Value::Int).into())));
        let strange = elements.completion(&add, &Reply::Answer(Answer::Set(Vec::new())));
        assert!(matches!(strange, Completion::Info(_)));
    }

    #[test]
    fn the_last_reads_go_through_every_node() {
        let reads = Elements(SetWorkload::new(1, 2)).final_reads(&[1, 2, 3], &[]);
        assert_eq!(reads.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
