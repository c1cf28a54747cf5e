//! How a node is: for people ([`std::fmt::Display`]) and for programs (serde).
//!
//! Owns [`Status`]. Out: what one node believes at one moment; others may know better.
//!
//! Does not: ask other nodes, or judge.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::storage::LogId;

/// A node's part in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Proposes. A leader that is cut off goes on calling itself one, but commits nothing: see
    /// [`Status::leads_a_quorum`].
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Receives the log but does not vote.
    Learner,
    /// Has stopped.
    Stopped,
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where the node listens, `host:port`.
    pub addr: String,
    /// The random number its data directory was given when it was first used. A node that comes
    /// back with another one has lost its disk, and is refused.
    pub disk: u64,
}

/// What a node knows of itself and its cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// The node's id.
    pub id: u64,
    /// Its part.
    pub role: Role,
    /// The leader it knows of.
    pub leader: Option<u64>,
    /// The term it is in.
    pub term: u64,
    /// The last entry in its log, durable or not.
    pub last_log_index: Option<u64>,
    /// The last entry it knows to be on a majority.
    pub committed: Option<LogId>,
    /// The last entry in its state.
    pub applied: Option<LogId>,
    /// The last entry in its newest snapshot.
    pub snapshot: Option<LogId>,
    /// The last entry removed from its log.
    pub purged: Option<LogId>,
    /// Members that vote.
    pub voters: BTreeMap<u64, Member>,
    /// Members that do not.
    pub learners: BTreeMap<u64, Member>,
    /// On the leader: entries that each other member lacks.
    pub lag: BTreeMap<u64, u64>,
    /// On the leader: how long ago a majority last answered it, in milliseconds. `None` before it did, 0 where the leader
    /// is a majority.
    pub quorum_ack_age_ms: Option<u64>,
    /// Sessions the cluster remembers.
    pub sessions: u64,
    /// Idempotency keys the cluster remembers.
    pub idempotency_keys: u64,
    /// Retries this process recognised as duplicates.
    pub duplicates: u64,
    /// The last entry after which this node's state was compared with another member's and found equal:
    /// see `Config::state_hash_entries`.
    pub agreed: Option<u64>,
    /// Why the node stopped, if it did.
    pub fault: Option<String>,
}

impl Status {
    /// Whether it leads, and a majority, itself included, answered it so lately: for the first time a round trip after
    /// its election. In Raft nobody tells a leader that is cut off that it leads no more, so of two that call themselves
    /// leader this is how to tell them apart. A second is twelve heartbeats by default, and longer than the longest
    /// election timeout.
    pub fn leads_a_quorum(&self, within: Duration) -> bool {
        let lately = |age| Duration::from_millis(age) < within;
        self.role == Role::Leader && self.quorum_ack_age_ms.is_some_and(lately)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Stopped => "stopped",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of \"{}\": {} in term {}", self.id, self.cluster, self.role, self.term)?;
        match self.leader {
            Some(leader) if leader == self.id => {}
            Some(leader) => write!(f, ", leader is node {leader}")?,
            None => f.write_str(", no leader known")?,
        }
        let index = |id: &Option<LogId>| id.map_or("none".into(), |id| id.index.to_string());
        write!(
            f,
            "; applied {}, committed {}, snapshot {}",
            index(&self.applied),
            index(&self.committed),
            index(&self.snapshot)
        )?;
        write!(f, "; voters {:?}", self.voters.keys().collect::<Vec<_>>())?;
        if !self.learners.is_empty() {
            write!(f, ", learners {:?}", self.learners.keys().collect::<Vec<_>>())?;
        }
        for (peer, lag) in self.lag.iter().filter(|(_, lag)| **lag > 0) {
            write!(f, "; node {peer} lacks {lag} entries")?;
        }
        match &self.fault {
            Some(fault) => write!(f, "; stopped: {fault}"),
            None => Ok(()),
        }
    }
}
