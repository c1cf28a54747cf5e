//! Says in a sentence why a history is impossible.
//!
//! In goes the small contradiction that was found, and the object's whole history; out comes a sentence such as "process 4 read 17 (node 2, 12.204 s to 12.206 s), but process 2's
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

use std::fmt;

use super::machine::number;
use super::object::Piece;
use crate::Explanation;
use crate::call::Call;
use crate::datum::Datum;
use crate::faults::Band;
use crate::history::Clock;
use crate::model::{Effect, Model, Words};
use crate::moment::{gap, moment};

/// How many calls an explanation lists at most.
const LISTED_MAX: usize = 8;

/// Among how many calls an argument is looked for.
const ARGUED_MAX: usize = 100;

/// What is known besides the calls.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What their times count.
    pub clock: Clock,
    /// The node that a call spoke to, by its position in the history.
    pub node: &'a dyn Fn(usize) -> Option<String>,
    /// What was broken, from when to when.
    pub faults: &'a [Band],
}

impl Default for Context<'_> {
    fn default() -> Self {
        Self { clock: Clock::Nanoseconds, node: &|_| None, faults: &[] }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Context").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// What an explanation is made from.
pub(super) struct Story<'a, M: Model> {
    pub(super) model: &'a M,
    pub(super) calls: &'a [Call<M::Input, M::Output>],
    pub(super) context: &'a Context<'a>,
    /// The object's calls, by their position in the history.
    pub(super) members: &'a [u32],
    /// Those that contradict each other, by their position among the members.
    pub(super) core: &'a [u32],
    /// Why they do, if whoever found them said so.
    pub(super) argument: &'a [Piece],
}

/// A call of the story.
type Entry<'a, M> = Member<'a, <M as Model>::Input, <M as Model>::Output>;

/// A call and its position in the history.
struct Member<'a, I, O> {
    source: usize,
    call: &'a Call<I, O>,
}

impl<I, O> Clone for Member<'_, I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for Member<'_, I, O> {}

impl<I, O> Member<'_, I, O> {
    /// Whether it had returned when the other was called. A process does one thing after the other,
    /// also where the clock is too coarse to tell.
    fn precedes(&self, other: &Self) -> bool {
        self.call.returned.is_some_and(|returned| {
            let earlier = self.call.process == other.call.process && self.source < other.source;
            returned < other.call.invoked || (earlier && returned == other.call.invoked)
        })
    }
}

/// A contradiction in words, and the calls that it names.
struct Argument<'a, I, O> {
    sentence: String,
    named: Vec<Member<'a, I, O>>,
}

/// An argument of a story.
type Said<'a, M> = Argument<'a, <M as Model>::Input, <M as Model>::Output>;

/// How a value came to be there for the last time.
enum LastWritten<'a, I, O> {
    /// Nobody wrote it: the object began with it.
    Initially,
    /// The last of its writers to return, and when.
    By(Member<'a, I, O>, u64),
}

impl<'a, M: Model> Story<'a, M> {
    /// The contradiction in words.
    pub(super) fn explain(&self, key: Option<String>) -> Explanation {
        let mut core: Vec<_> = self.core.iter().map(|at| self.member(*at)).collect();
        core.sort_by_key(|entry| (entry.call.invoked, entry.call.returned, entry.source));
        let Argument { sentence, named } = self.argue(&core);
        // A long list says less than those that the sentence names.
        let listed = if core.len() <= LISTED_MAX { &core } else { &named };
        let mut operations: Vec<String> = listed.iter().map(|e| self.listed(*e)).collect();
        if core.len() > listed.len() {
            operations.push(format!("and {} more", core.len() - listed.len()));
        }
        let culprits = core.iter().map(|entry| entry.source).collect();
        Explanation { key, sentence, operations, culprits }
    }

