//! A list, or a string, that is appended to and read as a whole.
//!
//! Operations: `append` (`push`, `conj`) with an element, and `read` (`r`, `get`) whose completion is
//! the list, or nil where nothing was appended yet. Also Elle's transactions, if they have a single
//! micro-operation each: `:f :txn` with `[[:append key element]]` or `[[:r key nil]]`, completed as
//! `[[:r key [1 2]]]`; every key is a list of its own. Several micro-operations in one transaction
//! are no call on one list, and are refused: Elle is the checker for those.
//!
//! In a string the elements are texts, and a read sees them run together. [`chain`] decides both in
//! about the time it takes to read the history, if no element is appended twice.
//!
//! Invariants:
//! - what reads saw is kept as [`Prefixes`], so the model does not grow with their total length;
//! - so is the state: a list that is no beginning of anything anybody read will stay one, whatever is
//!   appended, so all such lists are one state. It holds for the reads that *this* model read, and
//!   for them only: read all before the first step.

mod chain;
mod prefixes;

use super::{Action, HistoryModel, Model, Read, Words};
use crate::datum::{Datum, Dictionary};
use crate::history::{Outcome, Value};
use crate::linearizable::{Decision, Object};

pub use prefixes::Prefix;
use prefixes::Prefixes;

/// A read of a longer list is told by its length and its end.
const SHOWN_MAX: usize = 8;

/// The same for a string, in characters.
const SHOWN_TEXT_MAX: usize = 60;

/// A list, or many under their keys.
#[derive(Clone, Debug, Default)]
pub struct AppendList {
    /// Whether a read sees a string.
    text: bool,
    dictionary: Dictionary,
    prefixes: Prefixes,
}

/// What an [`AppendList`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendInput {
    /// Which list; nil where they have no names.
    pub key: Datum,
    /// What.
    pub action: AppendAction,
}

/// What one list is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendAction {
    /// Make this the last element.
    Append(Datum),
    /// What is there?
    Read,
}

impl AppendList {
    /// Lists.
    pub fn new() -> Self {
        Self::default()
    }

    /// Strings.
    pub fn text() -> Self {
        Self { text: true, ..Self::default() }
    }

    /// An element of a list, as calls say it.
    pub fn element(&mut self, value: &Value) -> Datum {
        self.dictionary.datum(value.untagged())
    }

    /// What a read saw, as its answer says it: a list, or a string where this is one; nil is empty.
    ///
    /// # Errors
    /// If the value is neither.
    pub fn seen(&mut self, value: &Value) -> Result<Prefix, String> {
        let Self { text, dictionary, prefixes } = self;
        match (value.untagged(), *text) {
            (Value::Nil, _) => Ok(Prefix::EMPTY),
            (Value::Text(seen), true) => Ok(prefixes.insert(seen.chars().map(letter))),
            (Value::List(items) | Value::Vector(items), false) => {
                Ok(prefixes.insert(items.iter().map(|item| dictionary.datum(item.untagged()))))
            }
            (other, true) => Err(format!("a read of a string returns text, not {other}")),
            (Value::Text(_), false) => {
                Err("a read of a list returns a vector; for text there is `append-text`".to_owned())
            }
            (other, false) => Err(format!("a read of a list returns a vector, not {other}")),
        }
    }

    /// What one append adds to a read: a single element of a list, or some letters of a string.
    fn spelled(&self, element: Datum) -> Vec<Datum> {
        match self.text {
            true => self.dictionary.value(element).to_name().chars().map(letter).collect(),
            false => vec![element],
        }
    }

    fn shown(&self, element: Datum) -> String {
        self.dictionary.value(element).to_string()
    }

    /// A list in words, shortened where it is long.
    fn shown_all(&self, prefix: Prefix) -> String {
        let depth = self.prefixes.depth(prefix) as usize;
        if self.text {
            let letters = self.prefixes.last(prefix, SHOWN_TEXT_MAX);
            let end: String = letters.into_iter().map(|letter| self.character(letter)).collect();
            return match depth > SHOWN_TEXT_MAX {
                true => format!("{depth} letters that end in {}", Value::Text(end)),
                false => Value::Text(end).to_string(),
            };
        }
        let elements = self.prefixes.last(prefix, SHOWN_MAX);
        let shown: Vec<String> = elements.iter().map(|element| self.shown(*element)).collect();
        match depth > SHOWN_MAX {
            true => format!("{depth} elements that end in [{}]", shown.join(" ")),
            false => format!("[{}]", shown.join(" ")),
        }
    }

    fn character(&self, letter: Datum) -> char {
        let Value::Int(code) = self.dictionary.value(letter) else { return '?' };
        u32::try_from(code).ok().and_then(char::from_u32).unwrap_or('?')
    }

