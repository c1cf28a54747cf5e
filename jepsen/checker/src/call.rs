//! Calls: the operations of a history, as a model sees them.
//!
//! A [`Call`] joins what was asked, what was answered, and when. Checkers eat slices of them;
//! [`Recorder`](crate::recorder::Recorder) writes them down in a running program, and
//! [`HistoryModel::calls`](crate::model::HistoryModel::calls) makes them of a history file.
//!
//! Invariants every slice of calls keeps, or the verdict is worth nothing:
//! - calls that definitely did not happen are left out;
//! - the calls of one process stand in the order in which it made them;
//! - `returned` is `None` exactly if nobody knows whether the call happened: such a call is
//!   concurrent with everything after it, for ever, and its output does not count;
//! - times come from one clock that does not run backwards. Calls of different processes that touch
//!   at one instant are concurrent: a clock that is too coarse must not invent an order. One process
//!   does one thing after the other, also where one ends in the instant in which the next begins; calls
//!   of one process whose times overlap are concurrent like any others.

/// One call and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<I, O> {
    /// Who called.
    pub process: u64,
    /// What was asked.
    pub input: I,
    /// What was answered; `None` if nothing was, or if the answer is not known.
    pub output: Option<O>,
    /// When it was called, on the history's clock.
    pub invoked: u64,
    /// When it returned; `None` if nobody knows whether it happened.
    pub returned: Option<u64>,
    /// At which index of a replicated log it took effect or was read, if somebody says so. It is
    /// verified, never trusted.
    pub log_index: Option<u64>,
}

impl<I, O> Call<I, O> {
    /// The answer, if it counts.
    pub fn answer(&self) -> Option<&O> {
        self.output.as_ref().filter(|_| self.returned.is_some())
    }
}
