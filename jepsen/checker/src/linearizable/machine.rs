//! An object's states and calls as numbers, for the algorithms that search.
//!
//! States and *classes* of calls (those alike in all but time) are numbered from 0. [`Registers`] is
//! for states that are one value: everything is known beforehand. [`Interned`] asks the model, once
//! for each pair of state and class, and finds its states on the way.
//!
//! Invariants: equal states have one number, and so have equal calls; whatever is remembered is
//! charged to the budget.

use std::hash::BuildHasher;

use hashbrown::{HashMap, HashTable};
use rustc_hash::FxBuildHasher;

use super::footprint::{list, table};
use super::object::{NEVER, Object};
use super::touch::{NOTHING, Touch};
use crate::budget::{Budget, Exhausted};
use crate::model::Model;

/// Where there is no state.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A state machine over numbers.
pub(super) trait Machine {
    /// Whether there are few enough states that a call may be taken to happen any number of times.
    const FINITE: bool;

    /// The number of the first state.
    fn initial(&self) -> u32;

    /// The state after a call of a class, or [`NOWHERE`].
    fn step(&mut self, state: u32, class: u32, budget: &mut Budget) -> Result<u32, Exhausted>;

    /// Whether calls of the class change nothing.
    fn reads(&self, class: u32) -> bool;

    /// Whether calls of the class lead to one state from everywhere.
    fn overwrites(&self, class: u32) -> bool;

    /// The value that a class waits for and the one it leaves, where states are values.
    fn effect(&self, class: u32) -> Option<(u32, u32)>;

    /// Gives back what it took from the budget: nobody asks it any more.
    fn end(&mut self, budget: &mut Budget);
}

/// When a call began and ended, and what it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timed {
    pub(super) class: u32,
    pub(super) invoked: u64,
    pub(super) returned: u64,
}

impl Timed {
    pub(super) fn happened(&self) -> bool {
        self.returned != NEVER
    }
}

/// States that are one value.
#[derive(Clone, Debug)]
pub(super) struct Registers {
    /// By class: what it observes and what it writes, or [`NOWHERE`].
    effects: Vec<(u32, u32)>,
}

impl Registers {
    /// The machine of these calls, and their classes.
    pub(super) fn new(touches: &[Touch], initial: u64) -> (Self, Vec<Timed>) {
        let mut states: HashMap<u64, u32, FxBuildHasher> = HashMap::default();
        let mut classes: HashMap<(u32, u32), u32, FxBuildHasher> = HashMap::default();
        states.insert(initial, 0);
        let mut effects = Vec::new();
        let mut timed = Vec::with_capacity(touches.len());
        for touch in touches {
            let mut state = |value: u64| match value {
                NOTHING => NOWHERE,
                value => {
                    let next = number(states.len());
                    *states.entry(value).or_insert(next)
                }
            };
            let effect = (state(touch.observes), state(touch.writes));
            let class = *classes.entry(effect).or_insert_with(|| {
                effects.push(effect);
                number(effects.len() - 1)
            });
            timed.push(Timed { class, invoked: touch.invoked, returned: touch.returned });
        }
        (Self { effects }, timed)
    }
}

impl Machine for Registers {
    const FINITE: bool = true;

    fn initial(&self) -> u32 {
        0
    }

    fn step(&mut self, state: u32, class: u32, _budget: &mut Budget) -> Result<u32, Exhausted> {
        let (observes, writes) = self.effects[class as usize];
        Ok(match observes {
            NOWHERE => writes,
            observed if observed != state => NOWHERE,
            _ if writes == NOWHERE => state,
            _ => writes,
        })
    }

    fn reads(&self, class: u32) -> bool {
        self.effects[class as usize].1 == NOWHERE
    }

    fn overwrites(&self, class: u32) -> bool {
        self.effects[class as usize].0 == NOWHERE
    }

    fn effect(&self, class: u32) -> Option<(u32, u32)> {
        Some(self.effects[class as usize])
    }

    fn end(&mut self, _budget: &mut Budget) {}
}

