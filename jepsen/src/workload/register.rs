//! Registers: read, write and compare-and-set on many keys, each of them linearizable.
//!
//! In go operations of [`RegisterWorkload`], out come requests, completions, one last read of every
//! key, and the verdict of [`linearizable`].
//!
//! Invariants:
//! - a compare-and-set that found another value is `fail`, as in Jepsen: it did not happen;
//! - every key that was touched is read in the end, so that a lost last write is seen.

use std::collections::BTreeSet;

use super::{Action, Evidence, Generator, Reply, Request, Script, strange};
use crate::checker::budget::Budget;
use crate::checker::{OpError, linearizable};
use crate::generator::{Invocation, RegisterWorker, RegisterWorkload};
use crate::history::{Completion, Event, EventType, Process, Value};
use crate::machine::{Answer, Command, Query, Response};
use crate::model::{Keyed, Model};
use crate::report::Check;

/// The script of `register`.
#[derive(Clone, Copy, Debug)]
pub struct Registers(pub RegisterWorkload);

impl Script for Registers {
    fn generator(&self, worker: u64) -> Box<dyn Generator> {
        Box::new(self.0.worker(worker))
    }

    fn completion(&self, action: &Action, reply: &Reply) -> Completion {
        let invocation = &action.invocation;
        match (reply, invocation.f) {
            (Reply::Response(Response::Done), "write" | "cas") => {
                Completion::Ok(invocation.value())
            }
            (Reply::Response(Response::Found(found)), "cas") => {
                Completion::Fail(format!("found {}", Value::from(*found)))
            }
            (Reply::Answer(Answer::Register(value)), "read") => {
                Completion::Ok(invocation.keyed((*value).into()))
            }
            _ => strange(reply),
        }
    }

    fn final_reads(&self, nodes: &[u64], events: &[Event]) -> Vec<(u64, Action)> {
        let of_clients = |event: &&Event| {
            event.process != Process::Nemesis && event.event_type == EventType::Invoke
        };
        let key = |event: &Event| event.value.as_pair().and_then(|(key, _)| integer(key));
        let keys: BTreeSet<i64> = events.iter().filter(of_clients).filter_map(key).collect();
        let read = |key| action(Invocation { f: "read", key: Some(key), argument: Value::Nil });
        nodes.iter().copied().cycle().zip(keys.into_iter().map(read)).collect()
    }

    fn check(&self, evidence: &Evidence<'_>, budget: &mut Budget) -> Result<Vec<Check>, OpError> {
        let Evidence { clock, operations, .. } = *evidence;
        let mut model = Keyed::kv();
        let verdict =
            linearizable::check_operations(&mut model, operations, clock, &[], budget)?.into();
        let name = format!("linearizable ({})", model.name());
        Ok(vec![Check { name, verdict, details: serde_json::Value::Null }])
    }
}

impl Generator for RegisterWorker {
    fn next_operation(&mut self) -> Action {
        action(RegisterWorker::next_operation(self))
    }

    fn observe(&mut self, action: &Action, reply: &Reply) {
        let seen = match (&action.request, reply) {
            (_, Reply::Answer(Answer::Register(held))) => *held,
            (
                Request::Write(Command::Write { value, .. } | Command::Cas { to: value, .. }),
                Reply::Response(Response::Done),
            ) => Some(*value),
            _ => return,
        };
        RegisterWorker::observe(self, seen);
    }
}

/// What an operation asks of the cluster.
fn action(invocation: Invocation) -> Action {
    let key = invocation.key.unwrap_or_default();
    let argument = &invocation.argument;
    let request = match (invocation.f, argument.as_pair()) {
        ("cas", Some((from, to))) => {
            let (from, to) = (integer(from), integer(to).unwrap_or_default());
            Request::Write(Command::Cas { key, from, to })
        }
        ("write", _) => {
            let value = integer(argument).unwrap_or_default();
            Request::Write(Command::Write { key, value })
        }
        _ => Request::Read(Query::Register(key)),
    };
    Action { invocation, request }
}

fn integer(value: &Value) -> Option<i64> {
    match value.untagged() {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cas(from: Value, to: i64) -> Action {
        action(Invocation { f: "cas", key: Some(7), argument: Value::pair(from, to) })
    }

    #[test]
    fn operations_become_requests_and_replies_results() {
        let registers = Registers(RegisterWorkload::new(1, 5));
        let Request::Write(from_nil) = cas(Value::Nil, 4).request else { panic!("a read") };
        assert_eq!(from_nil, Command::Cas { key: 7, from: None, to: 4 });
        let Request::Write(from_three) = cas(3.into(), 4).request else { panic!("a read") };
        assert_eq!(from_three, Command::Cas { key: 7, from: Some(3), to: 4 });
        let found = Reply::Response(Response::Found(Some(9)));
        let missed = registers.completion(&cas(3.into(), 4), &found);
        assert_eq!(missed, Completion::Fail("found 9".to_owned()));
        let read = action(Invocation { f: "read", key: Some(7), argument: Value::Nil });
        let nil = registers.completion(&read, &Reply::Answer(Answer::Register(None)));
        assert_eq!(nil, Completion::Ok(Value::pair(7, Value::Nil)));
    }

    /// A worker that is told the wrong value would only ever try compare-and-sets that fail.
    #[test]
    fn a_worker_expects_what_it_saw() {
        let registers = Registers(RegisterWorkload::new(1, 5));
        let mut worker = registers.generator(0);
        let mut expected = None;
        let mut tried = 0;
        // Within its share of the first key.
        for _ in 0..30 {
            let action = worker.next_operation();
            let (reply, seen) = match action.request {
                Request::Read(_) => (Reply::Answer(Answer::Register(expected)), expected),
                Request::Write(Command::Cas { from, to, .. }) => {
                    assert_eq!(from, expected);
                    tried += 1;
                    (Reply::Response(Response::Done), Some(to))
                }
                Request::Write(Command::Write { value, .. }) => {
                    (Reply::Response(Response::Done), Some(value))
                }
                Request::Write(other) => panic!("{other:?} is nothing for a register"),
            };
            worker.observe(&action, &reply);
            expected = seen;
        }
        assert!(tried > 2, "{tried}");
    }
}
