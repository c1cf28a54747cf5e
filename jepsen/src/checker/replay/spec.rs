//! The user's machine as a [`Model`], for the search among all orders.
//!
//! Owns [`Spec`]. In go typed operations, out come entries for
//! [`search`](crate::checker::linearizable::search) and what it asks about them.
//!
//! Invariants:
//! - a state is known by its encoding, as a snapshot would hold it. What the encoding leaves out
//!   does not survive a restart, so no answer may depend on it; a machine that encodes equal states
//!   differently only makes the search slower;
//! - unknown writes of equal commands are equal, so that the search tries one of them.
//!
//! Does not: know what an operation observes or writes; there is no [`Model::effect`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use sixbells::StateMachine;

use super::{Act, Typed};
use crate::checker::linearizable::Entry;
use crate::history::Operation;
use crate::model::Model;

/// What holding a state costs besides its bytes: the machine itself is taken to be as large again.
const STATE_BYTES: usize = 64;

/// The sequential specification that `S` is.
pub(super) struct Spec<'a, S: StateMachine> {
    operations: &'a [Typed<S>],
    /// By operation: the first with an equal command.
    alike: Vec<usize>,
}

/// An operation, as the search tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Op {
    /// Its position in the history.
    source: usize,
    /// Whether what it was told counts.
    held: bool,
}

/// A machine, ordered by its bytes.
pub(super) struct State<S> {
    bytes: Rc<[u8]>,
    machine: Rc<S>,
}

impl<'a, S: StateMachine> Spec<'a, S> {
    pub(super) fn new(operations: &'a [Typed<S>]) -> Self {
        let mut first = BTreeMap::new();
        let alike = operations.iter().enumerate().map(|(at, operation)| match &operation.act {
            Act::Write { command, .. } => *first.entry(sixbells::encode(command)).or_insert(at),
            Act::Read { .. } => at,
        });
        Self { operations, alike: alike.collect() }
    }

    /// Everything to be ordered.
    pub(super) fn entries(&self) -> Vec<Entry<Op>> {
        let takes_part = |at: &usize| {
            let operation = &self.operations[*at];
            operation.is_write() || operation.observes()
        };
        (0..self.operations.len()).filter(takes_part).map(|at| self.entry(at)).collect()
    }

    fn entry(&self, source: usize) -> Entry<Op> {
        let Typed { process, invoked, returned, .. } = self.operations[source];
        match returned {
            Some(_) => Entry { op: Op { source, held: true }, invoked, returned, source, process },
            None => self.forgotten(source),
        }
    }

    /// The write as if nobody knew what became of it: every order with it is an order without.
    pub(super) fn forgotten(&self, source: usize) -> Entry<Op> {
        let Typed { process, invoked, .. } = self.operations[source];
        let op = Op { source: self.alike[source], held: false };
        Entry { op, invoked, returned: None, source, process }
    }

    fn state(machine: S) -> State<S> {
        State { bytes: sixbells::encode(&machine).into(), machine: Rc::new(machine) }
    }
}

impl<S: StateMachine> Model for Spec<'_, S> {
    type Op = Op;
    type State = State<S>;

    fn name(&self) -> &'static str {
        std::any::type_name::<S>()
    }

    fn op(&self, _operation: &Operation) -> Result<Op, String> {
        Err("a machine is judged by typed operations".to_owned())
    }

    fn initial(&self) -> State<S> {
        Self::state(S::default())
    }

    fn step(&self, state: &State<S>, op: &Op) -> Option<State<S>> {
        match &self.operations[op.source].act {
            Act::Write { command, response } => {
                let mut machine = S::clone(&state.machine);
                let told = machine.apply(command.clone());
                let fits = response.as_ref().is_none_or(|response| *response == told);
                (!op.held || fits).then(|| Self::state(machine))
            }
            Act::Read { query, answer } => {
                let fits = |answer: &S::Answer| *answer == state.machine.query(query.clone());
                answer.as_ref().is_none_or(fits).then(|| state.clone())
            }
        }
    }

    fn read_only(&self, op: &Op) -> bool {
        !self.operations[op.source].is_write()
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

impl<S> PartialOrd for State<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S> Ord for State<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}
