//! The replay against an independent judge: a walk over all permutations that remembers nothing.
//!
//! `SIXBELLS_SEED=7 cargo test -p sixbells-jepsen --lib replay` replays one seed.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells::StateMachine;

use super::*;
use crate::checker::Verdict;
use crate::checker::linearizable;
use crate::checker::replay::spec::Spec;

const HISTORIES: u64 = 4000;

/// What a random history needs of a machine.
trait Sample: StateMachine {
    fn command(rng: &mut SmallRng) -> Self::Command;
    fn query(rng: &mut SmallRng) -> Self::Query;
}

impl Sample for Register {
    fn command(rng: &mut SmallRng) -> Change {
        let (one, other) = (rng.random_range(0..4), rng.random_range(0..4));
        match rng.random_range(0..4) {
            0..2 => Change::Set(one),
            2 => Change::Swap(one),
            _ => Change::Cas(Some(other).filter(|value| *value > 0), one),
        }
    }

    fn query(_rng: &mut SmallRng) -> Get {
        Get
    }
}

impl Sample for Bank {
    fn command(rng: &mut SmallRng) -> Order {
        let (to, from, amount) =
            (rng.random_range(0..2), rng.random_range(0..3), rng.random_range(1..4));
        match rng.random_bool(0.5) {
            true => Order::Deposit { to, amount },
            false => Order::Move { from, to, amount },
        }
    }

    fn query(rng: &mut SmallRng) -> Ask {
        if rng.random_bool(0.2) { Ask::Total } else { Ask::Balance(rng.random_range(0..2)) }
    }
}

/// A history and what the log says of it.
struct Run<S: StateMachine> {
    operations: Vec<Typed<S>>,
    order: Vec<u64>,
}

/// A run in which everything goes right. Clients crash, their writes happen, happen late, or never;
/// times coincide.
fn good_run<S: Sample>(rng: &mut SmallRng) -> Run<S> {
    let clients = rng.random_range(1..=4);
    let crashes = [0.0, 0.15, 0.4][rng.random_range(0..3)];
    let (longest, pause) = ([3, 8, 25][rng.random_range(0..3)], rng.random_range(1..4));
    let mut planned: Vec<(u64, Typed<S>)> = Vec::new();
    for client in 0..clients {
        let mut now: u64 = rng.random_range(0..6);
        for _ in 0..rng.random_range(1..=8 / clients) {
            let returned = now + rng.random_range(0..longest);
            let crashed = rng.random_bool(crashes);
            let latest = if crashed { returned + 20 } else { returned };
            let number = 100 - 7 * planned.len() as u64;
            let process = if crashed { number + 1000 } else { client };
            let act = match rng.random_bool(0.5) {
                true => Act::Write { command: S::command(rng), response: None },
                false => Act::Read { query: <S as Sample>::query(rng), answer: None },
            };
            let returned_if_known = (!crashed).then_some(returned);
            let operation = Typed {
                process,
                number,
                node: None,
                invoked: now,
                returned: returned_if_known,
                act,
            };
            planned.push((rng.random_range(now..=latest), operation));
            now = returned + rng.random_range(0..pause);
        }
    }
    let mut at_once: Vec<usize> = (0..planned.len()).collect();
    at_once.sort_by_key(|&at| planned[at].0);
    let mut machine: S = S::default();
    let mut order: Vec<u64> = Vec::new();
    for at in at_once {
        let operation = &mut planned[at].1;
        match &mut operation.act {
            Act::Write { command, response } => {
                if operation.returned.is_some() || rng.random_bool(0.6) {
                    let command: S::Command = command.clone();
                    *response = Some(machine.apply(command));
                    order.push(operation.number);
                }
            }
            Act::Read { query, answer } => *answer = Some(machine.query(query.clone())),
        }
    }
    let mut operations: Vec<_> = planned.into_iter().map(|(_, operation)| operation).collect();
    operations.sort_by_key(|operation| operation.invoked);
    Run { operations, order }
}

/// Changes something: what a client was told, when, or what the log says.
fn spoil<S: Sample>(rng: &mut SmallRng, run: &mut Run<S>) {
    let Run { operations, order } = run;
    let at = rng.random_range(0..operations.len());
    let (one, other) =
        (rng.random_range(0..=order.len() + 1), rng.random_range(0..=order.len() + 1));
    let known = one.max(other) < order.len();
    match rng.random_range(0..9) {
        0..4 => {
            // What another state would have said: the beginning, the middle, or none there was.
            let mut state = S::default();
            for number in order.iter().take(one) {
                let write = operations.iter().find(|o| o.number == *number).unwrap();
                // An order that is spoilt already may name a read.
                let Act::Write { command, .. } = &write.act else { continue };
                state.apply(command.clone());
            }
            match &mut operations[at].act {
                Act::Write { command, response } => *response = Some(state.apply(command.clone())),
                Act::Read { query, answer } => *answer = Some(state.query(query.clone())),
            }
        }
        4 => operations[at].invoked = operations[at].returned.unwrap_or(0),
        5 => {
            let operation = &mut operations[at];
            operation.returned = operation.returned.map(|_| operation.invoked);
        }
        6 if known => order.swap(one, other),
        7 if known => drop(order.remove(one)),
        8 if known => order[one] = order[other],
        _ => order.insert(one.min(order.len()), operations[at].number),
    }
}

