//! Verdicts as a test wants them: in words, and as a panic.
//!
//! In goes a verdict of [`linearizable`](crate::linearizable::check); out comes what it says to a
//! person, or the end of a `#[test]` that cannot go on.
//!
//! Invariants:
//! - only a history that was shown to be linearizable passes: unknown panics, too;
//! - the words of a violation name the calls that contradict each other, each on a line of its own.

use std::fmt;

use crate::linearizable::{Verdict, Witness};

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Linearizable { witness } => {
                let calls: usize = witness.orders.iter().map(|order| order.judged).sum();
                write!(out, "linearizable: an order explains all {calls} calls")
            }
            Verdict::Violation { explanation, .. } => {
                write!(out, "not linearizable: {explanation}")?;
                explanation.operations.iter().try_for_each(|call| write!(out, "\n  {call}"))
            }
            Verdict::Unknown { why } => write!(out, "not decided: {why}"),
        }
    }
}

impl Verdict {
    /// The proof, for a test that needs there to be one.
    ///
    /// # Panics
    ///
    /// If the history is not linearizable, or if that could not be decided: with the reason.
    #[track_caller]
    pub fn unwrap(self) -> Witness {
        match self {
            Verdict::Linearizable { witness } => witness,
            Verdict::Violation { .. } | Verdict::Unknown { .. } => panic!("{self}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::Explanation;
    use crate::linearizable::Method;

    #[test]
    fn only_a_proof_passes() {
        let explanation = Explanation {
            key: Some("7".to_owned()),
            sentence: "because".to_owned(),
            operations: vec!["one".to_owned(), "another".to_owned()],
            culprits: vec![0, 1],
        };
        let violation = Verdict::Violation { explanation, method: Method::Search };
        let unknown = Verdict::Unknown { why: "too hard".to_owned() };
        let cases = [
            (violation, "not linearizable: key 7: because\n  one\n  another"),
            (unknown, "not decided: too hard"),
        ];
        for (verdict, words) in cases {
            let panic = catch_unwind(|| verdict.unwrap()).unwrap_err();
            assert_eq!(*panic.downcast::<String>().unwrap(), words);
        }
        let witness = Witness::default();
        assert_eq!(Verdict::Linearizable { witness: witness.clone() }.unwrap(), witness);
    }
}
