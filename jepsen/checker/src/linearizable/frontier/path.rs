//! The ways that configurations came, as a tree of steps, and the order that a way amounts to.
//!
//! A step says that a call took effect, at which event. Reads and overwritten writes have no steps:
//! where they stand follows from the others ([`Path::order`]).

use std::collections::BTreeMap;

use super::super::footprint::list;
use super::super::machine::{Machine, NOWHERE, Timed, number};
use super::super::object::NEVER;
use super::crashed::Crashed;
use crate::budget::{Budget, Exhausted};

/// The step before the first.
pub(super) const ROOT: u32 = u32::MAX;
/// Marks a kind of crashed calls where otherwise a call stands.
const KIND: u32 = 1 << 31;

/// What took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effected {
    Call(u32),
    Kind(u32),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    what: u32,
    event: u32,
    before: u32,
}

/// All steps that some configuration needs.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    swept: usize,
}

/// How many steps are kept before it is worth looking for those that nobody needs.
const SWEEP_MIN: usize = 1 << 18;

impl Steps {
    pub(super) fn add(&mut self, what: Effected, event: u32, before: u32) -> u32 {
        let what = match what {
            Effected::Call(call) => call,
            Effected::Kind(kind) => kind | KIND,
        };
        self.steps.push(Step { what, event, before });
        number(self.steps.len() - 1)
    }

    pub(super) fn bytes(&self) -> usize {
        list(&self.steps)
    }

    /// Forgets the steps that none of these ways needs, and renames the rest.
    pub(super) fn sweep<'a>(&mut self, ends: impl Iterator<Item = &'a mut u32>) {
        if self.steps.len() < SWEEP_MIN.max(2 * self.swept) {
            return;
        }
        let mut ends: Vec<&mut u32> = ends.collect();
        let mut renamed = vec![ROOT; self.steps.len()];
        for end in &ends {
            let mut at = **end;
            while at != ROOT && renamed[at as usize] == ROOT {
                renamed[at as usize] = 0;
                at = self.steps[at as usize].before;
            }
        }
        let mut kept = 0;
        for at in 0..self.steps.len() {
            if renamed[at] == ROOT {
                continue;
            }
            let mut step = self.steps[at];
            if step.before != ROOT {
                step.before = renamed[step.before as usize];
            }
            renamed[at] = number(kept);
            self.steps[kept] = step;
            kept += 1;
        }
        self.steps.truncate(kept);
        self.swept = kept;
        for end in &mut ends {
            if **end != ROOT {
                **end = renamed[**end as usize];
            }
        }
    }

    /// The way to a step, from the start: what took effect, and at which event.
    pub(super) fn way(&self, end: u32) -> Vec<(Effected, u32)> {
        let mut way = Vec::new();
        let mut at = end;
        while at != ROOT {
            let Step { what, event, before } = self.steps[at as usize];
            let what = match what & KIND {
                0 => Effected::Call(what),
                _ => Effected::Kind(what & !KIND),
            };
            way.push((what, event));
            at = before;
        }
        way.reverse();
        way
    }
}

/// Why a way is no order: these kinds of crashed calls took effect more often than they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overused(pub(super) Vec<u32>);

/// A way, made into an order.
pub(super) struct Path<'a> {
    pub(super) calls: &'a [Timed],
    /// By call: the events at which it began and ended.
    pub(super) spans: &'a [(u32, u32)],
    /// By call: the one in flight at the same instant that must come before it.
    pub(super) before: &'a BTreeMap<u32, u32>,
    pub(super) crashed: &'a Crashed,
}

