//! Models: what a correct object would have answered.
//!
//! A [`Model`] is a sequential specification. In go a state and one operation with its result; out
//! comes the state after it, or nothing if the object could not have answered so. A checker looks
//! for an order of a concurrent history that the model accepts.
//!
//! Invariants every model keeps:
//! - `step` is a pure function;
//! - a read-only operation leaves the state as it is;
//! - what [`Model::effect`] says is complete: an operation depends on the state only through the
//!   value it observes, and changes it only to the value it writes. Checkers drop and shrink
//!   operations on its word, so a model that cannot say so must say `None`.
//!
//! The models here trust nobody: they are written apart from the state machines under test, since
//! a checker that replays the machine itself cannot see a bug in it.
//!
//! Failed operations never reach a model. A compare-and-set that failed is `fail`, like in Jepsen:
//! that it saw another value is not held against anybody.

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::history::{Operation, Outcome, Value};

/// A sequential specification.
pub trait Model {
    /// One operation with its arguments and its result.
    type Op: Clone + Ord + Debug;
    /// Everything that later answers depend on.
    type State: Clone + Ord + Debug;

    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// The object an operation touches. Objects are checked apart, which is sound because
    /// linearizability is local. One object: always `nil`.
    fn key(&self, _operation: &Operation) -> Result<Value, String> {
        Ok(Value::Nil)
    }

    /// Reads an operation that is `ok` or `info`; the error says what is wrong with it.
    fn op(&self, operation: &Operation) -> Result<Self::Op, String>;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `op`, if `op` can have this result in this state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether the operation leaves every state as it is.
    fn read_only(&self, op: &Self::Op) -> bool;

    /// What the operation observes and writes, for models whose state is one value.
    fn effect(&self, _op: &Self::Op) -> Option<Effect> {
        None
    }

    /// The value that can be observed before anything was written.
    fn initial_value(&self) -> Value {
        Value::Nil
    }

    /// About how many bytes a state holds, for the memory budget.
    fn state_bytes(&self, _state: &Self::State) -> usize {
        size_of::<Self::State>()
    }

    /// The operation in words.
    fn words(&self, op: &Self::Op) -> Words {
        Words { verb: format!("did {op:?}"), noun: format!("{op:?}") }
    }
}

/// How one operation touches a state that is a single value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The value that must be there.
    pub observes: Option<Value>,
    /// The value that is there afterwards.
    pub writes: Option<Value>,
}

/// An operation in words: "process 4 *wrote 17*", "process 4's *write of 17*".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// In a sentence whose subject is the process.
    pub verb: String,
    /// As a thing that can begin and finish.
    pub noun: String,
}

/// A register of an integer or nil: read, write and, if allowed, compare-and-set.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    cas: bool,
}

/// An operation of a [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegisterOp {
    /// Returned this value.
    Read(Option<i64>),
    /// Installed this value.
    Write(Option<i64>),
    /// Found the first value and installed the second.
    Cas(Option<i64>, Option<i64>),
}

impl Register {
    /// Read and write only.
    pub fn plain() -> Self {
        Self { cas: false }
    }

    /// Read, write and compare-and-set.
    pub fn with_cas() -> Self {
        Self { cas: true }
    }
}

impl Model for Register {
    type Op = RegisterOp;
    type State = Option<i64>;

    fn name(&self) -> &'static str {
        if self.cas { "cas-register" } else { "register" }
    }

    fn op(&self, operation: &Operation) -> Result<RegisterOp, String> {
        match operation.f.as_str() {
            // A crashed read saw nothing; what its invocation carried is no result.
            "read" | "r" if operation.outcome == Outcome::Info => Ok(RegisterOp::Read(None)),
            "read" | "r" => Ok(RegisterOp::Read(register_value(&operation.value)?)),
            "write" | "w" => Ok(RegisterOp::Write(register_value(operation.argument()?)?)),
            "cas" if self.cas => match operation.argument()?.as_pair() {
                Some((from, to)) => Ok(RegisterOp::Cas(register_value(from)?, register_value(to)?)),
                None => Err(format!("the value of a cas is a pair, not {}", operation.input)),
            },
            "cas" => Err("the model `register` has no cas; `cas-register` has".to_owned()),
            other => Err(format!("the model `{}` has no operation `{other}`", self.name())),
        }
    }

    fn initial(&self) -> Option<i64> {
        None
    }

    fn step(&self, state: &Option<i64>, op: &RegisterOp) -> Option<Option<i64>> {
        match op {
            RegisterOp::Read(value) => (state == value).then_some(*state),
            RegisterOp::Write(value) => Some(*value),
            RegisterOp::Cas(from, to) => (state == from).then_some(*to),
        }
    }

    fn read_only(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Read(_))
    }

    fn effect(&self, op: &RegisterOp) -> Option<Effect> {
        let (observes, writes) = match op {
            RegisterOp::Read(value) => (Some(*value), None),
            RegisterOp::Write(value) => (None, Some(*value)),
            RegisterOp::Cas(from, to) => (Some(*from), Some(*to)),
        };
        Some(Effect { observes: observes.map(Value::from), writes: writes.map(Value::from) })
    }

    fn words(&self, op: &RegisterOp) -> Words {
        let show = |value: &Option<i64>| Value::from(*value);
        let (verb, noun) = match op {
            RegisterOp::Read(value) => {
                (format!("read {}", show(value)), format!("read of {}", show(value)))
            }
            RegisterOp::Write(value) => {
                (format!("wrote {}", show(value)), format!("write of {}", show(value)))
            }
            RegisterOp::Cas(from, to) => {
                let change = format!("from {} to {}", show(from), show(to));
                (format!("did a cas {change}"), format!("cas {change}"))
            }
        };
        Words { verb, noun }
    }
}

