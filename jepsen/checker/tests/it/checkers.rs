//! Each checker is shown to fail on a history that was spoilt on purpose, and to say why.
//!
//! A checker that has never been seen to fail proves nothing. The histories here are made by hand or
//! by a register that works, and then one thing is changed: a read is made stale, an update is lost,
//! an element disappears. The sentences are compared word for word, since they are what a person has
//! to work with when a test has failed at night.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells_checker::budget::Budget;
use sixbells_checker::call::Call;
use sixbells_checker::datum::Datum;
use sixbells_checker::history::{Clock, Details, Operation, Outcome, Value};
use sixbells_checker::linearizable::{self, check};
use sixbells_checker::model::{Keyed, Queue, QueueInput, QueueOutput, Register, Spec};
use sixbells_checker::{Verdict, set, stats::Stats};

use crate::{Attempt, RegisterOp, operation, verdict};

/// Clients without think time on one register, unique writes: what a real test records, but long.
fn long_history(clients: u64, length: u64) -> Vec<Operation> {
    let mut rng = SmallRng::seed_from_u64(clients);
    let mut attempts = Vec::new();
    for process in 0..clients {
        let mut now = rng.random_range(0..100);
        for step in 0..length / clients {
            let (point, returned) = (now + rng.random_range(1..99), now + 100);
            let value = i64::try_from(step * clients + process).unwrap();
            let write = rng.random_bool(0.5);
            let op = if write { RegisterOp::Write(Some(value)) } else { RegisterOp::Read(None) };
            attempts.push(Attempt { process, invoked: now, point, returned, op });
            now = returned + rng.random_range(1..10);
        }
    }
    attempts.sort_by_key(|attempt| attempt.point);
    let mut state = None;
    let history = attempts.into_iter().map(|Attempt { process, invoked, returned, op, .. }| {
        let f = if let RegisterOp::Write(value) = op {
            state = value;
            "write"
        } else {
            "read"
        };
        operation(process, f, state.into(), invoked, Some(returned))
    });
    history.collect()
}

/// The search must stay fast on long histories, and shrink them to a handful of operations.
#[test]
fn a_long_history_is_decided_and_a_stale_read_in_it_is_named() {
    let mut operations = long_history(5, 1000);
    assert_eq!(verdict(Register::plain(), &operations).word(), "valid");
    let end = operations.iter().filter_map(|o| o.returned).max().unwrap();
    let old = operations.iter().find(|o| o.f == "write" && o.invoked > 5000).unwrap().value.clone();
    operations.push(operation(9, "read", old.clone(), end + 10, Some(end + 20)));
    let Verdict::Invalid { explanation } = verdict(Register::plain(), &operations) else {
        panic!("a stale read went unseen");
    };
    assert_eq!(explanation.operations.len(), 3, "{explanation:?}");
    assert!(explanation.sentence.starts_with(&format!("process 9 read {old} ")), "{explanation}");
}

/// With crashed operations all over it, which is what makes refuting expensive.
#[test]
fn a_stale_read_among_crashed_operations_is_named() {
    let mut operations = long_history(8, 600);
    let at = operations.iter().filter_map(|o| o.returned).max().unwrap() * 3 / 4;
    let old = operations.iter().find(|o| o.f == "write" && o.invoked > 2000).unwrap().value.clone();
    for number in 0..20 {
        let crashed = number * operations.len() / 20;
        operations[crashed].returned = None;
        operations[crashed].outcome = Outcome::Info;
    }
    operations.push(operation(99, "read", old, at, Some(at + 20)));
    let Verdict::Invalid { explanation } = verdict(Register::plain(), &operations) else {
        panic!("a stale read went unseen");
    };
    assert_eq!(explanation.operations.len(), 3, "{explanation:?}");
}

const MS: u64 = 1_000_000;

fn w(process: u64, value: i64, from: u64, to: u64) -> Operation {
    operation(process, "write", value.into(), from * MS, Some(to * MS))
}

fn r(process: u64, value: i64, from: u64, to: u64) -> Operation {
    operation(process, "read", value.into(), from * MS, Some(to * MS))
}

fn cas(process: u64, old: i64, new: i64, from: u64, to: u64) -> Operation {
    operation(process, "cas", Value::pair(old, new), from * MS, Some(to * MS))
}

