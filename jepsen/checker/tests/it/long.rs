//! Long histories on which some part of the checker once took quadratic time, which no budget ended.
//!
//! No clock is looked at: a test that does not end has failed.

use std::time::Duration;

use sixbells_checker::budget::Budget;
use sixbells_checker::call::Call;
use sixbells_checker::datum::Datum;
use sixbells_checker::linearizable::{Verdict, check};
use sixbells_checker::model::{Keyed, KeyedInput, Register, RegisterInput, Spec};

const LENGTH: i32 = 100_000;

type Calls = Vec<Call<RegisterInput, Datum>>;

/// The `at`th call of a sequence; one that returned, if `returns`.
fn call(process: u64, input: RegisterInput, saw: i32, at: i32, returns: bool) -> Calls {
    let invoked = 10 * u64::from(at.unsigned_abs());
    let returned = returns.then_some(invoked + 5);
    vec![Call { process, input, output: Some(saw.into()), invoked, returned, log_index: None }]
}

fn cas(process: u64, from: i32, to: i32, at: i32, returns: bool) -> Calls {
    call(process, RegisterInput::Cas(from.into(), to.into()), 0, at, returns)
}

fn write(value: i32, at: i32) -> Calls {
    call(0, RegisterInput::Write(value.into()), 0, at, true)
}

fn read(value: i32, at: i32) -> Calls {
    call(0, RegisterInput::Read, value, at, true)
}

fn judge(calls: &Calls) -> Verdict {
    let mut budget = Budget::new(Duration::from_millis(500), 64 << 20);
    check(calls, &Register::with_cas(), &mut budget)
}

#[test]
fn a_long_cycle_of_compare_and_sets_is_a_violation() {
    let cycle = (0..LENGTH).flat_map(|at| cas(0, at, (at + 1) % LENGTH, at, true)).collect();
    assert!(matches!(judge(&cycle), Verdict::Violation { .. }));
}

#[test]
fn a_short_cycle_behind_a_long_chain_is_named() {
    let chain = (1..LENGTH).flat_map(|at| cas(0, at - 1, at, at, true));
    let cycle = [cas(0, -1, -2, LENGTH, true), cas(0, -2, -1, LENGTH + 1, true)];
    let calls = write(0, 0).into_iter().chain(chain).chain(cycle.concat()).collect();
    let Verdict::Violation { explanation, .. } = judge(&calls) else { panic!("unseen") };
    assert_eq!(explanation.culprits.len(), 2, "{explanation}");
}

/// Each is of use only because of the one behind it. That can be too hard, but not for ever.
#[test]
fn a_long_chain_of_compare_and_sets_that_crashed_ends_with_the_budget() {
    let chain = (2..LENGTH).flat_map(|at| cas(at.unsigned_abs().into(), at - 1, at, at, false));
    let calls = [write(1, 0), write(1, 1)].concat().into_iter().chain(chain);
    let calls = calls.chain(read(LENGTH - 1, LENGTH)).collect();
    assert!(!matches!(judge(&calls), Verdict::Violation { .. }));
}

/// Few values, and a read at the end that saw none of them.
#[test]
fn a_wrong_read_behind_many_writes_of_few_values_is_named() {
    let calls = (0..LENGTH / 2).flat_map(|at| [write(at % 3, 2 * at), read(at % 3, 2 * at + 1)]);
    let calls = calls.flatten().chain(read(9, LENGTH)).collect();
    let Verdict::Violation { explanation, .. } = judge(&calls) else { panic!("unseen") };
    assert!(explanation.sentence.ends_with("but nobody wrote 9"), "{explanation}");
}

/// Nothing can be taken away for lack of time; the sentence is found near the end.
#[test]
fn a_contradiction_that_stays_long_is_explained() {
    let calls = (0..LENGTH).flat_map(|at| {
        if at % 2 == 0 { write(at % 3, at) } else { cas(0, (at - 1) % 3, 7, at, true) }
    });
    let calls = calls.chain([read(7, LENGTH), read(0, LENGTH + 1), read(7, LENGTH + 2)].concat());
    let Verdict::Violation { explanation, .. } = judge(&calls.collect()) else { panic!("unseen") };
    assert!(!explanation.sentence.starts_with("no order"), "{explanation}");
}

/// Everything at once, each call unlike all others: one step of a search takes long.
#[test]
fn calls_that_are_all_in_flight_at_once_end_with_the_budget() {
    let calls = (0..LENGTH).flat_map(|at| match at % 2 {
        0 => write(at / 4, 0),
        _ => cas(0, at / 4, at / 4 + 1, 0, true),
    });
    let mut calls: Calls = calls.collect();
    for (process, call) in (0..).zip(&mut calls) {
        (call.process, call.returned) = (process, Some(process % 7 + 100));
    }
    assert!(matches!(judge(&calls), Verdict::Unknown { .. }));
}

/// What one object took is given back when it is decided, so that one budget does for many.
#[test]
fn many_objects_share_one_budget() {
    let model = Spec::new(0_u64, |state: &u64, input: &u64, output: Option<&u64>| {
        let next = state * 3 + input;
        output.is_none_or(|output| *output == next).then_some(next)
    });
    let call = |at: u64| {
        let input = KeyedInput { key: Datum::from(i32::try_from(at / 8).unwrap()), input: at % 8 };
        let invoked = at / 8 * 10;
        let returned = Some(invoked + 5);
        Call { process: at % 8, input, output: None::<u64>, invoked, returned, log_index: None }
    };
    let calls: Vec<_> = (0..80_000).map(call).collect();
    let mut budget = Budget::new(Duration::from_secs(60), 1 << 20);
    let found = check(&calls, &Keyed::of("numbers", model), &mut budget);
    assert!(matches!(found, Verdict::Linearizable { .. }), "{found:?}");
}
