//! A history that is judged while it grows.
//!
//! In go calls, each once it is known how it ended, and how far the history is known; out comes the first
//! call that no order explains. Each object has a [`frontier`] of its own that is carried on from batch to
//! batch ([`Carried`]), so memory is what is in flight and what crashed, not what happened.
//!
//! It watches rather than proves. What it lets pass has an order, unless it says that it is not
//! [`exact`](Stream::is_exact): crashed calls beyond a number are taken to be available without end. What
//! it stops at may have an order after all if the frontier grew too wide, or if a process touched itself in
//! one instant: judge the history so far with [`check`](super::check), which also explains.
//!
//! Invariants: a batch holds all calls that began before the horizon, with their ends; events beyond it are
//! left to the next.

use std::collections::BTreeMap;

use super::frontier::{self, Carried, Event};
use super::machine::{Interned, Timed, number};
use super::object::{NEVER, Object, ObjectCall};
use crate::budget::{Budget, Exhausted};
use crate::call::Call;
use crate::model::Model;

/// How many calls of one object wait before they are worth a walk.
const BATCH: usize = 128;
/// How many configurations are kept.
const WIDTH: usize = 1 << 12;
/// How many crashed calls of one object are counted.
const CRASHED_MAX: usize = 512;

/// A history while it grows.
#[derive(Debug)]
pub struct Stream<M: Model> {
    model: M,
    objects: BTreeMap<M::Key, Followed<M>>,
    batch: usize,
    exact: bool,
    judged: u64,
}

/// A call of a model.
type CallOf<M> = Call<<M as Model>::Input, <M as Model>::Output>;

/// One object.
#[derive(Debug)]
struct Followed<M: Model> {
    /// Calls to come, by no order.
    waiting: Vec<CallOf<M>>,
    /// Calls in flight behind the last walk.
    pending: Vec<CallOf<M>>,
    /// Calls that nobody knows about.
    crashed: Vec<CallOf<M>>,
    configurations: Vec<Configuration<M>>,
}

/// A configuration by itself. Calls by their position among those in flight, or among the crashed.
#[derive(Debug)]
struct Configuration<M: Model> {
    state: M::State,
    fresh: Vec<usize>,
    optional: Vec<usize>,
    used: Vec<usize>,
}

impl<M: Model> Stream<M> {
    /// A history that is empty so far.
    pub fn new(model: M) -> Self {
        Self { model, objects: BTreeMap::new(), batch: BATCH, exact: true, judged: 0 }
    }

    /// The same, but an object is judged as soon as so many of its calls wait: sooner, at a higher price.
    pub fn in_batches_of(self, calls: usize) -> Self {
        Self { batch: calls.max(1), ..self }
    }

    /// The model, to read operations with.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// Whether all that passed has an order.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// How many calls wait for others to end.
    pub fn waiting(&self) -> usize {
        self.objects.values().map(|followed| followed.waiting.len()).sum()
    }

    /// How many objects were seen.
    pub fn objects(&self) -> usize {
        self.objects.len()
    }

    /// How many calls passed.
    pub fn judged(&self) -> u64 {
        self.judged
    }

    /// Takes in a call of which it is known how it ended.
    pub fn push(&mut self, call: CallOf<M>) {
        if call.returned.is_none() && self.model.read_only(&call.input) {
            return;
        }
        let initial = self.model.initial();
        let followed = self.objects.entry(self.model.key(&call.input)).or_insert_with(|| {
            let (fresh, optional, used) = (Vec::new(), Vec::new(), Vec::new());
            let first = Configuration { state: initial, fresh, optional, used };
            Followed {
                waiting: Vec::new(),
                pending: Vec::new(),
                crashed: Vec::new(),
                configurations: vec![first],
            }
        });
        followed.waiting.push(call);
    }

    /// Judges all that happened before `horizon`: every call that began before it was pushed. The result
    /// is a call that no order explains, if there is one; then the stream is at its end.
    ///
    /// # Errors
    /// If the budget ran out.
    pub fn advance(
        &mut self,
        horizon: u64,
        budget: &mut Budget,
    ) -> Result<Option<CallOf<M>>, Exhausted> {
        for followed in self.objects.values_mut() {
            let last = horizon == NEVER && !followed.pending.is_empty();
            let enough = if horizon == NEVER { 1 } else { self.batch };
            if followed.waiting.len() < enough && !last {
                continue;
            }
            let crash = |call: &&CallOf<M>| call.returned.is_none();
            let crashing = followed.waiting.iter().filter(crash).count();
            self.exact &= followed.crashed.len() + crashing <= CRASHED_MAX;
            let (known, later) =
                followed.waiting.drain(..).partition(|call: &CallOf<M>| call.invoked < horizon);
            followed.waiting = later;
            let taken = budget.bytes_taken();
            let walked = followed.walk(&self.model, known, horizon, budget);
            budget.give(budget.bytes_taken().saturating_sub(taken));
            match walked? {
                Ok(judged) => self.judged += judged,
                Err(call) => return Ok(Some(call)),
            }
        }
        Ok(None)
    }
}