/// A class of calls: what was asked, and what was answered.
type Class<'a, M> = (&'a <M as Model>::Input, Option<&'a <M as Model>::Output>);

/// The states of any model.
pub(super) struct Interned<'a, M: Model> {
    model: &'a M,
    classes: Vec<Class<'a, M>>,
    states: Vec<M::State>,
    /// What the states hold beyond their own size.
    beyond: usize,
    /// The numbers of the states, by their hash.
    numbers: HashTable<u32>,
    steps: HashMap<(u32, u32), u32, FxBuildHasher>,
    charged: usize,
}

impl<'a, M: Model> Interned<'a, M> {
    /// The machine of these calls, and their classes.
    pub(super) fn new(
        model: &'a M,
        object: &Object<'a, M::Input, M::Output>,
    ) -> (Self, Vec<Timed>) {
        let mut numbers: HashMap<Class<'a, M>, u32, FxBuildHasher> = HashMap::default();
        let mut classes = Vec::new();
        let calls = object.calls.iter().map(|call| {
            let class = (call.input, call.output);
            let class = *numbers.entry(class).or_insert_with(|| {
                classes.push(class);
                number(classes.len() - 1)
            });
            Timed { class, invoked: call.invoked, returned: call.returned }
        });
        let timed = calls.collect();
        let (states, numbers, steps) = Default::default();
        let mut machine = Self { model, classes, states, beyond: 0, numbers, steps, charged: 0 };
        machine.number(model.initial());
        (machine, timed)
    }
}

impl<M: Model> Interned<'_, M> {
    /// Takes what it holds now from the budget, in place of what it held before.
    fn charge(&mut self, budget: &mut Budget) -> Result<(), Exhausted> {
        budget.give(self.charged);
        self.charged = list(&self.states)
            + self.beyond
            + table::<u32>(self.numbers.len(), self.numbers.capacity())
            + table::<((u32, u32), u32)>(self.steps.len(), self.steps.capacity());
        budget.take(self.charged)
    }

    /// The number of a state.
    pub(super) fn number(&mut self, state: M::State) -> u32 {
        let hash = FxBuildHasher.hash_one(&state);
        let states = &self.states;
        if let Some(known) = self.numbers.find(hash, |known| states[*known as usize] == state) {
            return *known;
        }
        let fresh = number(states.len());
        self.beyond += self.model.state_bytes(&state).saturating_sub(size_of::<M::State>());
        let rehash = |known: &u32| FxBuildHasher.hash_one(&states[*known as usize]);
        self.numbers.insert_unique(hash, fresh, rehash);
        self.states.push(state);
        fresh
    }

    /// The state of a number.
    pub(super) fn state(&self, number: u32) -> &M::State {
        &self.states[number as usize]
    }
}

impl<M: Model> Machine for Interned<'_, M> {
    const FINITE: bool = false;

    fn initial(&self) -> u32 {
        0
    }

    fn step(&mut self, state: u32, class: u32, budget: &mut Budget) -> Result<u32, Exhausted> {
        if let Some(next) = self.steps.get(&(state, class)) {
            return Ok(*next);
        }
        let (input, output) = self.classes[class as usize];
        let next = match self.model.step(&self.states[state as usize], input, output) {
            None => NOWHERE,
            Some(next) => self.number(next),
        };
        self.steps.insert((state, class), next);
        self.charge(budget)?;
        Ok(next)
    }

    fn reads(&self, class: u32) -> bool {
        self.model.read_only(self.classes[class as usize].0)
    }

    fn overwrites(&self, class: u32) -> bool {
        let (input, output) = self.classes[class as usize];
        let effect = self.model.effect(input, output);
        effect.is_some_and(|effect| effect.observes.is_none() && effect.writes.is_some())
    }

    fn effect(&self, _class: u32) -> Option<(u32, u32)> {
        None
    }

    fn end(&mut self, budget: &mut Budget) {
        budget.give(std::mem::take(&mut self.charged));
        (self.states, self.beyond, self.numbers, self.steps) = Default::default();
    }
}

pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a history has fewer than 2^32 calls")
}
