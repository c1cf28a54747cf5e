//! One walk along the events of an object, with all configurations that explain them so far.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

use super::super::footprint::{list, table};
use super::super::machine::{Machine, NOWHERE, Timed, number};
use super::bits::Bits;
use super::config::{Config, narrow, settle};
use super::crashed::Crashed;
use super::path::{Effected, ROOT, Steps};
use super::window::Window;
use crate::budget::{Budget, Exhausted};

/// How a walk ended.
#[derive(Debug)]
pub(super) enum Walk {
    /// Configurations are left: the ways that they came, the most promising first.
    Through(Vec<Vec<(Effected, u32)>>),
    /// None is left at this event.
    Stuck { event: u32, cut: bool },
    /// More calls are in flight than there are slots.
    TooWide,
    /// It took more steps than it was given.
    Tired,
}

/// An event: a call begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Event {
    pub(in super::super) call: u32,
    pub(in super::super) returns: bool,
}

/// How many configurations of one state each new one is compared with: the most promising ones. More
/// would find a few more that are dominated, for a cost that grows with the square.
const COMPARED_MAX: usize = 192;
/// How many configurations are looked into for each that is kept: those in between lead nowhere.
const EFFORT: usize = 4;
/// How many ways are handed out: one of them may use crashed calls less often than the others.
const WAYS_MAX: usize = 16;

/// What is searched.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) calls: &'a [Timed],
    /// By call: the one in flight at the same instant that must come before it.
    pub(super) before: &'a BTreeMap<u32, u32>,
    pub(super) crashed: &'a Crashed,
}

pub(super) struct Search<'a, M, const L: usize, const N: usize> {
    pub(super) machine: &'a mut M,
    pub(super) calls: &'a [Timed],
    before: &'a BTreeMap<u32, u32>,
    /// The calls that others wait for.
    firsts: BTreeSet<u32>,
    pub(super) crashed: &'a Crashed,
    /// How many configurations are kept.
    width: usize,
    pub(super) window: Window<L>,
    /// By call in flight: its slot.
    pub(super) slots: Vec<usize>,
    /// By kind: how many calls were made so far.
    pub(super) made: Vec<usize>,
    pub(super) configs: Vec<Config<L, N>>,
    next: Vec<Config<L, N>>,
    /// The configurations in `next`, and those that were looked into at this event.
    seen: HashSet<Config<L, N>, FxBuildHasher>,
    visited: HashSet<(bool, Config<L, N>), FxBuildHasher>,
    /// Still to be looked into; whether the last write was for nothing so far.
    open: Vec<(bool, Config<L, N>)>,
    steps: Steps,
    event: u32,
    cut: bool,
    steps_left: u64,
    pub(super) charged: usize,
}

impl<'a, M: Machine, const L: usize, const N: usize> Search<'a, M, L, N> {
    pub(super) fn new(machine: &'a mut M, case: Case<'a>, width: usize, steps_left: u64) -> Self {
        let first = Config {
            state: machine.initial(),
            fresh: Bits::EMPTY,
            optional: Bits::EMPTY,
            used: Bits::EMPTY,
            uses: 0,
            step: ROOT,
        };
        let Case { calls, before, crashed } = case;
        Self {
            machine,
            calls,
            before,
            firsts: before.values().copied().collect(),
            crashed,
            width,
            window: Window::new(),
            slots: vec![0; calls.len()],
            made: vec![0; crashed.kinds.len()],
            configs: vec![first],
            next: Vec::new(),
            seen: HashSet::default(),
            visited: HashSet::default(),
            open: Vec::new(),
            steps: Steps::default(),
            event: 0,
            cut: false,
            steps_left,
            charged: 0,
        }
    }

    /// Walks along the events; says also how many steps are left.
    pub(super) fn walk(
        mut self,
        events: &[Event],
        budget: &mut Budget,
    ) -> Result<(Walk, u64), Exhausted> {
        let walked = self.run(events, budget);
        budget.give(self.charged);
        Ok((walked?, self.steps_left))
    }

