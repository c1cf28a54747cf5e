//! How a replica is: for people ([`std::fmt::Display`]) and for programs (serde).
//!
//! Owns [`EventualStatus`]. Out: what one replica believes at one moment.
//!
//! Does not: ask others, or judge.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    log::{Vector, pairs},
    replica::Replica,
};
use crate::storage::Identity;

/// What a replica knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventualStatus {
    /// The cluster's name.
    pub cluster: String,
    /// The node's id.
    pub id: u64,
    /// Of each author, how many operations are in the state here.
    #[serde(with = "pairs")]
    pub have: Vector,
    /// Operations whose place in the order is final.
    pub stable: u64,
    /// Operations whose place may still change, and with it what they answered.
    pub tentative: u64,
    /// Answers that changed after they were first known here.
    pub revised: u64,
    /// How often an operation came late, so that others had to be applied again.
    pub rollbacks: u64,
    /// Commands applied, again and again included.
    pub applies: u64,
    /// Of each other member, in milliseconds since 1970, up to when nothing will come from it any
    /// more. The oldest holds back what becomes stable.
    pub heard: BTreeMap<u64, u64>,
    /// How far this node's clock is ahead of most others', in milliseconds.
    pub clock_ahead_ms: i64,
    /// A member that has to be heard of before anything is accepted here: this node is new.
    pub waits_for: Option<u64>,
    /// Why the replica stopped, if it did.
    pub fault: Option<String>,
}

impl EventualStatus {
    pub(super) fn of(identity: &Identity, replica: &Replica, fault: Option<String>) -> Self {
        let tail = replica.tail();
        Self {
            cluster: identity.cluster.clone(),
            id: identity.node,
            have: replica.have().clone(),
            stable: tail.folded().0.count,
            tentative: tail.len() as u64,
            revised: tail.work.revised,
            rollbacks: tail.work.rollbacks,
            applies: tail.work.applies,
            heard: replica.promises().map(|(node, stamp)| (node, stamp.wall_ms())).collect(),
            clock_ahead_ms: replica.ahead_ms(),
            waits_for: replica.unheard(),
            fault,
        }
    }
}

impl fmt::Display for EventualStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, id, stable, tentative, revised, .. } = self;
        write!(
            f,
            "node {id} of \"{cluster}\", eventual: {stable} operations stable, {tentative} \
             tentative, {revised} answers revised"
        )?;
        if let Some(node) = self.waits_for {
            write!(f, "; accepts nothing before it hears of node {node}")?;
        }
        match &self.fault {
            Some(fault) => write!(f, "; stopped: {fault}"),
            None => Ok(()),
        }
    }
}
