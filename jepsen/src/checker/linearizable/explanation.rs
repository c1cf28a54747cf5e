//! Says in a sentence why a history is impossible.
//!
//! In goes the minimal contradiction that [`super::shrink`] found, and the object's whole history;
//! out comes a sentence such as "process 4 read 17 (node 2, 12.204 s to 12.206 s), but process 2's
//! write of 18 had finished 12 ms before that read began", and the operations concerned by time.
//!
//! The sentence is picked from the contradictions that people meet: a value that nobody wrote, one
//! that was read before it was written, one that was overwritten, one that was consumed twice, one
//! that came back. What fits none of them is listed without an argument.
//!
//! Invariants:
//! - each sentence is by itself a proof: the operations it names cannot be ordered, whatever the
//!   others did;
//! - writers are looked for in the whole object, not in the contradiction, so "nobody wrote" is true
//!   of the history.

use super::Entry;
use crate::checker::Explanation;
use crate::history::{Clock, Operation, Value};
use crate::model::{Effect, Model};

/// How many operations an explanation lists at most.
const LISTED_MAX: usize = 20;

/// What an explanation is made from.
#[derive(Debug)]
pub struct Story<'a, M: Model> {
    /// What should have happened.
    pub model: &'a M,
    /// The history, for processes and nodes.
    pub operations: &'a [Operation],
    /// What its times count.
    pub clock: Clock,
    /// All operations of the object.
    pub entries: &'a [Entry<M::Op>],
    /// Those that contradict each other.
    pub core: &'a [Entry<M::Op>],
}

/// How a value came to be there for the last time.
enum LastWritten<'a, O> {
    /// Nobody wrote it: the object began with it.
    Initially,
    /// The last of its writers to return, and when.
    By(&'a Entry<O>, u64),
}

impl<O> LastWritten<'_, O> {
    fn ended_before(&self, other: &Entry<O>) -> bool {
        match self {
            LastWritten::Initially => true,
            LastWritten::By(_, returned) => *returned < other.invoked,
        }
    }
}