    pub(super) fn run(&mut self, events: &[Event], budget: &mut Budget) -> Result<Walk, Exhausted> {
        budget.look()?;
        let mut expiries: Vec<(u32, usize)> =
            self.crashed.kinds.iter().enumerate().map(|(at, k)| (k.useful_until, at)).collect();
        expiries.sort_unstable();
        let mut expiries = expiries.into_iter().peekable();
        for (number, event) in (0_u32..).zip(events) {
            self.event = number;
            if !event.returns {
                if !self.invoke(event.call, budget)? {
                    return Ok(Walk::TooWide);
                }
                continue;
            }
            while let Some((_, kind)) = expiries.next_if(|(until, _)| *until < number) {
                let range = self.crashed.range(kind);
                self.configs.iter_mut().for_each(|c| c.used = c.used.without(&range));
            }
            self.complete(event.call, budget)?;
            if self.steps_left == 0 {
                return Ok(Walk::Tired);
            }
            if self.configs.is_empty() {
                return Ok(Walk::Stuck { event: number, cut: self.cut });
            }
            self.steps.sweep(self.configs.iter_mut().map(|config| &mut config.step));
            self.charge(budget)?;
        }
        self.configs.sort_by_key(Config::rank);
        let ends = self.configs.iter().take(WAYS_MAX);
        Ok(Walk::Through(ends.map(|config| self.steps.way(config.step)).collect()))
    }

    /// Takes what it holds now from the budget, in place of what it held before.
    fn charge(&mut self, budget: &mut Budget) -> Result<(), Exhausted> {
        let (seen, visited) = (&self.seen, &self.visited);
        let sets = table::<Config<L, N>>(seen.len(), seen.capacity())
            + table::<(bool, Config<L, N>)>(visited.len(), visited.capacity());
        // While they are searched, there is a copy of the configurations.
        let lists = 2 * list(&self.configs) + list(&self.next) + list(&self.open);
        let held = self.steps.bytes() + sets + lists;
        budget.give(self.charged);
        self.charged = held;
        budget.take(held)
    }

    /// A call begins; false if there is no slot for it.
    fn invoke(&mut self, call: u32, budget: &mut Budget) -> Result<bool, Exhausted> {
        let Timed { class, .. } = self.calls[call as usize];
        if !self.calls[call as usize].happened() {
            if let Some(kind) = self.crashed.kind_of(class) {
                self.made[kind] += 1;
            }
            return Ok(true);
        }
        let first = self.before.get(&call).map(|first| self.slots[*first as usize]);
        let tied = first.is_some() || self.firsts.contains(&call);
        let Some(slot) = self.window.enter(call, self.calls, self.machine, tied) else {
            return Ok(false);
        };
        if let Some(first) = first {
            self.window.put_after(slot, first);
        }
        self.slots[call as usize] = slot;
        if let Some(first) = first {
            self.settle(first);
        }
        for config in &mut self.configs {
            config.fresh.insert(slot);
        }
        if self.machine.reads(class) {
            self.order_reads(budget)?;
        }
        Ok(true)
    }

    /// From now on it matters where this call stands, since another waits for it: in the past, unseen,
    /// or still to come.
    fn settle(&mut self, slot: usize) {
        settle(&mut self.configs, slot);
        if self.configs.len() > self.width.saturating_mul(EFFORT) {
            self.cut = true;
            self.configs.sort_by_key(Config::rank);
            self.configs.truncate(self.width);
        }
    }

    /// Orders the reads that agree with the state, in every configuration.
    fn order_reads(&mut self, budget: &mut Budget) -> Result<(), Exhausted> {
        let mut configs = std::mem::take(&mut self.configs);
        for config in &mut configs {
            self.observe(config, budget)?;
        }
        self.configs = configs;
        Ok(())
    }

