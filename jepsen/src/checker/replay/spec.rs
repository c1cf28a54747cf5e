//! The user's machine as a [`Model`], for the search among all orders.
//!
//! Owns [`Spec`]. In go typed operations, out come calls for
//! [`linearizable`](crate::checker::linearizable) and what it asks about them.
//!
//! Invariants:
//! - a state is known by its encoding, as a snapshot would hold it. What the encoding leaves out
//!   does not survive a restart, so no answer may depend on it; a machine that encodes equal states
//!   differently only makes the search slower;
//! - equal commands with equal answers are equal calls, so that the search tries one of them.
//!
//! Does not: know what an operation observes or writes; there is no [`Model::effect`].

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use sixbells::StateMachine;

use super::{Act, Typed};
use crate::checker::call::Call;
use crate::model::Model;

/// What holding a state costs besides its bytes: the machine itself is taken to be as large again.
const STATE_BYTES: usize = 64;

/// The sequential specification that `S` is.
pub(super) struct Spec<'a, S: StateMachine> {
    operations: &'a [Typed<S>],
    /// By operation: the first with an equal command or query, and the first of those with an equal
    /// answer.
    alike: Vec<(usize, usize)>,
}

/// A machine, known by its bytes.
pub(super) struct State<S> {
    bytes: Rc<[u8]>,
    machine: Rc<S>,
}

impl<'a, S: StateMachine> Spec<'a, S> {
    pub(super) fn new(operations: &'a [Typed<S>]) -> Self {
        let mut first = BTreeMap::new();
        let alike = operations.iter().enumerate().map(|(at, operation)| {
            let (asked, told) = match &operation.act {
                Act::Write { command, response } => {
                    ((true, sixbells::encode(command)), sixbells::encode(response))
                }
                Act::Read { query, answer } => {
                    ((false, sixbells::encode(query)), sixbells::encode(answer))
                }
            };
            let same_question = *first.entry((asked.clone(), None)).or_insert(at);
            (same_question, *first.entry((asked, Some(told))).or_insert(at))
        });
        Self { operations, alike: alike.collect() }
    }

    /// Everything to be ordered, and the position of each call's operation.
    pub(super) fn calls(&self) -> (Vec<Call<usize, usize>>, Vec<usize>) {
        let takes_part =
            |(_, operation): &(usize, &Typed<S>)| operation.is_write() || operation.observes();
        let parts = self.operations.iter().enumerate().filter(takes_part);
        let calls = parts.map(|(at, operation)| {
            let Typed { process, invoked, returned, .. } = *operation;
            let (input, output) = self.alike[at];
            let output = Some(output);
            (Call { process, input, output, invoked, returned, log_index: None }, at)
        });
        calls.unzip()
    }

    fn state(machine: S) -> State<S> {
        State { bytes: sixbells::encode(&machine).into(), machine: Rc::new(machine) }
    }
}

impl<S: StateMachine> Model for Spec<'_, S> {
    /// An operation with the same question.
    type Input = usize;
    /// An operation with the same question and the same answer.
    type Output = usize;
    type State = State<S>;
    type Key = ();

    fn name(&self) -> &'static str {
        std::any::type_name::<S>()
    }

    fn initial(&self) -> State<S> {
        Self::state(S::default())
    }

    fn step(&self, state: &State<S>, input: &usize, output: Option<&usize>) -> Option<State<S>> {
        match &self.operations[*output.unwrap_or(input)].act {
            Act::Write { command, response } => {
                let mut machine = S::clone(&state.machine);
                let told = machine.apply(command.clone());
                let fits = response.as_ref().is_none_or(|response| *response == told);
                (output.is_none() || fits).then(|| Self::state(machine))
            }
            Act::Read { query, answer } => {
                let fits = |answer: &S::Answer| *answer == state.machine.query(query.clone());
                (output.is_none() || answer.as_ref().is_none_or(fits)).then(|| state.clone())
            }
        }
    }

    fn key(&self, _input: &usize) {}

    fn read_only(&self, input: &usize) -> bool {
        !self.operations[*input].is_write()
    }

    fn state_bytes(&self, state: &State<S>) -> usize {
        state.bytes.len() + STATE_BYTES
    }
}

impl<S> Clone for State<S> {
    fn clone(&self) -> Self {
        Self { bytes: Rc::clone(&self.bytes), machine: Rc::clone(&self.machine) }
    }
}

impl<S> fmt::Debug for State<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.bytes)
    }
}

impl<S> PartialEq for State<S> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<S> Eq for State<S> {}

impl<S> Hash for State<S> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.bytes.hash(hasher);
    }
}