/// The independent judge. With an order, writes come in that order only, and those it lacks never.
fn some_order<S: StateMachine>(
    operations: &[Typed<S>],
    order: Option<&[u64]>,
    done: u32,
    state: &S,
) -> bool {
    let open = |at: usize| done >> at & 1 == 0;
    let all = || 0..operations.len();
    if all().all(|at| !open(at) || operations[at].returned.is_none()) {
        return true;
    }
    all().filter(|&at| open(at)).any(|at| {
        let this = &operations[at];
        let blocked = all().filter(|&other| open(other)).any(|other| {
            let before = other < at && operations[other].process == this.process;
            let is_over = |end: u64| end < this.invoked || (before && end == this.invoked);
            operations[other].returned.is_some_and(is_over)
        });
        let mut next = state.clone();
        let fits = match &this.act {
            Act::Write { command, response } => {
                let next_in_order = order.is_none_or(|order| {
                    let open = |number: &&u64| {
                        operations.iter().zip(0..).any(|(o, at)| o.number == **number && open(at))
                    };
                    order.iter().find(open) == Some(&this.number)
                });
                let told = next.apply(command.clone());
                next_in_order && (this.returned.is_none() || response.as_ref() == Some(&told))
            }
            Act::Read { query, answer } => {
                this.returned.is_some() && answer.as_ref() == Some(&state.query(query.clone()))
            }
        };
        fits && !blocked && some_order(operations, order, done | 1 << at, &next)
    })
}

/// Whether the order names writes only, each once, and all that were acknowledged.
fn is_complete<S: StateMachine>(run: &Run<S>) -> bool {
    let numbers: BTreeSet<u64> = run.order.iter().copied().collect();
    let writes = || run.operations.iter().filter(|o| o.is_write());
    let known: BTreeSet<u64> = writes().map(|o| o.number).collect();
    let acknowledged = writes().filter(|o| o.returned.is_some());
    numbers.len() == run.order.len()
        && numbers.is_subset(&known)
        && acknowledged.into_iter().all(|o| numbers.contains(&o.number))
}

/// What is held to be a contradiction is one, and nothing can be taken from it.
fn assert_minimal<S: StateMachine>(operations: &[Typed<S>], replay: &str) {
    let mut budget = Budget::new(Duration::from_secs(60), 1 << 30);
    let spec = Spec::new(operations);
    let (calls, sources) = spec.calls();
    let verdict = linearizable::check(&calls, &spec, &mut budget);
    let linearizable::Verdict::Violation { explanation, .. } = verdict else {
        panic!("not impossible; {replay}");
    };
    let held: Vec<usize> = explanation.culprits.iter().map(|call| sources[*call]).collect();
    let part = |without: Option<usize>| -> Vec<Typed<S>> {
        let keep = |at: &usize| held.contains(at) && Some(*at) != without;
        let relax = |at: usize| match keep(&at) || !operations[at].is_write() {
            true => operations[at].clone(),
            false => unknown(operations[at].clone()),
        };
        (0..operations.len())
            .filter(|at| keep(at) || operations[*at].is_write())
            .map(relax)
            .collect()
    };
    assert!(!some_order(&part(None), None, 0, &S::default()), "no contradiction; {replay}");
    for &one in &held {
        let rest = part(Some(one));
        assert!(some_order(&rest, None, 0, &S::default()), "{one} is not needed; {replay}");
    }
}

#[derive(Debug, Default)]
struct Tally {
    invalid: u64,
    only_by_another_order: u64,
}

fn compare<S: Sample>(seed: u64, tally: &mut Tally) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut run = good_run::<S>(&mut rng);
    let spoilt = rng.random_range(0..3);
    for _ in 0..spoilt {
        spoil(&mut rng, &mut run);
    }
    let Run { operations, order } = &run;
    let replay = format!(
        "replay: SIXBELLS_SEED={seed} cargo test -p sixbells-jepsen --lib replay\n{operations:#?} {order:?}"
    );
    let judgement = judge(operations, order);
    let complete = is_complete(&run);
    let expected = complete && some_order(operations, Some(order), 0, &S::default());
    assert_eq!(judgement.witness.is_ok(), expected, "{:?}; {replay}", judgement.witness);
    assert!(expected || spoilt > 0, "a good run has a bad log; {replay}");
    let possible = some_order(operations, None, 0, &S::default());
    match judgement.verdict {
        Verdict::Valid { .. } => {
            assert!(possible, "valid, but has no order; {replay}");
            tally.only_by_another_order += u64::from(!expected);
        }
        Verdict::Invalid { .. } => {
            assert!(!possible, "invalid, but has an order; {replay}");
            assert_minimal(operations, &replay);
            tally.invalid += 1;
        }
        Verdict::Unknown { why } => {
            assert!(operations.iter().all(|o| o.returned.is_none()), "{why}; {replay}");
        }
    }
}

/// Witness and search agree with a walk over all permutations, with and without a fixed order of the
/// writes. Guards both directions: a wrong proof, and a proof that was there and not found.
#[test]
fn the_replay_agrees_with_a_walk_over_all_permutations() {
    let one = std::env::var("SIXBELLS_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = one.map_or(0..HISTORIES, |seed| seed..seed + 1);
    let (mut registers, mut banks) = (Tally::default(), Tally::default());
    for seed in seeds {
        compare::<Register>(seed, &mut registers);
        compare::<Bank>(seed, &mut banks);
    }
    println!("registers {registers:?}, banks {banks:?}, of {HISTORIES} each");
    // A generator that only makes valid histories, or only silly ones, would test nothing.
    for tally in [registers, banks] {
        let enough = HISTORIES / 20..HISTORIES / 2;
        assert!(one.is_some() || enough.contains(&tally.invalid), "{tally:?}");
        assert!(one.is_some() || enough.contains(&tally.only_by_another_order), "{tally:?}");
    }
}
