//! Histories told by hand, and the sentences that explain them.

use super::*;
use crate::checker::Verdict;

const DONE: Changed = Changed::Done;

/// The sentence about the log, and that about the history if it is invalid.
fn sentences(judgement: Judgement) -> (String, Option<String>) {
    let about_all = match judgement.verdict {
        Verdict::Invalid { explanation } => Some(explanation.sentence),
        Verdict::Valid { .. } => None,
        Verdict::Unknown { why } => panic!("{why}"),
    };
    (judgement.witness.unwrap_err().sentence, about_all)
}

fn assert_proven<S: StateMachine>(operations: &[Typed<S>], order: &[u64]) {
    let judgement = judge(operations, order);
    assert_eq!(judgement.witness, Ok(()));
    assert_eq!(judgement.verdict.word(), "valid");
}

/// The everyday bug: a node that lost the lead answers from what it knows.
#[test]
fn a_stale_read_names_the_write_that_ended_its_answer() {
    let deposit = |amount| Order::Deposit { to: 7, amount };
    let mut stale = read::<Bank>(4, (42, 44), Ask::Balance(7), 10);
    stale.node = Some("2".to_owned());
    let operations = [
        write(1, (0, 10), deposit(10), Receipt::Balance(10)),
        write(2, (12, 30), deposit(5), Receipt::Balance(15)),
        read(3, (12, 50), Ask::Balance(7), 15),
        stale,
    ];
    let judgement = judge(&operations, &[1, 2]);
    let Verdict::Invalid { explanation } = &judgement.verdict else { panic!("{judgement:?}") };
    let expected = "process 4 read Balance(7) -> 10 (node 2, 42 ms to 44 ms), but process 2's Deposit \
         { to: 7, amount: 5 }, which ended that and left 15, had finished 12 ms before that read \
         began; and no other order explains what the clients saw";
    assert_eq!(explanation.sentence, expected);
    assert_eq!(
        explanation.operations,
        [
            "process 2 did Deposit { to: 7, amount: 5 } -> Balance(15) (12 ms to 30 ms)",
            "process 4 read Balance(7) -> 10 (node 2, 42 ms to 44 ms)",
        ]
    );
}

/// A read may not see less than one before it, though the write is still going on.
#[test]
fn a_read_that_goes_back_names_the_read_before_it() {
    let operations: [Typed<Register>; 4] = [
        write(1, (0, 10), Change::Set(1), DONE),
        write(2, (20, 90), Change::Set(2), DONE),
        read(3, (30, 40), Get, Some(2)),
        read(4, (55, 60), Get, Some(1)),
    ];
    let (log, all) = sentences(judge(&operations, &[1, 2]));
    assert_eq!(
        log,
        "process 4 read Get -> Some(1) (55 ms to 60 ms), but process 2's Set(2) ended that, and \
         process 3's read of Get -> Some(2) had finished 15 ms before that read began, which saw a \
         later state; the answer was Some(2)"
    );
    assert!(all.is_some());
}

#[test]
fn a_read_of_what_comes_later_names_when_that_began() {
    let operations: [Typed<Register>; 2] =
        [read(1, (0, 10), Get, Some(9)), write(2, (22, 30), Change::Set(9), DONE)];
    let (log, all) = sentences(judge(&operations, &[2]));
    assert_eq!(
        log,
        "process 1 read Get -> Some(9) (0 ns to 10 ms), but process 2's Set(9), the first to lead to \
         that, began 12 ms after that read had finished; the answer was None"
    );
    assert!(all.is_some());
}

#[test]
fn a_lost_write_is_no_violation_until_somebody_misses_it() {
    let lost: Typed<Register> = write(1, (0, 10), Change::Set(1), DONE);
    let flaw = "process 1 did Set(1) -> Done (0 ns to 10 ms), but the log never applied it";
    assert_eq!(sentences(judge(std::slice::from_ref(&lost), &[])), (flaw.to_owned(), None));
    let operations = [lost, read(2, (20, 30), Get, None)];
    let (log, all) = sentences(judge(&operations, &[]));
    assert_eq!(log, flaw);
    assert!(all.unwrap().starts_with(flaw));
}

#[test]
fn a_log_that_is_no_order_of_these_writes_proves_nothing() {
    let operations: [Typed<Register>; 3] = [
        write(1, (0, 10), Change::Set(1), DONE),
        write(2, (20, 30), Change::Set(2), DONE),
        read(3, (40, 50), Get, Some(2)),
    ];
    assert_proven(&operations, &[1, 2]);
    let flaw = |order: &[u64]| {
        let (log, all) = sentences(judge(&operations, order));
        assert_eq!(all, None, "the clients cannot tell");
        log
    };
    assert!(flaw(&[1, 2, 2]).ends_with("and the log applied it twice"));
    assert!(flaw(&[1, 2, 8]).starts_with("the log applied number 8, which is no client's write"));
    assert!(flaw(&[1, 3, 2]).starts_with("the log applied number 3, which is no client's write"));
    assert_eq!(
        flaw(&[2, 1]),
        "process 2 did Set(2) -> Done (20 ms to 30 ms), and the log applied it first, but process 1's \
         Set(1) had finished 10 ms before that write began"
    );
}

