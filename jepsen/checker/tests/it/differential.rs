//! The search for linearizations against an independent judge.
//!
//! A checker is the one part of a test kit that nobody checks. So it is compared with a plain walk
//! over all permutations, on thousands of small random histories.
//!
//! `SIXBELLS_SEED=7 cargo test -p sixbells-checker --test it differential` replays one seed.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells_checker::budget::Budget;
use sixbells_checker::history::{Clock, Operation, Outcome, Value};
use sixbells_checker::linearizable::{Verdict, check_operations};
use sixbells_checker::model::Register;

use crate::{Attempt, RegisterOp, budget, operation};

const HISTORIES: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };

/// What was done, when it was called, when it returned, and by whom.
type Judged = (RegisterOp, u64, Option<u64>, u64);

/// The independent judge: tries every permutation that real time allows, remembers nothing.
/// One process does its operations in the order in which they stand, also at equal times.
fn some_order(ops: &[Judged], done: u32, state: Option<i64>) -> bool {
    let open = |i: usize| done >> i & 1 == 0;
    if (0..ops.len()).all(|i| !open(i) || ops[i].2.is_none()) {
        return true;
    }
    (0..ops.len()).filter(|i| open(*i)).any(|i| {
        let blocked = (0..ops.len()).any(|j| {
            let earlier = j < i && ops[j].3 == ops[i].3;
            open(j) && ops[j].2.is_some_and(|at| at < ops[i].1 || earlier)
        });
        let after = match ops[i].0 {
            RegisterOp::Read(value) => (state == value).then_some(state),
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Cas(from, to) => (state == from).then_some(to),
        };
        !blocked && after.is_some_and(|after| some_order(ops, done | 1 << i, after))
    })
}

/// A random history of a register that works. Clients crash, compare-and-sets fail, values repeat, times coincide.
fn random_history(rng: &mut SmallRng, length: u64) -> Vec<Operation> {
    let clients = rng.random_range(2..=5);
    let values = if rng.random_bool(0.7) { 3 } else { 1000 };
    let crashes = [0.05, 0.2, 0.5][rng.random_range(0..3)];
    let mut attempts = Vec::new();
    for process in 0..clients {
        let mut now = rng.random_range(0..6);
        for _ in 0..rng.random_range(1..=length / clients) {
            let returned = now + rng.random_range(0..8);
            let point = rng.random_range(now..=returned);
            let mut value = || Some(rng.random_range(0..values));
            let (one, other) = (value(), value());
            let op = match rng.random_range(0..10) {
                0..5 => RegisterOp::Read(None),
                5..8 => RegisterOp::Write(one),
                _ => RegisterOp::Cas(one.filter(|one| *one > 0), other),
            };
            attempts.push(Attempt { process, invoked: now, point, returned, op });
            now = returned + rng.random_range(0..3);
        }
    }
    attempts.sort_by_key(|attempt| attempt.point);
    let mut state = None;
    let mut operations: Vec<Operation> = Vec::new();
    let mut fresh = 100;
    for Attempt { process, invoked, returned, op, .. } in attempts {
        let crashed = rng.random_bool(crashes);
        let happens = !crashed || rng.random_bool(0.5);
        let returned = (!crashed).then_some(returned);
        let mut refused = false;
        let (f, value) = match op {
            RegisterOp::Read(_) => ("read", Value::from(state)),
            RegisterOp::Write(value) => ("write", Value::from(value)),
            RegisterOp::Cas(from, to) => {
                // Aim at the current value often enough that some succeed.
                let from = if rng.random_bool(0.6) { state } else { from };
                refused = state != from;
                ("cas", Value::pair(from, to))
            }
        };
        match op {
            RegisterOp::Write(value) | RegisterOp::Cas(_, value) if happens && !refused => {
                state = value;
            }
            _ => {}
        }
        let mut operation = operation(process, f, value, invoked, returned);
        if refused && !crashed {
            operation.outcome = Outcome::Fail;
        }
        if crashed {
            operation.process = fresh;
            fresh += 1;
        }
        operations.push(operation);
    }
    operations
}

