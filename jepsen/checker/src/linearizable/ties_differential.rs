//! Coarse clocks against a judge that walks over all orders: processes that touch themselves in one
//! instant, in chains, across objects, and with a call that crashed at the end.
//!
//! `SIXBELLS_SEED=7 cargo test -p sixbells-checker ties_differential` replays one seed.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::frontier::{Frontier, Outcome};
use super::grouping::{self, Grouping};
use super::machine::Registers;
use super::search::Search;
use super::touch::Touch;
use super::{Verdict, check, ties, verify};
use crate::budget::Budget;
use crate::call::Call;
use crate::datum::Datum;
use crate::model::{Keyed, KeyedInput, Model, Register, RegisterInput, Spec};

const HISTORIES: u64 = 60_000;

type Calls = Vec<Call<KeyedInput<RegisterInput>, Datum>>;

fn call(
    process: u64,
    key: i32,
    input: RegisterInput,
    saw: Option<i32>,
    span: (u64, Option<u64>),
) -> Calls {
    let input = KeyedInput { key: Datum::from(key), input };
    let (invoked, returned) = span;
    let output = Some(Datum::from(saw));
    vec![Call { process, input, output, invoked, returned, log_index: None }]
}

fn read(process: u64, key: i32, saw: Option<i32>, from: u64, to: u64) -> Calls {
    call(process, key, RegisterInput::Read, saw, (from, Some(to)))
}

fn write(process: u64, key: i32, value: i32, from: u64, to: Option<u64>) -> Calls {
    call(process, key, RegisterInput::Write(Datum::from(value)), None, (from, to))
}

fn budget() -> Budget {
    Budget::new(Duration::from_secs(30), 1 << 30)
}

/// Whether the call must come before the other, which stands at a later position if `earlier`.
fn precedes<I, O>(one: &Call<I, O>, other: &Call<I, O>, earlier: bool) -> bool {
    let own = earlier && one.process == other.process;
    one.returned.is_some_and(|end| end < other.invoked || own && end == other.invoked)
}

/// The independent judge, of one object: tries every order, and remembers where it was.
fn some_order(calls: &Calls, done: u32, state: Datum, seen: &mut BTreeSet<(u32, u64)>) -> bool {
    let open = |at: usize| done >> at & 1 == 0;
    if (0..calls.len()).all(|at| !open(at) || calls[at].returned.is_none()) {
        return true;
    }
    seen.insert((done, state.bits()))
        && (0..calls.len()).filter(|at| open(*at)).any(|at| {
            let first = |other: usize| precedes(&calls[other], &calls[at], other < at);
            let blocked = (0..calls.len()).any(|other| open(other) && first(other));
            let Call { input, .. } = &calls[at];
            let next = Register::with_cas().step(&state, &input.input, calls[at].answer());
            !blocked && next.is_some_and(|next| some_order(calls, done | 1 << at, next, seen))
        })
}

fn judged(calls: &Calls) -> bool {
    let keys: BTreeSet<Datum> = calls.iter().map(|call| call.input.key).collect();
    keys.iter().all(|key| {
        let of_key = calls.iter().filter(|call| call.input.key == *key).cloned();
        some_order(&of_key.collect(), 0, Datum::NIL, &mut BTreeSet::new())
    })
}

/// Random calls of processes that often begin one in the instant in which the last one returned. A
/// client whose call crashed goes on as another process.
fn history(rng: &mut SmallRng) -> Calls {
    let (clients, keys) = (rng.random_range(2..=6), rng.random_range(1..=2));
    let values = rng.random_range(2..5);
    let (length, crashes) = (rng.random_range(1..5), [0.0, 0.2, 0.5][rng.random_range(0..3)]);
    let mut calls = Vec::new();
    for client in 0..clients {
        let (mut now, mut process) = (rng.random_range(0..3), client);
        for number in 0..rng.random_range(1..=14 / clients) {
            let returned = now + rng.random_range(0..length);
            let crashed = rng.random_bool(crashes);
            let mut value = || rng.random_range(0..values);
            let (key, one, other) = (value() % keys, value(), value());
            let span = (now, (!crashed).then_some(returned));
            let saw = Some(one).filter(|one| *one > 0);
            let input = match rng.random_range(0..8) {
                0..3 => RegisterInput::Read,
                3..6 => RegisterInput::Write(Datum::from(other)),
                _ => RegisterInput::Cas(Datum::from(saw), Datum::from(other)),
            };
            let place = (now, number, rng.random_range(0..100));
            calls.extend(call(process, key, input, saw, span).into_iter().map(|c| (place, c)));
            process += if crashed { 100 } else { 0 };
            now = returned + [0, 0, 1][rng.random_range(0..3)];
        }
    }
    calls.sort_by_key(|(place, _)| *place);
    calls.into_iter().map(|(_, call)| call).collect()
}

