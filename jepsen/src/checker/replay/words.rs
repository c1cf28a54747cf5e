//! What was wrong, in a sentence with the operations and times that show it.
//!
//! In goes a [`Flaw`] of the log's order, or the contradiction that no order resolves; out comes an
//! [`Explanation`]: "process 4 read Balance(7) -> Some(10) (node 2, 12.204 s to 12.206 s), but
//! process 2's Deposit { .. }, by which it became Some(20), had finished 12 ms before that read began".
//!
//! Commands and answers are shown by their `Debug`, cut short at [`SHOWN_MAX`] characters.
//!
//! Does not: judge.

use std::fmt::Debug;

use sixbells::StateMachine;

use super::witness::{Flaw, Unplaced};
use super::{Act, Typed};
use crate::checker::Explanation;
use crate::checker::moment::{gap, moment};
use crate::history::Clock;

/// How many operations an explanation lists at most.
const LISTED_MAX: usize = 20;

/// How much of a command or an answer is shown: enough to know it by, on one line.
const SHOWN_MAX: usize = 160;

/// What an explanation is made from.
pub(super) struct Story<'a, S: StateMachine> {
    pub(super) operations: &'a [Typed<S>],
    pub(super) clock: Clock,
}

impl<S: StateMachine> Story<'_, S> {
    /// Why the log's order does not explain what the clients saw.
    pub(super) fn of_the_log(&self, flaw: &Flaw) -> Explanation {
        let operations = self.listed(&flaw.named());
        Explanation { sentence: self.sentence(flaw), operations, ..Explanation::default() }
    }

    /// Why no order does: `core` is a contradiction by itself, and the log shows where to look.
    pub(super) fn of_no_order(&self, flaw: &Flaw, core: &[usize]) -> Explanation {
        let sentence =
            format!("{}; and no other order explains what the clients saw", self.sentence(flaw));
        let named = flaw.named();
        let mut members = core.to_vec();
        if core.len() > LISTED_MAX {
            members.retain(|at| named.contains(at));
        }
        let more = core.len() - members.len();
        members.extend(named.iter().filter(|at| !core.contains(at)));
        let mut operations = self.listed(&members);
        if more > 0 {
            operations.push(format!("and {more} more"));
        }
        Explanation { sentence, operations, ..Explanation::default() }
    }

    fn sentence(&self, flaw: &Flaw) -> String {
        match flaw {
            Flaw::Foreign { number } => {
                format!(
                    "the log applied number {number}, which is no client's write that may have happened"
                )
            }
            Flaw::Twice { write } => {
                format!("{}, and the log applied it twice", self.subject(*write))
            }
            Flaw::Missing { write } => {
                format!("{}, but the log never applied it", self.subject(*write))
            }
            Flaw::Reversed { write, finished } => {
                let finished = self.finished(*finished, *write, "");
                format!("{}, and the log applied it first, but {finished}", self.subject(*write))
            }
            Flaw::Response { write, expected } => {
                let expected = clip(expected);
                format!("{}, but by the log's order it was {expected}", self.subject(*write))
            }
            Flaw::Unplaced(unplaced) => self.unplaced(unplaced),
            Flaw::Exhausted(why) => why.to_string(),
        }
    }

    fn unplaced(&self, unplaced: &Unplaced) -> String {
        let Unplaced { read, expected, stale, early } = unplaced;
        let (claim, expected) = (self.subject(*read), clip(expected));
        match (*stale, *early) {
            (Some((replaced, shown)), _) if replaced == shown => {
                let by = format!(", which ended that and left {expected},");
                format!("{claim}, but {}", self.finished(shown, *read, &by))
            }
            (Some((replaced, shown)), _) => {
                let (ended, finished) = (self.noun(replaced), self.finished(shown, *read, ""));
                let how = match self.operations[shown].is_write() {
                    true => "behind it in the log",
                    false => "which saw a later state",
                };
                format!(
                    "{claim}, but {ended} ended that, and {finished}, {how}; the answer was {expected}"
                )
            }
            (None, Some((first, bound))) => {
                let (first, began) = (self.noun(first), self.began(bound, *read));
                let how = match early.is_some_and(|(first, bound)| first == bound) {
                    true => format!("{first}, the first to lead to that, {began}"),
                    false => {
                        format!(
                            "{first}, the first to lead to that, stands in the log behind {}, which {began}",
                            self.noun(bound)
                        )
                    }
                };
                format!("{claim}, but {how}; the answer was {expected}")
            }
            (None, None) => {
                format!(
                    "{claim}, but no state that the log led to answers so; the answer was {expected}"
                )
            }
        }
    }

    /// "process 2's Deposit(10) had finished 12 ms before that read began".
    fn finished(&self, earlier: usize, later: usize, aside: &str) -> String {
        let returned = self.operations[earlier].returned.unwrap_or(0);
        let gap = gap(self.clock, returned, self.operations[later].invoked);
        let (noun, kind) = (self.noun(earlier), self.kind(later));
        format!("{noun}{aside} had finished {gap} before that {kind} began")
    }

    /// "began 12 ms after that read had finished".
    fn began(&self, later: usize, earlier: usize) -> String {
        let returned = self.operations[earlier].returned.unwrap_or(0);
        let gap = gap(self.clock, returned, self.operations[later].invoked);
        format!("began {gap} after that {} had finished", self.kind(earlier))
    }

    fn listed(&self, members: &[usize]) -> Vec<String> {
        let mut members = members.to_vec();
        members.sort_by_key(|&at| (self.operations[at].invoked, at));
        members.into_iter().map(|at| self.subject(at)).collect()
    }

    /// "process 4 read Balance(7) -> Some(10) (node 2, 12.204 s to 12.206 s)".
    fn subject(&self, at: usize) -> String {
        let Typed { process, node, invoked, returned, act, .. } = &self.operations[at];
        let node = node.as_ref().map_or(String::new(), |node| format!("node {node}, "));
        let from = moment(self.clock, *invoked);
        let (told, interval) = match returned {
            Some(returned) => (true, format!("{from} to {}", moment(self.clock, *returned))),
            None => (false, format!("called at {from}, outcome unknown")),
        };
        let did = match act {
            Act::Write { command, response } => {
                format!("did {}{}", show(command), result(response.as_ref(), told))
            }
            Act::Read { query, answer } => {
                format!("read {}{}", show(query), result(answer.as_ref(), told))
            }
        };
        format!("process {process} {did} ({node}{interval})")
    }

    /// "process 2's Deposit(10)".
    fn noun(&self, at: usize) -> String {
        let Typed { process, act, .. } = &self.operations[at];
        match act {
            Act::Write { command, .. } => format!("process {process}'s {}", show(command)),
            Act::Read { query, answer } => {
                format!(
                    "process {process}'s read of {}{}",
                    show(query),
                    result(answer.as_ref(), true)
                )
            }
        }
    }

    fn kind(&self, at: usize) -> &'static str {
        if self.operations[at].is_write() { "write" } else { "read" }
    }
}

fn result(told: Option<&impl Debug>, counts: bool) -> String {
    told.filter(|_| counts).map_or(String::new(), |told| format!(" -> {}", show(told)))
}

/// A command or an answer, cut short.
pub(crate) fn show(value: &impl Debug) -> String {
    clip(&format!("{value:?}"))
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}
