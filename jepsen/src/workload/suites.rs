//! The suites of the workloads: what clients do to the [`Workbench`].
//!
//! Owns a generator for each workload. In: a random source. Out: commands and queries.
//!
//! Invariants
//! - few keys and accounts, so that clients meet;
//! - values are written once, so that a read says who wrote what it saw.
//!
//! Does not: judge. The machine itself is the specification, beside what a suite says must hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::{RngExt, rngs::SmallRng};

use super::Workload;
use crate::{
    bank,
    checker::{
        eventual::{Lapse, Sight, guarantees},
        replay::{Typed, show},
    },
    machine::{Answer, Command, Query, Response, Workbench},
    suite::{Generator, Op, Suite, Told},
};

/// What clients do, and what is asked in the end.
pub(super) fn of(workload: Workload) -> Suite<Workbench> {
    match workload {
        Workload::Register => {
            Suite { last: (0..KEYS).map(Query::Register).collect(), ..suite::<Registers>() }
        }
        Workload::Set => Suite { last: vec![Query::Set], ..suite::<Additions>() },
        Workload::Bank => bank(),
        Workload::Claim => suite::<Claims>(),
        Workload::Counter => {
            Suite { last: (0..KEYS).map(Query::Count).collect(), ..suite::<Increments>() }
        }
        Workload::Append => {
            Suite { last: (0..KEYS).map(Query::List).collect(), ..suite::<Appends>() }
        }
        Workload::Lock => suite::<Locks>(),
    }
}

fn suite<G: Generator<Workbench> + Default + 'static>() -> Suite<Workbench> {
    Suite {
        setup: Vec::new(),
        generator: Arc::new(|| Box::new(G::default())),
        invariants: Vec::new(),
        last: Vec::new(),
        guarantees: Some(Arc::new(with_tokens)),
    }
}

/// The reads of the clients that carry a token see what these have a right to see.
fn with_tokens(
    operations: &[Typed<Workbench>],
    order: &[u64],
    tokens: &BTreeSet<u64>,
) -> (u64, Option<String>) {
    let sight = Sight::new(operations, order);
    let judged = guarantees(&sight, |operation| tokens.contains(&operation.process));
    let told = judged.lapses.first().map(|Lapse { read, write, own }| {
        let whose = if *own { "its own" } else { "one that it had been shown" };
        format!(
            "with a token, {} missed a write of which it had a right to know, {whose}: {}",
            show(&operations[*read]),
            show(&operations[*write])
        )
    });
    (judged.judged as u64, told)
}

const KEYS: i64 = 3;

/// A value that nobody else writes.
fn fresh(rng: &mut SmallRng) -> i64 {
    rng.random_range(0..i64::MAX)
}

/// Remembers what the registers held when they were last seen: a compare-and-set must have a chance.
#[derive(Default)]
struct Registers(BTreeMap<i64, Option<i64>>);

impl Generator<Workbench> for Registers {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        let key = rng.random_range(0..KEYS);
        let to = fresh(rng);
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
            _ => Op::Write(Command::Add(fresh(rng))),
        }
    }
}

/// Asks for one name after the other, as everybody does.
#[derive(Default)]
struct Claims {
    name: i64,
}

impl Generator<Workbench> for Claims {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        match rng.random_range(0..3) {
            0 => Op::Read(Query::Register(rng.random_range(0..=self.name))),
            _ => Op::Write(Command::Cas { key: self.name, from: None, to: fresh(rng) }),
        }
    }

    fn observe(&mut self, op: &Op<Workbench>, _told: &Told<Workbench>) {
        if let Op::Write(_) = op {
            self.name += 1;
        }
    }
}

#[derive(Default)]
struct Increments;

impl Generator<Workbench> for Increments {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        let (key, by) = (rng.random_range(0..KEYS), rng.random_range(1..10));
        Op::Write(Command::Increment { key, by })
    }
}

#[derive(Default)]
struct Appends;

impl Generator<Workbench> for Appends {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        let key = rng.random_range(0..KEYS);
        match rng.random_range(0..2) {
            0 => Op::Read(Query::List(key)),
            _ => Op::Write(Command::Append { key, value: fresh(rng) }),
        }
    }
}

/// Takes the lock, and gives it back: also after a request of which nobody knows whether it got it.
#[derive(Default)]
struct Locks {
    owner: Option<i64>,
}

const LOCK: i64 = 0;

impl Generator<Workbench> for Locks {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        if rng.random_range(0..4) == 0 {
            return Op::Read(Query::Holder(LOCK));
        }
        match self.owner {
            Some(owner) => Op::Write(Command::Release { key: LOCK, owner }),
            None => {
                let owner = *self.owner.insert(fresh(rng));
                Op::Write(Command::Acquire { key: LOCK, owner })
            }
        }
    }

    fn observe(&mut self, op: &Op<Workbench>, told: &Told<Workbench>) {
        match (op, told) {
            (Op::Write(Command::Acquire { .. }), Told::Response(Response::Done))
            | (Op::Read(_), _) => {}
            _ => self.owner = None,
        }
    }
}

const ACCOUNTS: u64 = 4;
const DEPOSIT: u64 = 100;

#[derive(Default)]
struct Payments;

impl Generator<Workbench> for Payments {
    fn next(&mut self, rng: &mut SmallRng) -> Op<Workbench> {
        let account = rng.random_range(0..ACCOUNTS);
        match rng.random_range(0..10) {
            0..3 => Op::Read(Query::Bank(bank::Query::Balance(account))),
            3 => Op::Read(Query::Bank(bank::Query::Total)),
            _ => Op::Write(Command::Bank(bank::Command::Pay {
                from: account,
                to: rng.random_range(0..ACCOUNTS),
                amount: rng.random_range(1..DEPOSIT),
            })),
        }
    }
}

fn bank() -> Suite<Workbench> {
    let open = |account| Command::Bank(bank::Command::Open { account, deposit: DEPOSIT });
    let total = |bench: &Workbench| match bench.bank() {
        bank if bank.total() == bank.accounts() * DEPOSIT => Ok(()),
        bank => Err(format!("{} accounts hold {} together", bank.accounts(), bank.total())),
    };
    Suite {
        setup: (0..ACCOUNTS).map(open).collect(),
        invariants: vec![("money is neither made nor lost".to_owned(), Arc::new(total))],
        last: (0..ACCOUNTS).map(|at| Query::Bank(bank::Query::Balance(at))).collect(),
        ..suite::<Payments>()
    }
}