/// What frontier and search say of one object, each alone.
fn alone(calls: &Calls, replay: &str) -> [(&'static str, Option<bool>); 2] {
    let model = Keyed::kv();
    let grouping = Grouping::new(calls, &model).unwrap();
    let members = grouping.objects().next().map_or(&[][..], |object| grouping.members(object));
    let ranks = ties::rank(&grouping::times(calls, members));
    let touch = |(at, (from, to)): (&u32, &(u64, u64))| {
        let Call { input, .. } = &calls[*at as usize];
        let effect = model.effect(input, calls[*at as usize].answer()).unwrap();
        let returned = calls[*at as usize].returned.map(|_| *to);
        Touch::new(effect, *from, returned).unwrap_or(Touch::NOTHING)
    };
    let touches: Vec<Touch> = members.iter().zip(&ranks.spans).map(touch).collect();
    let before = ranks.before;
    assert!(touches.is_sorted_by_key(|touch| touch.invoked), "not by invocation; {replay}");
    let loose = before.keys().any(|second| !touches[*second as usize].happened());
    let initial = Datum::NIL.bits();
    let says = |name, outcome: Outcome| match outcome {
        Outcome::Order(order) if verify::touches(&order, &touches, &before, initial) => Some(true),
        Outcome::Order(_) if loose && name == "frontier" => None,
        Outcome::Impossible { .. } => Some(false),
        other => panic!("{name}: {other:?}; {replay}"),
    };
    let (machine, timed) = Registers::new(&touches, initial);
    let mut frontier = Frontier::new(machine, &timed, &before);
    let mut wide = Outcome::Wider;
    while wide == Outcome::Wider {
        wide = frontier.attempt(u64::MAX, &mut budget()).unwrap();
    }
    let (mut machine, timed) = Registers::new(&touches, initial);
    let mut search = Search::new(&mut machine, &timed, before.clone());
    let deep = search.attempt(u64::MAX, &mut budget()).unwrap();
    [("frontier", says("frontier", wide)), ("search", says("search", deep))]
}

type Step = fn(&Datum, &RegisterInput, Option<&Datum>) -> Option<Datum>;

/// The same registers as a model of which nothing is known.
fn opaque() -> Keyed<Spec<Datum, RegisterInput, Datum, Step>> {
    let step: Step = |state, input, saw| Register::with_cas().step(state, input, saw);
    let reads = |input: &RegisterInput| matches!(input, RegisterInput::Read);
    Keyed::of("opaque", Spec::new(Datum::NIL, step).reading(reads))
}

/// The verdict on a history is as expected, and what explains a violation is one by itself.
fn assert_judged<M>(calls: &Calls, model: &M, expected: bool, replay: &str)
where
    M: Model<Input = KeyedInput<RegisterInput>, Output = Datum>,
{
    match check(calls, model, &mut budget()) {
        Verdict::Linearizable { .. } => assert!(expected, "has no order; {replay}"),
        Verdict::Violation { explanation, .. } => {
            assert!(!expected, "has an order; {replay}");
            let mut named = explanation.culprits.clone();
            named.sort_unstable();
            let core: Calls = named.iter().map(|at| calls[*at].clone()).collect();
            assert!(!judged(&core), "{explanation}: has an order; {replay}");
        }
        Verdict::Unknown { why } => {
            let spoke = calls.iter().any(|call| call.returned.is_some());
            assert!(!spoke, "{why}; {replay}");
        }
    }
}

#[test]
fn every_order_within_an_instant_is_tried_and_no_other() {
    let seeds = match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 0..=HISTORIES,
    };
    let mut found = [0, 0];
    for seed in seeds {
        let calls = history(&mut SmallRng::seed_from_u64(seed));
        let replay = format!(
            "replay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker ties_differential\n\
             {calls:#?}"
        );
        let expected = judged(&calls);
        found[usize::from(expected)] += 1;
        assert_judged(&calls, &Keyed::kv(), expected, &replay);
        if seed % 4 == 0 {
            assert_judged(&calls, &opaque(), expected, &replay);
        }
        if calls.iter().all(|call| call.input.key == calls[0].input.key) {
            for (name, says) in alone(&calls, &replay) {
                assert!(says.is_none_or(|says| says == expected), "{name}; {replay}");
            }
        }
    }
    println!("{} illegal, {} legal", found[0], found[1]);
    // A generator that only makes legal histories, or only silly ones, would test nothing.
    let one = std::env::var("SIXBELLS_SEED").is_ok();
    assert!(one || found.iter().all(|count| *count > HISTORIES / 10));
}

