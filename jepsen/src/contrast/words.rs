//! The example of a contrast, in words.
//!
//! In: the eventual side. Out: one sentence that tells what no strong system does, with nodes and times:
//! a revoked command and the one that took its place; else an order that changed; else a read that was
//! old.
//!
//! Does not: choose what is wrong. The checkers did.

use sixbells::StateMachine;

use super::Side;
use crate::{
    bank,
    checker::{
        Verdict,
        eventual::{Reordering, Revocation},
        moment::{duration, moment},
        replay::{Act, Typed},
    },
    eventual,
    history::Clock,
    machine::{Command, Response, Workbench},
};

/// What tells the difference best.
pub(super) fn example(side: &Side) -> String {
    let worst = side.revoked.iter().filter(|r| r.told.is_done()).max_by_key(|r| weight(r));
    if let Some(revocation) = worst.or(side.revoked.first()) {
        return revoked(side, revocation);
    }
    if let Some(reordering) = side.reordered.first() {
        return reordered(side, reordering);
    }
    if let Some(age) = side.staleness.worst() {
        let read = &side.operations[age.read];
        let times =
            if age.missed == 1 { "a write".to_owned() } else { format!("{} writes", age.missed) };
        return format!(
            "at {} a client read through node {}, and what it saw lacked {times} that had been \
             acknowledged, the newest {} before",
            at(read.invoked),
            node(read),
            duration(age.since),
        );
    }
    match &side.linearizable {
        Verdict::Invalid { explanation } => explanation.sentence.clone(),
        _ => "nothing that was answered turned out untrue".to_owned(),
    }
}

/// Who pays himself loses nothing.
fn weight(revocation: &Revocation<Workbench>) -> u64 {
    eventual::overspent(revocation).unwrap_or(0)
}

/// The node that accepted a command; the one that was asked first, where nobody saw it.
fn accepted(side: &Side, number: u64) -> Option<String> {
    let seen = side.accepted.get(&number).map(ToString::to_string);
    let asked = || side.operations.iter().find(|o| o.number == number)?.node.clone();
    seen.or_else(asked)
}

fn at(time: u64) -> String {
    moment(Clock::Nanoseconds, time)
}

fn node(operation: &Typed<Workbench>) -> &str {
    operation.node.as_deref().unwrap_or("?")
}

fn revoked(side: &Side, revocation: &Revocation<Workbench>) -> String {
    let number = revocation.number;
    let place = |number: u64| {
        let operation = side.operations.iter().find(|operation| operation.number == number);
        let returned = operation.and_then(|operation| operation.returned).unwrap_or(0);
        (accepted(side, number).unwrap_or_else(|| "?".to_owned()), at(returned))
    };
    let (here, when) = place(number);
    let lost = format!(
        "node {here}'s was revoked: it had been told {}, and became {}",
        answer(&revocation.told),
        answer(&revocation.settled)
    );
    match rival(side, revocation) {
        Some((other, command)) => {
            let (there, before) = place(other);
            format!(
                "node {there} {} at {before}, and node {here} {} at {when}; once they had heard of each \
                 other, {lost}",
                did(command),
                did(&revocation.command)
            )
        }
        None => format!(
            "node {here} {} at {when}; once it had heard of what came before, {lost}",
            did(&revocation.command)
        ),
    }
}

/// The last command before it in the final order that touched the same thing, had an effect, and was
/// accepted elsewhere.
fn rival<'a>(side: &'a Side, revocation: &Revocation<Workbench>) -> Option<(u64, &'a Command)> {
    let here = accepted(side, revocation.number);
    let mut machine = Workbench::default();
    let mut found = None;
    for number in &side.order {
        if *number == revocation.number {
            break;
        }
        let operation = side.operations.iter().find(|operation| operation.number == *number);
        let Some(Typed { act: Act::Write { command, .. }, .. }) = operation else { continue };
        let effective = machine.apply(command.clone()).is_done();
        if effective
            && object(command) == object(&revocation.command)
            && accepted(side, *number) != here
        {
            found = Some((*number, command));
        }
    }
    found
}

/// What a command takes something from.
fn object(command: &Command) -> Option<(&'static str, i64)> {
    match *command {
        Command::Write { key, .. } | Command::Cas { key, .. } => Some(("register", key)),
        Command::Acquire { key, .. } | Command::Release { key, .. } => Some(("lock", key)),
        // Who pays himself takes nothing.
        Command::Bank(bank::Command::Pay { from, to, .. }) if from != to => {
            Some(("account", i64::try_from(from).unwrap_or(i64::MAX)))
        }
        _ => None,
    }
}

fn did(command: &Command) -> String {
    match command {
        Command::Bank(bank::Command::Pay { from, to, amount }) => {
            format!("paid {amount} from account {from} to account {to}")
        }
        Command::Cas { key, from: None, to } => format!("gave the name {key} to {to}"),
        Command::Cas { key, to, .. } => format!("set register {key} to {to}"),
        Command::Write { key, value } => format!("wrote {value} to register {key}"),
        Command::Acquire { owner, .. } => format!("gave the lock to {owner}"),
        Command::Release { owner, .. } => format!("took the lock back from {owner}"),
        other => format!("did {other:?}"),
    }
}

fn answer(response: &Response) -> String {
    match response {
        Response::Done | Response::Bank(bank::Response::Done) => "that it was done".to_owned(),
        Response::Bank(bank::Response::Insufficient(left)) => {
            format!("a refusal, with {left} left on the account")
        }
        Response::Found(Some(found)) => format!("a refusal, for {found} was there"),
        other => format!("{other:?}"),
    }
}

fn reordered(side: &Side, reordering: &Reordering) -> String {
    let (before, after) = (&side.operations[reordering.before], &side.operations[reordering.after]);
    let Reordering { came, shown, .. } = reordering;
    format!(
        "a read through node {} at {} showed {shown} in a place of the list where one through the same \
         node at {} showed {came}, which had come in before it",
        node(before),
        at(before.invoked),
        at(after.invoked)
    )
}
