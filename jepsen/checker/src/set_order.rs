//! Sets on the way: is every read of a growing set explained by one order?
//!
//! In go the operations of a set workload whose elements are added once each; out comes whether the
//! history is linearizable. Reads of a set that only grows must contain each other, so they form
//! levels. An element belongs to the first level that has it: its add lies before every read of that
//! level and after every read of the one below. That fixes the order of any two operations of
//! different levels, and leaves those of one level free, so the history is linearizable exactly if
//! no operation returned before one of a lower level was called, be it by the clock or, at equal
//! times, by the order in which one process did them. One pass over the levels finds out,
//! where a search over orders would drown in states.
//!
//! Invariants:
//! - an add that nobody knows about counts from its call on, if a read has its element, and not at
//!   all otherwise;
//! - an element that was added twice has no single place: the verdict is unknown.
//!
//! Losses and inventions are counted by [`super::set`]; here they are one violation among others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Explanation, Verdict};
use crate::history::{Clock, Operation, Outcome, Value};
use crate::moment::duration;

/// A read and what it saw.
type Read<'a> = (&'a Operation, BTreeSet<&'a Value>);

/// Judges the order of adds and reads. Operations other than these are left to [`super::set`].
pub fn check(operations: &[Operation], clock: Clock) -> Verdict {
    let mut adds: BTreeMap<&Value, &Operation> = BTreeMap::new();
    let mut reads: Vec<Read<'_>> = Vec::new();
    for operation in operations {
        match (operation.f.as_str(), operation.outcome) {
            ("add", Outcome::Ok | Outcome::Info) => {
                let twice = adds.insert(&operation.input, operation).is_some();
                if twice {
                    let element = &operation.input;
                    let why = format!("{element} was added twice, so reads do not say when");
                    return Verdict::Unknown { why };
                }
            }
            ("read", Outcome::Ok) => {
                let seen = operation.value.items().unwrap_or_default();
                reads.push((operation, seen.into_iter().collect()));
            }
            _ => {}
        }
    }
    if reads.is_empty() {
        return Verdict::Unknown { why: "no read succeeded".to_owned() };
    }
    reads.sort_by_key(|(_, seen)| seen.len());
    match levels(&adds, &reads).and_then(|ranked| in_order(ranked, &reads, clock)) {
        Ok(operations) => Verdict::Valid { operations, partitions: 1 },
        Err(explanation) => Verdict::Invalid { explanation },
    }
}

/// Each operation with its rank: adds of a level have an even one, its reads the odd one above.
fn levels<'a>(
    adds: &BTreeMap<&'a Value, &'a Operation>,
    reads: &[Read<'a>],
) -> Result<Vec<(usize, &'a Operation)>, Explanation> {
    let mut ranked = Vec::new();
    let mut placed: BTreeSet<&Value> = BTreeSet::new();
    let mut level = 0;
    let mut below: Option<&Read<'_>> = None;
    for read in reads {
        let (operation, seen) = read;
        if let Some((lower, lower_seen)) = below {
            if let Some(missing) = lower_seen.difference(seen).next() {
                let extra = seen.difference(lower_seen).next();
                return Err(crossed(operation, lower, missing, extra.copied()));
            }
            level += usize::from(seen.len() > lower_seen.len());
        }
        for element in seen.difference(&placed) {
            let Some(add) = adds.get(element) else {
                let process = operation.process;
                let sentence = format!("process {process} read {element}, which nobody added");
                return Err(explanation(sentence, &[operation]));
            };
            ranked.push((2 * level, *add));
        }
        placed.extend(seen);
        ranked.push((2 * level + 1, *operation));
        below = Some(read);
    }
    let unseen = adds.iter().filter(|(element, _)| !placed.contains(*element));
    let acknowledged = unseen.filter(|(_, add)| add.outcome == Outcome::Ok);
    ranked.extend(acknowledged.map(|(_, add)| (2 * level + 2, *add)));
    Ok(ranked)
}

