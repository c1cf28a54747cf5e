//! Clocks: what time a host believes it is.
//!
//! Owns [`Clock`], one host's view of global time: ahead by some offset, and running at a rate of its
//! own. In: global and local instants. Out: local and global ones.
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

    /// The first global instant, `now` or later, at which this clock shows no less than `local`. Not
    /// an instant earlier: whoever waits for a time looks at the clock when woken, and one that shows
    /// a nanosecond too little would be asked again and again without time going on.
    pub fn when(&self, now: Duration, local: Duration) -> Duration {
        let left = local.saturating_sub(self.local(now));
        if self.is_true() || left >= FOREVER {
            return now.saturating_add(left);
        }
        let mut at = now.saturating_add(left.div_f64(self.rate));
        while self.local(at) < local {
            at += Duration::from_nanos(1);
        }
        at
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
        assert_eq!(slow.when(SECOND * 12, SECOND * 12), SECOND * 14);
        let right = slow.at_rate(SECOND * 12, 1.0);
        assert_eq!(right.local(SECOND * 13), SECOND * 12);
        assert_eq!(right.bumped(SECOND).local(SECOND * 13), SECOND * 13);
        assert!(slow.when(SECOND, FOREVER * 2) >= FOREVER);
    }

    /// openraft's ticks wait for the next line of a grid. Woken one nanosecond before it, they
    /// waited for the same line again, at the same instant, for ever.
    #[test]
    fn whoever_is_woken_finds_that_it_is_time() {
        for rate in [0.2, 0.3, 0.7, 1.4, 3.0] {
            let clock = Clock::default().at_rate(Duration::from_nanos(8_995_892_173), rate);
            let mut now = Duration::from_nanos(9_000_000_001);
            for step in 1..2_000 {
                let local = clock.local(now) + Duration::from_nanos(step * 7_919);
                let woken = clock.when(now, local);
                assert!(clock.local(woken) >= local, "rate {rate}, step {step}");
                assert!(clock.local(woken - Duration::from_nanos(2)) <= local);
                now = woken;
            }
        }
    }
}
