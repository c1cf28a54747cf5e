//! Each checker, shown to find what it is for and to be silent otherwise.

use super::*;
use crate::{
    bank,
    checker::replay::{Act, Typed},
    machine::{Answer, Command, Query, Response, Workbench},
};

type Times = (u64, u64);

fn typed(number: u64, process: u64, times: Times, act: Act<Workbench>) -> Typed<Workbench> {
    let ((invoked, returned), node) = (times, Some(process.to_string()));
    Typed { process, number, node, invoked, returned: Some(returned), act }
}

fn write(
    number: u64,
    process: u64,
    times: Times,
    command: Command,
    response: Response,
) -> Typed<Workbench> {
    typed(number, process, times, Act::Write { command, response: Some(response) })
}

fn read(number: u64, process: u64, times: Times, query: Query, answer: Answer) -> Typed<Workbench> {
    typed(number, process, times, Act::Read { query, answer: Some(answer) })
}

fn append(number: u64, process: u64, at: u64) -> Typed<Workbench> {
    let value = i64::try_from(number).unwrap();
    write(number, process, (at, at + 1), Command::Append { key: 1, value }, Response::Done)
}

fn list(number: u64, process: u64, at: u64, seen: &[i64]) -> Typed<Workbench> {
    read(number, process, (at, at + 1), Query::List(1), Answer::List(seen.to_vec()))
}

fn pay(number: u64, process: u64, at: u64, told: bank::Response) -> Typed<Workbench> {
    let pay = bank::Command::Pay { from: 1, to: 2, amount: 7 };
    write(number, process, (at, at + 1), Command::Bank(pay), Response::Bank(told))
}

fn open(number: u64, account: u64) -> Typed<Workbench> {
    let open = bank::Command::Open { account, deposit: 10 };
    write(number, 9, (number, number), Command::Bank(open), Response::Bank(bank::Response::Done))
}

#[test]
fn a_lost_a_repeated_and_an_invented_command_are_found() {
    let operations = [append(1, 1, 0), append(2, 2, 5), list(3, 1, 9, &[1, 2])];
    assert_eq!(settled(&operations, &[2, 1]), Ok(()));
    let (promise, sentence) = settled(&operations, &[2]).unwrap_err();
    assert_eq!(promise, DURABILITY);
    assert!(sentence.contains("#1 process 1"), "{sentence}");
    assert_eq!(settled(&operations, &[1, 2, 1]).unwrap_err().0, EXACTLY_ONCE);
    assert_eq!(settled(&operations, &[1, 2, 4]).unwrap_err().0, EXACTLY_ONCE);
    assert_eq!(settled(&operations, &[1, 2, 3]).unwrap_err().0, EXACTLY_ONCE, "a read has none");
}

#[test]
fn what_was_never_acknowledged_may_be_there_or_not() {
    let unknown = Typed { returned: None, ..append(1, 1, 0) };
    assert_eq!(settled(std::slice::from_ref(&unknown), &[1]), Ok(()));
    assert_eq!(settled(&[unknown], &[]), Ok(()));
}

/// The books are in order: each account holds what it should. What is wrong is what one was told.
#[test]
fn money_that_was_paid_twice_is_a_revocation() {
    let done = bank::Response::Done;
    let operations = [open(1, 1), open(2, 2), pay(3, 1, 10, done.clone()), pay(4, 2, 10, done)];
    let (machine, revoked) = revocations(&operations, &[1, 2, 4, 3]);
    assert_eq!(machine.bank().total(), 20);
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].number, 3);
    assert_eq!(revoked[0].settled, Response::Bank(bank::Response::Insufficient(3)));
    let (_, none) = revocations(&operations[..3], &[1, 2, 3]);
    assert!(none.is_empty());
}

#[test]
fn a_read_is_as_old_as_the_newest_write_that_it_should_have_shown() {
    let operations = [
        append(1, 1, 0),
        append(2, 1, 10),
        list(3, 2, 2_000_000, &[1]),
        list(4, 2, 3_000_000, &[1, 2]),
    ];
    let sight = Sight::new(&operations, &[1, 2]);
    let found = staleness(&sight);
    assert_eq!((found.ages.len(), found.stale()), (2, 1));
    let worst = found.worst().unwrap();
    assert_eq!((worst.read, worst.missed, worst.since), (2, 1, 2_000_000 - 11));
    assert_eq!(found.curve(), [(1, 0.5)]);
}

#[test]
fn a_write_that_the_order_refused_is_missed_by_nobody() {
    let cas = |number, to| {
        let command = Command::Cas { key: 1, from: None, to };
        write(number, number, (0, 1), command, Response::Done)
    };
    let seen = |value| read(3, 3, (5, 6), Query::Register(1), Answer::Register(value));
    let staleness_of = |value, order: &[u64]| {
        let operations = [cas(1, 10), cas(2, 20), seen(value)];
        staleness(&Sight::new(&operations, order)).stale()
    };
    assert_eq!(staleness_of(Some(10), &[1, 2]), 0);
    assert_eq!(staleness_of(None, &[1, 2]), 1);
    // It shows what was revoked: that is not old.
    assert_eq!(staleness_of(Some(20), &[1, 2]), 0);
}

#[test]
fn a_process_that_misses_its_own_write_or_what_it_saw_is_found() {
    let own = [append(1, 7, 0), list(2, 7, 5, &[])];
    let judged = guarantees(&Sight::new(&own, &[1]), |_| true);
    assert_eq!(judged.lapses, [Lapse { read: 1, write: 0, own: true }]);
    let shown = [append(1, 8, 0), list(2, 7, 5, &[1]), list(3, 7, 9, &[])];
    let judged = guarantees(&Sight::new(&shown, &[1]), |operation| operation.process == 7);
    assert_eq!(judged.lapses, [Lapse { read: 2, write: 0, own: false }]);
    // Somebody else's read may miss both.
    let others = [append(1, 8, 0), list(2, 7, 5, &[1]), list(3, 6, 9, &[])];
    let judged = guarantees(&Sight::new(&others, &[1]), |_| true);
    assert!(judged.lapses.is_empty() && judged.judged == 0);
}

#[test]
fn an_element_that_comes_in_before_one_that_was_shown_is_a_reordering() {
    let grown = [list(1, 3, 0, &[1]), list(2, 3, 5, &[1, 2])];
    assert!(reorderings(&grown).is_empty());
    let changed = [list(1, 3, 0, &[1, 3]), list(2, 3, 5, &[1, 2, 3])];
    let found = Reordering { before: 0, after: 1, came: 2, shown: 3 };
    assert_eq!(reorderings(&changed), [found]);
    let elsewhere = [list(1, 3, 0, &[1, 3]), list(2, 4, 5, &[1, 2, 3])];
    assert!(reorderings(&elsewhere).is_empty());
}