/// Contradictions that people meet, and how they should be put to them.
fn contradictions() -> Vec<(Vec<Operation>, &'static str)> {
    let details = Details { node: Some("2".into()), ..Details::default() };
    let on_node = |o: Operation| Operation { details: details.clone().boxed(), ..o };
    vec![
        (
            vec![
                w(1, 17, 12_000, 12_100),
                w(2, 18, 12_180, 12_192),
                on_node(r(4, 17, 12_204, 12_206)),
            ],
            "process 4 read 17 (node 2, 12.204 s to 12.206 s), but process 2's write of 18 had \
             finished 12 ms before that read began, and process 1's write of 17 had finished 80 ms \
             before that write began",
        ),
        (
            vec![w(1, 17, 1, 2), r(4, 99, 3, 4)],
            "process 4 read 99 (3000 µs to 4000 µs), but nobody wrote 99",
        ),
        (
            vec![r(4, 17, 1, 2), w(1, 17, 30, 40)],
            "process 4 read 17 (1000 µs to 2000 µs), but process 1's write of 17 began 28 ms after \
             that read had finished",
        ),
        (
            vec![w(1, 17, 10, 20), Operation { value: Value::Nil, ..r(4, 0, 31, 32) }],
            "process 4 read nil (31 ms to 32 ms), but process 1's write of 17 had finished 11 ms \
             before that read began, and nil is the initial value, written by nobody",
        ),
        (
            vec![w(1, 5, 10, 20), cas(2, 5, 6, 30, 50), cas(3, 5, 7, 30, 50)],
            "process 2 did a cas from 5 to 6 (30 ms to 50 ms), and process 3 did a cas from 5 to 7 \
             (30 ms to 50 ms), but 5 was there only once to be replaced",
        ),
        (
            vec![w(1, 5, 10, 40), cas(2, 5, 6, 30, 50), r(3, 5, 60, 70)],
            "process 3 read 5 (60 ms to 70 ms), but process 2's cas from 5 to 6 had finished 10 ms \
             before that read began, and 5 was there only once to be replaced",
        ),
        (
            vec![w(1, 5, 10, 20), r(2, 6, 15, 50), w(3, 6, 30, 90), r(4, 5, 70, 80)],
            "process 4 read 5 (70 ms to 80 ms), but process 2's read of 6 had finished 20 ms before \
             that read began, and process 1's write of 5 had finished 10 ms before process 3's \
             write of 6 began",
        ),
        (
            vec![
                w(1, 5, 10, 90),
                w(2, 6, 10, 90),
                r(3, 5, 20, 30),
                r(3, 6, 40, 50),
                r(3, 5, 60, 70),
            ],
            "process 3 read 5 (60 ms to 70 ms), but process 3's read of 6 had finished by then, and \
             before that process 3's read of 5: 5 was there, was gone and came back, though it was \
             written only once",
        ),
    ]
}

#[test]
fn explanations_name_the_operations_that_contradict_each_other() {
    for (mut operations, sentence) in contradictions() {
        // Much that is innocent goes on as well.
        for step in 0..40_i64 {
            let at = 20_000_000_000 + step.unsigned_abs() * 10_000_000;
            operations.push(operation(8, "write", (1000 + step).into(), at, Some(at + 5_000_000)));
        }
        let Verdict::Invalid { explanation } = verdict(Register::with_cas(), &operations) else {
            panic!("not found: {sentence}");
        };
        assert_eq!(explanation.sentence, sentence);
        assert!(explanation.operations.len() <= 5);
    }
}

