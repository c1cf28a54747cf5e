//! Events: the lines of a history.
//!
//! An [`Event`] says that a process begins an operation, or how it ended. A long history has
//! millions of them, so an event is small: names are kept in place, and what few events have stands
//! in one box, [`Details`].
//!
//! Invariants:
//! - an event takes at most [`EVENT_BYTES_MAX`] bytes, not counting what its value owns;
//! - two events are equal if all they say is equal; an empty box says as much as none, so no
//!   constructor here makes one.
//!
//! It does not know formats, and whether events fit together is for `pairing` to say.

use std::fmt;

use smol_str::SmolStr;

use super::value::Value;

/// Two cache lines.
const EVENT_BYTES_MAX: usize = 128;

const _: () = assert!(size_of::<Event>() <= EVENT_BYTES_MAX);

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
    pub f: SmolStr,
    /// The argument at an invocation, the result at a completion.
    pub value: Value,
    /// The index in a replicated log at which the operation took effect, or at which a read was
    /// answered, where known.
    pub log_index: Option<u64>,
    /// What few events have.
    pub details: Option<Box<Details>>,
}

impl Event {
    /// An event that says no more than it must: its index is 0, and nothing else is known.
    pub fn new(process: Process, event_type: EventType, f: &str, value: Value) -> Self {
        let f = SmolStr::new(f);
        Self { index: 0, time: None, process, event_type, f, value, log_index: None, details: None }
    }

    /// The node spoken to, where known.
    pub fn node(&self) -> Option<&str> {
        self.details.as_ref()?.node.as_deref()
    }

    /// The id under which the node logged the request, where known.
    pub fn request(&self) -> Option<&str> {
        self.details.as_ref()?.request.as_deref()
    }

    /// Why it failed, or why nobody knows.
    pub fn error(&self) -> Option<&str> {
        self.details.as_ref()?.error.as_deref()
    }
}

/// What few events, or few operations, say about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The node spoken to, where known.
    pub node: Option<SmolStr>,
    /// The id under which the node logged the request, where known.
    pub request: Option<SmolStr>,
    /// Why it failed, or why nobody knows.
    pub error: Option<SmolStr>,
}

impl Details {
    /// The box of an event; none if nothing is known.
    pub fn boxed(self) -> Option<Box<Self>> {
        let known = self.node.is_some() || self.request.is_some() || self.error.is_some();
        known.then(|| Box::new(self))
    }
}
