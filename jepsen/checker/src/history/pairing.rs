//! From events to operations: each invocation joined to its completion.
//!
//! In go the events of a history in order, out come the clients' [`Operation`]s by invocation, and
//! the [`Clock`] their times are read on.
//!
//! Invariants:
//! - an operation without a completion is `info`: its worker died, so it may have happened;
//! - `returned` is `None` exactly for `info`: such an operation stays concurrent with everything
//!   after it, for ever;
//! - times are nanoseconds if every event has one, and positions in the history otherwise, never a
//!   mixture. Equal times of different processes count as concurrent: a clock that is too coarse
//!   must not invent an order. One process does one thing after the other, whatever the clock says.
//!
//! A history that is not well formed (a completion of nothing, two operations of one process in
//! flight, a process that goes on after `info`, a return before its call, a call before the return
//! of what the same process did last) is refused with the position of the event, because every verdict about it would be worthless.

use std::collections::BTreeMap;

use super::{Event, EventType, Process, Value};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It definitely did not happen.
    Fail,
    /// Nobody knows.
    Info,
}

/// What the times of operations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds since the test began.
    Nanoseconds,
    /// Positions in the history, because some event had no time.
    Positions,
}

/// One operation of a client, from call to return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Position of the invocation in the history.
    pub index: usize,
    /// The process that called.
    pub process: u64,
    /// The function called.
    pub f: String,
    /// The argument of the call.
    pub input: Value,
    /// What the completion of an `ok` operation said; otherwise the argument.
    pub value: Value,
    /// When it was called, on the history's [`Clock`].
    pub invoked: u64,
    /// When it returned; `None` if nobody knows whether it happened.
    pub returned: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The node spoken to, where known.
    pub node: Option<String>,
    /// The id under which the node logged the request, where known.
    pub request: Option<String>,
    /// Why it failed, or why nobody knows.
    pub error: Option<String>,
}

impl Operation {
    /// What an operation that is not a read was asked to do, and so did if it happened. Its
    /// completion may repeat that or leave it out; one that says something else did something else.
    pub fn argument(&self) -> Result<&Value, String> {
        let repeated = self.value.untagged() == self.input.untagged();
        match self.outcome == Outcome::Ok && self.value != Value::Nil && !repeated {
            true => Err(format!(
                "process {} invoked {} {} and completed it with {}",
                self.process, self.f, self.input, self.value
            )),
            false => Ok(&self.input),
        }
    }
}

/// Why events do not pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingError {
    /// Position of the offending event.
    pub position: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Joins invocations and completions.
pub fn pair(events: &[Event]) -> Result<(Clock, Vec<Operation>), PairingError> {
    let clients = || events.iter().filter(|event| event.process != Process::Nemesis);
    let clock = match clients().all(|event| event.time.is_some()) {
        true => Clock::Nanoseconds,
        false => Clock::Positions,
    };
    let mut operations: Vec<Operation> = Vec::new();
    // Per process: its open operation, or `None` once it has crashed.
    let mut open: BTreeMap<u64, Option<usize>> = BTreeMap::new();
    // Per process: when its last operation returned.
    let mut returned: BTreeMap<u64, u64> = BTreeMap::new();
    for (position, event) in events.iter().enumerate() {
        let Process::Client(process) = event.process else { continue };
        let time = match (clock, event.time) {
            (Clock::Nanoseconds, Some(time)) => time,
            _ => position as u64,
        };
        let refuse = |reason: String| Err(PairingError { position, reason });
        if event.event_type == EventType::Invoke {
            match open.get(&process) {
                None => {}
                Some(None) => {
                    return refuse(format!("process {process} goes on after an :info"));
                }
                Some(Some(_)) => {
                    return refuse(format!("process {process} has an operation in flight already"));
                }
            }
            if returned.get(&process).is_some_and(|returned| time < *returned) {
                let reason = "invokes before its previous operation returned";
                return refuse(format!("process {process} {reason}"));
            }
            open.insert(process, Some(operations.len()));
            operations.push(begin(position, process, event, time));
            continue;
        }
        let Some(Some(started)) = open.remove(&process) else {
            return refuse(format!("process {process} completes an operation it never invoked"));
        };
        let operation = &mut operations[started];
        if operation.f != event.f {
            let reason =
                format!("process {process} invoked {} and completes {}", operation.f, event.f);
            return refuse(reason);
        }
        if time < operation.invoked {
            return refuse(format!("process {process} completes before it invoked"));
        }
        returned.insert(process, time);
        if complete(operation, event, time) == Outcome::Info {
            open.insert(process, None);
        }
    }
    Ok((clock, operations))
}