impl<M: Model> Followed<M> {
    /// Walks on to the horizon with these calls; how many passed, or the call that nothing explains.
    fn walk(
        &mut self,
        model: &M,
        mut known: Vec<CallOf<M>>,
        horizon: u64,
        budget: &mut Budget,
    ) -> Result<Result<u64, CallOf<M>>, Exhausted> {
        let passed = known.len() as u64;
        // The first of the crashed calls of a kind is the first to be used.
        known.sort_by_key(|call| call.invoked);
        let (old_crashed, old_pending) = (self.crashed.len(), self.pending.len());
        // Crashed calls first, in the order in which they crashed, then those in flight, then new ones.
        let mut calls = std::mem::take(&mut self.crashed);
        calls.append(&mut self.pending);
        calls.extend(known);
        let object = object(&calls);
        let (mut machine, mut timed) = Interned::new(model, &object);
        for (at, call) in timed.iter_mut().enumerate() {
            // Time 0 is that of calls that crashed before.
            call.invoked = if at < old_crashed { 0 } else { call.invoked.saturating_add(1) };
            call.returned = call.returned.saturating_add(1);
        }
        let horizon = horizon.saturating_add(1);
        let events = line_up(&timed, old_crashed, old_crashed + old_pending, horizon);
        let kinds = Kinds::of(&timed);
        let carried: Vec<Carried> = self
            .configurations
            .iter()
            .map(|c| c.carry(old_crashed, &kinds, machine.number(c.state.clone())))
            .collect();
        let pending: Vec<u32> = (number(old_crashed)..number(old_crashed + old_pending)).collect();
        let carry =
            frontier::follow(&mut machine, &timed, &events, (&pending, &carried), WIDTH, budget)?;
        let Some(carry) = carry else { return Err(Exhausted::Room) };
        let (pending, carried) = match carry {
            Ok(carry) => carry,
            Err(stuck) => return Ok(Err(calls[stuck as usize].clone())),
        };
        let crashed: Vec<u32> =
            (0..number(timed.len())).filter(|at| !timed[*at as usize].happened()).collect();
        let place = |calls: &[u32]| -> Vec<usize> {
            calls.iter().filter_map(|call| pending.iter().position(|p| p == call)).collect()
        };
        self.configurations = carried
            .iter()
            .map(|c| Configuration {
                state: machine.state(c.state).clone(),
                fresh: place(&c.fresh),
                optional: place(&c.optional),
                used: kinds.used(&c.used, &crashed),
            })
            .collect();
        let pick = |which: &[u32]| which.iter().map(|at| calls[*at as usize].clone()).collect();
        (self.pending, self.crashed) = (pick(&pending), pick(&crashed));
        Ok(Ok(passed))
    }
}

impl<M: Model> Configuration<M> {
    fn carry(&self, crashed: usize, kinds: &Kinds, state: u32) -> Carried {
        let calls = |calls: &[usize]| calls.iter().map(|at| number(crashed + at)).collect();
        let (fresh, optional) = (calls(&self.fresh), calls(&self.optional));
        Carried { state, fresh, optional, used: kinds.count(&self.used) }
    }
}

/// The kinds of crashed calls: those of one class, numbered as they first come.
struct Kinds {
    /// By kind: its calls.
    calls: Vec<Vec<u32>>,
}

impl Kinds {
    fn of(timed: &[Timed]) -> Self {
        let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
        let mut calls: Vec<Vec<u32>> = Vec::new();
        for (at, call) in (0_u32..).zip(timed).filter(|(_, call)| !call.happened()) {
            let kind = *numbers.entry(call.class).or_insert_with(|| {
                calls.push(Vec::new());
                calls.len() - 1
            });
            calls[kind].push(at);
        }
        Self { calls }
    }

    /// How many of each kind these crashed calls are.
    fn count(&self, used: &[usize]) -> Vec<(usize, usize)> {
        let count = |calls: &Vec<u32>| {
            calls.iter().filter(|call| used.contains(&(**call as usize))).count()
        };
        let counts = self.calls.iter().map(count).enumerate();
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The first calls of each kind, by their position among the crashed.
    fn used(&self, counts: &[(usize, usize)], crashed: &[u32]) -> Vec<usize> {
        let first = counts.iter().flat_map(|(kind, count)| &self.calls[*kind][..*count]);
        first.filter_map(|call| crashed.binary_search(call).ok()).collect()
    }
}

fn object<I, O>(calls: &[Call<I, O>]) -> Object<'_, I, O> {
    let calls = calls.iter().map(|call| ObjectCall {
        input: &call.input,
        output: call.answer(),
        invoked: call.invoked,
        returned: call.returned.unwrap_or(NEVER),
    });
    Object { calls: calls.collect() }
}

/// The events before the horizon: ends of calls in flight, begins and ends of new ones. At equal times
/// calls come first, which makes them concurrent.
fn line_up(timed: &[Timed], pending: usize, new: usize, horizon: u64) -> Vec<Event> {
    let mut moments = Vec::new();
    for (at, call) in timed.iter().enumerate().skip(pending) {
        if at >= new {
            moments.push((call.invoked, false, number(at)));
        }
        if call.happened() && call.returned < horizon {
            moments.push((call.returned, true, number(at)));
        }
    }
    moments.sort_unstable();
    moments.into_iter().map(|(_, returns, call)| Event { call, returns }).collect()
}
