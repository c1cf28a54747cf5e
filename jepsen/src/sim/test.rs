//! The kit: a simulation of your own machine, in a `#[test]`.
//!
//! Owns [`Test`]. In: your [`StateMachine`], what clients do, what must hold. Out: nothing, or a panic
//! whose message holds the seed, what was wrong, and how to see it again; and beside it, in
//! `target/sixbells/`, the smallest plan that fails, with its history and its trace.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use sixbells::StateMachine;
//! use sixbells_jepsen::{
//!     rand::RngExt,
//!     sim::{Op, Test},
//! };
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Command = u64;
//!     type Response = u64;
//!     type Query = ();
//!     type Answer = u64;
//!     fn apply(&mut self, n: u64) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//!     fn query(&self, (): ()) -> u64 {
//!         self.0
//!     }
//! }
//!
//! Test::<Counter>::new(|rng| match rng.random_bool(0.5) {
//!     true => Op::Write(rng.random_range(1..100)),
//!     false => Op::Read(()),
//! })
//! .simulate(0..10);
//! ```
//!
//! What is checked without your asking: that the history is linearizable, with your machine itself as
//! the specification; that no acknowledged command is lost and none is applied twice; that replicas
//! are equal; Raft's own safety properties; that the cluster serves again once all is healed.
//!
//! # A good generator
//! - Let clients meet: few keys, few accounts. Operations that never touch the same thing are all
//!   linearizable.
//! - Write distinct values. A read that returns 1 says little if everybody writes 1.
//! - Read about as often as you write: what nobody reads cannot be seen to be wrong.
//! - Refusals are answers. Let some happen (an empty account), or their path is not tested.
//! - Take all randomness from the generator's argument, or the seed does not replay.
//!
//! # A good invariant
//! - It holds after every single command: "money is neither made nor lost", not "all is paid".
//! - It looks at the machine alone; what clients saw is the checker's part.
//! - It fails for a machine with the bug that it is meant for: try it.
//!
//! # What your machine must keep
//! - Equal states have equal bytes: the replicas are compared as they are encoded. A `HashMap` in the
//!   state breaks that; a `BTreeMap` does not.
//!
//! # Environment
//! - `SIXBELLS_SEED=17` runs that seed alone, `SIXBELLS_SEEDS=5000` as many, from the first;
//! - `SIXBELLS_PLAN=file` runs the plan in a file;
//! - `SIXBELLS_TRACE=file` writes down all that happens, with one seed or a plan.
//!
//! Does not: test your network, your disk or your operating system. `cargo jepsen run` does.

