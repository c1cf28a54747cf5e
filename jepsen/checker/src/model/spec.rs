//! A model made of a closure.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use super::Model;

/// The sequential specification that a closure is: a state, what was asked and what was answered
/// (nothing, if nobody knows) go in; the next state comes out, or nothing if that cannot be.
///
/// ```
/// use sixbells_checker::model::Spec;
///
/// // A counter that answers with what it counted to.
/// let counter = Spec::new(0_u64, |count: &u64, _input: &(), answer: Option<&u64>| {
///     let next = count + 1;
///     answer.is_none_or(|answer| *answer == next).then_some(next)
/// });
/// # let _ = counter;
/// ```
#[derive(Clone, Debug)]
pub struct Spec<S, I, O, F> {
    name: &'static str,
    initial: S,
    step: F,
    read_only: fn(&I) -> bool,
    state_bytes: fn(&S) -> usize,
    calls: PhantomData<fn(&I, &O)>,
}

impl<S, I, O, F: Fn(&S, &I, Option<&O>) -> Option<S>> Spec<S, I, O, F> {
    /// A model that begins in this state.
    pub fn new(initial: S, step: F) -> Self {
        Self {
            name: "object",
            initial,
            step,
            read_only: |_| false,
            state_bytes: |_| size_of::<S>(),
            calls: PhantomData,
        }
    }

    /// The same, told which calls leave every state as it is: that makes the search faster.
    pub fn reading(self, read_only: fn(&I) -> bool) -> Self {
        Self { read_only, ..self }
    }

    /// The same, told about how many bytes a state holds, for states that own more than their own size,
    /// such as maps: the memory budget goes by it.
    pub fn sized(self, state_bytes: fn(&S) -> usize) -> Self {
        Self { state_bytes, ..self }
    }

    /// The same, called so in explanations.
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

impl<S, I, O, F> Model for Spec<S, I, O, F>
where
    S: Clone + Eq + Hash + Debug,
    I: Clone + Eq + Hash + Debug,
    O: Clone + Eq + Hash + Debug,
    F: Fn(&S, &I, Option<&O>) -> Option<S>,
{
    type Input = I;
    type Output = O;
    type State = S;
    type Key = ();

    fn name(&self) -> &str {
        self.name
    }

    fn initial(&self) -> S {
        self.initial.clone()
    }

    fn step(&self, state: &S, input: &I, output: Option<&O>) -> Option<S> {
        (self.step)(state, input, output)
    }

    fn key(&self, _input: &I) {}

    fn read_only(&self, input: &I) -> bool {
        (self.read_only)(input)
    }

    fn state_bytes(&self, state: &S) -> usize {
        (self.state_bytes)(state)
    }
}
