//! Many objects of one kind, each under its key: operations have `[key value]` as their value.
//!
//! Jepsen calls them independent. Each is checked apart, by [`Model::key`].

use super::{Action, Effect, HistoryModel, Model, Read, Words};
use crate::datum::{Datum, Dictionary};
use crate::history::{Outcome, Value};
use crate::linearizable::{Decision, Object};
use crate::model::Register;

/// Many objects of the kind `M`.
#[derive(Clone, Debug)]
pub struct Keyed<M> {
    name: String,
    inner: M,
    keys: Dictionary,
}

/// What one of them is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyedInput<I> {
    /// Which.
    pub key: Datum,
    /// What.
    pub input: I,
}

impl Keyed<Register> {
    /// A map of registers with compare-and-set.
    pub fn kv() -> Self {
        Self::of("kv", Register::with_cas())
    }
}

impl<M: Model> Keyed<M> {
    /// Many objects of the kind `inner`, under a name for the whole.
    pub fn of(name: &str, inner: M) -> Self {
        Self { name: name.to_owned(), inner, keys: Dictionary::default() }
    }

    fn split<'a>(&self, value: &'a Value) -> Result<(&'a Value, &'a Value), String> {
        value
            .as_pair()
            .ok_or_else(|| format!("the model `{}` needs [key value], not {value}", self.name))
    }
}

impl<M: Model> Model for Keyed<M> {
    type Input = KeyedInput<M::Input>;
    type Output = M::Output;
    type State = M::State;
    /// The objects within one, where the inner model knows several, are apart too.
    type Key = (Datum, M::Key);

    fn name(&self) -> &str {
        &self.name
    }

    fn initial(&self) -> M::State {
        self.inner.initial()
    }

    fn step(
        &self,
        state: &M::State,
        input: &Self::Input,
        output: Option<&M::Output>,
    ) -> Option<M::State> {
        self.inner.step(state, &input.input, output)
    }

    fn key(&self, input: &Self::Input) -> Self::Key {
        (input.key, self.inner.key(&input.input))
    }

    fn key_words(&self, (key, inner): &Self::Key) -> Option<String> {
        let inner = self.inner.key_words(inner).map_or(String::new(), |inner| format!(" {inner}"));
        Some(format!("{}{inner}", self.keys.value(*key)))
    }

    fn read_only(&self, input: &Self::Input) -> bool {
        self.inner.read_only(&input.input)
    }

    fn effect(&self, input: &Self::Input, output: Option<&M::Output>) -> Option<Effect> {
        self.inner.effect(&input.input, output)
    }

    fn initial_value(&self) -> Datum {
        self.inner.initial_value()
    }

    fn value_words(&self, value: Datum) -> String {
        self.inner.value_words(value)
    }

    fn decide(&self, object: &Object<'_, Self::Input, M::Output>) -> Option<Decision> {
        self.inner.decide(&object.map(|keyed| &keyed.input))
    }

    fn state_bytes(&self, state: &M::State) -> usize {
        self.inner.state_bytes(state)
    }

    fn state_words(&self, state: &M::State) -> String {
        self.inner.state_words(state)
    }

    fn words(&self, input: &Self::Input, output: Option<&M::Output>) -> Words {
        self.inner.words(&input.input, output)
    }
}

impl<M: HistoryModel> HistoryModel for Keyed<M> {
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        let (key, input) = self.split(action.input)?;
        let (completed, value) = match action.value {
            Value::Nil => (key, &Value::Nil),
            value => self.split(value)?,
        };
        if key != completed {
            return Err(format!("key {key} was invoked and key {completed} completed"));
        }
        let (input, output) = self.inner.read(&Action { input, value, ..*action })?;
        // A change may leave out what it did, a read may not leave out what it saw.
        if action.outcome == Outcome::Ok && self.inner.read_only(&input) {
            self.split(action.value)?;
        }
        let key = self.keys.datum(key);
        Ok((KeyedInput { key, input }, output))
    }
}