    fn argue(&self, all: &[Entry<'a, M>]) -> Said<'a, M> {
        if !self.argument.is_empty() {
            let sentence = self.argument.iter().map(|piece| self.said(piece)).collect();
            return Argument { sentence, named: all.to_vec() };
        }
        let happened = |entry: &Entry<'a, M>| entry.call.returned.is_some();
        // If shrinking ran out of time, there is none left to look at each with each: what went wrong
        // stands near the end.
        let core = &all[all.len().saturating_sub(ARGUED_MAX)..];
        let observers = || core.iter().copied().filter(happened);
        observers()
            .find_map(|entry| self.unwritten(entry))
            .or_else(|| observers().rev().find_map(|entry| self.overwritten(entry, core)))
            .or_else(|| observers().find_map(|entry| self.consumed_twice(entry, core)))
            .or_else(|| observers().rev().find_map(|entry| self.replaced(entry, core)))
            .or_else(|| observers().rev().find_map(|entry| self.came_back(entry, core)))
            .unwrap_or_else(|| self.no_order(all))
    }

    fn member(&self, at: u32) -> Entry<'a, M> {
        let source = self.members[at as usize] as usize;
        Member { source, call: &self.calls[source] }
    }

    fn said(&self, piece: &Piece) -> String {
        match piece {
            Piece::Text(text) => text.clone(),
            Piece::Subject(at) => self.subject(self.member(*at)),
            Piece::Noun(at) => self.noun(self.member(*at)),
            Piece::Gap(first, second) => {
                let (first, second) = (self.member(*first).call, self.member(*second).call);
                self.gap(first.returned.unwrap_or(first.invoked), second.invoked)
            }
        }
    }

    /// A value that nobody wrote, or only later.
    fn unwritten(&self, observer: Entry<'a, M>) -> Option<Said<'a, M>> {
        let value = self.effect(observer).observes?;
        if value == self.model.initial_value() {
            return None;
        }
        let claim = self.subject(observer);
        let writers = self.writers(observer, value);
        let Some(writer) = writers.iter().copied().min_by_key(|w| w.call.invoked) else {
            let sentence = format!("{claim}, but nobody wrote {}", self.shown(value));
            return Some(Argument { sentence, named: vec![observer] });
        };
        let returned = observer.call.returned?;
        if !writers.iter().all(|writer| observer.precedes(writer)) {
            return None;
        }
        let gap = self.gap(returned, writer.call.invoked);
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
    fn overwritten(&self, observer: Entry<'a, M>, core: &[Entry<'a, M>]) -> Option<Said<'a, M>> {
        let value = self.effect(observer).observes?;
        let last_written = self.last_written(observer, value)?;
        let writers = self.writers(observer, value);
        let last = writers.iter().filter_map(|writer| writer.call.returned).max().unwrap_or(0);
        // Nearly always the last of them says it all.
        let over = |other: &Entry<'a, M>| {
            last < other.call.invoked
                || self.source(*other).is_some_and(|source| last < source.call.invoked)
                || last == other.call.invoked && writers.iter().all(|writer| writer.precedes(other))
        };
        let witness = core
            .iter()
            .copied()
            .filter(|other| other.source != observer.source && self.contradicts(*other, value))
            .filter(|other| other.precedes(&observer))
            .filter(over)
            // A write says it more plainly than a read; the latest is the nearest.
            .max_by_key(|other| (self.effect(*other).writes.is_some(), other.call.returned))?;
        let gap = self.gap(witness.call.returned?, observer.call.invoked);
        let (claim, verb) = (self.subject(observer), self.kind(observer));
        let noun = self.noun(witness);
        let sentence = format!("{claim}, but {noun} had finished {gap} before that {verb} began");
        Some(match last_written {
            LastWritten::Initially => {
                let value = self.shown(value);
                let why = format!("{value} is the initial value, written by nobody");
                Argument {
                    sentence: format!("{sentence}, and {why}"),
                    named: vec![witness, observer],
                }
            }
            LastWritten::By(writer, at) => {
                let noun = self.noun(writer);
                if at > witness.call.invoked
                    && let Some(source) = self.source(witness)
                {
                    let (gap, first) = (self.gap(at, source.call.invoked), self.noun(source));
                    let why = format!("{noun} had finished {gap} before {first} began");
                    let named = vec![writer, source, witness, observer];
                    return Some(Argument { sentence: format!("{sentence}, and {why}"), named });
                }
                let gap = self.gap(at, witness.call.invoked);
                let later = match self.kind(witness) == verb {
                    true => format!("the {}", self.words(witness).noun),
                    false => format!("that {}", self.kind(witness)),
                };
                let why = format!("{noun} had finished {gap} before {later} began");
                let named = vec![writer, witness, observer];
                Argument { sentence: format!("{sentence}, and {why}"), named }
            }
        })
    }

