//! Clocks: what time a host believes it is.
//!
//! Owns [`Clock`], one host's view of global time: ahead by some offset, and running at a rate of its
//! own. In: global instants and local durations. Out: local instants and global durations.
//!
//! Invariants: a clock never goes back, as a monotonic clock does not; a change of its rate is not a
//! jump. Timers that are set keep the instant that they were set for.

use std::time::Duration;

/// How a host's clock runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// A global instant, and what this clock showed then.
    global: Duration,
    local: Duration,
    rate: f64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { global: Duration::ZERO, local: Duration::ZERO, rate: 1.0 }
    }
}

/// Longer than any run: waiting for it is waiting for ever, whatever the rate.
const FOREVER: Duration = Duration::from_secs(1 << 32);

impl Clock {
    /// What it shows at a global instant.
    pub fn local(&self, global: Duration) -> Duration {
        let since = global.saturating_sub(self.global);
        match self.is_true() {
            true => self.local + since,
            false => self.local + since.mul_f64(self.rate),
        }
    }

    /// How long a duration on this clock takes.
    pub fn globally(&self, local: Duration) -> Duration {
        match self.is_true() || local >= FOREVER {
            true => local,
            false => local.div_f64(self.rate),
        }
    }

    /// How fast it runs.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    fn is_true(&self) -> bool {
        (self.rate - 1.0).abs() < f64::EPSILON
    }

    pub(super) fn at_rate(self, global: Duration, rate: f64) -> Self {
        Self { global, local: self.local(global), rate }
    }

    pub(super) fn bumped(self, by: Duration) -> Self {
        Self { local: self.local + by, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_change_of_rate_is_no_jump() {
        let slow = Clock::default().at_rate(SECOND * 10, 0.5);
        assert_eq!(slow.local(SECOND * 10), SECOND * 10);
        assert_eq!(slow.local(SECOND * 12), SECOND * 11);
        assert_eq!(slow.globally(SECOND), SECOND * 2);
        let right = slow.at_rate(SECOND * 12, 1.0);
        assert_eq!(right.local(SECOND * 13), SECOND * 12);
        assert_eq!(right.bumped(SECOND).local(SECOND * 13), SECOND * 13);
        assert_eq!(slow.globally(FOREVER), FOREVER);
    }
}
