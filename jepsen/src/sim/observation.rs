//! What happens in a simulated cluster, as the oracles see it.
//!
//! Owns the vocabulary between the world, which notices, and the [`oracle`](super::oracle)s, which
//! judge. Everything is noticed below or beside the code under test, in the simulated log, disk,
//! machine and clients: a node is never asked what it believes.
//!
//! Invariant: an observation is made at the instant at which it becomes true, in the order in which
//! things become true.
//!
//! Does not: judge.

use std::collections::BTreeSet;

use sixbells::storage::{LogId, LogState, Vote};

/// A host: a node by its id, a client, or the harness itself.
pub type Host = u64;

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where it stands.
    pub id: LogId,
    /// A hash of what it says.
    pub hash: u64,
    /// The voters it brings, if it is a change of the membership: two sets while a change is joint.
    pub voters: Option<Vec<BTreeSet<Host>>>,
}

/// Something that happened to a node, or to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// A node's process began, and found this log on its disk.
    Started {
        /// The node.
        node: Host,
        /// What the log says of itself.
        state: LogState,
        /// The entries that the log holds.
        log: Vec<Logged>,
    },
    /// A node's process ended, whether it was killed, shut down or lost its power. What its log had
    /// not synced may be gone; the next `Started` tells.
    Ended {
        /// The node.
        node: Host,
    },
    /// A node ended by itself, or refused to start, and says why.
    Failed {
        /// The node.
        node: Host,
        /// Its reason.
        reason: String,
        /// Whether the simulation gave it that reason: a disk that failed or was damaged on purpose.
        expected: bool,
    },
    /// A node's disk was thrown away, and all that was durable on it.
    Wiped {
        /// The node.
        node: Host,
    },
    /// A vote was written to a log; not yet durable.
    Voted {
        /// The node.
        node: Host,
        /// Its vote.
        vote: Vote,
    },
    /// Entries were appended to a log; not yet durable.
    Appended {
        /// The node.
        node: Host,
        /// The entries, contiguous.
        entries: Vec<Logged>,
    },
    /// The entries after `last` were removed from a log.
    Truncated {
        /// The node.
        node: Host,
        /// The last entry that stays.
        last: Option<LogId>,
    },
    /// The entries up to `upto` were removed from the front of a log.
    Purged {
        /// The node.
        node: Host,
        /// The last entry that went.
        upto: LogId,
    },
    /// A log was synced, in truth and not only in word: this is what a power loss would leave.
    Synced {
        /// The node.
        node: Host,
        /// What a restart would find.
        state: LogState,
    },
    /// The log told its node that everything up to here is durable.
    Promised {
        /// The node.
        node: Host,
        /// The vote and the last entry that the node may rely on.
        state: LogState,
    },
    /// A node found out that entries are committed.
    Committed {
        /// The node.
        node: Host,
        /// The last of them.
        upto: LogId,
    },
    /// A node's machine applied a command.
    Applied {
        /// The node.
        node: Host,
        /// How many commands its state has seen, this one included.
        position: u64,
        /// The number that its client gave the command.
        command: u64,
        /// A hash of all commands and responses so far, in order.
        chain: u64,
    },
    /// A node's state was replaced by a snapshot of that many commands, or began again from one.
    Restored {
        /// The node.
        node: Host,
        /// How many commands the state has seen.
        position: u64,
        /// A hash of all commands and responses so far, in order.
        chain: u64,
    },
    /// A snapshot got its final name on a node's disk.
    Snapshot {
        /// The node.
        node: Host,
        /// Its file name.
        name: String,
        /// The last entry in it.
        last: LogId,
        /// A hash of its bytes.
        hash: u64,
    },
    /// A client sent a command or a query.
    Invoked {
        /// The client.
        client: Host,
        /// The number of the operation, unique in the run.
        operation: u64,
        /// Whether it changes the state.
        write: bool,
    },
    /// A client was told how an operation ended.
    Completed {
        /// The client.
        client: Host,
        /// The number of the operation.
        operation: u64,
        /// How it ended.
        end: End,
    },
}

/// How an operation ended, as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It happened.
    Ok,
    /// It definitely did not happen.
    Fail,
    /// Nobody knows.
    Info,
}

/// The state of the replicas when everything was healed and quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The node.
    pub node: Host,
    /// How many commands its state has seen.
    pub position: u64,
    /// A hash of all commands and responses so far, in order.
    pub chain: u64,
    /// A hash of its state, encoded.
    pub state: u64,
    /// What it has applied.
    pub applied: Option<LogId>,
}
