//! A register: read, write and, if allowed, compare-and-set.
//!
//! It holds any value that a history can write down. Operations: `read` (`r`), `write` (`w`), and
//! `cas` with `[from to]`.

use super::{Action, Effect, HistoryModel, Model, Read, Words};
use crate::datum::{Datum, Dictionary};
use crate::history::{Outcome, Value};

/// One register.
#[derive(Clone, Debug)]
pub struct Register {
    cas: bool,
    initial: Datum,
    dictionary: Dictionary,
}

/// What a [`Register`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterInput {
    /// What is there?
    Read,
    /// Install this value.
    Write(Datum),
    /// If the first value is there, install the second. One that found another value failed, and
    /// is no part of a history.
    Cas(Datum, Datum),
}

impl Register {
    /// Read and write only.
    pub fn plain() -> Self {
        Self { cas: false, initial: Datum::NIL, dictionary: Dictionary::default() }
    }

    /// Read, write and compare-and-set.
    pub fn with_cas() -> Self {
        Self { cas: true, ..Self::plain() }
    }

    /// The same, but it begins with this value instead of nil.
    pub fn beginning_with(mut self, initial: &Value) -> Self {
        self.initial = self.dictionary.datum(initial);
        self
    }

    fn shown(&self, datum: Datum) -> Value {
        self.dictionary.value(datum)
    }
}

impl Model for Register {
    type Input = RegisterInput;
    /// What a read saw; the others answer nothing.
    type Output = Datum;
    type State = Datum;
    type Key = ();

    fn name(&self) -> &'static str {
        if self.cas { "cas-register" } else { "register" }
    }

    fn initial(&self) -> Datum {
        self.initial
    }

    fn step(&self, state: &Datum, input: &RegisterInput, output: Option<&Datum>) -> Option<Datum> {
        match input {
            RegisterInput::Read => output.is_none_or(|output| output == state).then_some(*state),
            RegisterInput::Write(value) => Some(*value),
            RegisterInput::Cas(from, to) => (state == from).then_some(*to),
        }
    }

    fn key(&self, _input: &RegisterInput) {}

    fn read_only(&self, input: &RegisterInput) -> bool {
        matches!(input, RegisterInput::Read)
    }

    fn effect(&self, input: &RegisterInput, output: Option<&Datum>) -> Option<Effect> {
        let (observes, writes) = match input {
            RegisterInput::Read => (output.copied(), None),
            RegisterInput::Write(value) => (None, Some(*value)),
            RegisterInput::Cas(from, to) => (Some(*from), Some(*to)),
        };
        Some(Effect { observes, writes })
    }

    fn initial_value(&self) -> Datum {
        self.initial
    }

    fn value_words(&self, value: Datum) -> String {
        self.shown(value).to_string()
    }

    fn state_words(&self, state: &Datum) -> String {
        self.value_words(*state)
    }

    fn words(&self, input: &RegisterInput, output: Option<&Datum>) -> Words {
        let (verb, noun) = match input {
            RegisterInput::Read => {
                let value =
                    output.map_or_else(|| "something".into(), |v| self.shown(*v).to_string());
                (format!("read {value}"), format!("read of {value}"))
            }
            RegisterInput::Write(value) => {
                let value = self.shown(*value);
                (format!("wrote {value}"), format!("write of {value}"))
            }
            RegisterInput::Cas(from, to) => {
                let change = format!("from {} to {}", self.shown(*from), self.shown(*to));
                (format!("did a cas {change}"), format!("cas {change}"))
            }
        };
        Words { verb, noun }
    }
}

impl HistoryModel for Register {
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        let input = match action.f {
            "read" | "r" => {
                // A crashed read saw nothing; what its invocation carried is no result.
                let saw = (action.outcome == Outcome::Ok)
                    .then(|| self.value(action.value))
                    .transpose()?;
                return Ok((RegisterInput::Read, saw));
            }
            "write" | "w" => RegisterInput::Write(self.value(action.argument()?)?),
            "cas" if self.cas => match action.argument()?.as_pair() {
                Some((from, to)) => RegisterInput::Cas(self.value(from)?, self.value(to)?),
                None => {
                    return Err(format!("the value of a cas is a pair, not {}", action.input));
                }
            },
            "cas" => return Err("the model `register` has no cas; `cas-register` has".to_owned()),
            other => return Err(format!("the model `{}` has no operation `{other}`", self.name())),
        };
        Ok((input, None))
    }
}

impl Register {
    fn value(&mut self, value: &Value) -> Result<Datum, String> {
        match value.untagged() {
            Value::Vector(_) | Value::List(_) => Err(format!(
                "a register holds a single value, not {value}; for [key value] use `--keyed`, or the \
                 model `kv`"
            )),
            value => Ok(self.dictionary.datum(value)),
        }
    }
}
