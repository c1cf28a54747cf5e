//! The clients of a simulated cluster: the library's own [`Client`], one on a host of its own each.
//!
//! In: a generator of operations. Out: a [`Record`] of what was sent and what came back.
//!
//! Invariants
//! - a client does one thing after the other; once it does not know what became of an operation, it
//!   goes on as another process;
//! - randomness comes from the load's stream, so that a fault fewer leaves the operations as they were.
//!
//! Does not: decide what is right.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sixbells::{Client, ClientConfig, Error, Mode, StateMachine, Token, runtime::AsyncRuntime};

use super::{
    End, Host, SimRuntime,
    cluster::{self, Cluster},
    plan::{Manner, Plan},
    record::Record,
    witness::Subject,
    world::{self, Stream},
};
use crate::{
    subject::{Numbered, Question},
    suite::{Generator, Op, Told},
};

/// The first client's host, and how far apart the processes of one client are numbered.
pub(super) const CLIENTS: Host = 1_000;

/// All clients of a run.
pub(super) struct Clients<S: StateMachine> {
    cluster: Arc<Cluster<S>>,
    record: Record<S>,
    mode: Mode,
    last: Host,
}

/// One client, and how it chooses nodes.
pub(super) struct Caller<S: StateMachine> {
    pub(super) host: Host,
    manner: Manner,
    /// By node: one that asks it before the others.
    clients: Vec<(Host, Client<Subject<S>>)>,
    /// Which of them is next.
    at: usize,
    token: Token,
}

impl<S: StateMachine> Clone for Clients<S> {
    fn clone(&self) -> Self {
        let Self { cluster, record, mode, last } = self;
        Self { cluster: cluster.clone(), record: record.clone(), mode: *mode, last: *last }
    }
}

impl<S: StateMachine> Caller<S> {
    fn roam(&mut self, rng: &mut SmallRng) {
        if self.manner != Manner::Sticky {
            self.at = rng.random_range(0..self.clients.len());
        }
    }

    async fn write(
        &mut self,
        command: Numbered<S>,
        key: Option<Vec<u8>>,
    ) -> Result<S::Response, Error> {
        let (_, client) = &self.clients[self.at];
        match key {
            // A key names one request for ever; a session is a sequence of them.
            Some(key) if self.manner != Manner::Session => client.write_once(key, command).await,
            _ if self.manner == Manner::Session => {
                let mut session = client.session(self.token.clone());
                let written = session.write(command).await;
                self.token = session.token().clone();
                written
            }
            _ => client.write(command).await,
        }
    }

    async fn read(&mut self, query: S::Query) -> Result<S::Answer, Error> {
        let (_, client) = &self.clients[self.at];
        let question = Question::Machine(query);
        let answer = if self.manner == Manner::Session {
            let mut session = client.session(self.token.clone());
            let answer = session.read(question).await;
            self.token = session.token().clone();
            answer?
        } else {
            client.read(question).await?
        };
        answer.of_machine()
    }
}

impl<S: StateMachine> Clients<S> {
    pub(super) fn new(cluster: Arc<Cluster<S>>, record: Record<S>, mode: Mode) -> Self {
        Self { cluster, record, mode, last: CLIENTS }
    }

    /// A new client on a host of its own, which knows these nodes and asks the first one first.
    pub(super) fn client(&mut self, nodes: &[Host], manner: Manner) -> Caller<S> {
        self.last += 1;
        let host = self.last;
        world::boot(host);
        let name = format!("client-{host}:1");
        let transport = self.cluster.network.client(host, name, cluster::CLUSTER);
        let config = ClientConfig {
            cluster: cluster::CLUSTER.to_owned(),
            mode: self.mode,
            deadline: Duration::from_secs(4),
            ..ClientConfig::default()
        };
        let (manner, first) = match (manner, self.mode) {
            (Manner::Sticky, _) => (manner, 1),
            // Strong mode needs no tokens.
            (Manner::Session, Mode::Strong) => (Manner::Roaming, nodes.len()),
            (Manner::Roaming | Manner::Session, _) => (manner, nodes.len()),
        };
        let client = |first: usize| {
            let turned = nodes.iter().cycle().skip(first).take(nodes.len());
            let addrs = turned.map(|node| cluster::address(*node));
            let (transport, config) = (transport.clone(), config.clone());
            let client = Client::with_transport::<SimRuntime>(transport, addrs, config);
            let client =
                client.unwrap_or_else(|error| unreachable!("the settings of a client: {error}"));
            (nodes[first], client)
        };
        let clients = (0..first).map(client).collect();
        Caller { host, manner, clients, at: 0, token: Token::default() }
    }

    /// Whether every operation has ended.
    pub(super) fn idle(&self) -> bool {
        self.record.under_way() == 0
    }

    /// Lets one of the plan's clients send operations until the time is over. Returns its host.
    pub(super) fn send(
        &mut self,
        number: u64,
        generator: Box<dyn Generator<S>>,
        plan: &Plan,
        until: Duration,
    ) -> Host {
        let mut nodes: Vec<Host> = (1..=plan.nodes).collect();
        if plan.roaming {
            nodes.rotate_left(usize::try_from(number % plan.nodes).unwrap_or(0));
        }
        let caller = self.client(&nodes, plan.manner(number));
        let host = caller.host;
        let (clients, plan) = (self.clone(), plan.clone());
        world::spawn_on(host, async move { clients.work(caller, generator, plan, until).await });
        host
    }

    async fn work(
        self,
        mut caller: Caller<S>,
        mut generator: Box<dyn Generator<S>>,
        plan: Plan,
        until: Duration,
    ) {
        let mut rng = world::draw(Stream::Load, |rng| SmallRng::seed_from_u64(rng.random()));
        let mut process = caller.host;
        for _ in 0..plan.operations {
            SimRuntime::sleep(rng.random_range(Duration::ZERO..=plan.think)).await;
            if world::now() >= until {
                return;
            }
            caller.roam(&mut rng);
            let op = generator.next(&mut rng);
            let keyed = plan.keyed > 0 && rng.random_range(0..plan.keyed) == 0;
            let key = keyed.then(|| rng.random::<u128>().to_be_bytes().to_vec());
            match self.perform(&mut caller, process, op.clone(), key).await {
                (_, Some(told)) => generator.observe(&op, &told),
                (End::Info, None) => process += CLIENTS,
                (End::Ok | End::Fail, None) => {}
            }
        }
    }

    /// Does one thing. Returns how it ended, and what the client was told.
    pub(super) async fn perform(
        &self,
        caller: &mut Caller<S>,
        process: u64,
        op: Op<S>,
        key: Option<Vec<u8>>,
    ) -> (End, Option<Told<S>>) {
        let (node, _) = caller.clients[caller.at];
        let (host, asked) = (caller.host, (node, caller.manner));
        let number = self.record.invoke(host, process, op.clone(), asked);
        let result = match op {
            Op::Write(command) => {
                caller.write(Numbered { number, command }, key).await.map(Told::Response)
            }
            Op::Read(query) => caller.read(query).await.map(Told::Answer),
        };
        let told = result.as_ref().ok().cloned();
        (self.record.complete(host, number, result), told)
    }
}
