//! Sets: is every acknowledged element in the final reads?
//!
//! In go the operations of a set workload (`add`, `read`), out comes a [`SetReport`] with the
//! verdict. A read is final if it began after every completed add had returned. It runs in one pass
//! over the elements, so it judges histories that no search could.
//!
//! Invariants:
//! - *lost*: acknowledged, and missing from some final read;
//! - *unexpected*: read by anybody, though nobody tried to add it, or its add failed;
//! - *recovered*: an add that nobody knew about, found in a final read. It may also be absent;
//! - without a final `ok` read the verdict is unknown, since losses could not have been seen;
//! - with neither an acknowledged add nor a read there is nothing to judge: unknown, not valid.
//!
//! It does not look at the order of things: a read in the middle that misses an element is not its
//! business, the linearizability of a small set history is.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Explanation, OpError, Verdict};
use crate::history::{Operation, Outcome, Value};

/// How many elements an explanation names of each sort.
const NAMED_MAX: usize = 5;

/// What became of the elements.
#[derive(Clone, Debug, Serialize)]
pub struct SetReport {
    /// Adds tried.
    pub attempted: usize,
    /// Adds acknowledged.
    pub acknowledged: usize,
    /// Adds that nobody knows about.
    pub unknown: usize,
    /// Final reads that succeeded.
    pub final_reads: usize,
    /// Acknowledged elements missing from a final read.
    pub lost: usize,
    /// Elements read that were never added.
    pub unexpected: usize,
    /// Acknowledged elements that no read, final or not, ever returned.
    pub never_read: usize,
    /// Unknown adds that turned out to have happened.
    pub recovered: usize,
    /// The verdict.
    #[serde(skip)]
    pub verdict: Verdict,
}

/// Judges the operations of a set workload.
pub fn check(operations: &[Operation]) -> Result<SetReport, OpError> {
    let mut adds: BTreeMap<&Value, &Operation> = BTreeMap::new();
    let mut reads: Vec<(&Operation, BTreeSet<&Value>)> = Vec::new();
    for operation in operations {
        let refuse = |reason| OpError { index: operation.index, reason };
        match (operation.f.as_str(), operation.outcome) {
            ("add", _) => {
                let element = operation.argument().map_err(refuse)?;
                let add = adds.entry(element).or_insert(operation);
                // Of several adds of one element the surest counts.
                if rank(operation.outcome) > rank(add.outcome) {
                    *add = operation;
                }
            }
            ("read", Outcome::Ok) => match operation.value.items() {
                Some(items) => reads.push((operation, items.into_iter().collect())),
                None => {
                    let value = &operation.value;
                    let reason = format!("a read of a set returns a collection, not {value}");
                    return Err(refuse(reason));
                }
            },
            ("read", _) => {}
            (other, _) => return Err(refuse(format!("a set workload has no operation `{other}`"))),
        }
    }
    Ok(judge(&adds, &reads))
}

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Fail => 0,
        Outcome::Info => 1,
        Outcome::Ok => 2,
    }
}

fn judge(
    adds: &BTreeMap<&Value, &Operation>,
    reads: &[(&Operation, BTreeSet<&Value>)],
) -> SetReport {
    let of = |outcome| adds.iter().filter(move |(_, add)| add.outcome == outcome);
    let last_add = of(Outcome::Ok).filter_map(|(_, add)| add.returned).max();
    // Strictly later: at equal times the read may have come first.
    let is_final = |read: &Operation| last_add.is_none_or(|last| read.invoked > last);
    let finals: Vec<_> = reads.iter().filter(|(read, _)| is_final(read)).collect();
    let ever: BTreeSet<&Value> = reads.iter().flat_map(|(_, seen)| seen.iter().copied()).collect();
    let missing = |element: &Value| finals.iter().find(|(_, seen)| !seen.contains(element));
    let lost: Vec<_> = of(Outcome::Ok)
        .filter_map(|(element, add)| Some((*element, *add, missing(element)?.0)))
        .collect();
    let unexpected: Vec<&Value> = ever
        .iter()
        .copied()
        .filter(|element| adds.get(element).is_none_or(|add| add.outcome == Outcome::Fail))
        .collect();
    let in_final = |element: &Value| finals.iter().any(|(_, seen)| seen.contains(element));
    let acknowledged = of(Outcome::Ok).count();
    let verdict = if !lost.is_empty() || !unexpected.is_empty() {
        Verdict::Invalid { explanation: explain(&lost, &unexpected) }
    } else if finals.is_empty() {
        let why = "no read succeeded after the last acknowledged add, so nobody saw what was lost";
        Verdict::Unknown { why: why.to_owned() }
    } else if acknowledged == 0 {
        Verdict::Unknown { why: "no add was acknowledged, so none could be lost".to_owned() }
    } else {
        Verdict::Valid { operations: adds.len() + reads.len(), partitions: 1 }
    };
    SetReport {
        attempted: adds.len(),
        acknowledged,
        unknown: of(Outcome::Info).count(),
        final_reads: finals.len(),
        lost: lost.len(),
        unexpected: unexpected.len(),
        never_read: of(Outcome::Ok).filter(|(element, _)| !ever.contains(*element)).count(),
        recovered: of(Outcome::Info).filter(|(element, _)| in_final(element)).count(),
        verdict,
    }
}

fn explain(lost: &[(&Value, &Operation, &Operation)], unexpected: &[&Value]) -> Explanation {
    let mut parts = Vec::new();
    if let Some((element, add, read)) = lost.first() {
        let (adder, reader) = (add.process, read.process);
        let others = match lost.len() {
            1 => String::new(),
            count => format!("; {} more acknowledged elements were lost", count - 1),
        };
        parts.push(format!(
            "process {adder}'s add of {element} was acknowledged, but process {reader}'s final \
             read does not have it{others}"
        ));
    }
    if let Some(element) = unexpected.first() {
        let others = match unexpected.len() {
            1 => String::new(),
            count => format!(", and so were {} others", count - 1),
        };
        parts.push(format!("{element} was read, but never successfully added{others}"));
    }
    let culprits = lost.first().map(|(_, add, read)| vec![add.index, read.index]);
    let culprits = culprits.unwrap_or_default();
    let name = |sort: &str, element: &Value| format!("{sort}: {element}");
    let lost = lost.iter().take(NAMED_MAX).map(|(element, ..)| name("lost", element));
    let unexpected = unexpected.iter().take(NAMED_MAX).map(|e| name("unexpected", e));
    let operations = lost.chain(unexpected).collect();
    Explanation { key: None, sentence: parts.join("; "), operations, culprits }
}