impl<M: Model> Story<'_, M> {
    /// The contradiction in words.
    pub fn explain(&self, key: Option<&Value>) -> Explanation {
        let mut core: Vec<_> = self.core.iter().collect();
        core.sort_by_key(|entry| (entry.invoked, entry.returned));
        let mut operations: Vec<String> =
            core.iter().take(LISTED_MAX).map(|entry| self.subject(entry)).collect();
        if core.len() > LISTED_MAX {
            operations.push(format!("and {} more", core.len() - LISTED_MAX));
        }
        let observers = || core.iter().copied().filter(|e| e.returned.is_some());
        let sentence = observers()
            .find_map(|entry| self.unwritten(entry))
            .or_else(|| observers().rev().find_map(|entry| self.overwritten(entry)))
            .or_else(|| observers().find_map(|entry| self.consumed_twice(entry)))
            .or_else(|| observers().rev().find_map(|entry| self.came_back(entry)))
            .unwrap_or_else(|| self.no_order(&core));
        Explanation { key: key.cloned(), sentence, operations }
    }

    /// A value that nobody wrote, or only later.
    fn unwritten(&self, observer: &Entry<M::Op>) -> Option<String> {
        let value = self.effect(observer).observes?;
        if value == self.model.initial_value() {
            return None;
        }
        let claim = self.subject(observer);
        let Some(writer) = self.writers(observer, &value).min_by_key(|writer| writer.invoked)
        else {
            return Some(format!("{claim}, but nobody wrote {value}"));
        };
        let returned = observer.returned?;
        if writer.invoked <= returned {
            return None;
        }
        let gap = self.gap(returned, writer.invoked);
        let only = match self.writers(observer, &value).count() {
            1 => "",
            _ => ", the first of that value,",
        };
        let (first, verb) = (self.noun(writer), self.kind(observer));
        Some(format!("{claim}, but {first}{only} began {gap} after that {verb} had finished"))
    }

    /// A value that another operation had replaced by then.
    fn overwritten(&self, observer: &Entry<M::Op>) -> Option<String> {
        let value = self.effect(observer).observes?;
        let last_written = self.last_written(observer, &value)?;
        let witness = self
            .core
            .iter()
            .filter(|other| other.source != observer.source && self.contradicts(other, &value))
            .filter(|other| other.returned.is_some_and(|at| at < observer.invoked))
            .filter(|other| last_written.ended_before(other))
            // A write says it more plainly than a read; the latest is the nearest.
            .max_by_key(|other| (self.effect(other).writes.is_some(), other.returned))?;
        let gap = self.gap(witness.returned?, observer.invoked);
        let (claim, verb) = (self.subject(observer), self.kind(observer));
        let noun = self.noun(witness);
        let sentence = format!("{claim}, but {noun} had finished {gap} before that {verb} began");
        Some(match last_written {
            LastWritten::Initially => {
                format!("{sentence}, and {value} is the initial value, written by nobody")
            }
            LastWritten::By(writer, at) => {
                let gap = self.gap(at, witness.invoked);
                let (noun, later) = (self.noun(writer), self.kind(witness));
                format!("{sentence}, and {noun} had finished {gap} before that {later} began")
            }
        })
    }

    /// A value written once that two compare-and-sets replaced.
    fn consumed_twice(&self, one: &Entry<M::Op>) -> Option<String> {
        let value = self.effect(one).observes?;
        let replaces = |entry: &Entry<M::Op>| {
            let Effect { observes, writes } = self.effect(entry);
            observes.as_ref() == Some(&value) && writes.is_some_and(|written| written != value)
        };
        let other = self.core.iter().find(|other| {
            other.source != one.source && other.returned.is_some() && replaces(other)
        })?;
        if !replaces(one) || self.times_there(&value) != 1 {
            return None;
        }
        let (one, other) = (self.subject(one), self.subject(other));
        Some(format!("{one}, and {other}, but {value} was there only once to be replaced"))
    }

    /// A value that was there, was gone, and was there again, though it was written once.
    fn came_back(&self, last: &Entry<M::Op>) -> Option<String> {
        let value = self.effect(last).observes?;
        if self.times_there(&value) != 1 {
            return None;
        }
        let before = |one: &Entry<M::Op>, other: &Entry<M::Op>| {
            one.returned.is_some_and(|returned| returned < other.invoked)
        };
        let between = self.core.iter().find(|between| {
            before(between, last) && self.contradicts(between, &value) && {
                let saw = |e: &Entry<M::Op>| self.effect(e).observes.as_ref() == Some(&value);
                self.core.iter().any(|first| before(first, between) && saw(first))
            }
        })?;
        let first = self.core.iter().find(|first| {
            before(first, between) && self.effect(first).observes.as_ref() == Some(&value)
        })?;
        let (last, between, first) = (self.subject(last), self.noun(between), self.noun(first));
        Some(format!(
            "{last}, but {between} had finished by then, and before that {first}: {value} was \
             there, was gone and came back, though it was written only once"
        ))
    }

    fn no_order(&self, core: &[&Entry<M::Op>]) -> String {
        let count = core.len();
        let object = self.model.name();
        match core.iter().filter(|entry| entry.returned.is_some()).max_by_key(|e| e.returned) {
            Some(last) => format!(
                "no order of these {count} operations explains all their results as a {object}; \
                 the last of them: {}",
                self.subject(last)
            ),
            None => format!("no order of these {count} operations explains all their results"),
        }
    }

    fn effect(&self, entry: &Entry<M::Op>) -> Effect {
        self.model.effect(&entry.op).unwrap_or(Effect { observes: None, writes: None })
    }

    /// Whether the value cannot be there at the end of the operation.
    fn contradicts(&self, entry: &Entry<M::Op>, value: &Value) -> bool {
        let Effect { observes, writes } = self.effect(entry);
        writes.or(observes).is_some_and(|there| there != *value)
    }

    /// The object's writers of a value, apart from `reader`.
    fn writers<'b>(
        &'b self,
        reader: &'b Entry<M::Op>,
        value: &'b Value,
    ) -> impl Iterator<Item = &'b Entry<M::Op>> {
        self.entries.iter().filter(move |entry| {
            entry.source != reader.source && self.effect(entry).writes.as_ref() == Some(value)
        })
    }

    /// After when a value cannot have been written any more, if there is such a time.
    fn last_written<'b>(
        &'b self,
        reader: &'b Entry<M::Op>,
        value: &'b Value,
    ) -> Option<LastWritten<'b, M::Op>> {
        let writers: Option<Vec<_>> =
            self.writers(reader, value).map(|writer| Some((writer, writer.returned?))).collect();
        match writers?.into_iter().max_by_key(|(_, returned)| *returned) {
            Some((writer, returned)) => Some(LastWritten::By(writer, returned)),
            None if *value == self.model.initial_value() => Some(LastWritten::Initially),
            None => None,
        }
    }

    /// How often a value can have come to be there.
    fn times_there(&self, value: &Value) -> usize {
        let initially = usize::from(*value == self.model.initial_value());
        let writes = |e: &&Entry<M::Op>| self.effect(e).writes.as_ref() == Some(value);
        initially + self.entries.iter().filter(writes).count()
    }

    /// "process 4 read 17 (node 2, 12.204 s to 12.206 s)".
    fn subject(&self, entry: &Entry<M::Op>) -> String {
        let Some(operation) = self.operations.get(entry.source) else { return String::new() };
        let node = operation.node.as_ref().map_or(String::new(), |node| format!("node {node}, "));
        let from = self.moment(entry.invoked);
        let interval = match entry.returned {
            Some(returned) => format!("{from} to {}", self.moment(returned)),
            None => format!("called at {from}, outcome unknown"),
        };
        let verb = self.model.words(&entry.op).verb;
        format!("process {} {verb} ({node}{interval})", operation.process)
    }

    /// "process 2's write of 18".
    fn noun(&self, entry: &Entry<M::Op>) -> String {
        let process = self.operations.get(entry.source).map_or(0, |operation| operation.process);
        format!("process {process}'s {}", self.model.words(&entry.op).noun)
    }

    /// "read", "write", "cas".
    fn kind(&self, entry: &Entry<M::Op>) -> &str {
        self.operations.get(entry.source).map_or("operation", |operation| operation.f.as_str())
    }

    fn moment(&self, time: u64) -> String {
        match self.clock {
            Clock::Positions => format!("event {time}"),
            Clock::Nanoseconds if time < 1_000_000_000 => duration(time),
            Clock::Nanoseconds => {
                format!("{}.{:03} s", time / 1_000_000_000, time / 1_000_000 % 1000)
            }
        }
    }

    fn gap(&self, from: u64, to: u64) -> String {
        let gap = to.saturating_sub(from);
        match (self.clock, gap) {
            (Clock::Positions, 1) => "one event".to_owned(),
            (Clock::Positions, _) => format!("{gap} events"),
            (Clock::Nanoseconds, _) => duration(gap),
        }
    }
}

/// A length of time in the largest unit that leaves a whole number, to three digits or so.
pub fn duration(nanoseconds: u64) -> String {
    match nanoseconds {
        0..10_000 => format!("{nanoseconds} ns"),
        10_000..10_000_000 => format!("{} µs", nanoseconds / 1000),
        10_000_000..10_000_000_000 => format!("{} ms", nanoseconds / 1_000_000),
        _ => format!("{} s", nanoseconds / 1_000_000_000),
    }
}