/// What looks like one of the contradictions that people meet, but for another writer of the value: the
/// sentence must not claim what that writer could explain.
#[test]
fn no_explanation_forgets_the_other_writers_of_a_value() {
    let w = |p, v: Option<i64>, from, to| operation(p, "write", v.into(), from, to);
    let r = |v: Option<i64>, from| operation(9, "read", v.into(), from, Some(from + 1));
    let cas = |p, to: i64| operation(p, "cas", Value::pair(5, to), 30, Some(90));
    let five = |p, from, to| w(p, Some(5), from, to);
    let six = |p, from, to| w(p, Some(6), from, to);
    let replaced_too_often =
        vec![five(1, 10, Some(90)), five(2, 10, Some(90)), cas(3, 6), cas(4, 7), cas(5, 8)];
    let came_back_too_often = vec![
        five(1, 10, Some(90)),
        five(2, 25, Some(90)),
        six(3, 10, Some(90)),
        six(4, 10, Some(90)),
        r(Some(5), 20),
        r(Some(6), 30),
        r(Some(5), 40),
        r(Some(6), 50),
        r(Some(5), 60),
    ];
    let also_there_at_first = vec![
        w(1, None, 10, Some(90)),
        six(2, 10, Some(90)),
        six(3, 10, Some(90)),
        r(Some(6), 20),
        r(None, 30),
        r(Some(6), 40),
        r(None, 50),
        r(Some(6), 60),
        r(None, 70),
    ];
    let crashed_once = vec![
        five(1, 10, Some(20)),
        five(2, 10, None),
        six(3, 30, Some(40)),
        r(Some(5), 50),
        six(3, 70, Some(80)),
        r(Some(5), 90),
    ];
    for operations in [replaced_too_often, came_back_too_often, also_there_at_first, crashed_once] {
        let Verdict::Invalid { explanation } = verdict(Register::with_cas(), &operations) else {
            panic!("unseen: {operations:?}");
        };
        assert!(explanation.sentence.starts_with("no order of these"), "{explanation}");
    }
}

/// Objects are checked apart, and the guilty key is named.
#[test]
fn a_violation_in_one_key_of_many_names_the_key() {
    let mut operations = Vec::new();
    for key in 0..50 {
        for step in 0..20_i64 {
            let at = step.unsigned_abs() * 10;
            let value = Value::pair(key, step);
            operations.push(operation(1, "write", value.clone(), at, Some(at + 3)));
            operations.push(operation(2, "read", value, at + 5, Some(at + 8)));
        }
    }
    assert_eq!(
        verdict(Keyed::kv(), &operations),
        Verdict::Valid { operations: 2000, partitions: 50 }
    );
    operations.push(operation(3, "read", Value::pair(31, 4), 500, Some(501)));
    let Verdict::Invalid { explanation } = verdict(Keyed::kv(), &operations) else {
        panic!("unseen")
    };
    assert!(explanation.to_string().starts_with("key 31: process 3 read 4"), "{explanation}");
}

