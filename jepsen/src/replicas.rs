//! Replicas: do all nodes hold the same?
//!
//! In goes a [`Cluster`] that is at rest, out comes [`Rest`]: each node's own state and the order of its
//! commands, asked locally, compared where all stand at one place. Linearizable answers of the leader
//! say nothing about a follower that has gone its own way; it would show only once it leads.
//!
//! In strong mode the place is the position in the log; in eventual mode it is which operations a node
//! has, once it calls all of them final.
//!
//! Invariants:
//! - states are compared only if every node stood at one and the same place before and after it was
//!   asked;
//! - nodes that do not reach one place in time leave the verdict unknown: that is slow, not wrong;
//! - two states at one place that differ are invalid, and so is a different order or number of commands,
//!   or a state that the commands do not make.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sixbells::{StateMachine, Vector};
use tokio::time::{Instant, sleep};

use crate::checker::replay::{Act, Typed};
use crate::checker::{Explanation, Verdict};
use crate::cluster::{Cluster, State};
use crate::digest::digest;
use crate::journal::PROBES;
use crate::machine::{Command, Workbench};
use crate::nemesis::Target;
use crate::subject::{Answer, Question};

/// What came of nodes that nobody writes to.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Whether they hold the same.
    pub verdict: Verdict,
    /// What the first holds; `None` unless all reached one place.
    held: Option<Standing>,
}

impl Rest {
    /// Whether they came to rest.
    pub fn reached(&self) -> bool {
        self.held.is_some()
    }

    /// The numbers of the clients' commands in the order of the first node; empty unless all reached one
    /// place.
    pub fn order(&self) -> Vec<u64> {
        let order = self.held.iter().flat_map(|held| &held.order).copied();
        order.filter(|number| *number < PROBES).collect()
    }

    /// Whether they hold the same, and that is what their commands make, applied once more, here.
    pub fn replayed(&self, operations: &[Typed<Workbench>]) -> Verdict {
        let Some(Standing { commands, state, order, .. }) = &self.held else {
            return self.verdict.clone();
        };
        let acts: BTreeMap<u64, &Act<Workbench>> =
            operations.iter().map(|operation| (operation.number, &operation.act)).collect();
        let mut machine = Workbench::default();
        for number in order {
            match acts.get(number) {
                Some(Act::Write { command, .. }) => drop(machine.apply(command.clone())),
                _ if *number >= PROBES => drop(machine.apply(Command::Nothing)),
                // Nobody's command: the state shows it.
                _ => {}
            }
        }
        if matches!(self.verdict, Verdict::Invalid { .. })
            || digest(sixbells::encode(&machine)) == *state
        {
            return self.verdict.clone();
        }
        let sentence = format!(
            "all nodes hold the same after {commands} commands, but not what these make when they are \
             applied once more"
        );
        Verdict::Invalid { explanation: Explanation { sentence, ..Explanation::default() } }
    }
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// It applied the log up to here.
    Log(u64),
    /// It has these operations, and their order is final.
    Final(Vector),
}

/// Where a node stands, and what it holds there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    place: Place,
    commands: u64,
    /// Of all commands and their responses, in order.
    chain: u64,
    state: u64,
    order: Vec<u64>,
}

