//! Verdicts: what a checker found, in one of three words.
//!
//! Invariants:
//! - `Unknown` says what stood in the way, and is never green;
//! - `Valid` says how much was checked, so that nobody mistakes an empty check for a passed one;
//! - bad input is an [`OpError`] with the position of the operation, never a verdict.

use std::fmt;

use crate::history::Value;

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing contradicts the model.
    Valid {
        /// How many operations took part.
        operations: usize,
        /// How many objects (keys) were checked apart.
        partitions: usize,
    },
    /// Something does.
    Invalid {
        /// What, and why.
        explanation: Explanation,
    },
    /// It could not be decided.
    Unknown {
        /// What stood in the way.
        why: String,
    },
}

impl Verdict {
    /// The verdict as one word: valid, invalid or unknown.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Valid { .. } => "valid",
            Verdict::Invalid { .. } => "invalid",
            Verdict::Unknown { .. } => "unknown",
        }
    }
}

/// Why a history is invalid, for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The object concerned, if there are several.
    pub key: Option<Value>,
    /// The contradiction in one sentence.
    pub sentence: String,
    /// The operations that contradict each other, one a line, by time.
    pub operations: Vec<String>,
    /// The positions of their invocations in the history, where known: a page points to them.
    pub culprits: Vec<usize>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(out, "key {key}: {}", self.sentence),
            None => out.write_str(&self.sentence),
        }
    }
}

/// An operation that no model or checker can read: bad input, not a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    /// Position of its invocation in the history.
    pub index: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for OpError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "operation at event {}: {}", self.index, self.reason)
    }
}

impl std::error::Error for OpError {}
