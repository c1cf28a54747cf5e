//! The observer: writes down what each node says of its role and term, or that it runs, while a trial does.
//!
//! In go a cluster and the recorder, into the history go events that [`nodes`] reads back, so that a
//! page can show who led when something went wrong.
//!
//! Invariants:
//! - an event is written when a node says something else than before, or stops or begins to answer:
//!   a quiet cluster costs a few lines, however long the run;
//! - the events are the nemesis', whom no checker listens to: what is observed decides nothing;
//! - each node is asked by itself, so that one that stands still does not delay what others say.
//!
//! It is as exact as it asks often: a leader of a few milliseconds goes unseen.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::select_all;
use sixbells::Role;
use sixbells_checker::nodes;
use tokio::time::sleep;

use crate::cluster::{Cluster, State};
use crate::history::Recorder;
use crate::nemesis::Target;

/// How long from one answer of a node to the next question. An election takes several times longer.
const PERIOD: Duration = Duration::from_millis(100);

/// Observes all nodes, for ever.
pub async fn observe(cluster: &Cluster, recorder: &Recorder) -> Infallible {
    let each = cluster.nodes().into_iter().map(|node| Box::pin(follow(cluster, recorder, node)));
    select_all(each).await.0
}

async fn follow(cluster: &Cluster, recorder: &Recorder, node: u64) -> Infallible {
    let mut before = None;
    loop {
        let now = match cluster.state(node).await {
            Some(State::Strong(status)) => (word(status.role), Some(status.term)),
            // There all are equal.
            Some(State::Eventual(_)) => ("running", None),
            None => (nodes::SILENT, None),
        };
        if before != Some(now) {
            recorder.nemesis(nodes::STATUS, nodes::status(node, now.0, now.1));
            before = Some(now);
        }
        sleep(PERIOD).await;
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
        _ => "of a role that this kit does not know",
    }
}
