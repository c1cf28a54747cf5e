//! Convergence: whether all replicas in eventual mode have come to rest, and whether on the same.
//!
//! In: a cluster that nobody writes to. Out: what each replica holds, once all of them hold the same
//! operations and call all of them final; and then whether they hold the same state.
//!
//! Invariant: that they have the same operations is their own word; what came of these is asked of
//! their machines.
//!
//! Does not: wait.

use sixbells::StateMachine;

use super::{Replica, cluster::Cluster};
use crate::digest::digest;

/// The replicas and the order of their commands, if they are at rest.
pub(super) async fn reached<S: StateMachine>(
    cluster: &Cluster<S>,
) -> Option<(Vec<u64>, Vec<Replica>)> {
    let statuses = || {
        let nodes = cluster.wanted().into_iter();
        let statuses: Option<Vec<_>> = nodes.map(|node| cluster.eventual_status(node)).collect();
        let haves: Vec<_> = statuses?.into_iter().map(|s| (s.tentative, s.have)).collect();
        let (_, first) = haves.first()?.clone();
        haves.iter().all(|(tentative, have)| *tentative == 0 && *have == first).then_some(first)
    };
    let before = statuses()?;
    let mut replicas = Vec::new();
    let mut order = Vec::new();
    for node in cluster.wanted() {
        let (position, chain, machine) = cluster.summary(node).await?;
        let state = digest(&machine);
        replicas.push(Replica { node, position, chain, state, applied: None });
        order = cluster.order(node).await?;
    }
    // What an earlier client has given up may still arrive.
    (statuses()? == before).then_some((order, replicas))
}

/// Whether replicas at rest hold the same.
///
/// # Errors
/// Which of them do not.
pub(super) fn same(replicas: &[Replica]) -> Result<(), String> {
    let Some(first) = replicas.first() else { return Err("there are no replicas".to_owned()) };
    let held = |replica: &Replica| (replica.position, replica.chain, replica.state);
    match replicas.iter().find(|other| held(other) != held(first)) {
        None => Ok(()),
        Some(other) => Err(format!(
            "nodes {} and {} hold the same operations, all of them final, but after {} and {} commands \
             their states are {:016x} and {:016x}",
            first.node, other.node, first.position, other.position, first.state, other.state
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_differ_in_anything_are_not_the_same() {
        let replica =
            |node, position, chain, state| Replica { node, position, chain, state, applied: None };
        assert!(same(&[replica(1, 5, 6, 7), replica(2, 5, 6, 7)]).is_ok());
        for other in [replica(2, 4, 6, 7), replica(2, 5, 0, 7), replica(2, 5, 6, 0)] {
            assert!(same(&[replica(1, 5, 6, 7), other]).unwrap_err().contains("nodes 1 and 2"));
        }
        assert!(same(&[]).is_err());
    }
}
