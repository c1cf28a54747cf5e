//! The checkers tested from outside.
//!
//! One binary, one story a file:
//! - `differential`: the search for linearizations against a judge that cannot be wrong;
//! - `checkers`: each checker fails on a planted violation, and says why;
//! - `budgets`: what is too hard ends in time, and hides nothing;
//! - `long`: long histories that once took for ever;
//! - `junit`: what build servers read, read by a parser of XML.
//!
//! What several stories need stands here.

#[cfg(test)]
mod budgets;
#[cfg(test)]
mod checkers;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod junit;
#[cfg(test)]
mod long;
#[cfg(test)]
mod streams;
mod words;

use std::time::Duration;

use sixbells_checker::Verdict;
use sixbells_checker::budget::Budget;
use sixbells_checker::history::{Clock, Operation, Outcome, Value};
use sixbells_checker::linearizable::check_operations;
use sixbells_checker::model::HistoryModel;

/// Something that happens at a point in time, for the histories made here.
pub(crate) struct Attempt {
    pub(crate) process: u64,
    pub(crate) invoked: u64,
    pub(crate) point: u64,
    pub(crate) returned: u64,
    pub(crate) op: RegisterOp,
}

/// What a register is asked, here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegisterOp {
    Read(Option<i64>),
    Write(Option<i64>),
    Cas(Option<i64>, Option<i64>),
}

pub(crate) fn budget() -> Budget {
    Budget::new(Duration::from_secs(60), 1 << 30)
}

pub(crate) fn operation(
    process: u64,
    f: &str,
    value: Value,
    invoked: u64,
    returned: Option<u64>,
) -> Operation {
    Operation {
        index: 0,
        process,
        f: f.into(),
        input: value.clone(),
        value,
        invoked,
        returned,
        outcome: if returned.is_some() { Outcome::Ok } else { Outcome::Info },
        log_index: None,
        details: None,
    }
}

pub(crate) fn verdict(mut model: impl HistoryModel, operations: &[Operation]) -> Verdict {
    let found = check_operations(&mut model, operations, Clock::Nanoseconds, &[], &mut budget());
    found.expect("the model knows its own operations").into()
}
