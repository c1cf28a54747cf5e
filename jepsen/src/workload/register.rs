//! Registers: read, write and compare-and-set on many keys, each of them linearizable.
//!
//! In go operations of [`RegisterWorkload`], out come requests, completions, one last read of every
//! key, and the verdict of [`linearizable`].
//!
//! Invariants:
//! - a compare-and-set that found another value is `fail`, as in Jepsen: it did not happen;
//! - every key that was touched is read in the end, so that a lost last write is seen.

use std::collections::BTreeSet;

use super::{Generator, Reply, Request, Workload, strange};
use crate::checker::budget::Budget;
use crate::checker::{OpError, linearizable};
use crate::generator::{Invocation, RegisterWorker, RegisterWorkload};
use crate::history::{Clock, Completion, Event, EventType, Operation, Process, Value};
use crate::machine::{Answer, Command, Query, Response};
use crate::model::{Keyed, Model};
use crate::report::Check;

/// The workload `register`.
#[derive(Clone, Copy, Debug)]
pub struct Registers(pub RegisterWorkload);

impl Workload for Registers {
    fn name(&self) -> &'static str {
        "register"
    }

    fn generator(&self, worker: u64) -> Box<dyn Generator> {
        Box::new(self.0.worker(worker))
    }

    fn request(&self, invocation: &Invocation) -> Request {
        let key = invocation.key.unwrap_or_default();
        let argument = &invocation.argument;
        match (invocation.f, argument.as_pair()) {
            ("cas", Some((from, to))) => Request::Write(Command::Cas {
                key,
                from: integer(from),
                to: integer(to).unwrap_or_default(),
            }),
            ("write", _) => {
                let value = integer(argument).unwrap_or_default();
                Request::Write(Command::Write { key, value })
            }
            _ => Request::Read(Query::Register(key)),
        }
    }

    fn completion(&self, invocation: &Invocation, reply: &Reply) -> Completion {
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

    fn final_reads(&self, nodes: &[u64], events: &[Event]) -> Vec<(u64, Invocation)> {
        let of_clients = |event: &&Event| {
            event.process != Process::Nemesis && event.event_type == EventType::Invoke
        };
        let key = |event: &Event| event.value.as_pair().and_then(|(key, _)| integer(key));
        let keys: BTreeSet<i64> = events.iter().filter(of_clients).filter_map(key).collect();
        let read = |key| Invocation { f: "read", key: Some(key), argument: Value::Nil };
        nodes.iter().copied().cycle().zip(keys.into_iter().map(read)).collect()
    }

    fn check(
        &self,
        clock: Clock,
        operations: &[Operation],
        budget: &mut Budget,
    ) -> Result<Vec<Check>, OpError> {
        let mut model = Keyed::kv();
        let verdict =
            linearizable::check_operations(&mut model, operations, clock, &[], budget)?.into();
        let name = format!("linearizable ({})", model.name());
        Ok(vec![Check { name, verdict, details: serde_json::Value::Null }])
    }
}

impl Generator for RegisterWorker {
    fn next_operation(&mut self) -> Invocation {
        RegisterWorker::next_operation(self)
    }

    fn observe(&mut self, invocation: &Invocation, result: &Value) {
        let Some((_, value)) = result.as_pair() else { return };
        let now = match (invocation.f, value.as_pair()) {
            ("cas", Some((_, to))) => to,
            _ => value,
        };
        RegisterWorker::observe(self, integer(now));
    }
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

    fn cas(from: Value, to: i64) -> Invocation {
        Invocation { f: "cas", key: Some(7), argument: Value::pair(from, to) }
    }

    #[test]
    fn operations_become_requests_and_replies_results() {
        let registers = Registers(RegisterWorkload::new(1, 5));
        let from_nil = registers.request(&cas(Value::Nil, 4));
        assert_eq!(from_nil, Request::Write(Command::Cas { key: 7, from: None, to: 4 }));
        let from_three = registers.request(&cas(3.into(), 4));
        assert_eq!(from_three, Request::Write(Command::Cas { key: 7, from: Some(3), to: 4 }));
        let found = Reply::Response(Response::Found(Some(9)));
        let missed = registers.completion(&cas(3.into(), 4), &found);
        assert_eq!(missed, Completion::Fail("found 9".to_owned()));
        let read = Invocation { f: "read", key: Some(7), argument: Value::Nil };
        let nil = registers.completion(&read, &Reply::Answer(Answer::Register(None)));
        assert_eq!(nil, Completion::Ok(Value::pair(7, Value::Nil)));
    }

    /// A worker that is told the wrong value would only ever try compare-and-sets that fail.
    #[test]
    fn a_worker_expects_what_it_saw() {
        let registers = Registers(RegisterWorkload::new(1, 5));
        let mut worker = registers.generator(0);
        let mut expected = Value::Nil;
        let mut tried = 0;
        // Within its share of the first key.
        for _ in 0..30 {
            let invocation = worker.next_operation();
            if let ("cas", Some((from, _))) = (invocation.f, invocation.argument.as_pair()) {
                assert_eq!(*from, expected);
                tried += 1;
            }
            let result = match invocation.f {
                "read" => invocation.keyed(expected.clone()),
                _ => invocation.value(),
            };
            worker.observe(&invocation, &result);
            expected = match (invocation.f, invocation.argument.as_pair()) {
                ("cas", Some((_, to))) => to.clone(),
                ("write", _) => invocation.argument,
                _ => expected,
            };
        }
        assert!(tried > 2, "{tried}");
    }
}
