//! Questions to the nodes of a simulated cluster.
//!
//! In: a question, and whom to ask. Out: the node's own answer, or nothing if it does not run, or not for
//! long enough.
//!
//! Invariant: what is asked of a node is asked on its host, by its clock, and ends with it.
//!
//! Does not: believe what it is told, or break anything.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sixbells::{EventualStatus, Mode, Node, StateMachine, Status, runtime::AsyncRuntime};
use tokio::sync::oneshot;

use super::{Host, SimRuntime, cluster::Cluster, process::Running, witness::Subject, world};
use crate::subject::{Answer, Question};

/// How long the operator waits for what was asked of a node.
const PATIENCE: Duration = Duration::from_secs(8);

impl<S: StateMachine> Cluster<S> {
    /// Asks something of a node in strong mode, on its host. `None` if it does not run, or not for long
    /// enough.
    pub async fn ask<T, A>(
        &self,
        node: Host,
        ask: impl FnOnce(Arc<Node<Subject<S>>>) -> A,
    ) -> Option<T>
    where
        T: Send + 'static,
        A: Future<Output = T> + Send + 'static,
    {
        let strong = self.running(node)?.strong()?;
        self.ask_any(node, |_running| ask(strong)).await
    }

    /// The same in either mode.
    pub async fn ask_any<T, A>(&self, node: Host, ask: impl FnOnce(Running<S>) -> A) -> Option<T>
    where
        T: Send + 'static,
        A: Future<Output = T> + Send + 'static,
    {
        let running = self.running(node)?;
        let (sender, receiver) = oneshot::channel();
        let asked = world::on(node, || ask(running));
        world::spawn_on(node, async move { drop(sender.send(asked.await)) });
        SimRuntime::timeout(PATIENCE, receiver).await.ok()?.ok()
    }

    fn look<T>(&self, node: Host, look: impl FnOnce(&Running<S>) -> Option<T>) -> Option<T> {
        let running = self.running(node)?;
        let seen = world::on(node, || look(&running));
        world::on(node, || drop(running));
        seen
    }

    /// How a node in strong mode is.
    pub fn status(&self, node: Host) -> Option<Status> {
        self.look(node, Running::status)
    }

    /// How a node in eventual mode is.
    pub fn eventual_status(&self, node: Host) -> Option<EventualStatus> {
        self.look(node, Running::eventual_status)
    }

    /// What a node's state is, in short: position, hash of the commands, the machine encoded.
    pub async fn summary(&self, node: Host) -> Option<(u64, u64, Vec<u8>)> {
        match self.question(node, Question::Summary).await? {
            Answer::Summary { position, chain, machine } => Some((position, chain, machine)),
            Answer::Machine(_) | Answer::Order(_) => None,
        }
    }

    /// The commands that made a node's state, in their order.
    pub async fn order(&self, node: Host) -> Option<Vec<u64>> {
        match self.question(node, Question::Order).await? {
            Answer::Order(order) => Some(order),
            Answer::Machine(_) | Answer::Summary { .. } => None,
        }
    }

    async fn question(&self, node: Host, question: Question<S>) -> Option<Answer<S>> {
        let answer = self
            .ask_any(node, |running| async move { running.handle().read_local(question).await })
            .await;
        answer?.ok()
    }

    /// The leader, by the word of the one in the highest term. Where nobody leads, the first that runs
    /// stands in for it: what befalls a leader has to befall somebody.
    pub fn leader(&self) -> Option<Host> {
        if self.mode() == Mode::Eventual {
            return self.wanted().into_iter().find(|node| self.is_up(*node));
        }
        let statuses = self.wanted().into_iter().filter_map(|node| self.status(node));
        let leads = statuses.filter(|status| status.leader == Some(status.id));
        leads.max_by_key(|status| status.term).map(|status| status.id)
    }

    /// The members that vote, by the word of the node that has applied most.
    pub fn voters(&self) -> BTreeSet<Host> {
        let statuses = self.wanted().into_iter().filter_map(|node| self.status(node));
        let latest = statuses.max_by_key(|status| status.applied);
        latest.map(|status| status.voters.into_keys().collect()).unwrap_or_default()
    }
}
