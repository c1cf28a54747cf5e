//! A set: add, remove, ask for one element, read all.
//!
//! Operations: `add` (`insert`), `remove` (`delete`, `del`), `contains` (`contains?`, `member`,
//! `has`) whose completion is `true`, `false` or `[element true]`, and `read` (`r`, `read-all`,
//! `final-read`) whose completion is a vector, list or set of all elements. Adding what is there, and
//! removing what is not, change nothing and are no failures.
//!
//! Without reads of the whole, elements do not touch each other: each is an object of its own, which
//! is absent or present. With them, the set is one object; if it only grows and no element is added
//! twice, [`levels`] decides it in one pass, however many calls overlap.
//!
//! Invariants:
//! - elements that a read returned are kept sorted, and twice where they were returned twice: what
//!   returns an element twice is not a set, and no order makes it one.

mod elements;
mod levels;

use std::sync::Arc;

use super::{Action, Effect, HistoryModel, Model, Read, Words};
use crate::datum::{Datum, Dictionary};
use crate::history::{Outcome, Value};
use crate::linearizable::{Decision, Object};

pub use elements::Elements;

/// A read of more elements than this is told by its length.
const SHOWN_MAX: usize = 8;

/// Absent and present, as the values of an element that is an object of its own.
const ABSENT: i32 = 0;
const PRESENT: i32 = 1;

/// One set.
#[derive(Clone, Debug)]
pub struct Set {
    whole: bool,
    dictionary: Dictionary,
}

/// What a [`Set`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetInput {
    /// From now on it is there.
    Add(Datum),
    /// From now on it is not.
    Remove(Datum),
    /// Is it there?
    Contains(Datum),
    /// What is there?
    Read,
}

impl SetInput {
    fn element(&self) -> Option<Datum> {
        match self {
            SetInput::Add(element) | SetInput::Remove(element) | SetInput::Contains(element) => {
                Some(*element)
            }
            SetInput::Read => None,
        }
    }
}

/// What a [`Set`] answers to questions; changes are not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetOutput {
    /// Whether the element was there.
    Held(bool),
    /// All elements, ascending.
    All(Arc<[Datum]>),
}

impl SetOutput {
    /// A read of these elements, in any order.
    pub fn all(elements: impl IntoIterator<Item = Datum>) -> Self {
        let mut sorted: Vec<Datum> = elements.into_iter().collect();
        sorted.sort_unstable();
        SetOutput::All(sorted.into())
    }
}

impl Set {
    /// A set that may be read as a whole, and so is one object.
    pub fn whole() -> Self {
        Self { whole: true, dictionary: Dictionary::default() }
    }

    /// A set that is not read as a whole: each element is an object of its own. If a history that is
    /// read does have a read of the whole, it is one object nevertheless.
    pub fn by_element() -> Self {
        Self { whole: false, ..Self::whole() }
    }

    fn shown(&self, element: Datum) -> String {
        self.dictionary.value(element).to_string()
    }

    fn shown_all(&self, elements: &[Datum]) -> String {
        if elements.len() > SHOWN_MAX {
            return format!("{} elements", elements.len());
        }
        let shown: Vec<String> = elements.iter().map(|element| self.shown(*element)).collect();
        format!("#{{{}}}", shown.join(" "))
    }

    fn element(&mut self, action: &Action<'_>) -> Result<Datum, String> {
        Ok(self.dictionary.datum(action.argument()?.untagged()))
    }

    /// Who asks for one element names it, and may leave room for the answer: `7` or `[7 nil]`.
    fn question(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        let element = match action.input.as_pair() {
            Some((element, Value::Nil | Value::Bool(_))) => element,
            _ => action.input.untagged(),
        };
        let answer = match (action.outcome, action.value.as_pair()) {
            (Outcome::Ok, None) => Some(action.value.untagged()),
            (Outcome::Ok, Some((same, answer))) if same == element => Some(answer),
            (Outcome::Ok, Some((other, _))) => {
                return Err(format!("asked for {element}, answered about {other}"));
            }
            (Outcome::Fail | Outcome::Info, _) => None,
        };
        let output = match answer {
            None => None,
            Some(Value::Bool(held)) => Some(SetOutput::Held(*held)),
            Some(other) => return Err(format!("{} answers true or false, not {other}", action.f)),
        };
        Ok((SetInput::Contains(self.dictionary.datum(element)), output))
    }
}

