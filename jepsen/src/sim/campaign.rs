//! A campaign: many seeds, what they reached, and the first that failed.
//!
//! Owns [`Campaign`], which makes a [`Case`] of each seed, and [`Sweep`], what came of all of them. In:
//! what may break, on which workload, with which bug planted. Out: counts, and the failing case of the
//! lowest seed.
//!
//! Invariants
//! - a case is data, and decides its run: written down, it replays;
//! - a sweep that did not reach what it was meant to is no evidence, and says what is missing
//!   ([`Sweep::gaps`]).
//!
//! Does not: print.

use std::{
    collections::BTreeMap,
    fmt::Write,
    ops::Range,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sixbells::Mode;

use super::{
    bug::Planted,
    fault::Kind,
    plan::{Frame, Plan},
    run::{Outcome, run},
    seeds, shrink,
};
use crate::workload::Workload;

/// From so many seeds on, every kind of fault and every state must have been reached.
const THOROUGH: u64 = 200;

/// What a thorough sweep must have seen at least once, beside every fault.
const STATES: &[&str] = &[
    "a disk was full",
    "a log failed",
    "a log was purged",
    "a node stopped by itself",
    "a state was restored",
    "a sync failed",
    "a torn tail was found",
    "an operation definitely failed",
    "an operation ended unknown",
    "an operation succeeded",
    "power failed during a disk operation",
];

/// The same where somebody leads.
const STRONG_STATES: &[&str] = &[
    "a leader was elected",
    "a log was truncated",
    "a lost node was replaced",
    "a membership was joint",
    "a node joined",
    "a node left",
    "a snapshot was built",
    "a snapshot was received",
    "several commands were one entry",
    "the leadership was handed over",
];

/// What all runs of a campaign have in common.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// What may break, and how large clusters are.
    pub frame: Frame,
    /// What clients do; by turns, if nothing is said.
    pub workload: Option<Workload>,
    /// The bug that is planted. It has plans of its own.
    pub planted: Option<&'static Planted>,
}

/// One run, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What clients do.
    pub workload: Workload,
    /// The bug that is planted, by name.
    pub planted: Option<String>,
    /// All the rest.
    pub plan: Plan,
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Sweep {
    /// What the clusters promised.
    pub mode: Mode,
    /// How many were run.
    pub seeds: u64,
    /// For how long, in simulated time.
    pub simulated: Duration,
    /// In how many plans each kind of fault stood.
    pub planned: BTreeMap<Kind, u64>,
    /// How often each thing was reached.
    pub reached: BTreeMap<&'static str, u64>,
    /// How often each oracle looked.
    pub looked: BTreeMap<&'static str, u64>,
    /// The first seed that failed, how, and after how many others.
    pub failed: Option<(Case, Outcome)>,
}

impl Campaign {
    /// What this seed is to run.
    pub fn case(&self, seed: u64) -> Case {
        let plan = match self.planted {
            Some(planted) => planted.plan(seed),
            None => Plan::draw(seed, &self.frame),
        };
        let workload = self.workload.or(self.planted.map(|_| Workload::Register));
        Case {
            workload: workload.unwrap_or_else(|| Workload::of_seed(seed)),
            planted: self.planted.map(|planted| planted.name.to_owned()),
            plan,
        }
    }

