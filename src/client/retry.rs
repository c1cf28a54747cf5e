//! When to ask again: how long to pause, and whether at all.
//!
//! Owns [`Backoff`], full-jitter exponential pauses of one request, and [`Budget`], which bounds the
//! retries of all requests together. Without a bound, an overload is fed by the retries it causes
//! and outlives its cause.
//!
//! In: draws of a random number, and the time since the client was made. Out: pauses and permissions.
//!
//! Invariants
//! - Retries granted never exceed `retry_ratio` of the requests, plus `retries_per_second` for each
//!   second passed, plus ten seconds of those to begin with.
//! - A first attempt needs no permission.
//! - Memory: a token count for each of the last [`TOKEN_LIFE_SECONDS`] seconds.
//!
//! Does not: read a clock, sleep, or know what failed.

use std::{collections::VecDeque, time::Duration};

use super::ClientConfig;

/// A permission to retry that nobody used is gone after this long: a quiet hour must not pay for a
/// storm. The number is Finagle's, as are the budget's defaults.
const TOKEN_LIFE_SECONDS: u64 = 10;

const MILLIS_PER_SECOND: u64 = 1_000;

/// One retry, in the fractions that the budget counts.
const TOKEN: u64 = 1_000;

/// The pauses between one request's attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    bound: Duration,
    cap: Duration,
}

impl Backoff {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self { bound: config.backoff_base, cap: config.backoff_cap }
    }

    /// The next pause: anything from nothing to the bound, so that those who failed together do not
    /// come back together. `draw` draws a number below the one it is given.
    pub(super) fn pause(&mut self, draw: impl FnOnce(u64) -> u64) -> Duration {
        let micros = u64::try_from(self.bound.as_micros()).unwrap_or(u64::MAX - 1);
        self.bound = self.bound.saturating_mul(2).min(self.cap);
        Duration::from_micros(draw(micros + 1))
    }
}

/// The retries that a client and its clones may still make.
#[derive(Debug)]
pub(super) struct Budget {
    per_request: u64,
    per_second: u64,
    /// Up to when `per_second` was paid out. Begins one token's life before the client does, so that
    /// it can retry from the start.
    paid_ms: u64,
    /// What was paid out in which second and not used, oldest first.
    tokens: VecDeque<(u64, u64)>,
}

impl Budget {
    pub(super) fn new(config: &ClientConfig) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the configuration's check holds it within 0 and 1"
        )]
        let per_request = (config.retry_ratio * TOKEN as f64).round() as u64;
        let per_second = u64::from(config.retries_per_second) * TOKEN;
        Self { per_request, per_second, paid_ms: 0, tokens: VecDeque::new() }
    }

    /// A request begins, `now` after the client was made.
    pub(super) fn deposit(&mut self, now: Duration) {
        let now_ms = self.advance(now);
        self.pay(now_ms / MILLIS_PER_SECOND, self.per_request);
    }

    /// Whether a request may be tried again. `true` uses a token up, the oldest first.
    pub(super) fn withdraw(&mut self, now: Duration) -> bool {
        self.advance(now);
        if self.tokens.iter().map(|(_, tokens)| tokens).sum::<u64>() < TOKEN {
            return false;
        }
        let mut due = TOKEN;
        while let Some((_, oldest)) = self.tokens.front_mut() {
            let used = due.min(*oldest);
            *oldest -= used;
            due -= used;
            if due == 0 {
                break;
            }
            self.tokens.pop_front();
        }
        true
    }

    /// Pays out what time has brought, and lets go of what was not used in its life.
    fn advance(&mut self, now: Duration) -> u64 {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX / 2);
        let life_ms = TOKEN_LIFE_SECONDS * MILLIS_PER_SECOND;
        let now_ms = (now_ms + life_ms).max(self.paid_ms);
        self.paid_ms = self.paid_ms.max(now_ms - life_ms);
        while self.paid_ms < now_ms {
            let second = self.paid_ms / MILLIS_PER_SECOND;
            let until_ms = ((second + 1) * MILLIS_PER_SECOND).min(now_ms);
            self.pay(second, (until_ms - self.paid_ms) * self.per_second / MILLIS_PER_SECOND);
            self.paid_ms = until_ms;
        }
        let second = now_ms / MILLIS_PER_SECOND;
        while self.tokens.front().is_some_and(|(paid, _)| paid + TOKEN_LIFE_SECONDS < second) {
            self.tokens.pop_front();
        }
        now_ms
    }

    fn pay(&mut self, second: u64, tokens: u64) {
        match self.tokens.back_mut() {
            Some((last, sum)) if *last == second => *sum += tokens,
            _ => self.tokens.push_back((second, tokens)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn drain(budget: &mut Budget, now: Duration) -> u64 {
        std::iter::repeat_with(|| budget.withdraw(now)).take_while(|granted| *granted).count()
            as u64
    }

    /// Callers that failed in the same instant must spread out; the bound doubles up to the cap.
    #[test]
    fn pauses_are_fully_jittered_and_bounded() {
        let mut backoff = Backoff::new(&ClientConfig::default());
        let longest: Vec<_> =
            (0..8).map(|_| backoff.pause(|bound| bound - 1).as_millis()).collect();
        assert_eq!(longest, [25, 50, 100, 200, 250, 250, 250, 250]);
        assert_eq!(backoff.pause(|_| 0), Duration::ZERO);
    }

    /// A client that has sent nothing yet can live through its first failover, and no more.
    #[test]
    fn a_fresh_client_has_ten_seconds_worth_and_then_the_rate() {
        let mut budget = Budget::new(&ClientConfig::default());
        assert_eq!(drain(&mut budget, seconds(0)), 100);
        assert_eq!(drain(&mut budget, seconds(1)), 10);
        assert_eq!(drain(&mut budget, Duration::from_millis(1_050)), 0);
        assert_eq!(drain(&mut budget, Duration::from_millis(1_100)), 1);
    }

    /// Five requests allow one retry; a quiet hour does not save up for a storm.
    #[test]
    fn requests_pay_a_fifth_each_and_tokens_do_not_live_long() {
        let config = ClientConfig { retries_per_second: 0, ..ClientConfig::default() };
        let mut budget = Budget::new(&config);
        (0..4).for_each(|_| budget.deposit(seconds(0)));
        assert!(!budget.withdraw(seconds(0)));
        budget.deposit(seconds(1));
        assert!(budget.withdraw(seconds(1)));
        (0..1_000).for_each(|_| budget.deposit(seconds(2)));
        assert_eq!(drain(&mut budget, seconds(3_600)), 0);
    }

    /// A total outage: each request would be retried for ever. Whatever the arrivals, the attempts
    /// stay within 1.2 of the requests, and 10 a second, and what was there to begin with.
    #[test]
    fn amplification_is_bounded_whatever_the_arrivals() {
        for seed in 0..50 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut budget = Budget::new(&ClientConfig::default());
            let (mut now, mut requests, mut retries) = (Duration::ZERO, 0_u64, 0_u64);
            for _ in 0..2_000 {
                now += Duration::from_micros(rng.random_range(0..40_000));
                for _ in 0..rng.random_range(0..20) {
                    budget.deposit(now);
                    requests += 1;
                }
                if rng.random_range(0..3) == 0 {
                    retries += drain(&mut budget, now);
                }
                let bound = requests as f64 * 0.2 + now.as_secs_f64() * 10.0 + 100.0;
                assert!(retries as f64 <= bound, "seed {seed}: {retries} retries, bound {bound}");
            }
            assert!(retries as f64 >= requests as f64 * 0.15, "seed {seed}: too strict");
        }
    }
}