impl Path<'_> {
    /// The calls in an order that the way amounts to. Within a step, what is not in the way stands as
    /// early as it can: reads as soon as their state is there, and a write that nobody saw right
    /// before the next write.
    pub(super) fn order<M: Machine>(
        &self,
        way: &[(Effected, u32)],
        machine: &mut M,
        budget: &mut Budget,
    ) -> Result<Result<Vec<u32>, Overused>, Exhausted> {
        let effects = match self.name(way) {
            Ok(effects) => effects,
            Err(overused) => return Ok(Err(overused)),
        };
        let mut states = vec![machine.initial()];
        for (call, _) in &effects {
            let (state, class) = (states[states.len() - 1], self.calls[*call as usize].class);
            states.push(machine.step(state, class, budget)?);
        }
        let (mut seen, mut unseen) = self.rest(&effects, &states, machine, budget)?;
        seen.sort_unstable();
        unseen.sort_unstable();
        let (mut seen, mut unseen) = (seen.into_iter().peekable(), unseen.into_iter().peekable());
        let mut order = Vec::with_capacity(self.calls.len());
        for gap in 0..states.len() {
            while let Some((_, _, read)) = seen.next_if(|(at, _, _)| *at == gap) {
                order.push(read);
            }
            while let Some((_, write)) = unseen.next_if(|(at, _)| *at == gap) {
                order.push(write);
            }
            if let Some((call, _)) = effects.get(gap) {
                order.push(*call);
            }
        }
        Ok(Ok(order))
    }

    /// Gives each crashed effect a call of its kind: the first that is left.
    fn name(&self, way: &[(Effected, u32)]) -> Result<Vec<(u32, u32)>, Overused> {
        let mut used = vec![0_usize; self.crashed.kinds.len()];
        let mut overused = Vec::new();
        let mut effects = Vec::with_capacity(way.len());
        for &(what, event) in way {
            let call = match what {
                Effected::Call(call) => call,
                Effected::Kind(kind) => {
                    let next = &mut used[kind as usize];
                    *next += 1;
                    match self.crashed.kinds[kind as usize].calls.get(*next - 1) {
                        Some(&call) if self.spans[call as usize].0 <= event => call,
                        _ => {
                            overused.push(kind);
                            continue;
                        }
                    }
                }
            };
            effects.push((call, event));
        }
        overused.sort_unstable();
        overused.dedup();
        if overused.is_empty() { Ok(effects) } else { Err(Overused(overused)) }
    }

    /// The gaps of the calls that have no step: `(gap, invocation, read)` and `(gap, write)`.
    #[expect(clippy::type_complexity, reason = "two lists that are sorted and walked at once")]
    fn rest<M: Machine>(
        &self,
        effects: &[(u32, u32)],
        states: &[u32],
        machine: &mut M,
        budget: &mut Budget,
    ) -> Result<(Vec<(usize, u32, u32)>, Vec<(usize, u32)>), Exhausted> {
        // By call: the gap it stands in, or that begins behind it.
        let mut gaps: Vec<Option<usize>> = vec![None; self.calls.len()];
        for (at, (call, _)) in effects.iter().enumerate() {
            gaps[*call as usize] = Some(at + 1);
        }
        let (mut seen, mut unseen) = (Vec::new(), Vec::new());
        for (at, call) in self.calls.iter().enumerate() {
            if gaps[at].is_some() || call.returned == NEVER {
                continue;
            }
            let (began, ended) = self.spans[at];
            let reads = machine.reads(call.class);
            let mut gap = effects.partition_point(|(_, event)| *event < began);
            let number = number(at);
            if let Some(first) = self.before.get(&number) {
                // A read does not fit between a write that nobody saw and the next one.
                let passed = reads && unseen.iter().any(|(_, unseen)| unseen == first);
                gap = gap.max(gaps[*first as usize].unwrap_or(0) + usize::from(passed));
            }
            while gap < states.len() {
                let fits = match reads {
                    true => machine.step(states[gap], call.class, budget)? != NOWHERE,
                    false => effects.get(gap).is_some_and(|(next, _)| {
                        machine.overwrites(self.calls[*next as usize].class)
                    }),
                };
                if fits || effects.get(gap).is_some_and(|(_, event)| *event > ended) {
                    break;
                }
                gap += 1;
            }
            gaps[at] = Some(gap);
            match reads {
                true => seen.push((gap, began, number)),
                false => unseen.push((gap, number)),
            }
        }
        Ok((seen, unseen))
    }
}