    /// A value written once that two compare-and-sets replaced.
    fn consumed_twice(&self, one: Entry<'a, M>, core: &[Entry<'a, M>]) -> Option<Said<'a, M>> {
        let value = self.effect(one).observes?;
        let replaces = |entry: Entry<'a, M>| {
            let Effect { observes, writes } = self.effect(entry);
            observes == Some(value) && writes.is_some_and(|written| written != value)
        };
        let other = core.iter().copied().find(|other| {
            other.source != one.source && other.call.returned.is_some() && replaces(*other)
        })?;
        if !replaces(one) || self.times_there(value) != 1 {
            return None;
        }
        let named = vec![one, other];
        let (one, other) = (self.subject(one), self.subject(other));
        let value = self.shown(value);
        let sentence =
            format!("{one}, and {other}, but {value} was there only once to be replaced");
        Some(Argument { sentence, named })
    }

    /// A value written once that a compare-and-set had replaced by then.
    fn replaced(&self, last: Entry<'a, M>, core: &[Entry<'a, M>]) -> Option<Said<'a, M>> {
        let value = self.effect(last).observes?;
        let replaces = |entry: &Entry<'a, M>| {
            let Effect { observes, writes } = self.effect(*entry);
            observes == Some(value) && writes.is_some_and(|written| written != value)
        };
        let by = core.iter().copied().find(|entry| entry.precedes(&last) && replaces(entry))?;
        if self.times_there(value) != 1 {
            return None;
        }
        let gap = self.gap(by.call.returned?, last.call.invoked);
        let named = vec![by, last];
        let (claim, verb, by) = (self.subject(last), self.kind(last), self.noun(by));
        let value = self.shown(value);
        let sentence = format!(
            "{claim}, but {by} had finished {gap} before that {verb} began, and {value} was there \
             only once to be replaced"
        );
        Some(Argument { sentence, named })
    }

    /// A value that was there, was gone, and was there again, though it was written once.
    fn came_back(&self, last: Entry<'a, M>, core: &[Entry<'a, M>]) -> Option<Said<'a, M>> {
        let value = self.effect(last).observes?;
        if self.times_there(value) != 1 {
            return None;
        }
        let saw = |entry: &Entry<'a, M>| self.effect(*entry).observes == Some(value);
        let saw_before = |between: &Entry<'a, M>| {
            core.iter().copied().find(|first| first.precedes(between) && saw(first))
        };
        let (between, first) = core
            .iter()
            .copied()
            .filter(|between| between.precedes(&last) && self.contradicts(*between, value))
            .find_map(|between| Some((between, saw_before(&between)?)))?;
        let named = vec![first, between, last];
        let (last, between, first) = (self.subject(last), self.noun(between), self.noun(first));
        let value = self.shown(value);
        let sentence = format!(
            "{last}, but {between} had finished by then, and before that {first}: {value} was \
             there, was gone and came back, though it was written only once"
        );
        Some(Argument { sentence, named })
    }

    fn no_order(&self, core: &[Entry<'a, M>]) -> Said<'a, M> {
        let (count, object) = (core.len(), self.model.name());
        let claim = format!(
            "no order of these {count} operations explains all their results as a {object}"
        );
        let happened = core.iter().copied().filter(|entry| entry.call.returned.is_some());
        let sentence = match happened.max_by_key(|entry| entry.call.returned) {
            Some(last) => format!("{claim}; the last of them: {}", self.subject(last)),
            None => claim,
        };
        Argument { sentence, named: core.iter().take(LISTED_MAX).copied().collect() }
    }

    fn effect(&self, entry: Entry<'a, M>) -> Effect {
        let Call { input, .. } = entry.call;
        let nothing = Effect { observes: None, writes: None };
        self.model.effect(input, entry.call.answer()).unwrap_or(nothing)
    }

    fn shown(&self, value: Datum) -> String {
        self.model.value_words(value)
    }

    /// Whether the value cannot be there at the end of the call.
    fn contradicts(&self, entry: Entry<'a, M>, value: Datum) -> bool {
        let Effect { observes, writes } = self.effect(entry);
        writes.or(observes).is_some_and(|there| there != value)
    }

    fn members(&self) -> impl Iterator<Item = Entry<'a, M>> {
        (0..number(self.members.len())).map(|at| self.member(at))
    }

    /// The object's writers of a value, apart from `reader`.
    fn writers(&self, reader: Entry<'a, M>, value: Datum) -> Vec<Entry<'a, M>> {
        let writes = |entry: &Entry<'a, M>| {
            entry.source != reader.source && self.effect(*entry).writes == Some(value)
        };
        self.members().filter(writes).collect()
    }

    /// Of a call that only observes, the first write of what it saw: it took effect after that began.
    fn source(&self, witness: Entry<'a, M>) -> Option<Entry<'a, M>> {
        let Effect { observes, writes } = self.effect(witness);
        let seen = observes.filter(|seen| *seen != self.model.initial_value());
        let writers = self.writers(witness, seen.filter(|_| writes.is_none())?);
        writers.into_iter().min_by_key(|writer| writer.call.invoked)
    }

    /// After when a value cannot have been written any more, if there is such a time.
    fn last_written(
        &self,
        reader: Entry<'a, M>,
        value: Datum,
    ) -> Option<LastWritten<'a, M::Input, M::Output>> {
        let writers: Option<Vec<_>> = self
            .writers(reader, value)
            .into_iter()
            .map(|writer| Some((writer, writer.call.returned?)))
            .collect();
        match writers?.into_iter().max_by_key(|(_, returned)| *returned) {
            Some((writer, returned)) => Some(LastWritten::By(writer, returned)),
            None if value == self.model.initial_value() => Some(LastWritten::Initially),
            None => None,
        }
    }

    /// How often a value can have come to be there.
    fn times_there(&self, value: Datum) -> usize {
        let initially = usize::from(value == self.model.initial_value());
        initially + self.members().filter(|e| self.effect(*e).writes == Some(value)).count()
    }

    /// "process 4 read 17 (node 2, 12.204 s to 12.206 s)".
    fn subject(&self, entry: Entry<'a, M>) -> String {
        let Call { process, invoked, returned, log_index, .. } = entry.call;
        let node = (self.context.node)(entry.source);
        let node = node.map_or(String::new(), |node| format!("node {node}, "));
        let index = log_index.map_or(String::new(), |index| format!(", log index {index}"));
        let from = self.moment(*invoked);
        let interval = match returned {
            Some(returned) => format!("{from} to {}", self.moment(*returned)),
            None => format!("called at {from}, outcome unknown"),
        };
        let verb = self.words(entry).verb;
        format!("process {process} {verb} ({node}{interval}{index})")
    }

    /// The same, with what was broken at the time.
    fn listed(&self, entry: Entry<'a, M>) -> String {
        let Call { invoked, returned, .. } = entry.call;
        let end = returned.unwrap_or(u64::MAX);
        let in_force = self
            .context
            .faults
            .iter()
            .filter(|fault| fault.from <= end && fault.to.is_none_or(|to| *invoked <= to));
        let mut names: Vec<&str> = in_force.map(|fault| fault.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let subject = self.subject(entry);
        match names.is_empty() {
            true => subject,
            false => format!("{subject}, during {}", names.join(", ")),
        }
    }

    /// "process 2's write of 18".
    fn noun(&self, entry: Entry<'a, M>) -> String {
        format!("process {}'s {}", entry.call.process, self.words(entry).noun)
    }

    fn words(&self, entry: Entry<'a, M>) -> Words {
        self.model.words(&entry.call.input, entry.call.answer())
    }

    /// "read", "write", "cas".
    fn kind(&self, entry: Entry<'a, M>) -> String {
        let noun = self.words(entry).noun;
        noun.split(' ').next().unwrap_or("operation").to_owned()
    }

    fn moment(&self, time: u64) -> String {
        moment(self.context.clock, time)
    }

    fn gap(&self, from: u64, to: u64) -> String {
        gap(self.context.clock, from, to)
    }
}
