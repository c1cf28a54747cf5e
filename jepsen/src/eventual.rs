//! What a run in eventual mode is judged by, beside what its workload looks at.
//!
//! In: the typed operations of the clients, and the order on which the replicas agreed. Out: checks and
//! notes of a report. What is promised comes first: [`DURABILITY`] and [`EXACTLY_ONCE`]. Then what is
//! not, and still is no lie to be told as valid: [`REVOCATION`], an answer that turned out untrue. Last,
//! what is measured: staleness, session guarantees, reorderings.
//!
//! Invariants:
//! - a revoked answer makes the run invalid, as a contradiction does in strong mode: somebody was told
//!   what is not so. The worst is told first: of money, the largest payment that was called done;
//! - what was measured decides nothing.
//!
//! Does not: compare replicas ([`replicas`](crate::replicas)).

use std::collections::BTreeMap;

use serde_json::json;

use crate::bank;
use crate::checker::eventual::{
    DURABILITY, EXACTLY_ONCE, Guarantees, Revocation, Sight, Staleness, guarantees, reorderings,
    revocations, settled, staleness,
};
use crate::checker::moment::{duration, moment};
use crate::checker::replay::Typed;
use crate::checker::{Explanation, Verdict};
use crate::history::Clock;
use crate::machine::{Command, Response, Workbench};
use crate::report::Check;

/// No answer turns out untrue. Nobody promises it in eventual mode.
pub const REVOCATION: &str = "revocation";
/// How many revoked answers a report lists at most.
const LISTED_MAX: usize = 20;

/// Judges the operations by the order on which the replicas agreed.
pub fn checks(operations: &[Typed<Workbench>], order: &[u64], clock: Clock) -> Vec<Check> {
    let mut checks = promised(operations, order);
    checks.push(revocation(operations, order, clock));
    checks
}

/// Durability and exactly once. The first thing that is wrong hides what else may be.
fn promised(operations: &[Typed<Workbench>], order: &[u64]) -> Vec<Check> {
    let acknowledged = operations.iter().filter(|o| o.is_write() && o.returned.is_some()).count();
    let wrong = settled(operations, order).err();
    let check = |name: &str, looked: usize| {
        let verdict = match &wrong {
            Some((broken, sentence)) if *broken == name => invalid(sentence.clone(), Vec::new()),
            Some((_, sentence)) => Verdict::Unknown { why: format!("not looked at: {sentence}") },
            None => Verdict::Valid { operations: looked, partitions: 1 },
        };
        Check { name: name.to_owned(), verdict, details: serde_json::Value::Null }
    };
    vec![check(DURABILITY, acknowledged), check(EXACTLY_ONCE, order.len())]
}

fn revocation(operations: &[Typed<Workbench>], order: &[u64], clock: Clock) -> Check {
    let (_, mut revoked) = revocations(operations, order);
    let answered = operations.iter().filter(|o| o.is_write() && o.returned.is_some()).count();
    revoked.sort_by_key(|revoked| std::cmp::Reverse(weight(revoked)));
    let refused: Vec<u64> = revoked.iter().filter_map(overspent).collect();
    let (payments, money) = (refused.len(), refused.iter().sum::<u64>());
    let details = json!({
        "answers": answered, "revoked": revoked.len(), "payments": payments, "overspent": money,
    });
    let by_number: BTreeMap<u64, &Typed<Workbench>> =
        operations.iter().map(|operation| (operation.number, operation)).collect();
    let in_words = |revoked: &Revocation<Workbench>| {
        by_number.get(&revoked.number).map(|operation| told(operation, revoked, clock))
    };
    let mut lines: Vec<String> = revoked.iter().take(LISTED_MAX).filter_map(in_words).collect();
    let verdict = match lines.first().cloned() {
        None => Verdict::Valid { operations: answered, partitions: 1 },
        Some(worst) => {
            let money = match payments {
                0 => String::new(),
                _ => format!(
                    "; {payments} of these were payments called done, of {money} overspent together"
                ),
            };
            let count = revoked.len();
            let sentence = format!("{worst}: {count} of {answered} answers were revoked{money}");
            if count > lines.len() {
                lines.push(format!("and {} more", count - lines.len()));
            }
            invalid(sentence, lines)
        }
    };
    Check { name: REVOCATION.to_owned(), verdict, details }
}

/// Who was told what, by which node, when, and what became of it. The node is the one that the client
/// asks as long as it can be reached.
fn told(operation: &Typed<Workbench>, revoked: &Revocation<Workbench>, clock: Clock) -> String {
    let Typed { process, node, returned, .. } = operation;
    let Revocation { command, told, settled, .. } = revoked;
    let command = match command {
        Command::Bank(command) => format!("{command:?}"),
        command => format!("{command:?}"),
    };
    let node = node.as_deref().map_or(String::new(), |node| format!(", asking node {node},"));
    let at = returned.map_or(String::new(), |at| format!(" at {}", moment(clock, at)));
    let (told, settled) = (response(told), response(settled));
    format!("process {process}{node} was told {told} of {command}{at}, and it became {settled}")
}

fn response(response: &Response) -> String {
    match response {
        Response::Bank(response) => format!("{response:?}"),
        response => format!("{response:?}"),
    }
}