#[test]
fn a_wrong_response_says_what_it_was() {
    let operations: [Typed<Register>; 2] = [
        write(1, (0, 10), Change::Set(1), DONE),
        write(2, (20, 30), Change::Swap(2), Changed::Was(Some(3))),
    ];
    let (log, all) = sentences(judge(&operations, &[1, 2]));
    assert_eq!(
        log,
        "process 2 did Swap(2) -> Was(Some(3)) (20 ms to 30 ms), but by the log's order it was \
         Was(Some(1))"
    );
    assert!(all.is_some());
}

/// Linearizable, but not as the log tells it: concurrent writes the other way round.
#[test]
fn another_order_than_the_logs_is_valid_and_not_silent() {
    let operations: [Typed<Register>; 3] = [
        write(1, (0, 30), Change::Set(1), DONE),
        write(2, (0, 30), Change::Set(2), DONE),
        read(3, (40, 50), Get, Some(1)),
    ];
    let (log, all) = sentences(judge(&operations, &[1, 2]));
    assert!(log.contains("process 2's Set(2), which ended that and left Some(2)"), "{log}");
    assert_eq!(all, None);
    assert_proven(&operations, &[2, 1]);
}

/// One process does one thing after the other, also within one instant; two processes do not.
#[test]
fn in_one_instant_only_a_process_own_order_counts() {
    let mut of_one: [Typed<Register>; 4] = [
        write(1, (5, 5), Change::Set(1), DONE),
        read(2, (5, 5), Get, Some(1)),
        write(3, (5, 5), Change::Set(2), DONE),
        read(4, (5, 5), Get, Some(2)),
    ];
    assert_proven(&of_one, &[1, 3]);
    of_one.iter_mut().for_each(|operation| operation.process = 0);
    assert_proven(&of_one, &[1, 3]);
    of_one.swap(1, 2);
    assert_eq!(judge(&of_one, &[1, 3]).verdict.word(), "invalid");
    of_one.iter_mut().for_each(|operation| operation.process = operation.number);
    assert_proven(&of_one, &[1, 3]);
}

/// A crashed write may be applied long after its client gave up, or never.
#[test]
fn a_crashed_write_may_happen_late_or_never() {
    let crashed: Typed<Register> = unknown(write(1, (0, 0), Change::Set(1), DONE));
    let before = read(2, (10, 20), Get, None);
    let after = read(3, (30, 40), Get, Some(1));
    assert_proven(&[crashed.clone(), before.clone(), after.clone()], &[1]);
    assert_proven(&[crashed.clone(), before.clone()], &[]);
    // The log does not know it, but somebody saw it.
    let (log, all) = sentences(judge(&[crashed, before, after], &[]));
    assert!(
        log.ends_with("but no state that the log led to answers so; the answer was None"),
        "{log}"
    );
    assert_eq!(all, None);
}

#[test]
fn nothing_to_judge_bad_input_and_no_time_are_unknown() {
    let why = |judgement: Judgement| match judgement.verdict {
        Verdict::Unknown { why } => why,
        other => panic!("{other:?}"),
    };
    let crashed: Typed<Register> = unknown(write(1, (0, 0), Change::Set(1), DONE));
    assert!(why(judge(std::slice::from_ref(&crashed), &[1])).contains("no operation"));
    assert!(why(judge(&[crashed.clone(), crashed], &[1])).contains("number 1"));
    let backwards: Typed<Register> = read(1, (5, 4), Get, None);
    assert!(why(judge(&[backwards], &[])).contains("before it was invoked"));
    let reads: Vec<Typed<Register>> = (0..100).map(|at| read(at, (at, at), Get, None)).collect();
    let mut budget = Budget::new(Duration::ZERO, 1 << 30);
    let judgement = check(&reads, &[], Clock::Nanoseconds, &mut budget);
    assert!(why(judgement).contains("time budget"));
}

/// Writes that linger for the whole run leave every read in reach of every state. Guards the claim
/// that only reads that were open at one moment are asked about in each gap.
#[test]
fn a_read_is_not_held_against_every_state() {
    let (clients, rounds, lingering) = (4, 1000, 1000);
    let mut operations: Vec<Typed<Register>> = Vec::new();
    for at in 0..lingering {
        operations.push(unknown(write(10_000 + at, (0, 0), Change::Set(1), DONE)));
    }
    for round in 0..rounds {
        for client in 0..clients {
            let answer = (round >= rounds / 2).then_some(1);
            let mut read = read(20_000 + client, (round * 10, round * 10 + 9), Get, answer);
            read.number += round * clients;
            operations.push(read);
        }
    }
    let order: Vec<u64> = (0..lingering).map(|at| 10_000 + at).collect();
    QUERIES.set(0);
    assert_proven(&operations, &order);
    let asked = QUERIES.get();
    assert!(asked <= rounds * clients + (lingering + 1) * clients, "{asked} queries");
}
