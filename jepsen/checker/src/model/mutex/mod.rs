//! A lock: whoever acquires it holds it until it is released.
//!
//! Operations: `acquire` (`lock`) and `release` (`unlock`), each of which is `ok` only if it took
//! effect. As with Jepsen, a lock does not know who holds it: acquires and releases alternate, and
//! what the operations carry does not count. A lock whose acquires hand out tokens says more, and is
//! a [`FencedMutex`].
//!
//! [`alternation`] decides it in O(n log n), whatever overlaps or crashed.

mod alternation;
mod fence;
mod fenced;

use super::{Action, Effect, HistoryModel, Model, Read, Words};
use crate::datum::Datum;
use crate::linearizable::{Decision, Object};

pub use fenced::{FencedInput, FencedMutex, FencedState, Holder};

/// Free and held, as the values of a register.
const FREE: i32 = 0;
const HELD: i32 = 1;

/// One lock, free at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutex;

/// What a [`Mutex`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MutexInput {
    /// Take it, which is possible if it is free.
    Acquire,
    /// Let go of it, which is possible if it is held.
    Release,
}

impl Mutex {
    /// A free lock.
    pub fn new() -> Self {
        Self
    }
}

impl Model for Mutex {
    type Input = MutexInput;
    type Output = ();
    /// Whether it is held.
    type State = bool;
    type Key = ();

    fn name(&self) -> &'static str {
        "mutex"
    }

    fn initial(&self) -> bool {
        false
    }

    fn step(&self, held: &bool, input: &MutexInput, _output: Option<&()>) -> Option<bool> {
        match input {
            MutexInput::Acquire => (!held).then_some(true),
            MutexInput::Release => held.then_some(false),
        }
    }

    fn key(&self, _input: &MutexInput) {}

    fn effect(&self, input: &MutexInput, _output: Option<&()>) -> Option<Effect> {
        let (observes, writes) = match input {
            MutexInput::Acquire => (FREE, HELD),
            MutexInput::Release => (HELD, FREE),
        };
        Some(Effect { observes: Some(observes.into()), writes: Some(writes.into()) })
    }

    fn initial_value(&self) -> Datum {
        Datum::from(FREE)
    }

    fn decide(&self, object: &Object<'_, MutexInput, ()>) -> Option<Decision> {
        Some(alternation::decide(object))
    }

    fn words(&self, input: &MutexInput, _output: Option<&()>) -> Words {
        let (verb, noun) = match input {
            MutexInput::Acquire => ("acquired the lock", "acquire"),
            MutexInput::Release => ("released the lock", "release"),
        };
        Words { verb: verb.to_owned(), noun: noun.to_owned() }
    }
}

impl HistoryModel for Mutex {
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        match action.f {
            "acquire" | "lock" => Ok((MutexInput::Acquire, None)),
            "release" | "unlock" => Ok((MutexInput::Release, None)),
            other => Err(format!("the model `mutex` has no operation `{other}`")),
        }
    }
}