fn begin(index: usize, process: u64, event: &Event, time: u64) -> Operation {
    Operation {
        index,
        process,
        f: event.f.clone(),
        input: event.value.clone(),
        value: event.value.clone(),
        invoked: time,
        returned: None,
        outcome: Outcome::Info,
        node: event.node.clone(),
        request: event.request.clone(),
        error: None,
    }
}

fn complete(operation: &mut Operation, event: &Event, time: u64) -> Outcome {
    operation.outcome = match event.event_type {
        EventType::Ok => {
            operation.value = event.value.clone();
            Outcome::Ok
        }
        EventType::Fail => Outcome::Fail,
        EventType::Invoke | EventType::Info => Outcome::Info,
    };
    if operation.outcome != Outcome::Info {
        operation.returned = Some(time);
    }
    // A completion may know better, as when a client was redirected to another node.
    if event.node.is_some() {
        operation.node.clone_from(&event.node);
    }
    if event.request.is_some() {
        operation.request.clone_from(&event.request);
    }
    operation.error.clone_from(&event.error);
    operation.outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64, process: u64, event_type: EventType, f: &str) -> Event {
        Event {
            index: 0,
            time: Some(time),
            process: Process::Client(process),
            event_type,
            f: f.to_owned(),
            value: Value::Nil,
            node: None,
            request: None,
            error: None,
        }
    }

    #[test]
    fn an_operation_nobody_completed_is_unknown() {
        let events = [event(1, 0, EventType::Invoke, "write")];
        let (clock, operations) = pair(&events).unwrap();
        assert_eq!(clock, Clock::Nanoseconds);
        assert_eq!(operations[0].outcome, Outcome::Info);
        assert_eq!(operations[0].returned, None);
    }

    #[test]
    fn positions_replace_times_when_one_is_missing() {
        let mut events =
            [event(700, 0, EventType::Invoke, "write"), event(900, 0, EventType::Ok, "write")];
        events[1].time = None;
        let (clock, operations) = pair(&events).unwrap();
        assert_eq!(clock, Clock::Positions);
        assert_eq!((operations[0].invoked, operations[0].returned), (0, Some(1)));
    }

    #[test]
    fn histories_that_cannot_be_are_refused_where_they_go_wrong() {
        use EventType::{Info, Invoke, Ok};
        let cases = [
            (vec![event(1, 0, Ok, "read")], 0, "never invoked"),
            (vec![event(1, 0, Invoke, "read"), event(2, 0, Invoke, "read")], 1, "in flight"),
            (vec![event(1, 0, Invoke, "read"), event(2, 0, Ok, "write")], 1, "completes write"),
            (vec![event(3, 0, Invoke, "read"), event(2, 0, Ok, "read")], 1, "before it invoked"),
            (
                vec![event(1, 0, Invoke, "r"), event(2, 0, Info, "r"), event(3, 0, Invoke, "r")],
                2,
                "after an :info",
            ),
            (
                vec![event(1, 0, Invoke, "r"), event(9, 0, Ok, "r"), event(8, 0, Invoke, "r")],
                2,
                "before its previous operation returned",
            ),
        ];
        for (events, position, reason) in cases {
            let error = pair(&events).unwrap_err();
            assert_eq!(error.position, position);
            assert!(error.reason.contains(reason), "{}", error.reason);
        }
    }
}