use std::{
    collections::BTreeSet,
    env, fmt, fs,
    io::{self, BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rand::rngs::SmallRng;
use sixbells::StateMachine;

use super::{
    fault::Kind,
    plan::{Frame, Plan},
    run::{Outcome, run},
    seeds,
    shrink::shrink,
};
use crate::{
    history::{Format, file},
    suite::{Op, Suite},
};

/// How many smaller plans are tried once one fails.
const TRIES: u32 = 150;

/// A simulation of a machine. See the [module](self).
pub struct Test<S: StateMachine> {
    suite: Suite<S>,
    frame: Frame,
}

impl<S: StateMachine> fmt::Debug for Test<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Test").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl<S: StateMachine> Test<S> {
    /// A test whose clients do what the generator says, one operation after the other.
    pub fn new(generator: impl Fn(&mut SmallRng) -> Op<S> + Clone + Send + Sync + 'static) -> Self {
        let suite = Suite {
            setup: Vec::new(),
            generator: Arc::new(move || Box::new(generator.clone())),
            invariants: Vec::new(),
            last: Vec::new(),
            guarantees: None,
        };
        Self { suite, frame: Frame::default() }
    }

    /// Commands that are carried out before anything breaks, in this order. One whose outcome is unknown
    /// is sent again, so it may be carried out twice.
    pub fn setup(mut self, commands: impl IntoIterator<Item = S::Command>) -> Self {
        self.suite.setup.extend(commands);
        self
    }

    /// Something that holds of the machine after every command.
    pub fn invariant(
        mut self,
        name: &str,
        holds: impl Fn(&S) -> bool + Send + Sync + 'static,
    ) -> Self {
        let check = move |machine: &S| match holds(machine) {
            true => Ok(()),
            false => Err("it is false".to_owned()),
        };
        self.suite.invariants.push((name.to_owned(), Arc::new(check)));
        self
    }

    /// How many nodes: each seed chooses one of these. Default 1 to 7, three most often.
    pub fn nodes(mut self, choice: impl IntoIterator<Item = u64>) -> Self {
        self.frame.nodes = choice.into_iter().collect();
        self
    }

    /// How many clients at most. Default 6.
    pub fn clients(mut self, most: u64) -> Self {
        self.frame.clients = most;
        self
    }

    /// What breaks, in each seed and often; one that never fires fails the test. Default: each seed
    /// chooses some of everything.
    pub fn nemesis(mut self, faults: impl IntoIterator<Item = Kind>) -> Self {
        self.frame.faults = faults.into_iter().collect();
        self.frame.insist = true;
        self
    }

    /// How long things break, in simulated time. Default 15 s.
    pub fn lasting(mut self, simulated: Duration) -> Self {
        self.frame.active = simulated;
        self
    }

    /// Runs these seeds, on all cores, unless the environment says otherwise.
    ///
    /// # Panics
    /// If one fails: with the seed, what was wrong, and how to see it again. If there is none, or a fault
    /// that was asked for never fired: that would be no evidence.
    pub fn simulate(self, seeds: Range<u64>) {
        if let Some(plan) = env::var_os("SIXBELLS_PLAN") {
            let plan = fs::read(&plan).map_err(|error| error.to_string()).and_then(|bytes| {
                let plan: Plan = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
                plan.check().map(|()| plan)
            });
            match plan {
                Ok(plan) => self.replay(&plan),
                Err(error) => panic!("SIXBELLS_PLAN: {error}"),
            }
        } else if let Some(seed) = number("SIXBELLS_SEED") {
            self.replay(&Plan::draw(seed, &self.frame));
        } else {
            let count = number("SIXBELLS_SEEDS").unwrap_or(seeds.end.saturating_sub(seeds.start));
            self.sweep(seeds.start..seeds.start.saturating_add(count));
        }
    }

    /// One plan, with its trace if one is asked for.
    fn replay(&self, plan: &Plan) {
        let trace = env::var_os("SIXBELLS_TRACE").map(|path| {
            let file = fs::File::create(&path).unwrap_or_else(|e| panic!("SIXBELLS_TRACE: {e}"));
            lines_to(file)
        });
        let outcome = run(plan, &self.suite, None, trace);
        if let Some(violation) = &outcome.violation {
            panic!("{violation}\nseed {}, as it is", plan.seed);
        }
        eprintln!("seed {} passed; trace hash {:016x}", plan.seed, outcome.traces.hash);
    }

    fn sweep(&self, seeds: Range<u64>) {
        assert!(!seeds.is_empty(), "no seeds: nothing was tested");
        let fired = Mutex::new(BTreeSet::new());
        let oracle = |plan: &Plan| {
            let outcome = run(plan, &self.suite, None, None);
            let mut fired = fired.lock().unwrap_or_else(PoisonError::into_inner);
            fired.extend(outcome.traces.reached.into_keys());
            Some(outcome.violation?.oracle)
        };
        let results = seeds::each(
            seeds,
            seeds::cores(),
            |seed| oracle(&Plan::draw(seed, &self.frame)),
            |_, broken| broken.is_some(),
        );
        if let Some((seed, broken)) = results.iter().find(|(_, broken)| broken.is_some()) {
            let first = Plan::draw(*seed, &self.frame);
            panic!("{}", self.report(&shrink(&first, TRIES, |plan| oracle(plan) == *broken)));
        }
        let fired = fired.into_inner().unwrap_or_else(PoisonError::into_inner);
        let asked_for = self.frame.faults.iter().filter(|_| self.frame.insist);
        let silent: Vec<_> = asked_for.filter(|kind| !fired.contains(kind.reached())).collect();
        assert!(silent.is_empty(), "no evidence: never fired in all seeds: {silent:?}");
    }

    /// Runs a plan that fails once more, and writes down all there is to see.
    fn report(&self, plan: &Plan) -> String {
        let (seed, folder) = (plan.seed, folder());
        let current = thread::current();
        let name = current.name().unwrap_or_default();
        let plain = name.replace(|c: char| !c.is_alphanumeric(), "-");
        let file = |what: &str| folder.join(format!("{plain}-{seed}-{what}"));
        let made = fs::create_dir_all(&folder).and_then(|()| fs::File::create(file("trace.txt")));
        let outcome = run(plan, &self.suite, None, made.ok().map(lines_to));
        let violation = match &outcome.violation {
            Some(violation) => violation.to_string(),
            None => {
                "the smaller plan does not fail any more: not all is decided by the seed".into()
            }
        };
        let path = file("plan.json");
        let small = format!(
            "{} nodes, {} clients, {} steps of the nemesis",
            plan.nodes,
            plan.clients,
            plan.steps.len()
        );
        let words = format!(
            "{violation}\nseed {seed}; to see it again: SIXBELLS_SEED={seed} cargo test {name}\n\
             made smaller ({small}): SIXBELLS_PLAN={} cargo test {name}",
            path.display()
        );
        match write(&path, &file("history.edn"), plan, &outcome) {
            Ok(()) => words,
            Err(error) => format!("{words}\nbut it could not be written down: {error}"),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// `target/sixbells`, wherever cargo has its `target`.
fn folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(env::temp_dir, PathBuf::from).join("sixbells")
}

/// A trace that cannot be written is not what the test is about.
fn lines_to(file: fs::File) -> Box<dyn FnMut(String)> {
    let mut file = BufWriter::new(file);
    Box::new(move |line| drop(writeln!(file, "{line}")))
}

fn write(to: &Path, history: &Path, plan: &Plan, outcome: &Outcome) -> io::Result<()> {
    fs::write(to, serde_json::to_vec_pretty(plan)?)?;
    let mut history = BufWriter::new(fs::File::create(history)?);
    file::write(&mut history, &outcome.history, Format::Edn)
}