/// Finds an operation that returned before one of a lower rank was called; else counts them.
fn in_order(
    mut ranked: Vec<(usize, &Operation)>,
    reads: &[Read<'_>],
    clock: Clock,
) -> Result<usize, Explanation> {
    // The clock may be too coarse to tell what one process did first.
    ranked.sort_by_key(|(_, operation)| (operation.process, operation.index));
    let mut before: Option<(usize, &Operation)> = None;
    for &(rank, operation) in &ranked {
        if let Some((higher_rank, higher)) = before
            && higher.process == operation.process
            && higher_rank > rank
        {
            return Err(explain(operation, higher, reads, clock));
        }
        if operation.returned.is_some() {
            before = Some((rank, operation));
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut latest: Option<&Operation> = None;
    for level in ranked.chunk_by(|(one, _), (other, _)| one == other) {
        for (_, higher) in level {
            let (Some(lower), Some(returned)) = (latest, higher.returned) else { continue };
            if returned < lower.invoked {
                return Err(explain(lower, higher, reads, clock));
            }
        }
        let called_last = level.iter().map(|(_, operation)| *operation);
        latest = latest.into_iter().chain(called_last).max_by_key(|operation| operation.invoked);
    }
    Ok(ranked.len())
}

/// `higher` returned before `lower` was called, though it belongs after it.
fn explain(lower: &Operation, higher: &Operation, reads: &[Read<'_>], clock: Clock) -> Explanation {
    let gap = lower.invoked.saturating_sub(higher.returned.unwrap_or(lower.invoked));
    let gap = match clock {
        Clock::Nanoseconds => duration(gap),
        Clock::Positions => format!("{gap} events"),
    };
    let (one, other) = (lower.process, higher.process);
    let seen = |operation: &Operation| {
        let same = |(read, _): &&Read<'_>| read.index == operation.index;
        reads.iter().find(same).map(|(_, seen)| seen.clone()).unwrap_or_default()
    };
    let sentence = match (lower.f.as_str(), higher.f.as_str()) {
        ("read", "add") => {
            let element = &higher.input;
            format!(
                "process {one}'s read lacks {element}, but process {other}'s add of {element} had \
                 finished {gap} before that read began"
            )
        }
        ("add", "read") => {
            let element = &lower.input;
            format!(
                "process {other}'s read had finished {gap} before process {one}'s add of {element} \
                 began, but it has {element}, or more than a read that has it"
            )
        }
        ("read", _) => {
            let lacks = seen(higher).difference(&seen(lower)).next().map(ToString::to_string);
            let lacks = lacks.unwrap_or_default();
            format!(
                "process {one}'s read lacks {lacks}, but process {other}'s read, which has it, had \
                 finished {gap} before that read began"
            )
        }
        _ => {
            let (early, late) = (&higher.input, &lower.input);
            format!(
                "process {other}'s add of {early} had finished {gap} before process {one}'s add of \
                 {late} began, but a read has {late} without {early}"
            )
        }
    };
    explanation(sentence, &[higher, lower])
}

/// Two reads of which neither contains the other.
fn crossed(
    one: &Operation,
    other: &Operation,
    only_other: &Value,
    only_one: Option<&Value>,
) -> Explanation {
    let (a, b) = (one.process, other.process);
    let only_one = only_one.map(ToString::to_string).unwrap_or_default();
    let sentence = format!(
        "process {a} read {only_one} without {only_other}, and process {b} read {only_other} \
         without {only_one}: one of them was added first"
    );
    explanation(sentence, &[one, other])
}

fn explanation(sentence: String, operations: &[&Operation]) -> Explanation {
    let line = |operation: &&Operation| {
        let Operation { process, f, invoked, input, .. } = operation;
        let what = if f == "add" { format!("added {input}") } else { "read".to_owned() };
        format!("process {process} {what} (event {}, called at {invoked})", operation.index)
    };
    let culprits = operations.iter().map(|operation| operation.index).collect();
    Explanation { key: None, sentence, operations: operations.iter().map(line).collect(), culprits }
}
