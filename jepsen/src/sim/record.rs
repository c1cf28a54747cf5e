//! What the clients of a simulated run did and were told.
//!
//! Owns [`Record`], the list of all operations of a run on some machine. In: invocations and ends, as
//! they happen. Out: typed operations for [`replay`](crate::checker::replay), the agreed order of the
//! writes, and events for every other checker and for files.
//!
//! Invariants
//! - an operation is written down before it leaves the client, and its end after the answer came;
//! - an end is `fail` only if the error is definite; everything else that is no answer is `info`;
//! - after `info` a client goes on under another process number: its old one is still busy.
//!
//! Does not: judge.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sixbells::{Error, StateMachine};

use super::{End, Host, Observation, plan::Manner, world};
use crate::{
    checker::replay::{Act, Typed},
    history::{Details, Event, EventType, Process, Value},
    suite::{Op, Told},
};

/// One operation.
#[derive(Clone, Debug)]
pub struct Entry<S: StateMachine> {
    /// Unique in the run; counted from 1.
    pub number: u64,
    /// Who did it.
    pub process: u64,
    /// Which client that is, by its host.
    pub client: Host,
    /// The node that was asked first.
    pub node: Host,
    /// How the client chose it.
    pub manner: Manner,
    /// What.
    pub op: Op<S>,
    /// When it was sent, in nanoseconds.
    pub invoked: u64,
    /// When it ended, and how. `None` if it never did.
    pub ended: Option<(u64, Result<Told<S>, Error>)>,
}

impl<S: StateMachine> Entry<S> {
    /// How it ended.
    pub fn end(&self) -> End {
        match &self.ended {
            Some((_, Ok(_))) => End::Ok,
            Some((_, Err(error))) if error.is_definite() => End::Fail,
            Some((_, Err(_))) | None => End::Info,
        }
    }
}

/// All operations of a run. Clones are the same record.
#[derive(Clone)]
pub struct Record<S: StateMachine>(Arc<Mutex<Vec<Entry<S>>>>);

impl<S: StateMachine> Default for Record<S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<S: StateMachine> fmt::Debug for Record<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.lock().len()).finish()
    }
}

fn nanoseconds() -> u64 {
    u64::try_from(world::now().as_nanos()).unwrap_or(u64::MAX)
}

impl<S: StateMachine> Record<S> {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins. Returns its number.
    pub fn invoke(&self, client: Host, process: u64, op: Op<S>, asked: (Host, Manner)) -> u64 {
        let write = matches!(op, Op::Write(_));
        let number = {
            let mut entries = self.lock();
            let number = entries.len() as u64 + 1;
            let (node, manner) = asked;
            let (invoked, ended) = (nanoseconds(), None);
            entries.push(Entry { number, process, client, node, manner, op, invoked, ended });
            number
        };
        world::trace("invoke", number, || format!("operation {number} of client {client}"));
        world::observe(&Observation::Invoked { client, operation: number, write });
        number
    }

    /// An operation ends. Returns how.
    pub fn complete(&self, client: Host, number: u64, result: Result<Told<S>, Error>) -> End {
        world::trace("complete", number, || format!("operation {number}: {result:?}"));
        let end = {
            let mut entries = self.lock();
            let at = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
            let Some(entry) = entries.get_mut(at) else { return End::Info };
            entry.ended = Some((nanoseconds(), result));
            entry.end()
        };
        world::reach(match end {
            End::Ok => "an operation succeeded",
            End::Fail => "an operation definitely failed",
            End::Info => "an operation ended unknown",
        });
        world::observe(&Observation::Completed { client, operation: number, end });
        end
    }

    /// How many operations have not ended.
    pub fn under_way(&self) -> usize {
        self.lock().iter().filter(|entry| entry.ended.is_none()).count()
    }

    /// All operations so far.
    pub fn entries(&self) -> Vec<Entry<S>> {
        self.lock().clone()
    }
}

/// The operations that may have happened, for the checker that replays the machine.
pub fn typed<S: StateMachine>(entries: &[Entry<S>]) -> Vec<Typed<S>> {
    let happened = entries.iter().filter(|entry| entry.end() != End::Fail);
    happened
        .map(|entry| {
            let mut act = Act::from(entry.op.clone());
            let told = entry.ended.as_ref().and_then(|(at, told)| Some((*at, told.as_ref().ok()?)));
            let returned = told.and_then(|(at, told)| told.clone().answers(&mut act).then_some(at));
            let node = Some(entry.node.to_string());
            let Entry { process, number, invoked, .. } = *entry;
            Typed { process, number, node, invoked, returned, act }
        })
        .collect()
}

/// The operations as the events of a history, in the words of the machine's `Debug`.
pub fn events<S: StateMachine>(entries: &[Entry<S>]) -> Vec<Event> {
    let mut events = Vec::new();
    for entry in entries {
        let f = match &entry.op {
            Op::Write(_) => "write",
            Op::Read(_) => "read",
        };
        let event = |time, event_type, value, error: Option<String>| {
            let request = Some(entry.number.to_string().into());
            let details = Details { node: None, request, error: error.map(Into::into) };
            let process = Process::Client(entry.process);
            let event = Event::new(process, event_type, f, Value::Text(value));
            Event { time: Some(time), details: details.boxed(), ..event }
        };
        let op = format!("{:?}", entry.op);
        events.push((entry.invoked, 0, event(entry.invoked, EventType::Invoke, op.clone(), None)));
        if let Some((at, result)) = &entry.ended {
            let (event_type, value, error) = match (entry.end(), result) {
                (End::Ok, Ok(told)) => (EventType::Ok, format!("{op} -> {told:?}"), None),
                (End::Fail, Err(error)) => (EventType::Fail, op, Some(error.to_string())),
                (_, result) => (EventType::Info, op, Some(format!("{result:?}"))),
            };
            events.push((*at, 1, event(*at, event_type, value, error)));
        }
    }
    // Of one instant, ends come last: what is concurrent stays concurrent.
    events.sort_by_key(|(at, end, event)| (*at, *end, event.process));
    let numbered = events.into_iter().enumerate();
    numbered.map(|(index, (_, _, event))| Event { index: index as u64, ..event }).collect()
}