/// Compares the nodes of a cluster that nobody writes to, as soon as they have caught up.
///
/// # Errors
/// If a client cannot be made.
pub async fn compare(cluster: &Cluster, within: Duration) -> anyhow::Result<Rest> {
    let began = Instant::now();
    loop {
        let places = places(cluster).await;
        if level(&cluster.nodes(), &places) || began.elapsed() >= within {
            let standings = standings(cluster).await?;
            if let Some(verdict) = judge(&cluster.nodes(), &standings) {
                return Ok(Rest { verdict, held: standings.into_values().next() });
            }
        }
        if began.elapsed() >= within {
            let limit = within.as_secs();
            let why = format!("the nodes did not come to rest within {limit} s: {places:?}");
            return Ok(Rest { verdict: Verdict::Unknown { why }, held: None });
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until all nodes stand at one place, at most this long.
///
/// # Errors
/// Where they stand instead.
pub async fn at_rest(cluster: &Cluster, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let places = places(cluster).await;
        if level(&cluster.nodes(), &places) {
            return Ok(());
        }
        let late = Instant::now() >= deadline;
        anyhow::ensure!(!late, "the nodes did not come to rest: {places:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether all nodes stand at one place.
fn level(nodes: &[u64], places: &BTreeMap<u64, Place>) -> bool {
    let first = places.values().next();
    nodes.iter().all(|node| places.get(node).is_some_and(|place| Some(place) == first))
}

/// The nodes that stand somewhere for good.
async fn places(cluster: &Cluster) -> BTreeMap<u64, Place> {
    let place = |(node, state): (u64, State)| {
        let place = match state {
            State::Strong(status) => Place::Log(status.applied?.index),
            State::Eventual(status) if status.tentative == 0 => Place::Final(status.have),
            State::Eventual(_) => return None,
        };
        Some((node, place))
    };
    cluster.states().await.into_iter().filter_map(place).collect()
}

/// Asks each node for its place, what it holds, and its place again.
async fn standings(cluster: &Cluster) -> anyhow::Result<BTreeMap<u64, Standing>> {
    let before = places(cluster).await;
    let mut standings = BTreeMap::new();
    for (node, place) in &before {
        let client = cluster.client_of(*node).await?;
        let summary = client.read_local(Question::Summary).await;
        let order = client.read_local(Question::Order).await;
        if let (Ok(Answer::Summary { position, chain, machine }), Ok(Answer::Order(order))) =
            (summary, order)
        {
            let (place, state) = (place.clone(), digest(machine));
            standings.insert(*node, Standing { place, commands: position, chain, state, order });
        }
    }
    let after = places(cluster).await;
    standings.retain(|node, standing| after.get(node) == Some(&standing.place));
    Ok(standings)
}

/// The verdict, if all nodes stand at one place.
fn judge(nodes: &[u64], standings: &BTreeMap<u64, Standing>) -> Option<Verdict> {
    let places = standings.iter().map(|(node, standing)| (*node, standing.place.clone()));
    let (first, standing) = standings.first_key_value()?;
    if !level(nodes, &places.collect()) {
        return None;
    }
    let other = standings.iter().find(|(_, other)| *other != standing);
    Some(match other {
        None => {
            let operations = usize::try_from(standing.commands).unwrap_or(usize::MAX);
            Verdict::Valid { operations, partitions: 1 }
        }
        Some((node, other)) => {
            let sentence = format!(
                "nodes {first} and {node} have both applied {}, but hold different states or orders \
                 ({} and {} commands)",
                standing.place, standing.commands, other.commands
            );
            let line = |(node, standing): (&u64, &Standing)| {
                let Standing { commands, chain, state, .. } = standing;
                format!("node {node}: {commands} commands, hash {chain:016x}, state {state:016x}")
            };
            let operations = standings.iter().map(line).collect();
            let explanation = Explanation { sentence, operations, ..Explanation::default() };
            Verdict::Invalid { explanation }
        }
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Log(index) => write!(f, "the log up to {index}"),
            Place::Final(_) => f.write_str("the same operations, all of them final"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(position: u64, commands: u64, state: u64) -> Standing {
        let order = (0..commands).collect();
        Standing { place: Place::Log(position), commands, chain: 7, state, order }
    }

    #[test]
    fn only_states_at_one_place_are_compared() {
        let judge = |standings: &[(u64, Standing)]| {
            judge(&[1, 2], &standings.iter().cloned().collect()).map(|verdict| verdict.word())
        };
        let one = (1, standing(9, 5, 77));
        let with = |other| [one.clone(), (2, other)];
        assert_eq!(judge(&with(standing(8, 4, 66))), None, "node 2 is behind");
        assert_eq!(judge(&with(standing(9, 5, 77))), Some("valid"));
        assert_eq!(judge(&with(standing(9, 5, 78))), Some("invalid"));
        assert_eq!(judge(&with(standing(9, 4, 77))), Some("invalid"));
        let order = vec![1, 0, 2, 3, 4];
        assert_eq!(judge(&with(Standing { order, ..standing(9, 5, 77) })), Some("invalid"));
        assert_eq!(judge(&[one]), None, "node 2 did not answer");
    }

    /// Replicas that agree may agree on what is wrong: all of them applied a command twice, say.
    #[test]
    fn a_state_that_the_commands_do_not_make_is_invalid() {
        let write = |number| Typed {
            process: 1,
            number,
            node: None,
            invoked: number,
            returned: None,
            act: Act::Write { command: Command::Increment { key: 1, by: 2 }, response: None },
        };
        let word = |order: &[u64], applied: u64| {
            let mut machine = Workbench::default();
            for _ in 0..applied {
                machine.apply(Command::Increment { key: 1, by: 2 });
            }
            machine.apply(Command::Nothing);
            let state = digest(sixbells::encode(&machine));
            let held = Standing { order: order.to_vec(), ..standing(9, 3, state) };
            let verdict = Verdict::Valid { operations: 3, partitions: 1 };
            Rest { verdict, held: Some(held) }.replayed(&[write(1), write(2)]).word()
        };
        assert_eq!(word(&[2, 1, PROBES], 2), "valid");
        assert_eq!(word(&[2, 1, PROBES], 3), "invalid");
        assert_eq!(word(&[2, PROBES], 2), "invalid");
        assert_eq!(word(&[2, 7, PROBES], 2), "invalid", "nobody sent 7");
    }
}