    /// Orders the reads that agree with the state; whether there were any.
    fn observe(
        &mut self,
        config: &mut Config<L, N>,
        budget: &mut Budget,
    ) -> Result<bool, Exhausted> {
        let mut observed = false;
        loop {
            let mut again = false;
            for read in config.fresh.and(&self.window.reads).members() {
                let class = self.calls[self.window.call(read) as usize].class;
                if self.window.is_turn(read, &config.fresh)
                    && self.machine.step(config.state, class, budget)? != NOWHERE
                {
                    config.fresh = config.fresh.without(&Bits::one(read));
                    observed = true;
                    // Others may have waited for it.
                    again = !self.window.bound().is_empty();
                }
            }
            if !again {
                return Ok(observed);
            }
        }
    }

    /// A call ends: it must have taken effect by now.
    fn complete(&mut self, call: u32, budget: &mut Budget) -> Result<(), Exhausted> {
        let slot = self.slots[call as usize];
        self.next.clear();
        empty(&mut self.seen);
        empty(&mut self.visited);
        let configs = std::mem::take(&mut self.configs);
        let mut searched = Vec::new();
        for config in &configs {
            let fresh = config.fresh.has(slot);
            if !fresh {
                self.emit(*config, slot);
            }
            if fresh || config.optional.has(slot) {
                searched.push(*config);
            }
        }
        self.configs = configs;
        for config in searched {
            self.search(config, slot, budget)?;
        }
        let waited = !self.window.bound().is_empty();
        self.window.leave(slot);
        self.prune(budget)?;
        if waited { self.order_reads(budget) } else { Ok(()) }
    }

    /// Finds all ways to let the call in `slot` take effect, each as short as it can be.
    fn search(
        &mut self,
        config: Config<L, N>,
        slot: usize,
        budget: &mut Budget,
    ) -> Result<(), Exhausted> {
        let enough = self.next.len().saturating_add(self.width);
        let effort = self.width.saturating_mul(EFFORT);
        self.open.clear();
        self.open.push((false, config));
        let mut at = 0;
        while let Some(&(idle, config)) = self.open.get(at) {
            at += 1;
            if self.next.len() >= enough || at > effort || self.steps_left == 0 {
                self.cut = true;
                break;
            }
            self.charge(budget)?;
            let tried = config.fresh.or(&config.optional).without(&self.window.reads);
            for other in tried.members() {
                let class = self.calls[self.window.call(other) as usize].class;
                let for_nothing = idle && self.window.writes.has(other);
                let turn = self.window.is_turn(other, &config.fresh);
                if for_nothing || !turn || !self.window.is_first(other, &tried) {
                    continue;
                }
                let mut next = config;
                let gone = Bits::one(other);
                next.fresh = next.fresh.without(&gone);
                next.optional = next.optional.without(&gone);
                let what = Effected::Call(self.window.call(other));
                self.effect(next, class, what, slot, budget)?;
            }
            self.search_crashed(config, idle, slot, &tried, budget)?;
        }
        Ok(())
    }

    fn search_crashed(
        &mut self,
        config: Config<L, N>,
        idle: bool,
        slot: usize,
        tried: &Bits<L>,
        budget: &mut Budget,
    ) -> Result<(), Exhausted> {
        for kind in 0..self.crashed.kinds.len() {
            let (class, made) = (self.crashed.kinds[kind].class, self.made[kind]);
            if made == 0 || self.crashed.kinds[kind].useful_until < self.event {
                continue;
            }
            if idle && self.machine.overwrites(class) {
                continue;
            }
            let mut next = config;
            if let Some(base) = self.crashed.kinds[kind].base {
                let Some(bit) = (base..base + made).find(|bit| !config.used.has(*bit)) else {
                    continue;
                };
                next.used.insert(bit);
            }
            // One that must happen anyway stands in for one that may, which can still come later.
            let stands_in =
                |other: usize| self.calls[self.window.call(other) as usize].class == class;
            if tried.without(self.window.bound()).members().any(stands_in) {
                continue;
            }
            next.uses += 1;
            let what = Effected::Kind(number(kind));
            self.effect(next, class, what, slot, budget)?;
        }
        Ok(())
    }