    /// The one micro-operation of a transaction: what it does, to which key, and with what.
    fn micro(value: &Value) -> Result<(String, &Value, &Value), String> {
        let micros =
            value.items().ok_or_else(|| format!("a transaction is a list, not {value}"))?;
        let [micro] = micros.as_slice() else {
            return Err(format!(
                "a transaction of {} micro-operations is no call on one list; Elle judges those",
                micros.len()
            ));
        };
        match micro.items().as_deref() {
            Some([f, key, argument]) => Ok((f.to_name(), key, argument)),
            _ => Err(format!("a micro-operation is [f key value], not {micro}")),
        }
    }

    fn transaction(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        let (f, key, argument) = Self::micro(action.input)?;
        let value = match (action.outcome, action.value) {
            (Outcome::Ok, Value::Nil) => &Value::Nil,
            (Outcome::Ok, value) => {
                let (same_f, same_key, value) = Self::micro(value)?;
                if (&same_f, same_key) != (&f, key) {
                    return Err(format!("invoked {}, completed {}", action.input, action.value));
                }
                value
            }
            (Outcome::Fail | Outcome::Info, _) => argument,
        };
        if f == "r" && action.outcome == Outcome::Ok && *action.value == Value::Nil {
            return Err("a read completed without saying what it saw".to_owned());
        }
        let inner = Action { f: &f, input: argument, value, ..*action };
        let key = self.dictionary.datum(key);
        self.single(&inner, key)
    }

    fn single(&mut self, action: &Action<'_>, key: Datum) -> Result<Read<Self>, String> {
        match action.f {
            "append" | "push" | "conj" => {
                let element = self.element(action.argument()?);
                Ok((AppendInput { key, action: AppendAction::Append(element) }, None))
            }
            "read" | "r" | "get" => {
                let seen = match action.outcome {
                    Outcome::Ok => Some(self.seen(action.value)?),
                    Outcome::Fail | Outcome::Info => None,
                };
                Ok((AppendInput { key, action: AppendAction::Read }, seen))
            }
            other => Err(format!("the model `{}` has no operation `{other}`", self.name())),
        }
    }
}

/// A character as a letter.
fn letter(character: char) -> Datum {
    Datum::from(i32::try_from(u32::from(character)).expect("a character has 21 bits"))
}

impl Model for AppendList {
    type Input = AppendInput;
    /// What a read saw.
    type Output = Prefix;
    /// The list; nothing if it is no beginning of a list that was read.
    type State = Option<Prefix>;
    type Key = Datum;

    fn name(&self) -> &'static str {
        if self.text { "append-text" } else { "append-list" }
    }

    fn initial(&self) -> Option<Prefix> {
        Some(Prefix::EMPTY)
    }

    fn step(
        &self,
        state: &Option<Prefix>,
        input: &AppendInput,
        output: Option<&Prefix>,
    ) -> Option<Option<Prefix>> {
        match (input.action, output) {
            (AppendAction::Append(element), _) => {
                let mut letters = self.spelled(element).into_iter();
                Some(state.and_then(|state| {
                    letters.try_fold(state, |prefix, letter| self.prefixes.longer(prefix, letter))
                }))
            }
            (AppendAction::Read, Some(seen)) => (*state == Some(*seen)).then_some(*state),
            (AppendAction::Read, None) => Some(*state),
        }
    }

    fn key(&self, input: &AppendInput) -> Datum {
        input.key
    }

    fn key_words(&self, key: &Datum) -> Option<String> {
        (*key != Datum::NIL).then(|| self.shown(*key))
    }

    fn read_only(&self, input: &AppendInput) -> bool {
        input.action == AppendAction::Read
    }

    fn decide(&self, object: &Object<'_, AppendInput, Prefix>) -> Option<Decision> {
        chain::decide(object, self)
    }

    fn words(&self, input: &AppendInput, output: Option<&Prefix>) -> Words {
        let (verb, noun) = match (input.action, output) {
            (AppendAction::Append(element), _) => {
                let element = self.shown(element);
                (format!("appended {element}"), format!("append of {element}"))
            }
            (AppendAction::Read, Some(seen)) => {
                let seen = self.shown_all(*seen);
                (format!("read {seen}"), format!("read of {seen}"))
            }
            (AppendAction::Read, None) => ("read something".to_owned(), "read".to_owned()),
        };
        Words { verb, noun }
    }
}

impl HistoryModel for AppendList {
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        match action.f {
            "txn" => self.transaction(action),
            _ => self.single(action, Datum::NIL),
        }
    }
}
