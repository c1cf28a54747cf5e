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
use sixbells::{Client, ClientConfig, Error, StateMachine, runtime::AsyncRuntime};

use super::{
    End, Host, SimRuntime,
    cluster::{self, Cluster},
    plan::Plan,
    record::{Op, Record, Told},
    subject::{Answer, Numbered, Question, Subject},
    suite::Generator,
    world::{self, Stream},
};

/// The first client's host, and how far apart the processes of one client are numbered.
pub(super) const CLIENTS: Host = 1_000;

/// All clients of a run.
pub(super) struct Clients<S: StateMachine> {
    cluster: Arc<Cluster<S>>,
    record: Record<S>,
    last: Host,
}

impl<S: StateMachine> Clone for Clients<S> {
    fn clone(&self) -> Self {
        let Self { cluster, record, last } = self;
        Self { cluster: cluster.clone(), record: record.clone(), last: *last }
    }
}

impl<S: StateMachine> Clients<S> {
    pub(super) fn new(cluster: Arc<Cluster<S>>, record: Record<S>) -> Self {
        Self { cluster, record, last: CLIENTS }
    }

    /// A new client on a host of its own, which knows these nodes.
    pub(super) fn client(&mut self, nodes: &[Host]) -> (Client<Subject<S>>, Host) {
        self.last += 1;
        let host = self.last;
        world::boot(host);
        let name = format!("client-{host}:1");
        let transport = self.cluster.network.client(host, name, cluster::CLUSTER);
        let config = ClientConfig {
            cluster: cluster::CLUSTER.to_owned(),
            deadline: Duration::from_secs(4),
            ..ClientConfig::default()
        };
        let addrs = nodes.iter().map(|node| cluster::address(*node));
        let client = Client::with_transport::<SimRuntime>(transport, addrs, config);
        (client.unwrap_or_else(|error| unreachable!("the settings of a client: {error}")), host)
    }

    /// Whether every operation has ended.
    pub(super) fn idle(&self) -> bool {
        self.record.under_way() == 0
    }

    /// Sends operations until the time is over. Returns the client's host.
    pub(super) fn send(
        &mut self,
        generator: Box<dyn Generator<S>>,
        plan: &Plan,
        until: Duration,
    ) -> Host {
        let nodes: Vec<Host> = (1..=plan.nodes).collect();
        let (client, host) = self.client(&nodes);
        let (clients, plan) = (self.clone(), plan.clone());
        world::spawn_on(
            host,
            async move { clients.work(client, host, generator, plan, until).await },
        );
        host
    }

    async fn work(
        self,
        client: Client<Subject<S>>,
        host: Host,
        mut generator: Box<dyn Generator<S>>,
        plan: Plan,
        until: Duration,
    ) {
        let mut rng = world::draw(Stream::Load, |rng| SmallRng::seed_from_u64(rng.random()));
        let mut process = host;
        for _ in 0..plan.operations {
            SimRuntime::sleep(rng.random_range(Duration::ZERO..=plan.think)).await;
            if world::now() >= until {
                return;
            }
            let op = generator.next(&mut rng);
            let keyed = plan.keyed > 0 && rng.random_range(0..plan.keyed) == 0;
            let key = keyed.then(|| rng.random::<u128>().to_be_bytes().to_vec());
            match self.perform(&client, host, process, op.clone(), key).await {
                (_, Some(told)) => generator.observe(&op, &told),
                (End::Info, None) => process += CLIENTS,
                (End::Ok | End::Fail, None) => {}
            }
        }
    }

    /// Does one thing. Returns how it ended, and what the client was told.
    pub(super) async fn perform(
        &self,
        client: &Client<Subject<S>>,
        host: Host,
        process: u64,
        op: Op<S>,
        key: Option<Vec<u8>>,
    ) -> (End, Option<Told<S>>) {
        let number = self.record.invoke(host, process, op.clone());
        let result = match op {
            Op::Write(command) => {
                let command = Numbered { number, command };
                match key {
                    Some(key) => client.write_once(key, command).await.map(Told::Response),
                    None => client.write(command).await.map(Told::Response),
                }
            }
            Op::Read(query) => match client.read(Question::Machine(query)).await {
                Ok(Answer::Machine(answer)) => Ok(Told::Answer(answer)),
                Ok(Answer::Summary { .. }) => Err(Error::Unknown("a strange answer".into())),
                Err(error) => Err(error),
            },
        };
        let told = result.as_ref().ok().cloned();
        (self.record.complete(host, number, result), told)
    }
}
