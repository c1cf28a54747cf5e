//! From events to operations: each invocation joined to its completion.
//!
//! In go the events of a history in order, out come the clients' [`Operation`]s by invocation, and
//! the [`Clock`] their times are read on. [`Pairing`] does it event by event, and holds nothing but
//! what each process is doing; [`pair`] feeds it a whole history.
//!
//! Invariants:
//! - an operation without a completion is `info`: its worker died, so it may have happened;
//! - `returned` is `None` exactly for `info`: such an operation stays concurrent with everything
//!   after it, for ever;
//! - times are nanoseconds if every event has one, and positions in the history otherwise, never a
//!   mixture. Equal times of different processes count as concurrent: a clock that is too coarse
//!   must not invent an order. One process does one thing after the other, whatever the clock says;
//! - nor may a clock that was set back: one operation returned before another was called only if
//!   both the times and the order of the events say so. Where times fall along the history, a return
//!   therefore counts from the latest time seen so far. It may then lie after the next call of the
//!   same process.
//!
//! A history that is not well formed (a completion of nothing, two operations of one process in
//! flight, a process that goes on after `info`, a return before its call, a call before the return
//! of what the same process did last) is refused with the position of the event, because every
//! verdict about it would be worthless.

#[cfg(test)]
mod tests;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use smol_str::SmolStr;

use super::{Details, Event, EventType, Process, Value};

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

impl Clock {
    /// The clock that all clients' events can be read on.
    pub fn of(events: &[Event]) -> Self {
        let mut clients = events.iter().filter(|event| event.process != Process::Nemesis);
        match clients.all(|event| event.time.is_some()) {
            true => Clock::Nanoseconds,
            false => Clock::Positions,
        }
    }
}

/// One operation of a client, from call to return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Position of the invocation in the history.
    pub index: usize,
    /// The process that called.
    pub process: u64,
    /// The function called.
    pub f: SmolStr,
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
    /// The index in a replicated log at which it took effect, or at which a read was answered,
    /// where known.
    pub log_index: Option<u64>,
    /// What few operations have.
    pub details: Option<Box<Details>>,
}

impl Operation {
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

    /// Ends it: what was unknown becomes what its completion says.
    pub fn end(&mut self, ending: Ending) {
        self.outcome = ending.outcome;
        self.returned = (ending.outcome != Outcome::Info).then_some(ending.time);
        match ending.outcome {
            Outcome::Ok => self.value = ending.value,
            Outcome::Fail | Outcome::Info => self.give_up(),
        }
        self.log_index = ending.log_index.or(self.log_index);
        // A completion may know better, as when a client was redirected to another node.
        if let Some(mut later) = ending.details {
            if let Some(earlier) = self.details.take() {
                later.node = later.node.or(earlier.node);
                later.request = later.request.or(earlier.request);
            }
            self.details = Some(later);
        } else if let Some(details) = &mut self.details {
            details.error = None;
        }
    }

    /// Says that nobody will ever complete it.
    pub fn give_up(&mut self) {
        self.value.clone_from(&self.input);
    }
}

/// What a completion says of its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// When, on the history's [`Clock`].
    pub time: u64,
    /// What it returned.
    pub value: Value,
    /// The index in a replicated log, where known.
    pub log_index: Option<u64>,
    /// What few completions have.
    pub details: Option<Box<Details>>,
}

/// Why events do not pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingError {
    /// Position of the offending event.
    pub position: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What an event means, once it is known what its process was doing.
#[derive(Debug)]
pub enum Paired {
    /// An operation begins. Until it ends, its value is nil and its outcome unknown.
    Invoked(Operation),
    /// An operation ends, by its number: operations are counted by invocation, from 0.
    Ended(usize, Ending),
    /// The nemesis speaks.
    Nemesis(Event),
}

/// Joins completions to invocations, event by event.
#[derive(Clone, Debug)]
pub struct Pairing {
    clock: Clock,
    /// Events so far.
    position: usize,
    /// Operations so far.
    invocations: usize,
    in_flight: usize,
    /// The latest time so far.
    latest: u64,
    processes: HashMap<u64, Doing, FxBuildHasher>,
}

/// What a process is doing.
#[derive(Clone, Debug)]
enum Doing {
    /// The operation of this number.
    Calling { number: usize, invoked: u64, f: SmolStr },
    /// Nothing, since its last operation returned.
    Idle { returned: u64 },
    /// Nothing, for ever.
    Crashed,
}

impl Pairing {
    /// At the beginning of a history whose times are to be read on this clock.
    pub fn new(clock: Clock) -> Self {
        let processes = HashMap::default();
        Self { clock, position: 0, invocations: 0, in_flight: 0, latest: 0, processes }
    }

