//! Sight: which writes a read of the [`Workbench`](crate::machine::Workbench) saw.
//!
//! Owns [`Sight`], the writes that had an effect in the final order, by the object that they changed. In:
//! typed operations and the final order. Out: of each read, what it showed, and which of the writes that
//! had been acknowledged before it was called it missed.
//!
//! Invariants
//! - values are written once, so a value names its write;
//! - a write that the final order refused has no effect, and nobody can miss it;
//! - a register shows its last write, and with it that all before it were seen; a set and a list show
//!   each.
//!
//! Does not: know counters, locks and accounts. What is read of them does not say who wrote it.

use std::collections::{BTreeMap, BTreeSet};

use sixbells::StateMachine;

use crate::{
    checker::replay::{Act, Typed},
    machine::{Answer, Command, Query, Response, Workbench},
};

/// What a write changes and a read looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Register(i64),
    List(i64),
    Set,
}

/// A write with an effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    /// Where it stands in the final order.
    pub(super) place: usize,
    /// Its operation.
    pub(super) operation: usize,
    /// When it was acknowledged.
    pub(super) returned: Option<u64>,
    /// Whether another order could have refused it: a state that holds it need not show it.
    pub(super) conditional: bool,
}

/// What a read showed: places in the final order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// All up to here.
    Upto(Option<usize>),
    /// These.
    Each(BTreeSet<usize>),
    /// A value that nobody wrote in the end: its write was revoked.
    Phantom,
}

impl Shown {
    pub(super) fn has(&self, place: usize) -> bool {
        match self {
            Shown::Upto(last) => last.is_some_and(|last| place <= last),
            Shown::Each(places) => places.contains(&place),
            Shown::Phantom => true,
        }
    }

    /// Whether it shows this for sure.
    pub(super) fn names(&self, place: usize) -> bool {
        *self != Shown::Phantom && self.has(place)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sight<'a> {
    pub(super) operations: &'a [Typed<Workbench>],
    effects: BTreeMap<Object, Vec<Effect>>,
    places: BTreeMap<(Object, i64), usize>,
}

fn written(command: &Command) -> Option<(Object, i64)> {
    match *command {
        Command::Write { key, value } => Some((Object::Register(key), value)),
        Command::Cas { key, to, .. } => Some((Object::Register(key), to)),
        Command::Append { key, value } => Some((Object::List(key), value)),
        Command::Add(element) => Some((Object::Set, element)),
        _ => None,
    }
}

fn looked_at(query: &Query) -> Option<Object> {
    match *query {
        Query::Register(key) => Some(Object::Register(key)),
        Query::List(key) => Some(Object::List(key)),
        Query::Set => Some(Object::Set),
        _ => None,
    }
}

impl<'a> Sight<'a> {
    /// What the final order made of the writes.
    pub fn new(operations: &'a [Typed<Workbench>], order: &[u64]) -> Self {
        let numbers: BTreeMap<u64, usize> =
            operations.iter().enumerate().map(|(at, o)| (o.number, at)).collect();
        let mut machine = Workbench::default();
        let mut sight = Self { operations, effects: BTreeMap::new(), places: BTreeMap::new() };
        for (place, number) in order.iter().enumerate() {
            let Some(&operation) = numbers.get(number) else { continue };
            let Typed { returned, act: Act::Write { command, .. }, .. } = &operations[operation]
            else {
                continue;
            };
            if machine.apply(command.clone()) == Response::Done
                && let Some((object, value)) = written(command)
            {
                let conditional = matches!(command, Command::Cas { .. });
                let effect = Effect { place, operation, returned: *returned, conditional };
                sight.effects.entry(object).or_default().push(effect);
                sight.places.insert((object, value), place);
            }
        }
        sight
    }

    /// The reads that say what they saw: of each its operation and what it showed.
    pub(super) fn reads(&self) -> impl Iterator<Item = (usize, Object, Shown)> {
        self.operations.iter().enumerate().filter_map(|(at, operation)| {
            let Act::Read { query, answer: Some(answer) } = &operation.act else { return None };
            operation.returned?;
            let object = looked_at(query)?;
            Some((at, object, self.shown(object, answer)?))
        })
    }

    fn shown(&self, object: Object, answer: &Answer) -> Option<Shown> {
        let place = |value: &i64| self.places.get(&(object, *value)).copied();
        match answer {
            Answer::Register(None) => Some(Shown::Upto(None)),
            Answer::Register(Some(value)) => {
                Some(place(value).map_or(Shown::Phantom, |place| Shown::Upto(Some(place))))
            }
            Answer::Set(values) | Answer::List(values) => {
                Some(Shown::Each(values.iter().filter_map(place).collect()))
            }
            _ => None,
        }
    }

    /// The writes of an object, in their order.
    pub(super) fn effects_of(&self, object: Object) -> impl Iterator<Item = Effect> {
        self.effects.get(&object).into_iter().flatten().copied()
    }

    /// The writes of an object that had been acknowledged by then, in their order.
    pub(super) fn acknowledged(&self, object: Object, by: u64) -> impl Iterator<Item = Effect> {
        self.effects_of(object)
            .filter(move |effect| effect.returned.is_some_and(|returned| returned < by))
    }
}
