//! A lock that hands out tokens: each acquire gets a greater one than all before it.
//!
//! Operations: `acquire` (`lock`) whose completion is the token, and `release` (`unlock`) that names
//! the token it gives back. A token is an integer, the second of a pair (`[client 17]`), or the
//! `:fence` or `:token` of a map. A release of a token that does not hold the lock fails, so an `ok`
//! one held it.
//!
//! [`super::fence`] decides it in O(n log n).
//!
//! Invariants:
//! - after an acquire that crashed, nobody knows the token that holds the lock. That is one state, not
//!   one for each token: the release that names it tells, if it is greater than all before.

use super::fence;
use crate::history::{Outcome, Value};
use crate::linearizable::{Decision, Object};
use crate::model::{Action, HistoryModel, Model, Read, Words};

/// One lock with tokens, free at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct FencedMutex;

/// What a [`FencedMutex`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FencedInput {
    /// Take it, which is possible if it is free, and say the token.
    Acquire,
    /// Give this token back, which is possible if it holds the lock.
    Release(i64),
}

/// Who holds a [`FencedMutex`], and what later tokens must exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FencedState {
    /// Who holds it.
    pub holder: Holder,
    /// The greatest token that is known to have been handed out.
    pub last: Option<i64>,
}

/// Who holds a [`FencedMutex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// It is free.
    Nobody,
    /// This token.
    Token(i64),
    /// A token greater than those known, which nobody was told.
    Unknown,
}

impl FencedMutex {
    /// A free lock.
    pub fn new() -> Self {
        Self
    }
}

impl Model for FencedMutex {
    type Input = FencedInput;
    /// The token of an acquire.
    type Output = i64;
    type State = FencedState;
    type Key = ();

    fn name(&self) -> &'static str {
        "fenced-mutex"
    }

    fn initial(&self) -> FencedState {
        FencedState { holder: Holder::Nobody, last: None }
    }

    fn step(
        &self,
        state: &FencedState,
        input: &FencedInput,
        output: Option<&i64>,
    ) -> Option<FencedState> {
        let FencedState { holder, last } = *state;
        let greater = |token: i64| last.is_none_or(|last| token > last);
        let next = |holder, last| Some(FencedState { holder, last });
        match (input, output, holder) {
            (FencedInput::Acquire, None, Holder::Nobody) => next(Holder::Unknown, last),
            (FencedInput::Acquire, Some(token), Holder::Nobody) if greater(*token) => {
                next(Holder::Token(*token), Some(*token))
            }
            (FencedInput::Release(token), _, Holder::Token(held)) if *token == held => {
                next(Holder::Nobody, last)
            }
            (FencedInput::Release(token), _, Holder::Unknown) if greater(*token) => {
                next(Holder::Nobody, Some(*token))
            }
            _ => None,
        }
    }

    fn key(&self, _input: &FencedInput) {}

    fn decide(&self, object: &Object<'_, FencedInput, i64>) -> Option<Decision> {
        fence::decide(object)
    }

    fn words(&self, input: &FencedInput, output: Option<&i64>) -> Words {
        let (verb, noun) = match (input, output) {
            (FencedInput::Acquire, Some(token)) => {
                (format!("acquired the lock as {token}"), format!("acquire as {token}"))
            }
            (FencedInput::Acquire, None) => {
                ("may have acquired the lock".to_owned(), "acquire".to_owned())
            }
            (FencedInput::Release(token), _) => {
                (format!("released the lock as {token}"), format!("release as {token}"))
            }
        };
        Words { verb, noun }
    }
}

impl HistoryModel for FencedMutex {
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        match (action.f, action.outcome) {
            ("acquire" | "lock", Outcome::Ok) => {
                Ok((FencedInput::Acquire, Some(token(action.f, action.value)?)))
            }
            ("acquire" | "lock", Outcome::Fail | Outcome::Info) => Ok((FencedInput::Acquire, None)),
            ("release" | "unlock", _) => {
                let named = token(action.f, action.argument()?)?;
                Ok((FencedInput::Release(named), None))
            }
            (other, _) => Err(format!("the model `fenced-mutex` has no operation `{other}`")),
        }
    }
}

fn token(f: &str, value: &Value) -> Result<i64, String> {
    let named = |name: &str| Value::Keyword(name.to_owned());
    let found = match value.untagged() {
        Value::Map(fields) => fields.get(&named("fence")).or(fields.get(&named("token"))),
        other => other.as_pair().map(|(_, token)| token).or(Some(other)),
    };
    match found {
        Some(Value::Int(token)) => Ok(*token),
        _ => Err(format!("{f} of a fenced lock needs an integer token, not {value}")),
    }
}