fn register_value(value: &Value) -> Result<Option<i64>, String> {
    match value.untagged() {
        Value::Nil => Ok(None),
        Value::Int(number) => Ok(Some(*number)),
        Value::Vector(_) | Value::List(_) => Err(format!(
            "a register holds an integer or nil, not {value}; for [key value] use the model `kv`"
        )),
        _ => Err(format!("a register holds an integer or nil, not {value}")),
    }
}

/// Many objects of one kind, each under its key: values are `[key value]`.
#[derive(Clone, Copy, Debug)]
pub struct Independent<M> {
    name: &'static str,
    inner: M,
}

impl Independent<Register> {
    /// A map of registers with compare-and-set.
    pub fn kv() -> Self {
        Self { name: "kv", inner: Register::with_cas() }
    }
}

impl<M: Model> Independent<M> {
    /// Many objects of the kind `inner`.
    pub fn of(name: &'static str, inner: M) -> Self {
        Self { name, inner }
    }

    fn split<'a>(&self, value: &'a Value) -> Result<(&'a Value, &'a Value), String> {
        value
            .as_pair()
            .ok_or_else(|| format!("the model `{}` needs [key value], not {value}", self.name))
    }
}

impl<M: Model> Model for Independent<M> {
    type Op = M::Op;
    type State = M::State;

    fn name(&self) -> &'static str {
        self.name
    }

    fn key(&self, operation: &Operation) -> Result<Value, String> {
        Ok(self.split(&operation.input)?.0.clone())
    }

    fn op(&self, operation: &Operation) -> Result<M::Op, String> {
        let (key, input) = self.split(&operation.input)?;
        let nothing = (key, &Value::Nil);
        let (completed, value) = match operation.value {
            Value::Nil => nothing,
            _ => self.split(&operation.value)?,
        };
        if key != completed {
            let process = operation.process;
            return Err(format!("process {process} invoked key {key} and completed {completed}"));
        }
        let (input, value) = (input.clone(), value.clone());
        let op = self.inner.op(&Operation { input, value, ..operation.clone() })?;
        // A change may leave out what it did, a read may not leave out what it saw.
        if self.inner.read_only(&op) {
            self.split(&operation.value)?;
        }
        Ok(op)
    }

    fn initial(&self) -> M::State {
        self.inner.initial()
    }

    fn step(&self, state: &M::State, op: &M::Op) -> Option<M::State> {
        self.inner.step(state, op)
    }

    fn read_only(&self, op: &M::Op) -> bool {
        self.inner.read_only(op)
    }

    fn effect(&self, op: &M::Op) -> Option<Effect> {
        self.inner.effect(op)
    }

    fn initial_value(&self) -> Value {
        self.inner.initial_value()
    }

    fn state_bytes(&self, state: &M::State) -> usize {
        self.inner.state_bytes(state)
    }

    fn words(&self, op: &M::Op) -> Words {
        self.inner.words(op)
    }
}

/// A set that only grows: add one element, read them all.
///
/// Searching orders of a large set is slow, because states are large; where each element is added
/// once, [`crate::set_order`] judges long histories in one pass instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set;

/// An operation of a [`Set`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetOp {
    /// Added this element.
    Add(Value),
    /// Returned exactly these elements.
    Read(BTreeSet<Value>),
}

impl Model for Set {
    type Op = SetOp;
    type State = BTreeSet<Value>;

    fn name(&self) -> &'static str {
        "set"
    }

    fn op(&self, operation: &Operation) -> Result<SetOp, String> {
        match operation.f.as_str() {
            "add" => Ok(SetOp::Add(operation.argument()?.clone())),
            "read" if operation.outcome == Outcome::Info => Ok(SetOp::Read(BTreeSet::new())),
            "read" => match operation.value.items() {
                Some(items) => Ok(SetOp::Read(items.into_iter().cloned().collect())),
                None => {
                    Err(format!("a read of a set returns a collection, not {}", operation.value))
                }
            },
            other => Err(format!("the model `set` has no operation `{other}`")),
        }
    }

    fn initial(&self) -> BTreeSet<Value> {
        BTreeSet::new()
    }

    fn step(&self, state: &BTreeSet<Value>, op: &SetOp) -> Option<BTreeSet<Value>> {
        match op {
            SetOp::Add(element) => {
                let mut next = state.clone();
                next.insert(element.clone());
                Some(next)
            }
            SetOp::Read(elements) => (state == elements).then(|| state.clone()),
        }
    }

    fn read_only(&self, op: &SetOp) -> bool {
        matches!(op, SetOp::Read(_))
    }

    fn state_bytes(&self, state: &BTreeSet<Value>) -> usize {
        size_of::<BTreeSet<Value>>() + state.len() * size_of::<Value>() * 2
    }

    fn words(&self, op: &SetOp) -> Words {
        match op {
            SetOp::Add(element) => {
                Words { verb: format!("added {element}"), noun: format!("add of {element}") }
            }
            SetOp::Read(elements) => {
                let seen = format!("{} elements", elements.len());
                Words { verb: format!("read {seen}"), noun: format!("read of {seen}") }
            }
        }
    }
}