    /// Lets a call take effect in `config`, which holds it no more, and looks at what came of it.
    fn effect(
        &mut self,
        mut config: Config<L, N>,
        class: u32,
        what: Effected,
        slot: usize,
        budget: &mut Budget,
    ) -> Result<(), Exhausted> {
        budget.poll()?;
        self.steps_left = self.steps_left.saturating_sub(1);
        let waited = self.waits(&config, slot, &what);
        let state = self.machine.step(config.state, class, budget)?;
        let overwrites = self.machine.overwrites(class);
        // A crashed call that changes nothing might as well not happen.
        let in_vain = state == config.state && !overwrites && matches!(what, Effected::Kind(_));
        if state == NOWHERE || in_vain {
            return Ok(());
        }
        config.state = state;
        if overwrites {
            let bound = self.window.bound();
            let unseen = config.fresh.and(&self.window.writes).without(bound);
            config.fresh = config.fresh.without(&unseen);
            config.optional = config.optional.or(&unseen);
        }
        let observed = self.observe(&mut config, budget)?;
        config.step = self.steps.add(what, self.event, config.step);
        // One that others wait for was not for nothing: it lets them come.
        let lets_come = matches!(what, Effected::Call(call) if self.is_bound(call));
        let idle = overwrites && !observed && !lets_come;
        let (fresh, optional) = (config.fresh.has(slot), config.optional.has(slot));
        // What comes before the call ends with it: a step that did not concern it is no end.
        if !fresh && (waited || !optional) {
            self.emit(config, slot);
        }
        let still_there = fresh || optional;
        if still_there
            && !self.visited.contains(&(false, config))
            && self.visited.insert((idle, config))
        {
            self.open.push((idle, config));
        }
        Ok(())
    }

    fn is_bound(&self, call: u32) -> bool {
        self.window.bound().has(self.slots[call as usize])
    }

    /// Whether the call in `slot` was still to be ordered before this step.
    fn waits(&self, config: &Config<L, N>, slot: usize, what: &Effected) -> bool {
        config.fresh.has(slot) || *what == Effected::Call(self.window.call(slot))
    }

    /// Notes a configuration in which the call in `slot` took effect.
    fn emit(&mut self, mut config: Config<L, N>, slot: usize) {
        config.optional = config.optional.without(&Bits::one(slot));
        if self.seen.insert(config) {
            self.next.push(config);
        }
    }

    /// Keeps the configurations that no other dominates, and of those the most promising.
    fn prune(&mut self, budget: &mut Budget) -> Result<(), Exhausted> {
        self.next.sort_unstable_by_key(|config| (config.state, config.rank()));
        self.configs.clear();
        let mut start = 0;
        for config in &self.next {
            if self.configs.get(start).is_some_and(|first| first.state != config.state) {
                start = self.configs.len();
            }
            budget.poll()?;
            self.steps_left = self.steps_left.saturating_sub(1);
            let (pending, reads) = (&self.window.pending, &self.window.reads);
            let mut better = self.configs[start..].iter().take(COMPARED_MAX);
            if !better.any(|kept| kept.dominates(config, pending, reads)) {
                self.configs.push(*config);
            }
        }
        if self.configs.len() > self.width {
            self.cut = true;
            narrow(&mut self.configs, self.width);
        }
        Ok(())
    }
}

/// Empties a set, which takes as long as it once grew: one that grew large is replaced.
fn empty<T: std::hash::Hash + Eq>(set: &mut HashSet<T, FxBuildHasher>) {
    if set.capacity() > 64 + 32 * set.len() {
        *set = HashSet::default();
    } else {
        set.clear();
    }
}
