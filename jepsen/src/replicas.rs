//! Replicas: do all nodes hold the same?
//!
//! In goes a [`Cluster`] that is at rest, out comes a [`Verdict`]: each node's own state, asked
//! locally, compared at equal positions in the log. Linearizable answers of the leader say nothing
//! about a follower that has gone its own way; it would show only once it leads.
//!
//! Invariants:
//! - states are compared only if every node stood at one and the same position before and after it
//!   was asked;
//! - nodes that do not reach one position in time leave the verdict unknown: that is slow, not
//!   wrong;
//! - two states at one position that differ are invalid, and so is a different number of commands.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::{Explanation, Verdict};
use crate::cluster::Cluster;
use crate::machine::{Answer, Digest, Query};
use crate::nemesis::Target;

/// What a node holds, and where in the log it stands.
type Standing = (u64, Digest);

/// Compares the nodes of a cluster that nobody writes to, as soon as they have caught up.
///
/// # Errors
/// If a client cannot be made.
pub async fn compare(cluster: &Cluster, within: Duration) -> anyhow::Result<Verdict> {
    let deadline = Instant::now() + within;
    loop {
        let standings = standings(cluster).await?;
        if let Some(verdict) = judge(&cluster.nodes(), &standings) {
            return Ok(verdict);
        }
        if Instant::now() >= deadline {
            let why = format!(
                "the nodes did not reach the same position within {} s: {standings:?}",
                within.as_secs()
            );
            return Ok(Verdict::Unknown { why });
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Asks each node for its position, its state, and its position again.
async fn standings(cluster: &Cluster) -> anyhow::Result<BTreeMap<u64, Standing>> {
    let before = cluster.statuses().await;
    let mut digests = BTreeMap::new();
    for node in cluster.nodes() {
        let client = cluster.client_of(node).await?;
        if let Ok(Answer::Digest(digest)) = client.read_local(Query::Digest).await {
            digests.insert(node, digest);
        }
    }
    let after = cluster.statuses().await;
    let standing = |(node, digest): (u64, Digest)| {
        let position = before.get(&node)?.applied?.index;
        let still = after.get(&node)?.applied?.index == position;
        still.then_some((node, (position, digest)))
    };
    Ok(digests.into_iter().filter_map(standing).collect())
}

/// The verdict, if all nodes stand at one position.
fn judge(nodes: &[u64], standings: &BTreeMap<u64, Standing>) -> Option<Verdict> {
    let (first, (position, digest)) = standings.first_key_value()?;
    let level = standings.values().all(|(other, _)| other == position);
    if !level || !nodes.iter().all(|node| standings.contains_key(node)) {
        return None;
    }
    let other = standings.iter().find(|(_, (_, other))| other != digest);
    Some(match other {
        None => {
            let operations = usize::try_from(digest.applied).unwrap_or(usize::MAX);
            Verdict::Valid { operations, partitions: 1 }
        }
        Some((node, (_, other))) => {
            let sentence = format!(
                "nodes {first} and {node} have both applied the log up to {position}, but hold \
                 different states ({} and {} commands)",
                digest.applied, other.applied
            );
            let line = |(node, (position, digest)): (&u64, &Standing)| {
                let Digest { applied, hash } = digest;
                format!("node {node}: position {position}, {applied} commands, hash {hash:016x}")
            };
            let operations = standings.iter().map(line).collect();
            let explanation = Explanation { sentence, operations, ..Explanation::default() };
            Verdict::Invalid { explanation }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(position: u64, applied: u64, hash: u64) -> Standing {
        (position, Digest { applied, hash })
    }

    #[test]
    fn only_states_at_one_position_are_compared() {
        let judge = |standings: &[(u64, Standing)]| {
            judge(&[1, 2], &standings.iter().copied().collect()).map(|verdict| verdict.word())
        };
        let one = (1, standing(9, 5, 77));
        assert_eq!(judge(&[one]), None, "node 2 did not answer");
        assert_eq!(judge(&[one, (2, standing(8, 4, 66))]), None, "node 2 is behind");
        assert_eq!(judge(&[one, (2, standing(9, 5, 77))]), Some("valid"));
        assert_eq!(judge(&[one, (2, standing(9, 5, 78))]), Some("invalid"));
        assert_eq!(judge(&[one, (2, standing(9, 4, 77))]), Some("invalid"));
    }
}
