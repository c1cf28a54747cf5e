//! Every limit and timeout of a client, in one place, checked once.
//!
//! Owns [`ClientConfig`]. In: what the user sets. Out: the same, after [`ClientConfig::check`] has
//! found the relations between settings to hold.
//!
//! Invariant: a client never runs with a configuration that `check` refuses.
//!
//! Does not: need to equal the nodes' `Config`. What both limit (`command_bytes_max`) is refused by
//! whoever has the smaller limit.

use std::time::Duration;

use crate::{
    config::{DURATION_MAX, PAYLOAD_BYTES_MAX},
    error::StartError,
    mode::Mode,
};

/// Limits and timeouts of a [`Client`](crate::Client). [`Default`] suits a service beside its cluster,
/// in one region.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// The cluster's name; a node of another cluster is not talked to. Default `sixbells`.
    pub cluster: String,

    /// The mode of the cluster's nodes; those of the other refuse this client. Default
    /// [`Mode::Strong`].
    ///
    /// What the verbs promise depends on it: see [`Client`](crate::Client).
    pub mode: Mode,

    /// The longest a request takes, all its attempts and pauses included. Default 5 s.
    ///
    /// Too small: requests fail that would have lived through a failover, which takes about twice the
    /// nodes' `election_timeout.end`. Too large: callers pile up, up to `in_flight_max`.
    pub deadline: Duration,

    /// The longest one attempt takes, and what the node is told is left; less if the deadline is
    /// nearer. Default 1 s; at most `deadline`.
    ///
    /// Too small: a slow node's answer comes after it was given up, and the work is done twice (the
    /// effect is not). Too large: a node that hangs uses up the deadline alone.
    pub attempt_timeout: Duration,

    /// Requests under way at once, of all clones together; one more is `Overloaded`. Default 1,024.
    pub in_flight_max: usize,

    /// The pause before the first repetition is a random time up to this; the bound doubles with
    /// each. Default 25 ms.
    ///
    /// About a round trip and a sync. Too small: an election is asked about in vain.
    pub backoff_base: Duration,

    /// The bound of a pause grows no further than this. Default 250 ms, a part of an
    /// election: a caller should not sleep on when there is a leader again. At least `backoff_base`.
    ///
    /// Too large: a cluster that has recovered is noticed late. A request whose next pause would
    /// outlast its deadline ends at once.
    pub backoff_cap: Duration,

    /// Retries that each request allows, of itself or of any other within 10 s. Default 0.2, so that
    /// an outage cannot raise the load by more than a fifth, beyond `retries_per_second`.
    /// Within 0 and 1.
    pub retry_ratio: f64,

    /// Retries per second allowed on top, so that a client with few requests can retry at all; kept
    /// for 10 s. Default 10, at most 10,000.
    ///
    /// Following a node's word on who leads is not a retry.
    pub retries_per_second: u32,

    /// Largest encoded command or query; a larger one is `TooLarge`. Default 1 MiB, at most 16 MiB.
    ///
    /// Not above the nodes' `Config::command_bytes_max`: they hang up on what is much larger.
    pub command_bytes_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            cluster: "sixbells".into(),
            mode: Mode::Strong,
            deadline: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(1),
            in_flight_max: 1_024,
            backoff_base: Duration::from_millis(25),
            backoff_cap: Duration::from_millis(250),
            retry_ratio: 0.2,
            retries_per_second: 10,
            command_bytes_max: 1 << 20,
        }
    }
}

impl ClientConfig {
    /// Refuses settings that contradict each other, naming both.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let rules = [
            (!self.attempt_timeout.is_zero(), "attempt_timeout is zero"),
            (
                self.attempt_timeout <= self.deadline,
                "attempt_timeout is above deadline: no attempt could take so long",
            ),
            (self.in_flight_max > 0, "in_flight_max is zero: no request would be admitted"),
            (!self.backoff_base.is_zero(), "backoff_base is zero: retries would not pause"),
            (self.backoff_base <= self.backoff_cap, "backoff_base is above backoff_cap"),
            (self.deadline <= DURATION_MAX, "deadline is over a day"),
            ((0.0..=1.0).contains(&self.retry_ratio), "retry_ratio is not within 0 and 1"),
            (self.retries_per_second <= 10_000, "retries_per_second is above 10,000"),
            (
                (1..=PAYLOAD_BYTES_MAX).contains(&self.command_bytes_max),
                "command_bytes_max is not within 1 byte and 16 MiB",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err(StartError::Config(format!("client: {broken}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_holds_and_contradictions_are_named() {
        ClientConfig::default().check().unwrap();
        let hasty = ClientConfig { deadline: Duration::from_millis(10), ..ClientConfig::default() };
        let error = hasty.check().unwrap_err().to_string();
        assert!(error.contains("attempt_timeout") && error.contains("deadline"), "{error}");
        let stormy = ClientConfig { retry_ratio: f64::NAN, ..ClientConfig::default() };
        assert!(stormy.check().unwrap_err().to_string().contains("retry_ratio"));
    }
}