    /// How many events it has seen.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many operations have neither ended nor crashed.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What the next event means. After an error the history is worth nothing.
    pub fn push(&mut self, event: Event) -> Result<Paired, PairingError> {
        let position = self.position;
        self.position += 1;
        let Process::Client(process) = event.process else { return Ok(Paired::Nemesis(event)) };
        let time = match (self.clock, event.time) {
            (Clock::Positions, _) => Ok(position as u64),
            (Clock::Nanoseconds, Some(time)) => Ok(time),
            (Clock::Nanoseconds, None) => {
                Err(format!("process {process} has no time, and the events before it had"))
            }
        };
        let paired = time.and_then(|time| {
            self.latest = self.latest.max(time);
            match event.event_type {
                EventType::Invoke => self.begin(position, process, event, time),
                EventType::Ok => self.end(Outcome::Ok, process, event, time),
                EventType::Fail => self.end(Outcome::Fail, process, event, time),
                EventType::Info => self.end(Outcome::Info, process, event, time),
            }
        });
        paired.map_err(|reason| PairingError { position, reason })
    }

    fn begin(
        &mut self,
        index: usize,
        process: u64,
        event: Event,
        time: u64,
    ) -> Result<Paired, String> {
        let number = self.invocations;
        let calling = Doing::Calling { number, invoked: time, f: event.f.clone() };
        match self.processes.insert(process, calling) {
            Some(Doing::Crashed) => {
                return Err(format!("process {process} goes on after an :info"));
            }
            Some(Doing::Calling { .. }) => {
                return Err(format!("process {process} has an operation in flight already"));
            }
            Some(Doing::Idle { returned }) if time < returned => {
                let reason = "invokes before its previous operation returned";
                return Err(format!("process {process} {reason}"));
            }
            Some(Doing::Idle { .. }) | None => {}
        }
        self.invocations += 1;
        self.in_flight += 1;
        let mut details = event.details;
        if let Some(details) = &mut details {
            details.error = None;
        }
        Ok(Paired::Invoked(Operation {
            index,
            process,
            f: event.f,
            input: event.value,
            value: Value::Nil,
            invoked: time,
            returned: None,
            outcome: Outcome::Info,
            log_index: event.log_index,
            details,
        }))
    }

    fn end(
        &mut self,
        outcome: Outcome,
        process: u64,
        event: Event,
        time: u64,
    ) -> Result<Paired, String> {
        let doing = self.processes.get_mut(&process);
        let Some((doing, (number, invoked, f))) = doing.and_then(|doing| match doing {
            Doing::Calling { number, invoked, f } => {
                let call = (*number, *invoked, std::mem::take(f));
                Some((doing, call))
            }
            Doing::Idle { .. } | Doing::Crashed => None,
        }) else {
            return Err(format!("process {process} completes an operation it never invoked"));
        };
        if f != event.f {
            return Err(format!("process {process} invoked {f} and completes {}", event.f));
        }
        if time < invoked {
            return Err(format!("process {process} completes before it invoked"));
        }
        *doing = match outcome {
            Outcome::Ok | Outcome::Fail => Doing::Idle { returned: time },
            Outcome::Info => Doing::Crashed,
        };
        self.in_flight -= 1;
        let Event { value, log_index, details, .. } = event;
        let ending = Ending { outcome, time: self.latest, value, log_index, details };
        Ok(Paired::Ended(number, ending))
    }
}

/// Operations under construction: what a [`Pairing`] says, put in its place.
#[derive(Debug)]
pub(super) struct Assembly {
    pairing: Pairing,
    operations: Vec<Operation>,
    pub(super) nemesis_events: u64,
}

impl Assembly {
    pub(super) fn new(clock: Clock) -> Self {
        Self { pairing: Pairing::new(clock), operations: Vec::new(), nemesis_events: 0 }
    }

    pub(super) fn reserve(&mut self, operations: usize) {
        self.operations.reserve(operations);
    }

    pub(super) fn push(&mut self, event: Event) -> Result<(), PairingError> {
        match self.pairing.push(event)? {
            Paired::Invoked(operation) => self.operations.push(operation),
            Paired::Ended(number, ending) => self.operations[number].end(ending),
            Paired::Nemesis(_) => self.nemesis_events += 1,
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> (Clock, Vec<Operation>) {
        for doing in self.pairing.processes.values() {
            if let Doing::Calling { number, .. } = doing {
                self.operations[*number].give_up();
            }
        }
        (self.pairing.clock, self.operations)
    }
}

/// Joins invocations and completions, for those who need the events afterwards.
pub fn pair(events: &[Event]) -> Result<(Clock, Vec<Operation>), PairingError> {
    assemble(Clock::of(events), events.len(), events.iter().cloned())
}

/// Joins invocations and completions, and copies nothing.
pub fn pair_owned(events: Vec<Event>) -> Result<(Clock, Vec<Operation>), PairingError> {
    assemble(Clock::of(&events), events.len(), events.into_iter())
}

fn assemble(
    clock: Clock,
    count: usize,
    events: impl Iterator<Item = Event>,
) -> Result<(Clock, Vec<Operation>), PairingError> {
    let mut assembly = Assembly::new(clock);
    assembly.reserve(count.div_ceil(2));
    for event in events {
        assembly.push(event)?;
    }
    Ok(assembly.finish())
}