/// Forty calls at once that do not commute, and an answer that no order gives.
#[test]
fn a_search_that_is_too_hard_is_unknown_and_says_which_budget_ran_out() {
    let mixed = |state: &u64, by: &u64| state.wrapping_mul(6_364_136_223_846_793_005) ^ by;
    let model = Spec::new(0, |state: &u64, input: &u64, output: Option<&u64>| {
        let next = if *input == 0 { *state } else { mixed(state, input) };
        output.is_none_or(|output| *output == next).then_some(next)
    });
    let call = |process, input, output, invoked| Call {
        process,
        input,
        output,
        invoked,
        returned: Some(invoked + 10),
        log_index: None,
    };
    let mut calls: Vec<Call<u64, u64>> = (1..=40).map(|i| call(i, i, None, 0)).collect();
    calls.push(call(50, 0, Some(1), 20));
    let judge = |time, bytes| check(&calls, &model, &mut Budget::new(time, bytes));
    let start = Instant::now();
    let linearizable::Verdict::Unknown { why } = judge(Duration::from_millis(200), 4 << 30) else {
        panic!()
    };
    assert!(why.contains("time budget of 0.2 s"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(3), "the timeout was not honoured");
    let linearizable::Verdict::Unknown { why } = judge(Duration::from_secs(60), 2 << 20) else {
        panic!()
    };
    assert!(why.contains("memory budget of 2 MiB"), "{why}");
}

/// Two processes enqueue again in the instant in which they had, so that times do not tell their calls
/// apart; the second of one is dequeued before its first.
#[test]
fn a_procedure_does_not_judge_what_only_processes_put_in_order() {
    let call = |process, input, output, invoked, returned| Call {
        process,
        input,
        output,
        invoked,
        returned: Some(returned),
        log_index: None,
    };
    let enqueue = |process, element: i32, from, to| {
        call(process, QueueInput::Enqueue(Datum::from(element)), None, from, to)
    };
    let dequeue = |element: i32, at| {
        let taken = QueueOutput::Element(Datum::from(element));
        call(3, QueueInput::Dequeue, Some(taken), at, at + 1)
    };
    let enqueues =
        [enqueue(1, 1, 0, 5), enqueue(2, 3, 0, 5), enqueue(1, 2, 5, 9), enqueue(2, 4, 5, 9)];
    for (order, legal) in [([1, 2, 3, 4], true), ([1, 3, 4, 2], true), ([2, 1, 3, 4], false)] {
        let dequeues = (10..).step_by(2).zip(order).map(|(at, element)| dequeue(element, at));
        let calls: Vec<_> = enqueues.iter().cloned().chain(dequeues).collect();
        let mut budget = Budget::new(Duration::from_secs(60), 1 << 30);
        let found = check(&calls, &Queue::new(), &mut budget);
        assert_eq!(matches!(found, linearizable::Verdict::Linearizable { .. }), legal, "{found:?}");
    }
}

#[test]
fn crashed_operations_may_happen_late_or_never() {
    let model = Register::with_cas;
    let write = operation(1, "write", 5.into(), 0, None);
    let read = |value: Option<i64>, at| operation(2, "read", value.into(), at, Some(at + 1));
    let never = [write.clone(), read(None, 10), read(None, 20)];
    let late = [write.clone(), read(None, 10), read(Some(5), 20)];
    let undone = [write.clone(), read(Some(5), 10), read(None, 20)];
    let early = [read(Some(5), 0), Operation { invoked: 5, ..write }];
    for (history, valid) in [(&never[..], true), (&late, true), (&undone, false), (&early, false)] {
        assert_eq!(matches!(verdict(model(), history), Verdict::Valid { .. }), valid);
    }
    assert!(matches!(verdict(model(), &[]), Verdict::Unknown { .. }));
}

#[test]
fn a_set_that_forgets_or_invents_is_caught() {
    let add = |p, e: i64, at| operation(p, "add", e.into(), at, Some(at + 1));
    let read = |elements: &[i64], at| {
        let elements = elements.iter().map(|e| Value::Int(*e)).collect();
        operation(9, "read", Value::Vector(elements), at, Some(at + 1))
    };
    let unknown = operation(3, "add", 3.into(), 0, None);
    let failed = Operation { outcome: Outcome::Fail, ..add(4, 4, 0) };
    let adds = [add(1, 1, 0), add(2, 2, 0), unknown, failed];
    let judge = |read: Option<Operation>| {
        let operations: Vec<_> = adds.iter().cloned().chain(read).collect();
        set::check(&operations).unwrap()
    };
    for good in [&[1, 2][..], &[1, 2, 3]] {
        let report = judge(Some(read(good, 10)));
        assert!(matches!(report.verdict, Verdict::Valid { .. }), "{report:?}");
    }
    let lost = judge(Some(read(&[2, 3], 10)));
    assert_eq!((lost.lost, lost.recovered, lost.never_read), (1, 1, 1));
    assert!(lost.verdict.word() == "invalid");
    for invented in [4, 77] {
        let report = judge(Some(read(&[1, 2, invented], 10)));
        assert_eq!((report.unexpected, report.verdict.word()), (1, "invalid"));
    }
    // Without a read after the last add, losses could not have been seen.
    assert_eq!(judge(None).verdict.word(), "unknown");
    assert_eq!(judge(Some(read(&[1, 2], 1))).verdict.word(), "unknown");
}

#[test]
fn statistics_of_a_history_in_which_nothing_worked_are_no_evidence() {
    let failed = Operation { outcome: Outcome::Fail, ..operation(1, "read", 1.into(), 0, Some(5)) };
    let worked = operation(1, "write", 1.into(), 10, Some(15));
    let verdict = |operations: &[Operation]| Stats::of(operations, Clock::Nanoseconds).verdict();
    assert_eq!(verdict(std::slice::from_ref(&failed)).word(), "unknown");
    assert_eq!(verdict(&[failed, worked.clone()]).word(), "unknown");
    assert_eq!(verdict(&[worked]).word(), "valid");
}
