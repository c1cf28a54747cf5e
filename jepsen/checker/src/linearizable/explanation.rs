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
use crate::Explanation;
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

/// A contradiction in words, and the operations that it names.
struct Argument<'a, O> {
    sentence: String,
    named: Vec<&'a Entry<O>>,
}

/// How a value came to be there for the last time.
enum LastWritten<'a, O> {
    /// Nobody wrote it: the object began with it.
    Initially,
    /// The last of its writers to return, and when.
    By(&'a Entry<O>, u64),
}

impl<M: Model> Story<'_, M> {
    /// The contradiction in words.
    pub fn explain(&self, key: Option<&Value>) -> Explanation {
        let mut core: Vec<_> = self.core.iter().collect();
        core.sort_by_key(|entry| (entry.invoked, entry.returned, entry.source));
        let observers = || core.iter().copied().filter(|e| e.returned.is_some());
        let Argument { sentence, named } = observers()
            .find_map(|entry| self.unwritten(entry))
            .or_else(|| observers().rev().find_map(|entry| self.overwritten(entry)))
            .or_else(|| observers().find_map(|entry| self.consumed_twice(entry)))
            .or_else(|| observers().rev().find_map(|entry| self.came_back(entry)))
            .unwrap_or_else(|| self.no_order(&core));
        // If shrinking ran out of time, what the sentence names says more than all the rest.
        let listed = if core.len() <= LISTED_MAX { &core } else { &named };
        let mut operations: Vec<String> = listed.iter().map(|e| self.subject(e)).collect();
        if core.len() > listed.len() {
            operations.push(format!("and {} more", core.len() - listed.len()));
        }
        Explanation { key: key.cloned(), sentence, operations }
    }

    /// A value that nobody wrote, or only later.
    fn unwritten<'b>(&'b self, observer: &'b Entry<M::Op>) -> Option<Argument<'b, M::Op>> {
        let value = self.effect(observer).observes?;
        if value == self.model.initial_value() {
            return None;
        }
        let claim = self.subject(observer);
        let writers = self.writers(observer, &value);
        let Some(writer) = writers.iter().copied().min_by_key(|writer| writer.invoked) else {
            let sentence = format!("{claim}, but nobody wrote {value}");
            return Some(Argument { sentence, named: vec![observer] });
        };
        let returned = observer.returned?;
        if !writers.iter().all(|writer| observer.precedes(writer)) {
            return None;
        }
        let gap = self.gap(returned, writer.invoked);
        let only = match writers.len() {
            1 => "",
            _ => ", the first of that value,",
        };
        let (first, verb) = (self.noun(writer), self.kind(observer));
        let sentence =
            format!("{claim}, but {first}{only} began {gap} after that {verb} had finished");
        Some(Argument { sentence, named: vec![observer, writer] })
    }

    /// A value that another operation had replaced by then.
    fn overwritten<'b>(&'b self, observer: &'b Entry<M::Op>) -> Option<Argument<'b, M::Op>> {
        let value = self.effect(observer).observes?;
        let last_written = self.last_written(observer, &value)?;
        let writers = self.writers(observer, &value);
        let witness = self
            .core
            .iter()
            .filter(|other| other.source != observer.source && self.contradicts(other, &value))
            .filter(|other| other.precedes(observer))
            .filter(|other| writers.iter().all(|writer| writer.precedes(other)))
            // A write says it more plainly than a read; the latest is the nearest.
            .max_by_key(|other| (self.effect(other).writes.is_some(), other.returned))?;
        let gap = self.gap(witness.returned?, observer.invoked);
        let (claim, verb) = (self.subject(observer), self.kind(observer));
        let noun = self.noun(witness);
        let sentence = format!("{claim}, but {noun} had finished {gap} before that {verb} began");
        Some(match last_written {
            LastWritten::Initially => {
                let why = format!("{value} is the initial value, written by nobody");
                Argument {
                    sentence: format!("{sentence}, and {why}"),
                    named: vec![witness, observer],
                }
            }
            LastWritten::By(writer, at) => {
                let gap = self.gap(at, witness.invoked);
                let (noun, later) = (self.noun(writer), self.kind(witness));
                let why = format!("{noun} had finished {gap} before that {later} began");
                let named = vec![writer, witness, observer];
                Argument { sentence: format!("{sentence}, and {why}"), named }
            }
        })
    }

    /// A value written once that two compare-and-sets replaced.
    fn consumed_twice<'b>(&'b self, one: &'b Entry<M::Op>) -> Option<Argument<'b, M::Op>> {
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
        let named = vec![one, other];
        let (one, other) = (self.subject(one), self.subject(other));
        let sentence =
            format!("{one}, and {other}, but {value} was there only once to be replaced");
        Some(Argument { sentence, named })
    }

    /// A value that was there, was gone, and was there again, though it was written once.
    fn came_back<'b>(&'b self, last: &'b Entry<M::Op>) -> Option<Argument<'b, M::Op>> {
        let value = self.effect(last).observes?;
        if self.times_there(&value) != 1 {
            return None;
        }
        let before = Entry::precedes;
        let between = self.core.iter().find(|between| {
            before(between, last) && self.contradicts(between, &value) && {
                let saw = |e: &Entry<M::Op>| self.effect(e).observes.as_ref() == Some(&value);
                self.core.iter().any(|first| before(first, between) && saw(first))
            }
        })?;
        let first = self.core.iter().find(|first| {
            before(first, between) && self.effect(first).observes.as_ref() == Some(&value)
        })?;
        let named = vec![first, between, last];
        let (last, between, first) = (self.subject(last), self.noun(between), self.noun(first));
        let sentence = format!(
            "{last}, but {between} had finished by then, and before that {first}: {value} was \
             there, was gone and came back, though it was written only once"
        );
        Some(Argument { sentence, named })
    }

    fn no_order<'b>(&'b self, core: &[&'b Entry<M::Op>]) -> Argument<'b, M::Op> {
        let (count, object) = (core.len(), self.model.name());
        let claim = format!(
            "no order of these {count} operations explains all their results as a {object}"
        );
        let last = core.iter().filter(|entry| entry.returned.is_some()).max_by_key(|e| e.returned);
        let sentence = match last {
            Some(last) => format!("{claim}; the last of them: {}", self.subject(last)),
            None => claim,
        };
        Argument { sentence, named: core.iter().take(LISTED_MAX).copied().collect() }
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
    fn writers(&self, reader: &Entry<M::Op>, value: &Value) -> Vec<&Entry<M::Op>> {
        let writes = |entry: &&Entry<M::Op>| {
            entry.source != reader.source && self.effect(entry).writes.as_ref() == Some(value)
        };
        self.entries.iter().filter(writes).collect()
    }

    /// After when a value cannot have been written any more, if there is such a time.
    fn last_written(&self, reader: &Entry<M::Op>, value: &Value) -> Option<LastWritten<'_, M::Op>> {
        let writers: Option<Vec<_>> = self
            .writers(reader, value)
            .into_iter()
            .map(|writer| Some((writer, writer.returned?)))
            .collect();
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
        let node = operation.node().map_or(String::new(), |node| format!("node {node}, "));
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
        moment(self.clock, time)
    }

    fn gap(&self, from: u64, to: u64) -> String {
        gap(self.clock, from, to)
    }
}

/// A time of a history, in words.
pub fn moment(clock: Clock, time: u64) -> String {
    match clock {
        Clock::Positions => format!("event {time}"),
        Clock::Nanoseconds if time < 1_000_000_000 => duration(time),
        Clock::Nanoseconds => {
            format!("{}.{:03} s", time / 1_000_000_000, time / 1_000_000 % 1000)
        }
    }
}

/// What lies between two times of a history, in words.
pub fn gap(clock: Clock, from: u64, to: u64) -> String {
    match (clock, to.saturating_sub(from)) {
        (Clock::Positions, 1) => "one event".to_owned(),
        (Clock::Positions, gap) => format!("{gap} events"),
        (Clock::Nanoseconds, gap) => duration(gap),
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
