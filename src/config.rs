//! Every limit and timeout, in one place, checked once.
//!
//! Owns [`Config`]. In: what the user sets. Out: the same, after [`Config::check`] has found the
//! relations between settings to hold.
//!
//! Invariant: a node never runs with a configuration that `check` refuses.
//!
//! Does not: change while the node runs, or need to be equal on all nodes. What shapes replicated
//! state (`sessions_max`, `keys_max`) travels in the log, with the value of the node that proposes it.

use std::{ops::Range, time::Duration};

use crate::error::StartError;

/// Limits and timeouts of a node. [`Default`] suits three to seven nodes in one region with disks
/// that sync within a few milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Threads on which a node works, beside those that write its log. Default 1.
    ///
    /// They are the node's own, so that nothing that blocks in your program makes it miss a heartbeat. One of
    /// them carries some 100,000 writes a second, and wakes up less often than two. More are for machines
    /// with many cores whose `apply` and `query` take long.
    pub threads: usize,

    /// How often a leader lets its followers know that it lives. Default 80 ms.
    ///
    /// At most a third of `election_timeout.start`. Smaller costs messages; larger makes failover
    /// slower.
    pub heartbeat: Duration,

    /// How long a follower waits for its leader before it asks for votes: a random time in this
    /// range, on top of the leader's lease, which is its end. Default 250 ms to 400 ms, so that a
    /// dead leader is replaced after 0.65 s to 0.8 s.
    ///
    /// Too small: a slow disk or a busy machine causes elections that nobody needed. Too large:
    /// writes wait longer after a failure. Both ends well above a round trip and a sync.
    pub election_timeout: Range<Duration>,

    /// The longest a request takes before its outcome is reported as unknown. Default 5 s.
    ///
    /// Larger than `election_timeout.end`, or every failover fails requests that could have waited.
    pub request_timeout: Duration,

    /// How long a leader waits for a follower to answer one batch of entries, its sync included, and the
    /// syncs of those that were sent before it, before it sends the batch again; also for a piece of
    /// a snapshot. Default 2 s.
    pub append_timeout: Duration,

    /// How long one snapshot may take on its way to a follower; a quarter of it may be rests between its pieces.
    /// Default 10 min.
    pub snapshot_timeout: Duration,

    /// Requests this node works on at once; one more is `Overloaded`. Default 4,096.
    pub in_flight_max: usize,

    /// Bytes of commands this node works on at once; more is `Overloaded`. Default 64 MiB.
    ///
    /// At least `command_bytes_max`.
    pub in_flight_bytes_max: usize,

    /// Largest encoded command or query; a larger one is `TooLarge`. Default 1 MiB, at most 16 MiB.
    pub command_bytes_max: usize,

    /// Connections accepted at once, peers included; one more is refused. Default 10,000.
    pub connections_max: usize,

    /// Sessions remembered by the cluster; beyond it, the one idle for longest expires (or a little beyond, where
    /// many that are in use are older). Default 65,536. One client uses one session; so does every node.
    ///
    /// Too small: a client that pauses finds its session expired and cannot learn what became of
    /// a command that was under way. Costs about 200 bytes each in memory and snapshots, plus the
    /// responses that the client has not acknowledged yet.
    ///
    /// In eventual mode a session that expires in the final order takes along what was acknowledged under
    /// it and stands behind that: leave room for all that are opened anywhere during a partition.
    pub sessions_max: u64,

    /// Idempotency keys of `write_once` remembered by the cluster; beyond it, the oldest is
    /// forgotten. Default 100,000.
    ///
    /// This is the window in which a redelivered request is recognised: with 100 keyed writes a
    /// second, the default spans 1,000 s. Costs the key, its response and about 100 bytes each.
    pub keys_max: u64,

    /// A snapshot is taken when this many entries were applied since the last one, or as many bytes as
    /// [`snapshot_bytes`](Self::snapshot_bytes) says. Default 50,000. An entry holds one command, or under load all
    /// that waited to be proposed, up to 64 KiB.
    pub snapshot_entries: u64,

    /// A snapshot is taken when so many bytes of commands were applied since the last one, and not fewer than
    /// that had. Default 64 MiB. Smaller: faster restarts, more disk writes.
    pub snapshot_bytes: u64,

    /// Entries kept in the log behind the last snapshot, so that a follower that was away for a
    /// moment catches up from the log and not from a snapshot. Default 10,000: some ten seconds of the
    /// heaviest load, when an entry may have 64 KiB.
    pub log_keep_entries: u64,

    /// Entries and bytes in one batch to a follower. Default 4,096 entries, 1 MiB. A single entry may
    /// be larger. Up to twice as many bytes are under way to a follower, so a long round trip under heavy load
    /// wants larger batches. A follower that lacks what is committed already is sent one batch at a time, and a
    /// millisecond after each nothing, while commits go on without it, its replies take less than 5 ms, and it comes
    /// nearer; what the disk has to be read for comes in batches of 64 KiB.
    pub append_entries_max: u64,

    /// See [`append_entries_max`](Self::append_entries_max).
    pub append_bytes_max: u64,

    /// The most in a piece of a snapshot that travels. Default 1 MiB, at most 16 MiB. Pieces are longer than 256 KiB only
    /// where that takes 10 ms or more, and twice as much hardly longer, which is tried now and then. After each piece the
    /// sender rests for twice the time that it took, for 50 ms at most: the receiver may share its disk with others.
    pub snapshot_chunk_bytes: usize,

    /// Every so many entries of the log, which under load hold many commands each, the members compare their states,
    /// by a hash; a member that differs from more of them than it is equal to stops. Default 10,000; 0 is never. In
    /// eventual mode, every so many final operations; whoever finds that it differs from another stops.
    ///
    /// This finds a machine whose `apply` is not deterministic. Equal states must be serialized alike,
    /// which excludes a `HashMap` in the state; while members run releases that serialize it differently, set
    /// this to 0, or the first to be upgraded stops. The hash is made of a clone of the state, beside other work,
    /// and costs as much as a snapshot without its disk, but at most a tenth of one core's time: a state that
    /// takes longer is compared more rarely. Different values on two members leave those entries to
    /// compare that are multiples of both.
    pub state_hash_entries: u64,

    /// Eventual mode: operations whose place in the order is not final yet; beyond it, a write is
    /// `Overloaded`. Default 100,000.
    ///
    /// While a member is away, nothing becomes final: this is how much is accepted until then. With small
    /// commands, 100,000 cost about 150 MB of memory, the log's recent entries of 16 MiB among it.
    pub tentative_operations_max: usize,

    /// Eventual mode: how far this node's clock may be ahead of most others' before its writes are
    /// refused. Default 500 ms.
    ///
    /// A clock far ahead would drag all the others' stamps along. Well above a message's way.
    pub clock_ahead_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 1,
            heartbeat: Duration::from_millis(80),
            election_timeout: Duration::from_millis(250)..Duration::from_millis(400),
            request_timeout: Duration::from_secs(5),
            append_timeout: Duration::from_secs(2),
            snapshot_timeout: Duration::from_secs(600),
            in_flight_max: 4_096,
            in_flight_bytes_max: 64 << 20,
            command_bytes_max: 1 << 20,
            connections_max: 10_000,
            sessions_max: 65_536,
            keys_max: 100_000,
            snapshot_entries: 50_000,
            snapshot_bytes: 64 << 20,
            log_keep_entries: 10_000,
            append_entries_max: 4_096,
            append_bytes_max: 1 << 20,
            snapshot_chunk_bytes: 1 << 20,
            state_hash_entries: 10_000,
            tentative_operations_max: 100_000,
            clock_ahead_max: Duration::from_millis(500),
        }
    }
}

