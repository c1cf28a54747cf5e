//! What a check may spend is spent, and no more: memory as it is held, time also within a step. What is
//! too hard does not hide what is easy.

use std::time::Duration;

use sixbells_checker::budget::Budget;
use sixbells_checker::call::Call;
use sixbells_checker::datum::Datum;
use sixbells_checker::linearizable::{Verdict, check};
use sixbells_checker::model::{
    Keyed, KeyedInput, Queue, QueueInput, Register, RegisterInput, Spec,
};

/// Forty calls at once at one key, and a wrong answer at another that has more.
#[test]
fn a_key_that_is_too_hard_does_not_hide_a_violation_at_another() {
    let mixed = |state: &u64, by: &u64| state.wrapping_mul(6_364_136_223_846_793_005) ^ by;
    let model = Spec::new(0, |state: &u64, input: &u64, output: Option<&u64>| {
        let next = if *input == 0 { *state } else { mixed(state, input) };
        output.is_none_or(|output| *output == next).then_some(next)
    });
    let call = |key: i32, process, input, output, invoked| Call {
        process,
        input: KeyedInput { key: Datum::from(key), input },
        output,
        invoked,
        returned: Some(invoked + 10),
        log_index: None,
    };
    let hard = (1..=40).map(|i| call(1, i, i, None, 0)).chain([call(1, 50, 0, Some(1), 20)]);
    let wrong =
        (0..60).map(|i| call(2, 60, 0, Some(0), 20 * i)).chain([call(2, 60, 0, Some(7), 1200)]);
    let calls: Vec<_> = hard.chain(wrong).collect();
    let mut budget = Budget::new(Duration::from_secs(60), 2 << 20);
    let found = check(&calls, &Keyed::of("numbers", model), &mut budget);
    let Verdict::Violation { explanation, .. } = found else { panic!("{found:?}") };
    assert!(explanation.culprits.iter().all(|call| *call > 40), "{explanation}");
}

/// Few states, each of which is large.
#[test]
fn states_are_charged_for_what_they_hold() {
    let enqueue = |at: u64| Call {
        process: 1,
        input: QueueInput::Enqueue(Datum::from(1)),
        output: None,
        invoked: 10 * at,
        returned: Some(10 * at + 5),
        log_index: None,
    };
    let calls: Vec<_> = (0..2000).map(enqueue).collect();
    let judge =
        |bytes| check(&calls, &Queue::new(), &mut Budget::new(Duration::from_secs(60), bytes));
    assert!(matches!(judge(1 << 30), Verdict::Linearizable { .. }));
    let Verdict::Unknown { why } = judge(4 << 20) else { panic!("too much held") };
    assert!(why.contains("memory budget of 4 MiB"), "{why}");
}

/// Each of very many calls in flight ends before those that began earlier: to find which may come next
/// takes long by itself. No clock is looked at: a test that does not end has failed.
#[test]
fn one_step_of_a_search_does_not_overstay_its_time() {
    const LENGTH: u32 = 400_000;
    let call = |at: u32| Call {
        process: u64::from(at),
        input: RegisterInput::Write(Datum::from(i32::try_from(at / 2).expect("a small number"))),
        output: None::<Datum>,
        invoked: 0,
        returned: Some(u64::from(LENGTH - at)),
        log_index: None,
    };
    let calls: Vec<_> = (0..LENGTH).map(call).collect();
    let mut budget = Budget::new(Duration::from_millis(200), 1 << 30);
    let found = check(&calls, &Register::plain(), &mut budget);
    assert!(matches!(found, Verdict::Unknown { .. }));
}