fn verdict(calls: &[Calls]) -> bool {
    let calls = calls.concat();
    let found = check(&calls, &Keyed::kv(), &mut budget());
    let valid = matches!(found, Verdict::Linearizable { .. });
    assert!(valid || matches!(found, Verdict::Violation { .. }), "{found:?}");
    assert_eq!(valid, judged(&calls), "{found:?}");
    valid
}

/// Process 2's write began in the instant in which process 1 saw its value, and so did another one of
/// process 1, which stands first in the history and cannot have been what it saw.
#[test]
fn a_crashed_call_of_the_same_instant_explains_a_read() {
    let saw = read(1, 1, Some(7), 0, 5);
    assert!(verdict(&[saw.clone(), write(1, 1, 8, 5, None), write(2, 1, 7, 5, None)]));
    assert!(!verdict(&[saw, write(1, 1, 7, 5, None), write(2, 1, 8, 5, None)]));
}

/// Between two calls on one object the process made one on another, all in one instant.
#[test]
fn a_process_that_goes_by_another_object_in_no_time_keeps_its_order() {
    let calls = [write(1, 1, 7, 0, Some(5)), write(1, 2, 1, 5, Some(5)), read(1, 1, None, 5, 9)];
    assert!(!verdict(&calls));
}

/// A call that nobody knows about ends nothing: what its process did before still comes first.
#[test]
fn a_process_that_goes_on_after_a_crash_keeps_its_order() {
    let calls = [write(1, 1, 7, 0, Some(5)), write(1, 1, 8, 5, None), read(1, 1, None, 5, 9)];
    assert!(!verdict(&calls));
}

/// Process 1's second write may not be put into the past with the first of process 2: its own read has
/// not been yet. That read needs two writes in a row, of which nobody sees the first.
#[test]
fn two_writes_in_a_row_of_one_instant_are_seen_in_their_order() {
    let (first, second) = (write(2, 1, 1, 3, Some(3)), write(2, 1, 4, 3, Some(3)));
    let calls = [read(1, 1, Some(4), 3, 3), first, write(1, 1, 3, 3, Some(3)), second].concat();
    let says = alone(&calls, "");
    assert!(judged(&calls) && says.iter().all(|(_, says)| *says == Some(true)), "{says:?}");
}

/// Equal calls of one instant cannot stand in for each other if one of them has to wait for a read.
#[test]
fn a_call_that_waits_does_not_stand_in_for_an_equal_one_that_crashed() {
    let saw = [read(1, 1, Some(1), 0, 5), write(1, 1, 1, 5, Some(9)), write(3, 1, 1, 0, None)];
    let other = [write(2, 1, 2, 0, Some(5)), write(2, 1, 3, 5, Some(9))];
    let calls = [saw.concat(), other.concat()].concat();
    let says = alone(&calls, "");
    assert!(judged(&calls) && says.iter().all(|(_, says)| *says == Some(true)), "{says:?}");
}

/// Not only processes of small numbers do one thing after the other.
#[test]
fn a_process_of_a_large_number_keeps_its_order() {
    let process = 1 << 40;
    assert!(!verdict(&[write(process, 1, 7, 0, Some(5)), read(process, 1, None, 5, 9)]));
}

/// Before process 2's first read returns, 7 was there and was replaced, so both reads of process 1 come
/// in between; the second has the place of process 3's read, and so is looked at before the first.
#[test]
fn two_reads_of_one_process_see_a_value_that_is_there_for_a_moment() {
    let other = [write(3, 1, 3, 0, Some(1)), read(3, 1, Some(3), 2, 4)];
    let first = [read(2, 1, Some(8), 2, 5), read(1, 1, Some(7), 2, 5)];
    let change = RegisterInput::Cas(Datum::from(7), Datum::from(8));
    let changes = [write(4, 1, 7, 3, Some(9)), call(5, 1, change, None, (3, Some(9)))];
    let second = [read(1, 1, Some(7), 5, 9), read(2, 1, Some(8), 5, 9)];
    let calls = [other.concat(), first.concat(), changes.concat(), second.concat()].concat();
    let says = alone(&calls, "");
    assert!(judged(&calls) && says.iter().all(|(_, says)| *says == Some(true)), "{says:?}");
}

/// Nobody else wrote 7, but one of the two searches lets a crashed call come before its process made
/// it; the other one is kept busy by writes in any order.
#[test]
fn a_read_of_what_its_own_process_wrote_later_is_not_believed() {
    let own = [read(1, 1, Some(7), 0, 5), write(1, 1, 7, 5, None)].concat();
    let busy = (2..11).flat_map(|at| write(at, 1, i32::try_from(at).unwrap() + 10, 0, Some(5)));
    let again = write(2, 1, 30, 5, Some(9));
    let calls: Calls = busy.chain(own).chain(again).collect();
    assert!(!verdict(&[calls]));
}