/// Longest duration of any setting: nobody waits longer, and deadlines do not overflow.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest command and snapshot chunk that any configuration allows, so that a frame has a bound.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

impl Config {
    /// Refuses settings that contradict each other or are out of range. A node and a client do so when
    /// they start.
    ///
    /// # Errors
    /// [`StartError::Config`], naming what contradicts what.
    pub fn check(&self) -> Result<(), StartError> {
        let Range { start, end } = self.election_timeout;
        let longest = self.heartbeat.max(end).max(self.request_timeout);
        let longest = longest.max(self.append_timeout).max(self.snapshot_timeout);
        let rules = [
            ((1..=1_024).contains(&self.threads), "threads is not within 1 and 1,024"),
            (self.heartbeat >= Duration::from_millis(1), "heartbeat is under 1 ms"),
            (longest <= DURATION_MAX, "a duration is over a day"),
            (
                self.heartbeat.saturating_mul(3) <= start,
                "heartbeat is over a third of election_timeout.start: one lost message would cause \
                 an election",
            ),
            (start < end, "election_timeout is empty: all would ask for votes at once"),
            (
                self.request_timeout > end,
                "request_timeout is not above election_timeout.end: no request would live through \
                 a failover",
            ),
            (!self.append_timeout.is_zero(), "append_timeout is zero"),
            (
                self.snapshot_timeout >= self.append_timeout,
                "snapshot_timeout is below append_timeout",
            ),
            (self.in_flight_max > 0, "in_flight_max is zero: no request would be admitted"),
            (
                self.in_flight_bytes_max >= self.command_bytes_max,
                "in_flight_bytes_max is below command_bytes_max: the largest command would never \
                 be admitted",
            ),
            (
                (1..=PAYLOAD_BYTES_MAX).contains(&self.command_bytes_max),
                "command_bytes_max is not within 1 byte and 16 MiB",
            ),
            (
                (1..=PAYLOAD_BYTES_MAX).contains(&self.snapshot_chunk_bytes),
                "snapshot_chunk_bytes is not within 1 byte and 16 MiB",
            ),
            (self.connections_max > 0, "connections_max is zero"),
            (self.tentative_operations_max > 0, "tentative_operations_max is zero"),
            (self.sessions_max > 0, "sessions_max is zero: every session would be expired"),
            (self.keys_max > 0, "keys_max is zero: write_once would remember nothing"),
            (self.snapshot_entries.min(self.snapshot_bytes) > 0, "a snapshot is always due"),
            (
                (1..=65_536).contains(&self.append_entries_max),
                "append_entries_max is not within 1 and 65,536",
            ),
            (
                (1..=PAYLOAD_BYTES_MAX as u64).contains(&self.append_bytes_max),
                "append_bytes_max is not within 1 byte and 16 MiB",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err(StartError::Config((*broken).to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_holds() {
        Config::default().check().unwrap();
    }

    #[test]
    fn contradictions_are_named() {
        let slow = Config { heartbeat: Duration::from_millis(200), ..Config::default() };
        let error = slow.check().unwrap_err().to_string();
        assert!(error.contains("heartbeat") && error.contains("election_timeout"), "{error}");
        let tight = Config { in_flight_bytes_max: 10, ..Config::default() };
        assert!(tight.check().unwrap_err().to_string().contains("command_bytes_max"));
    }
}
