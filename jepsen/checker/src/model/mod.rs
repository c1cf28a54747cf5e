//! Models: what a correct object would have answered.
//!
//! A [`Model`] is a sequential specification. In go a state and one call with its answer; out comes
//! the state after it, or nothing if the object could not have answered so. A checker looks for an
//! order of a concurrent history that the model accepts. [`Spec`] makes a model of a closure.
//!
//! A model must say what [`Model::step`] does; all else it *may* say, and each thing it says buys
//! speed: which object a call touches ([`Model::key`]), that a call only reads, that the state is a
//! single value ([`Model::effect`]), or a procedure of its own ([`Model::decide`]).
//!
//! Invariants every model keeps:
//! - `step` is a pure function, and a read-only call leaves the state as it is;
//! - what [`Model::effect`] says is complete: a call depends on the state only through the value it
//!   observes, and changes it only to the value it writes;
//! - the models here trust nobody: they are written apart from the state machines under test, since
//!   a checker that replays the machine itself cannot see a bug in it.
//!
//! Failed operations never reach a model. A compare-and-set that failed is `fail`, like in Jepsen:
//! that it saw another value is not held against anybody.

mod append;
mod keyed;
mod mutex;
mod queue;
mod rank;
mod register;
mod set;
mod spec;

use std::fmt::Debug;
use std::hash::Hash;

pub use append::{AppendAction, AppendInput, AppendList, Prefix};
pub use keyed::{Keyed, KeyedInput};
pub use mutex::{FencedInput, FencedMutex, FencedState, Holder, Mutex, MutexInput};
pub use queue::{Line, Queue, QueueInput, QueueOutput};
pub use register::{Register, RegisterInput};
pub use set::{Elements, Set, SetInput, SetOutput};
pub use spec::Spec;

use crate::OpError;
use crate::call::Call;
use crate::datum::Datum;
use crate::history::{Operation, Outcome, Value};
use crate::linearizable::{Decision, Object};

/// A sequential specification.
pub trait Model {
    /// What is asked.
    type Input: Clone + Eq + Hash + Debug;
    /// What is answered.
    type Output: Clone + Eq + Hash + Debug;
    /// Everything that later answers depend on.
    type State: Clone + Eq + Hash + Debug;
    /// Names one of many objects; `()` where there is one.
    type Key: Clone + Eq + Hash + Ord + Debug;

    /// The name of the kind of object, for sentences.
    fn name(&self) -> &str;

    /// The state before the first call.
    fn initial(&self) -> Self::State;

    /// The state after the call, if it can be answered so in this state. Without an output, nobody
    /// knows the answer, and any will do.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// The object that a call touches. Objects are checked apart, which is sound because
    /// linearizability is local (Herlihy and Wing, "Linearizability", TOPLAS 12(3), 1990, section
    /// 3.2).
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// The object in words; `None` where there is only one.
    fn key_words(&self, _key: &Self::Key) -> Option<String> {
        None
    }

    /// Whether the call leaves every state as it is.
    fn read_only(&self, _input: &Self::Input) -> bool {
        false
    }

    /// What the call observes and writes, for models whose state is one value. All calls of an
    /// object have an effect, or none does.
    fn effect(&self, _input: &Self::Input, _output: Option<&Self::Output>) -> Option<Effect> {
        None
    }

    /// The value that can be observed before anything was written.
    fn initial_value(&self) -> Datum {
        Datum::NIL
    }

    /// Such a value in words.
    fn value_words(&self, value: Datum) -> String {
        format!("{value:?}")
    }

    /// A procedure of the model's own, tried before any search; `None` if it does not apply. What it
    /// finds is verified where that can be done in one pass: an order is replayed.
    fn decide(&self, _object: &Object<'_, Self::Input, Self::Output>) -> Option<Decision> {
        None
    }

    /// About how many bytes a state holds, for the memory budget.
    fn state_bytes(&self, _state: &Self::State) -> usize {
        size_of::<Self::State>()
    }

    /// A state in words.
    fn state_words(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }

    /// The call in words.
    fn words(&self, input: &Self::Input, output: Option<&Self::Output>) -> Words {
        let answer = output.map_or(String::new(), |output| format!(" -> {output:?}"));
        Words { verb: format!("did {input:?}{answer}"), noun: format!("{input:?}{answer}") }
    }
}

/// A model that can read the operations of a history file.
pub trait HistoryModel: Model {
    /// Reads an operation that is `ok` or `info`; the error says what is wrong with it.
    ///
    /// # Errors
    /// If the model has no such operation, or it makes no sense.
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String>;

    /// Reads a history: its calls, and for each the position of its operation. Operations that
    /// failed, and reads that crashed, did nothing to anybody and are left out.
    ///
    /// # Errors
    /// At the first operation that the model cannot read.
    fn calls(&mut self, operations: &[Operation]) -> Result<Calls<Self>, OpError> {
        let mut calls = Vec::with_capacity(operations.len());
        let mut sources = Vec::with_capacity(operations.len());
        for (source, operation) in operations.iter().enumerate() {
            if operation.outcome == Outcome::Fail {
                continue;
            }
            let read = self.read(&Action::of(operation));
            let (input, output) =
                read.map_err(|reason| OpError { index: operation.index, reason })?;
            if operation.outcome == Outcome::Info && self.read_only(&input) {
                continue;
            }
            let Operation { process, invoked, returned, log_index, .. } = *operation;
            calls.push(Call { process, input, output, invoked, returned, log_index });
            sources.push(source);
        }
        Ok((calls, sources))
    }
}

/// What an operation was asked to do, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Action<'a> {
    /// The function called.
    pub f: &'a str,
    /// The argument of the call.
    pub input: &'a Value,
    /// What the completion of an `ok` operation said; otherwise the argument.
    pub value: &'a Value,
    /// How it ended.
    pub outcome: Outcome,
}

impl<'a> Action<'a> {
    /// What an operation of a history says.
    pub fn of(operation: &'a Operation) -> Self {
        let Operation { f, input, value, outcome, .. } = operation;
        Self { f, input, value, outcome: *outcome }
    }

    /// What an operation that is not a read was asked to do, and so did if it happened. Its
    /// completion may repeat that or leave it out; one that says something else did something else.
    ///
    /// # Errors
    /// If it does.
    pub fn argument(&self) -> Result<&'a Value, String> {
        let Self { f, input, value, outcome } = self;
        let repeated = value.untagged() == input.untagged();
        match *outcome == Outcome::Ok && **value != Value::Nil && !repeated {
            true => Err(format!("{f} was invoked with {input} and completed with {value}")),
            false => Ok(input),
        }
    }
}

/// An operation as its model reads it: what was asked, and what was answered.
pub type Read<M> = (<M as Model>::Input, Option<<M as Model>::Output>);

/// A history as its model reads it, and the position of each call's operation.
pub type Calls<M> = (Vec<Call<<M as Model>::Input, <M as Model>::Output>>, Vec<usize>);

/// How one call touches a state that is a single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    /// The value that must be there.
    pub observes: Option<Datum>,
    /// The value that is there afterwards.
    pub writes: Option<Datum>,
}

/// A call in words: "process 4 *wrote 17*", "process 4's *write of 17*".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// In a sentence whose subject is the process.
    pub verb: String,
    /// As a thing that can begin and finish.
    pub noun: String,
}
