//! The workloads of `cargo jepsen sim`: suites on machines of our own.
//!
//! Owns [`Workload`], their names. In: a plan. Out: a run.
//!
//! Invariants: few keys and accounts, so that clients meet; values are written once, so that a read says
//! who wrote what it saw.
//!
//! Does not: judge. The machine itself is the specification.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use rand::{RngExt, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use sixbells::StateMachine;

use super::{
    bug::Bug,
    plan::Plan,
    record::{Op, Told},
    run::{Outcome, run},
    suite::{Generator, Suite},
};
use crate::{
    bank::{self, Bank},
    machine::{Answer, Command, Query, Response, Workbench},
};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Reads, writes and compare-and-sets of a few registers.
    Register,
    /// Additions to one set, and reads of all of it.
    Set,
    /// Payments between a few accounts; money is neither made nor lost.
    Bank,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 3] = [Workload::Register, Workload::Set, Workload::Bank];

    /// The one whose turn it is.
    pub fn of_seed(seed: u64) -> Self {
        let count = Self::ALL.len() as u64;
        let at = usize::try_from(seed % count).unwrap_or(0);
        Self::ALL[at]
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Register => "register",
            Workload::Set => "set",
            Workload::Bank => "bank",
        }
    }

    /// Carries a plan out.
    pub fn run(
        self,
        plan: &Plan,
        bug: Option<Bug>,
        log: Option<Box<dyn FnMut(String)>>,
    ) -> Outcome {
        match self {
            Workload::Register => run(plan, &suite::<_, Registers>(), bug, log),
            Workload::Set => run(plan, &suite::<_, Additions>(), bug, log),
            Workload::Bank => run(plan, &bank(), bug, log),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|workload| workload.name() == name);
        found.ok_or_else(|| format!("no workload {name:?}; there are register, set and bank"))
    }
}

fn suite<S: StateMachine, G: Generator<S> + Default + 'static>() -> Suite<S> {
    Suite {
        setup: Vec::new(),
        generator: Arc::new(|| Box::new(G::default())),
        invariants: Vec::new(),
    }
}

/// Remembers what the registers held when they were last seen: a compare-and-set must have a chance.
#[derive(Default)]
struct Registers(BTreeMap<i64, Option<i64>>);

impl Generator<Workbench> for Registers {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        let key = rng.random_range(0..3);
        let to = rng.random_range(0..i64::MAX);
        match rng.random_range(0..10) {
            0..5 => Op::Read(Query::Register(key)),
            5..8 => Op::Write(Command::Write { key, value: to }),
            _ => {
                let from = self.0.get(&key).copied().flatten();
                Op::Write(Command::Cas { key, from, to })
            }
        }
    }

    fn observe(&mut self, op: &Op<Workbench>, told: &Told<Workbench>) {
        let seen = match (op, told) {
            (Op::Read(Query::Register(key)), Told::Answer(Answer::Register(held))) => (*key, *held),
            (Op::Write(Command::Write { key, value }), _) => (*key, Some(*value)),
            (Op::Write(Command::Cas { key, .. }), Told::Response(Response::Found(held))) => {
                (*key, *held)
            }
            (Op::Write(Command::Cas { key, to, .. }), _) => (*key, Some(*to)),
            _ => return,
        };
        self.0.insert(seen.0, seen.1);
    }
}

#[derive(Default)]
struct Additions;

impl Generator<Workbench> for Additions {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        match rng.random_range(0..3) {
            0 => Op::Read(Query::Set),
            _ => Op::Write(Command::Add(rng.random_range(0..i64::MAX))),
        }
    }
}

const ACCOUNTS: u64 = 4;
const DEPOSIT: u64 = 100;

#[derive(Default)]
struct Payments;

impl Generator<Bank> for Payments {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Bank> {
        let account = rng.random_range(0..ACCOUNTS);
        match rng.random_range(0..10) {
            0..3 => Op::Read(bank::Query::Balance(account)),
            3 => Op::Read(bank::Query::Total),
            _ => Op::Write(bank::Command::Pay {
                from: account,
                to: rng.random_range(0..ACCOUNTS),
                amount: rng.random_range(1..DEPOSIT),
            }),
        }
    }
}

fn bank() -> Suite<Bank> {
    let opened = (0..ACCOUNTS).map(|account| bank::Command::Open { account, deposit: DEPOSIT });
    let total = |bank: &Bank| match bank.total() == bank.accounts() * DEPOSIT {
        true => Ok(()),
        false => Err(format!("{} accounts hold {} together", bank.accounts(), bank.total())),
    };
    Suite {
        setup: opened.collect(),
        invariants: vec![("money is neither made nor lost".to_owned(), Arc::new(total))],
        ..suite::<Bank, Payments>()
    }
}
