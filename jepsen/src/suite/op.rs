//! Operations: what a client does, and what it is told.
//!
//! Owns [`Op`] and [`Told`], for any machine and any cluster. Out: an [`Act`], which is both together, for
//! the checker that replays the machine.
//!
//! Does not: say when, by whom, or how it ended.

use std::fmt;

use sixbells::StateMachine;

use crate::checker::replay::Act;

/// What a client does.
#[derive(Clone)]
pub enum Op<S: StateMachine> {
    /// Changes the state.
    Write(S::Command),
    /// Asks about it.
    Read(S::Query),
}

/// What a client was told.
#[derive(Clone)]
pub enum Told<S: StateMachine> {
    /// The response to a command.
    Response(S::Response),
    /// The answer to a query.
    Answer(S::Answer),
}

impl<S: StateMachine> fmt::Debug for Op<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Write(command) => write!(f, "{command:?}"),
            Op::Read(query) => write!(f, "{query:?}"),
        }
    }
}

impl<S: StateMachine> fmt::Debug for Told<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Response(response) => write!(f, "{response:?}"),
            Told::Answer(answer) => write!(f, "{answer:?}"),
        }
    }
}

impl<S: StateMachine> From<Op<S>> for Act<S> {
    fn from(op: Op<S>) -> Self {
        match op {
            Op::Write(command) => Act::Write { command, response: None },
            Op::Read(query) => Act::Read { query, answer: None },
        }
    }
}

impl<S: StateMachine> Told<S> {
    /// Puts it down as what an act was told. `false` if it answers something else, and says nothing of
    /// this one.
    pub fn answers(self, act: &mut Act<S>) -> bool {
        match (act, self) {
            (Act::Write { response, .. }, Told::Response(told)) => *response = Some(told),
            (Act::Read { answer, .. }, Told::Answer(told)) => *answer = Some(told),
            _ => return false,
        }
        true
    }
}
