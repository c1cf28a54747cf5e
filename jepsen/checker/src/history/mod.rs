//! Histories: what was asked, what was answered, and when.
//!
//! A history is a list of [`Event`]s in the order they happened: a process *invokes* an operation
//! and later *completes* it with `ok`, `fail` (it definitely did not happen) or `info` (nobody
//! knows). [`pairing`] turns events into [`Operation`]s, which is what the checkers eat.
//!
//! - [`recorder`] writes one down while a test runs;
//! - [`file`](mod@file) reads one back, whatever its format, and names file, line and reason when it cannot;
//! - [`jsonl`] is our native form, [`jepsen`] is Jepsen's, read by the real EDN reader in [`edn`].
//!
//! Invariants:
//! - the events of one process alternate: invoke, completion, invoke, completion;
//! - after `info` a process is never heard of again: its worker goes on under a fresh id;
//! - the nemesis speaks only in `info` events, and never takes part in a verdict.
//!
//! Nothing here knows what an operation means: that is the model's part.

pub mod edn;
pub mod file;
pub mod jepsen;
pub mod jsonl;
pub mod pairing;
pub mod recorder;
pub mod value;

use std::fmt;

pub use file::{Format, History, InputError, Skipped};
pub use pairing::{Clock, Operation, Outcome};
pub use recorder::{Completion, Recorder, Worker};
pub use value::Value;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// A logical client thread: it has at most one operation in flight.
    Client(u64),
    /// The one that breaks things.
    Nemesis,
}

impl fmt::Display for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Client(id) => write!(out, "{id}"),
            Process::Nemesis => out.write_str("nemesis"),
        }
    }
}

/// What an event says about its operation: Jepsen's `:type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It definitely did not happen.
    Fail,
    /// It may have happened, or may yet happen.
    Info,
}

impl EventType {
    /// The word for it in every format.
    pub fn name(self) -> &'static str {
        match self {
            EventType::Invoke => "invoke",
            EventType::Ok => "ok",
            EventType::Fail => "fail",
            EventType::Info => "info",
        }
    }

    /// The type that a word names.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "invoke" => Some(EventType::Invoke),
            "ok" => Some(EventType::Ok),
            "fail" => Some(EventType::Fail),
            "info" => Some(EventType::Info),
            _ => None,
        }
    }
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the history, from 0.
    pub index: u64,
    /// Nanoseconds since the test began, from a monotonic clock. Foreign histories may lack it.
    pub time: Option<u64>,
    /// Who acts.
    pub process: Process,
    /// What the event says about its operation.
    pub event_type: EventType,
    /// The function: `read`, `write`, `cas`, `add`, or a nemesis' `kill`.
    pub f: String,
    /// The argument at an invocation, the result at a completion.
    pub value: Value,
    /// The node spoken to, where known.
    pub node: Option<String>,
    /// The id under which the node logged the request, where known.
    pub request: Option<String>,
    /// Why it failed, or why nobody knows.
    pub error: Option<String>,
}