/// Changes what one read saw to something else that was written, or to nothing.
fn plant_a_stale_read(rng: &mut SmallRng, operations: &mut [Operation]) {
    let written: Vec<Value> = operations.iter().map(|o| o.value.clone()).collect();
    let reads = operations.iter_mut().filter(|o| o.f == "read" && o.returned.is_some());
    let mut reads: Vec<_> = reads.collect();
    if reads.is_empty() {
        return;
    }
    let (at, stale) = (rng.random_range(0..reads.len()), rng.random_range(0..written.len()));
    if let Some(read) = reads.get_mut(at) {
        let stale = written[stale].clone();
        read.value = if stale.as_pair().is_some() { Value::Nil } else { stale };
    }
}

/// What takes part in the verdict, and where it stands in the history.
fn for_the_judge(operations: &[Operation]) -> Vec<(usize, Judged)> {
    let mut judged = Vec::new();
    for (at, o) in operations.iter().enumerate() {
        let register = |value: &Value| match value {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        let op = match (&*o.f, o.outcome) {
            (_, Outcome::Fail) | ("read", Outcome::Info) => continue,
            ("read", _) => RegisterOp::Read(register(&o.value)),
            ("write", _) => RegisterOp::Write(register(&o.value)),
            _ => {
                let (from, to) = o.value.as_pair().unwrap();
                RegisterOp::Cas(register(from), register(to))
            }
        };
        judged.push((at, (op, o.invoked, o.returned, o.process)));
    }
    judged
}

/// The checker and the judge of permutations agree, and what the explanation names is a contradiction
/// by itself. What `linearizable`'s own differential test lacks: failed operations, crashed reads,
/// processes that touch themselves in one instant, and the way from operations to calls and back.
#[test]
fn the_checker_agrees_with_a_walk_over_all_permutations() {
    let seeds = match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..HISTORIES,
    };
    let (mut invalid, mut argued) = (0, 0);
    for seed in seeds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut operations = random_history(&mut rng, 11);
        if rng.random_bool(0.7) {
            plant_a_stale_read(&mut rng, &mut operations);
        }
        operations.sort_by_key(|operation| operation.invoked);
        // Some write a history down process by process.
        if seed % 8 == 0 {
            operations.sort_by_key(|operation| operation.process);
        }
        operations.iter_mut().enumerate().for_each(|(at, operation)| operation.index = at);
        let judged = for_the_judge(&operations);
        let replay = format!(
            "replay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker --test it differential\n\
             {judged:#?}"
        );
        let all: Vec<Judged> = judged.iter().map(|(_, judged)| *judged).collect();
        let expected = some_order(&all, 0, None);
        let (mut model, mut budget) = (Register::with_cas(), budget());
        let clock = Clock::Nanoseconds;
        match check_operations(&mut model, &operations, clock, &[], &mut budget).unwrap() {
            Verdict::Linearizable { .. } => assert!(expected, "has no order; {replay}"),
            Verdict::Violation { explanation, .. } => {
                assert!(!expected, "has an order; {replay}");
                invalid += 1;
                argued += usize::from(!explanation.sentence.starts_with("no order"));
                let named = judged.iter().filter(|(at, _)| explanation.culprits.contains(at));
                let core: Vec<Judged> = named.map(|(_, judged)| *judged).collect();
                assert!(!some_order(&core, 0, None), "{explanation}: has an order; {replay}");
            }
            Verdict::Unknown { why } => {
                assert!(
                    all.iter().all(|(_, _, returned, _)| returned.is_none()),
                    "{why}; {replay}"
                );
            }
        }
    }
    println!("{invalid} invalid histories, {argued} explained by an argument");
    // A generator that only makes valid histories, or only silly ones, would test nothing.
    assert!(
        std::env::var("SIXBELLS_SEED").is_ok()
            || (HISTORIES / 10..HISTORIES / 2).contains(&invalid)
    );
}

/// Histories longer than a machine word, which no walk over permutations could judge: they come from
/// a register that works, so they are valid, whatever crashed on the way.
#[test]
fn long_histories_of_a_register_that_works_are_valid() {
    for seed in 0..300 {
        let mut operations = random_history(&mut SmallRng::seed_from_u64(seed), 400);
        operations.sort_by_key(|operation| operation.invoked);
        let mut budget = Budget::new(Duration::from_secs(2), 1 << 28);
        let mut model = Register::with_cas();
        let clock = Clock::Nanoseconds;
        let found = check_operations(&mut model, &operations, clock, &[], &mut budget).unwrap();
        assert!(matches!(found, Verdict::Linearizable { .. }), "seed {seed}: {found:?}");
    }
}
