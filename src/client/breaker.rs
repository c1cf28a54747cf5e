//! Circuit breakers: whom not to dial for a moment.
//!
//! Owns [`Breakers`], one small state machine for each address that fails.
//!
//! ```text
//!   closed --- FAILURES_MAX failures in a row --> open --- its time is over, one asks --> half open
//!     ^                                            ^                                        |   |
//!     |                                            \------ fails: open for twice as long ---/   |
//!     \--------------------------------- the connection works ----------------------------------/
//! ```
//!
//! In: whether a connection worked, and the time since the client was made. Out: who may be dialled.
//!
//! Invariants
//! - Only a message that could not be sent opens a breaker. A slow reply or an error says that the
//!   node is there; to stop asking it would move its load to the others, and then theirs.
//! - While half open, one caller probes; a probe that never ends is given up after [`PROBE_MAX`].
//! - Remembers at most [`PEERS_MAX`] addresses, and only those that fail.
//!
//! Does not: read a clock, send, or have the last word: when all are open, the caller takes
//! [`Breakers::least_recently_failed`].

use std::{collections::BTreeMap, time::Duration};

/// One failure may be a restart of the node, or of something on the way.
const FAILURES_MAX: u32 = 3;

/// How long a breaker opens at first. A node that restarts is back in the picture soon.
const OPEN_MIN: Duration = Duration::from_millis(100);

/// How long it opens at most. A probe each 2 s costs nobody anything.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// After this long without an outcome, another caller may probe.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// Addresses remembered. Hints name addresses, so their number is not only the user's choice.
const PEERS_MAX: usize = 256;

/// The breakers of all addresses that fail. An address that is not here is closed, without failures.
#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<String, Breaker>);

#[derive(Clone, Copy, Debug)]
struct Breaker {
    state: State,
    failed_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { period: Duration, until: Duration },
    HalfOpen { period: Duration, until: Duration },
}

impl Breakers {
    /// Whether the address may be dialled now.
    pub(super) fn permits(&self, addr: &str, now: Duration) -> bool {
        self.0.get(addr).is_none_or(|breaker| breaker.state.permits(now))
    }

    /// The address is about to be dialled. If its breaker was open, this is the probe.
    pub(super) fn dial(&mut self, addr: &str, now: Duration) {
        if let Some(breaker) = self.0.get_mut(addr) {
            breaker.state = breaker.state.dial(now);
        }
    }

    /// A message could not be sent to the address.
    pub(super) fn failed(&mut self, addr: &str, now: Duration) {
        let closed = Breaker { state: State::Closed { failures: 0 }, failed_at: now };
        let breaker = self.0.entry(addr.to_owned()).or_insert(closed);
        let before = breaker.state;
        *breaker = Breaker { state: before.failed(now), failed_at: now };
        if let (State::Closed { .. }, State::Open { .. }) = (before, breaker.state) {
            metrics::counter!("sixbells_breaker_open_total").increment(1);
            tracing::warn!(addr, "cannot be reached; not dialled for a moment");
        }
        if self.0.len() > PEERS_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, breaker)| breaker.failed_at)
        {
            let oldest = oldest.0.clone();
            self.0.remove(&oldest);
        }
    }

    /// A message could be sent to the address, whatever became of it.
    pub(super) fn worked(&mut self, addr: &str) {
        self.0.remove(addr);
    }

    /// Whom to dial if nobody may be dialled: not to ask anybody would turn a doubt into an outage.
    pub(super) fn least_recently_failed<'a>(
        &self,
        addrs: impl Iterator<Item = &'a str>,
    ) -> Option<&'a str> {
        addrs.min_by_key(|addr| self.0.get(*addr).map(|breaker| breaker.failed_at))
    }
}

impl State {
    fn permits(self, now: Duration) -> bool {
        match self {
            State::Closed { .. } => true,
            State::Open { until, .. } | State::HalfOpen { until, .. } => now >= until,
        }
    }

    fn dial(self, now: Duration) -> Self {
        match self {
            State::Open { period, .. } | State::HalfOpen { period, .. } if self.permits(now) => {
                State::HalfOpen { period, until: now + PROBE_MAX }
            }
            unchanged => unchanged,
        }
    }

    fn failed(self, now: Duration) -> Self {
        match self {
            State::Closed { failures } if failures + 1 < FAILURES_MAX => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { period: OPEN_MIN, until: now + OPEN_MIN },
            State::HalfOpen { period, .. } => {
                let period = (period * 2).min(OPEN_MAX);
                State::Open { period, until: now + period }
            }
            // Many calls that were under way fail together: that is one failure, not many.
            State::Open { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a:1";

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn opened(at: u64) -> Breakers {
        let mut breakers = Breakers::default();
        (0..FAILURES_MAX).for_each(|_| breakers.failed(A, ms(at)));
        breakers
    }

    /// A single refused connection is a node that restarts, not one to be avoided.
    #[test]
    fn opens_after_failures_in_a_row_only() {
        let mut breakers = Breakers::default();
        for at in 0..100 {
            breakers.failed(A, ms(at));
            breakers.failed(A, ms(at));
            assert!(breakers.permits(A, ms(at)));
            breakers.worked(A);
        }
        assert!(!opened(0).permits(A, ms(99)));
    }

    /// A dead node comes back: one caller finds out, the others do not pile up on it meanwhile; and
    /// the longer it is dead, the more seldom it is dialled.
    #[test]
    fn one_probes_and_each_failed_probe_doubles_the_time() {
        let mut breakers = opened(0);
        let mut now = 0;
        for period in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
            assert!(!breakers.permits(A, ms(now + period - 1)));
            now += period;
            assert!(breakers.permits(A, ms(now)));
            breakers.dial(A, ms(now));
            assert!(!breakers.permits(A, ms(now)), "one probe at a time");
            breakers.failed(A, ms(now));
        }
        breakers.dial(A, ms(now + 2_000));
        breakers.worked(A);
        assert!(breakers.permits(A, ms(now + 2_000)), "closed by the probe");
    }

    /// The caller that probed was cancelled: nobody will ever report the outcome.
    #[test]
    fn a_probe_without_an_outcome_is_given_up() {
        let mut breakers = opened(0);
        breakers.dial(A, ms(100));
        assert!(!breakers.permits(A, ms(1_099)));
        assert!(breakers.permits(A, ms(1_100)));
    }

    /// A thousand calls under way when a node dies must not count as a thousand probes.
    #[test]
    fn failures_while_open_do_not_prolong() {
        let mut breakers = opened(0);
        (0..1_000).for_each(|_| breakers.failed(A, ms(50)));
        assert!(breakers.permits(A, ms(100)));
    }

    #[test]
    fn remembers_a_bounded_number_of_addresses() {
        let mut breakers = Breakers::default();
        for n in 0..2 * PEERS_MAX as u64 {
            breakers.failed(&format!("n{n}"), ms(n));
        }
        assert_eq!(breakers.0.len(), PEERS_MAX);
        assert!(breakers.0.contains_key("n511") && !breakers.0.contains_key("n255"));
    }
}