    /// Runs these seeds until one fails. `progress` learns of each that is done.
    pub fn sweep(&self, seeds: Range<u64>, jobs: usize, progress: impl Fn(u64) + Sync) -> Sweep {
        let sweep = Mutex::new(Sweep { mode: self.frame.mode, ..Sweep::default() });
        let run = |seed| {
            let case = self.case(seed);
            let outcome = case.run(None);
            let failed = outcome.violation.is_some();
            let mut sweep = sweep.lock().unwrap_or_else(PoisonError::into_inner);
            sweep.note(case, outcome);
            progress(sweep.seeds);
            failed
        };
        seeds::each(seeds, jobs, run, |_, failed| *failed);
        sweep.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Case {
    /// Carries it out.
    pub fn run(&self, log: Option<Box<dyn FnMut(String)>>) -> Outcome {
        let planted = self.planted.as_deref().and_then(Planted::named);
        run(&self.plan, &self.workload.suite(), planted.map(|planted| planted.bug), log)
    }

    /// The same without the bug.
    pub fn without_bug(&self) -> Self {
        Self { planted: None, ..self.clone() }
    }

    /// The smallest case that still fails in the eyes of the same oracle.
    pub fn shrink(&self, oracle: &str, tries: u32) -> Self {
        let with = |plan: &Plan| Self { plan: plan.clone(), ..self.clone() };
        let fails = |plan: &Plan| {
            let violation = with(plan).run(None).violation;
            violation.is_some_and(|violation| violation.oracle == oracle)
        };
        with(&shrink::shrink(&self.plan, tries, fails))
    }
}

impl Sweep {
    fn note(&mut self, case: Case, outcome: Outcome) {
        self.seeds += 1;
        self.simulated += outcome.traces.simulated;
        let mut kinds: Vec<Kind> = case.plan.kinds().collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            *self.planned.entry(kind).or_default() += 1;
        }
        for (what, count) in &outcome.traces.reached {
            *self.reached.entry(what).or_default() += count;
        }
        for (oracle, count) in &outcome.looked {
            *self.looked.entry(oracle).or_default() += count;
        }
        let lower = |(other, _): &(Case, Outcome)| other.plan.seed < case.plan.seed;
        if outcome.violation.is_some() && !self.failed.as_ref().is_some_and(lower) {
            self.failed = Some((case, outcome));
        }
    }

    fn count(&self, what: &str) -> u64 {
        self.reached.get(what).copied().unwrap_or(0)
    }

    /// What was meant to be reached, of these kinds of fault and beside them, and was not.
    pub fn gaps(&self, faults: &[Kind]) -> Vec<String> {
        let thorough = self.seeds >= THOROUGH;
        let mut gaps = Vec::new();
        for kind in faults.iter().filter(|kind| self.count(kind.reached()) == 0) {
            match self.planned.get(kind) {
                Some(plans) => gaps.push(format!("{kind} never fired, in {plans} plans")),
                None if thorough => gaps.push(format!("{kind} stood in no plan")),
                None => {}
            }
        }
        let all = thorough && faults == Frame::of(self.mode).faults;
        let states = self.states().filter(|state| all && self.count(state) == 0);
        gaps.extend(states.map(|state| format!("not once: {state}")));
        let blind = self.looked.iter().filter(|(_, count)| thorough && **count == 0);
        gaps.extend(blind.map(|(oracle, _)| format!("{oracle} never looked")));
        gaps
    }

    /// The states that a thorough sweep must have seen.
    fn states(&self) -> impl Iterator<Item = &'static str> {
        let strong = self.mode == Mode::Strong;
        let only = if strong { STRONG_STATES } else { &[] };
        STATES.iter().chain(only).copied()
    }

    /// How often everything was reached.
    pub fn table(&self) -> String {
        let mut rows: Vec<(String, u64, u64)> = Vec::new();
        for kind in &Frame::of(self.mode).faults {
            let planned = self.planned.get(kind).copied().unwrap_or(0);
            rows.push((kind.reached().to_owned(), self.count(kind.reached()), planned));
        }
        let other = self.reached.iter().filter(|(what, _)| !what.starts_with("fault: "));
        rows.extend(other.map(|(what, count)| ((*what).to_owned(), *count, 0)));
        let missing = self.states().filter(|state| self.count(state) == 0);
        rows.extend(missing.map(|state| (state.to_owned(), 0, 0)));
        let looked = self.looked.iter();
        rows.extend(looked.map(|(oracle, count)| (format!("oracle: {oracle}"), *count, 0)));
        let mut table = format!("{:<42} {:>12} {:>8}\n", "", "times", "plans");
        for (what, count, plans) in rows {
            let plans = if plans == 0 { String::new() } else { plans.to_string() };
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{what:<42} {count:>12} {plans:>8}");
        }
        table
    }
}
