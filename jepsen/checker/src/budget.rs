//! What a search may spend: time and memory.
//!
//! Deciding linearizability is exponential at worst, so every search asks its [`Budget`] at each
//! step, and stops with [`Exhausted`] when it has spent enough. One budget covers a whole check.
//!
//! Invariants:
//! - a search overstays its time by at most [`STEPS_PER_LOOK`] steps: a timeout that is honoured
//!   only between searches is none;
//! - bytes are an estimate of what is live now; a search gives back what it held when it ends.
//!
//! It does not measure the process: what the history itself takes is the reader's business.

use std::fmt;
use std::time::{Duration, Instant};

/// How many steps pass between two looks at the clock, which costs about as much as one step.
pub const STEPS_PER_LOOK: u64 = 32;

/// How long finding a short explanation may take, once the verdict is known.
const EXPLANATION: Duration = Duration::from_secs(5);

/// Time and memory that may still be spent.
#[derive(Debug)]
pub struct Budget {
    time: Duration,
    deadline: Option<Instant>,
    bytes_max: usize,
    bytes: usize,
    steps: u64,
    steps_max: u64,
    explanation: Duration,
}

/// Which part of a budget ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The time.
    Time(Duration),
    /// The memory, in bytes.
    Memory(usize),
    /// The steps that part of a search was given.
    Steps(u64),
    /// The room of every search: too many calls, in flight or crashed, for the one, and too much
    /// memory for the other.
    Room,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exhausted::Time(limit) => {
                write!(out, "the time budget of {} s ran out", limit.as_secs_f64())
            }
            Exhausted::Memory(limit) => {
                write!(out, "the memory budget of {} MiB ran out", limit >> 20)
            }
            Exhausted::Steps(limit) => write!(out, "{limit} steps did not do"),
            Exhausted::Room => write!(
                out,
                "too many calls had crashed or were in flight at once, and memory ran out"
            ),
        }
    }
}

impl Budget {
    /// A budget that begins now.
    pub fn new(time: Duration, bytes_max: usize) -> Self {
        // A time too long to add to the clock is no limit.
        let deadline = Instant::now().checked_add(time);
        let (steps_max, explanation) = (u64::MAX, EXPLANATION);
        Self { time, deadline, bytes_max, bytes: 0, steps: 0, steps_max, explanation }
    }

    /// The same, but once a violation is found, at most this long goes into making its explanation
    /// shorter; 5 s unless it is said. The verdict does not change.
    pub fn explaining_for(self, explanation: Duration) -> Self {
        Self { explanation, ..self }
    }

    /// What may be spent on an explanation.
    pub(crate) fn explanation(&self) -> Self {
        self.slice(self.explanation)
    }

    /// A budget out of this one: at most `time`, never beyond this one's end.
    pub fn slice(&self, time: Duration) -> Self {
        let left = self.deadline.map(|end| end.saturating_duration_since(Instant::now()));
        Self::new(left.map_or(time, |left| left.min(time)), self.bytes_max)
    }

    /// A budget out of this one of so many steps: where it runs out is the same in every run, unless
    /// time runs out before.
    pub fn steps(&self, steps_max: u64) -> Self {
        Self { bytes: 0, steps: 0, steps_max, ..*self }
    }

    /// How many steps were taken.
    pub fn steps_taken(&self) -> u64 {
        self.steps
    }

    /// To be called at every step of a search.
    pub fn poll(&mut self) -> Result<(), Exhausted> {
        self.steps += 1;
        if self.steps > self.steps_max {
            return Err(Exhausted::Steps(self.steps_max));
        }
        match self.steps.is_multiple_of(STEPS_PER_LOOK) {
            true => self.look(),
            false => Ok(()),
        }
    }

    /// Looks at the clock at once.
    pub fn look(&self) -> Result<(), Exhausted> {
        match self.deadline {
            Some(end) if Instant::now() >= end => Err(Exhausted::Time(self.time)),
            _ => Ok(()),
        }
    }

    /// Takes memory.
    pub fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > self.bytes_max {
            true => Err(Exhausted::Memory(self.bytes_max)),
            false => Ok(()),
        }
    }

    /// Gives memory back.
    pub fn give(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How much memory is taken.
    pub fn bytes_taken(&self) -> usize {
        self.bytes
    }

    /// How much memory may be taken at once.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ran_out(budget: &Budget) -> bool {
        budget.look().is_err()
    }

    #[test]
    fn a_part_ends_with_the_whole_and_not_before_its_own_time() {
        let (long, over) = (Budget::new(HOUR, 0), Budget::new(Duration::ZERO, 0));
        assert!(!ran_out(&long) && !ran_out(&long.slice(HOUR)) && ran_out(&over));
        assert!(ran_out(&long.slice(Duration::ZERO)) && ran_out(&over.slice(HOUR)));
        assert!(ran_out(&over.steps(1)));
    }

    #[test]
    fn an_explanation_takes_what_it_was_given_and_never_more_than_is_left() {
        let explained =
            |time, explanation| Budget::new(time, 0).explaining_for(explanation).explanation();
        assert!(!ran_out(&explained(HOUR, HOUR)));
        assert!(ran_out(&explained(HOUR, Duration::ZERO)));
        assert!(ran_out(&explained(Duration::ZERO, HOUR)));
    }

    #[test]
    fn a_part_of_some_steps_ends_after_them_in_every_run() {
        let mut part = Budget::new(HOUR, 0).steps(2);
        assert_eq!([part.poll(), part.poll()], [Ok(()), Ok(())]);
        assert_eq!(part.poll(), Err(Exhausted::Steps(2)));
    }
}
