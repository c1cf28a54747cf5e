//! The search for linearizations against an independent judge.
//!
//! A checker is the one part of a test kit that nobody checks. So it is compared with a plain walk
//! over all permutations, on thousands of small random histories.
//!
//! `SIXBELLS_SEED=7 cargo test -p sixbells-checker --test it differential` replays one seed.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells_checker::budget::Budget;
use sixbells_checker::history::{Clock, Operation, Outcome, Value};
use sixbells_checker::linearizable::{self, search, shrink};
use sixbells_checker::model::{Model, Register, RegisterOp, Set};
use sixbells_checker::{Verdict, set_order};

use crate::{Attempt, budget, operation, verdict};

const HISTORIES: u64 = 12_000;

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

fn for_the_judge(operations: &[Operation]) -> Vec<Judged> {
    let judged = operations
        .iter()
        .filter(|o| o.outcome != Outcome::Fail && !(o.f == "read" && o.outcome == Outcome::Info));
    let op = |operation| Register::with_cas().op(operation).unwrap();
    judged.map(|o| (op(o), o.invoked, o.returned, o.process)).collect()
}

/// The search and the judge of permutations agree, and what the explanation is made from is a
/// contradiction by itself. Guards every shortcut of the search: memory, eager reads, equal crashed
/// operations, dropped crashed writes, early success.
#[test]
fn the_search_agrees_with_a_walk_over_all_permutations() {
    let seeds = match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..HISTORIES,
    };
    let model = Register::with_cas();
    let (mut invalid, mut argued) = (0, 0);
    for seed in seeds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut operations = random_history(&mut rng, 11);
        if rng.random_bool(0.7) {
            plant_a_stale_read(&mut rng, &mut operations);
        }
        let replay = format!(
            "replay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker --test it differential\n{:#?}",
            for_the_judge(&operations)
        );
        let expected = some_order(&for_the_judge(&operations), 0, None);
        match verdict(&model, &operations) {
            Verdict::Valid { .. } => assert!(expected, "valid, but has no order; {replay}"),
            Verdict::Invalid { explanation } => {
                assert!(!expected, "invalid, but has an order; {replay}");
                invalid += 1;
                argued += usize::from(!explanation.sentence.starts_with("no order"));
            }
            Verdict::Unknown { why } => {
                let judged = for_the_judge(&operations);
                assert!(
                    judged.iter().all(|(_, _, returned, _)| returned.is_none()),
                    "{why}; {replay}"
                );
            }
        }
        if !expected {
            assert_contradiction(&operations, &replay);
        }
    }
    println!("{invalid} invalid histories, {argued} explained by an argument");
    // A generator that only makes valid histories, or only silly ones, would test nothing.
    assert!(std::env::var("SIXBELLS_SEED").is_ok() || (1000..5000).contains(&invalid));
}

/// A random history of a growing set that works, or does not quite: one read may lose or gain an
/// element.
fn random_set_history(rng: &mut SmallRng) -> Vec<Operation> {
    let mut attempts = Vec::new();
    for process in 0..4_u64 {
        let mut now = rng.random_range(0..6);
        for _ in 0..rng.random_range(1..=4) {
            let returned = now + rng.random_range(0..8);
            attempts.push((rng.random_range(now..=returned), process, now, returned));
            now = returned + rng.random_range(0..3);
        }
    }
    attempts.sort_unstable();
    let mut state = BTreeSet::new();
    let mut operations = Vec::new();
    for (element, (_, process, invoked, returned)) in (1_i64..).zip(attempts) {
        let crashed = rng.random_bool(0.15);
        let returned = (!crashed).then_some(returned);
        if rng.random_bool(0.5) {
            if !crashed || rng.random_bool(0.5) {
                state.insert(Value::Int(element));
            }
            operations.push(operation(process, "add", element.into(), invoked, returned));
        } else {
            let mut seen = state.clone();
            if rng.random_bool(0.15) {
                seen.pop_first();
            } else if rng.random_bool(0.05) {
                seen.insert(Value::Int(rng.random_range(1..9)));
            }
            operations.push(operation(process, "read", Value::Set(seen), invoked, returned));
        }
    }
    for (index, operation) in operations.iter_mut().enumerate() {
        operation.index = index;
    }
    operations
}

/// The one pass over a set's levels agrees with the search, which knows nothing of levels.
#[test]
fn the_order_of_a_set_agrees_with_the_search() {
    let (mut valid, mut invalid) = (0, 0);
    for seed in 0..6000 {
        let operations = random_set_history(&mut SmallRng::seed_from_u64(seed));
        let quick = set_order::check(&operations, Clock::Nanoseconds);
        if let Verdict::Unknown { .. } = quick {
            continue;
        }
        let searched = verdict(&Set, &operations);
        assert_eq!(quick.word(), searched.word(), "seed {seed}: {quick:?} {operations:#?}");
        if quick.word() == "valid" { valid += 1 } else { invalid += 1 }
    }
    assert!(valid > 1000 && invalid > 1000, "{valid} valid, {invalid} invalid");
}

/// Histories longer than a machine word, which no walk over permutations could judge: they come from
/// a register that works, so they are valid, whatever crashed on the way.
#[test]
fn long_histories_of_a_register_that_works_are_valid() {
    for seed in 0..300 {
        let operations = random_history(&mut SmallRng::seed_from_u64(seed), 400);
        let mut budget = Budget::new(Duration::from_secs(2), 1 << 28);
        let model = Register::with_cas();
        let found =
            linearizable::check(&model, &operations, Clock::Nanoseconds, &mut budget).unwrap();
        assert!(!matches!(found, Verdict::Invalid { .. }), "seed {seed}: {found:?}");
    }
}

/// What the history is shrunk to has no order either, says the judge.
fn assert_contradiction(operations: &[Operation], replay: &str) {
    let model = Register::with_cas();
    let judged = for_the_judge(operations);
    let entries: Vec<_> = judged
        .iter()
        .enumerate()
        .map(|(source, (op, invoked, returned, process))| linearizable::Entry {
            op: op.clone(),
            invoked: *invoked,
            returned: *returned,
            source,
            process: *process,
        })
        .collect();
    let found = search::search(&model, &entries, &mut budget());
    let search::Outcome::Impossible { stuck } = found else { panic!("{found:?}; {replay}") };
    let core = shrink::shrink(&model, &entries, stuck, &mut budget());
    let core: Vec<_> = core.into_iter().map(|e| (e.op, e.invoked, e.returned, e.process)).collect();
    assert!(!some_order(&core, 0, None), "the core has an order; {replay}");
}