impl Model for Set {
    type Input = SetInput;
    type Output = SetOutput;
    type State = Elements;
    /// The element, where each is an object of its own.
    type Key = Option<Datum>;

    fn name(&self) -> &'static str {
        "set"
    }

    fn initial(&self) -> Elements {
        Elements::default()
    }

    fn step(
        &self,
        state: &Elements,
        input: &SetInput,
        output: Option<&SetOutput>,
    ) -> Option<Elements> {
        let possible = match (input, output) {
            (SetInput::Add(element), _) => return Some(state.with(*element)),
            (SetInput::Remove(element), _) => return Some(state.without(*element)),
            (_, None) => true,
            (SetInput::Contains(element), Some(SetOutput::Held(held))) => {
                state.contains(*element) == *held
            }
            (SetInput::Read, Some(SetOutput::All(elements))) => state.are(elements),
            // An answer to another question.
            (SetInput::Contains(_) | SetInput::Read, Some(_)) => false,
        };
        possible.then(|| state.clone())
    }

    fn key(&self, input: &SetInput) -> Option<Datum> {
        input.element().filter(|_| !self.whole)
    }

    fn key_words(&self, key: &Option<Datum>) -> Option<String> {
        key.map(|element| self.shown(element))
    }

    fn read_only(&self, input: &SetInput) -> bool {
        matches!(input, SetInput::Contains(_) | SetInput::Read)
    }

    fn effect(&self, input: &SetInput, output: Option<&SetOutput>) -> Option<Effect> {
        if self.whole {
            return None;
        }
        let word = |present: bool| Datum::from(if present { PRESENT } else { ABSENT });
        let effect = match (input, output) {
            (SetInput::Add(_), _) => Effect { observes: None, writes: Some(word(true)) },
            (SetInput::Remove(_), _) => Effect { observes: None, writes: Some(word(false)) },
            (_, Some(SetOutput::Held(held))) => {
                Effect { observes: Some(word(*held)), writes: None }
            }
            _ => Effect { observes: None, writes: None },
        };
        Some(effect)
    }

    fn initial_value(&self) -> Datum {
        Datum::from(ABSENT)
    }

    fn decide(&self, object: &Object<'_, SetInput, SetOutput>) -> Option<Decision> {
        levels::decide(object, &|element| self.shown(element))
    }

    fn state_bytes(&self, state: &Elements) -> usize {
        size_of::<Elements>() + state.len() * size_of::<Datum>()
    }

    fn words(&self, input: &SetInput, output: Option<&SetOutput>) -> Words {
        let about = |verb: &str, noun: &str, element: &Datum| {
            let element = self.shown(*element);
            (format!("{verb} {element}"), format!("{noun} {element}"))
        };
        let (verb, noun) = match (input, output) {
            (SetInput::Add(element), _) => about("added", "add of", element),
            (SetInput::Remove(element), _) => about("removed", "remove of", element),
            (SetInput::Contains(element), Some(SetOutput::Held(true))) => {
                about("found", "sight of", element)
            }
            (SetInput::Contains(element), Some(SetOutput::Held(false))) => {
                about("did not find", "vain search for", element)
            }
            (SetInput::Contains(element), _) => about("looked for", "search for", element),
            (SetInput::Read, Some(SetOutput::All(elements))) => {
                let all = self.shown_all(elements);
                (format!("read {all}"), format!("read of {all}"))
            }
            (SetInput::Read, _) => ("read something".to_owned(), "read".to_owned()),
        };
        Words { verb, noun }
    }
}

impl HistoryModel for Set {
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        match action.f {
            "add" | "insert" => Ok((SetInput::Add(self.element(action)?), None)),
            "remove" | "delete" | "del" => Ok((SetInput::Remove(self.element(action)?), None)),
            "contains" | "contains?" | "member" | "has" => self.question(action),
            "read" | "r" | "read-all" | "final-read" => {
                self.whole = true;
                if action.outcome != Outcome::Ok {
                    return Ok((SetInput::Read, None));
                }
                let Some(items) = action.value.items() else {
                    let value = action.value;
                    return Err(format!("a read of a set returns a collection, not {value}"));
                };
                let elements = items.into_iter().map(|item| self.dictionary.datum(item));
                Ok((SetInput::Read, Some(SetOutput::all(elements))))
            }
            other => Err(format!("the model `set` has no operation `{other}`")),
        }
    }
}