/// The amount of a payment that was called done and is refused in the end. Who pays himself loses nothing.
pub fn overspent(revoked: &Revocation<Workbench>) -> Option<u64> {
    match &revoked.command {
        Command::Bank(bank::Command::Pay { from, to, amount })
            if from != to && revoked.told.is_done() && !revoked.settled.is_done() =>
        {
            Some(*amount)
        }
        _ => None,
    }
}

/// How bad it is: money first, then what was called done and was not.
fn weight(revoked: &Revocation<Workbench>) -> (u64, bool) {
    (overspent(revoked).unwrap_or(0), revoked.told.is_done())
}

/// What was measured, in words.
pub fn notes(operations: &[Typed<Workbench>], order: &[u64], clock: Clock) -> Vec<String> {
    let sight = Sight::new(operations, order);
    let staleness = staleness(&sight);
    let mut notes = Vec::new();
    if !staleness.ages.is_empty() {
        notes.extend(stale(&staleness, operations, clock));
    }
    let guarantees = guarantees(&sight, |_| true);
    if guarantees.judged > 0 {
        notes.push(lapses(&guarantees));
    }
    let reordered = reorderings(operations);
    if let Some(first) = reordered.first() {
        let (later, earlier) = (&operations[first.after], &operations[first.before]);
        notes.push(format!(
            "{} reads of a list show two elements in another order than the one before, the first \
             process {}'s at {}, after process {}'s at {}",
            reordered.len(),
            later.process,
            moment(clock, later.invoked),
            earlier.process,
            moment(clock, earlier.invoked),
        ));
    }
    notes
}

fn stale(
    staleness: &Staleness,
    operations: &[Typed<Workbench>],
    clock: Clock,
) -> impl Iterator<Item = String> {
    let (stale, all) = (staleness.stale(), staleness.ages.len());
    let worst = staleness.worst().map_or(String::new(), |age| {
        format!(
            "; the worst, process {}'s at {}, missed {} writes, the newest acknowledged {} before",
            operations[age.read].process,
            moment(clock, age.called),
            age.missed,
            duration(age.since)
        )
    });
    let share = |(mark, share): (u64, f64)| format!("{:.1} % from {mark} ms", share * 100.0);
    let curve: Vec<String> = staleness.curve().into_iter().map(share).collect();
    [
        format!("{stale} of {all} reads were stale{worst}"),
        format!("stale by the time since the newest write was acknowledged: {}", curve.join(", ")),
    ]
    .into_iter()
}

fn lapses(guarantees: &Guarantees) -> String {
    let Guarantees { judged, lapses } = guarantees;
    let own = lapses.iter().filter(|lapse| lapse.own).count();
    format!(
        "without session tokens, {own} of {judged} reads missed a write of their own process, and {} \
         one that it had read before",
        lapses.len() - own
    )
}

fn invalid(sentence: String, operations: Vec<String>) -> Verdict {
    let explanation = Explanation { sentence, operations, ..Explanation::default() };
    Verdict::Invalid { explanation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::replay::Act;

    fn pay(number: u64, amount: u64, response: bank::Response) -> Typed<Workbench> {
        let command = Command::Bank(bank::Command::Pay { from: 1, to: 2, amount });
        write(number, command, response)
    }

    fn write(number: u64, command: Command, response: bank::Response) -> Typed<Workbench> {
        let act = Act::Write { command, response: Some(Response::Bank(response)) };
        let (node, returned) = (Some("3".to_owned()), Some(number * 1_000_000_000 + 1));
        let invoked = number * 1_000_000_000;
        Typed { process: number, number, node, invoked, returned, act }
    }

    fn open(account: u64) -> Typed<Workbench> {
        let command = Command::Bank(bank::Command::Open { account, deposit: 10 });
        write(account, command, bank::Response::Done)
    }

    #[test]
    fn the_largest_payment_that_was_called_done_in_vain_is_told_first() {
        use bank::Response::{Done, Insufficient};
        let operations = [
            open(1),
            open(2),
            pay(3, 9, Done),
            pay(4, 2, Done),
            pay(5, 7, Done),
            pay(6, 1, Insufficient(0)),
        ];
        let checks = checks(&operations, &[1, 2, 3, 4, 5, 6], Clock::Nanoseconds);
        let words: Vec<_> = checks.iter().map(|c| (c.name.as_str(), c.verdict.word())).collect();
        assert_eq!(
            words,
            [(DURABILITY, "valid"), (EXACTLY_ONCE, "valid"), (REVOCATION, "invalid")]
        );
        let Verdict::Invalid { explanation } = &checks[2].verdict else { panic!("{checks:?}") };
        assert_eq!(
            explanation.sentence,
            "process 5, asking node 3, was told Done of Pay { from: 1, to: 2, amount: 7 } at 5.000 s, and \
             it became Insufficient(1): 3 of 6 answers were revoked; 2 of these \
             were payments called done, of 9 overspent together"
        );
        assert_eq!(explanation.operations.len(), 3);
        assert_eq!(checks[2].details["overspent"], 9);
    }

    #[test]
    fn what_is_lost_or_there_twice_is_told_under_its_name() {
        let operations = [open(1), open(2)];
        let word = |order: &[u64]| {
            let checks = checks(&operations, order, Clock::Nanoseconds);
            (checks[0].verdict.word(), checks[1].verdict.word())
        };
        assert_eq!(word(&[1, 2]), ("valid", "valid"));
        assert_eq!(word(&[1]), ("invalid", "unknown"));
        assert_eq!(word(&[1, 2, 1]), ("unknown", "invalid"));
    }
}
