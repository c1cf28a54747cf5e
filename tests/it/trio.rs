//! Three replicas in eventual mode, on a network and disks in memory.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sixbells::{
    Client, ClientConfig, Config, Doors, Error, EventualNode, Node, StateMachine,
    runtime::{AsyncRuntime, OptionalSend, Runtime, TokioRuntime},
    transport::memory::MemoryNetwork,
};

use crate::{
    cluster::{Remains, eventually},
    delegate::delegate_to_tokio,
    tap::{Record, Tap},
};

/// An account that cannot be overdrawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) funds: u64,
}

impl Default for Account {
    fn default() -> Self {
        Self { funds: 100 }
    }
}

impl StateMachine for Account {
    type Command = u64;
    type Response = Result<u64, String>;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, amount: u64) -> Result<u64, String> {
        match self.funds.checked_sub(amount) {
            Some(left) => {
                self.funds = left;
                Ok(left)
            }
            None => Err("insufficient funds".into()),
        }
    }

    fn query(&self, (): ()) -> u64 {
        self.funds
    }
}

pub(crate) const IDS: [u64; 3] = [1, 2, 3];
pub(crate) const ADDRS: [&str; 3] = ["a:1", "b:2", "c:3"];

pub(crate) struct Trio {
    pub(crate) network: MemoryNetwork,
    pub(crate) remains: BTreeMap<u64, Remains>,
    pub(crate) nodes: BTreeMap<u64, EventualNode<Account>>,
    pub(crate) config: Config,
    /// What the nodes sent.
    pub(crate) record: Record,
}

impl Trio {
    fn empty(config: Config) -> Self {
        let (network, nodes) = (MemoryNetwork::default(), BTreeMap::new());
        let remains = IDS.iter().map(|id| (*id, Remains::default())).collect();
        Self { network, remains, nodes, config, record: Record::default() }
    }

    pub(crate) async fn start(config: Config) -> Self {
        let mut trio = Self::empty(config);
        for id in IDS {
            trio.start_node(id).await;
        }
        trio.acquainted().await
    }

    /// The same, but the clock of node 2 is 5 s behind, and nobody minds.
    pub(crate) async fn start_with_a_late_clock() -> Self {
        let config = Config { clock_ahead_max: Duration::from_secs(30), ..Config::default() };
        let mut trio = Self::empty(config);
        for id in [1, 3] {
            trio.start_node(id).await;
        }
        trio.start_node_on::<Late>(2).await;
        trio.acquainted().await
    }

    async fn acquainted(self) -> Self {
        let trio = self;
        for id in IDS {
            let heard = || trio.nodes[&id].status().waits_for.is_none();
            eventually("each has heard of the others", heard).await;
        }
        trio
    }

    pub(crate) async fn start_node(&mut self, id: u64) {
        self.start_node_on::<TokioRuntime>(id).await;
    }

    async fn start_node_on<R: Runtime>(&mut self, id: u64) {
        let (network, remains) = (self.network.clone(), self.remains[&id].clone());
        let record = self.record.clone();
        let (_, addr) = IDS.into_iter().zip(ADDRS).find(|(member, _)| *member == id).unwrap();
        let doors = Doors {
            disk: Arc::new(remains.disk),
            log: Arc::new(remains.log),
            transport: Box::new(move |who| {
                Arc::new(Tap::new(network.node::<R>(addr, who), &record, None))
            }),
        };
        let builder =
            Node::builder(id).peers(IDS.into_iter().zip(ADDRS)).config(self.config.clone());
        let node = builder.start_eventual_with::<R>(doors).await.unwrap();
        self.nodes.insert(id, node);
    }

    /// Pays as soon as the node accepts; it may still wait for its clock.
    pub(crate) async fn pay(&self, id: u64, amount: u64) -> Result<u64, String> {
        let handle = self.nodes[&id].handle();
        loop {
            match handle.write(amount).await {
                Err(Error::Overloaded(_) | Error::Unavailable(_)) => {
                    TokioRuntime::sleep(Duration::from_millis(5)).await;
                }
                paid => return paid.unwrap(),
            }
        }
    }

    pub(crate) async fn funds(&self, id: u64) -> u64 {
        self.nodes[&id].handle().read(()).await.unwrap()
    }

    pub(crate) fn stable(&self, id: u64) -> u64 {
        self.nodes[&id].status().stable
    }

    /// Until every node has applied everything, and finally.
    pub(crate) async fn agree(&self) {
        eventually("all agree", || {
            let statuses: Vec<_> = self.nodes.values().map(EventualNode::status).collect();
            let (have, stable) = (&statuses[0].have, statuses[0].stable);
            let total: u64 = have.values().sum();
            statuses.iter().all(|s| s.have == *have && s.stable == stable && stable == total)
        })
        .await;
    }

    /// The same, and then all hold these funds.
    pub(crate) async fn agree_on(&self, funds: u64) {
        self.agree().await;
        for id in IDS {
            assert_eq!(self.funds(id).await, funds, "node {id}");
        }
    }

    /// A client called `name` of the nodes given, the nearest first.
    pub(crate) fn client(
        &self,
        name: &str,
        config: ClientConfig,
        addrs: &[&str],
    ) -> Client<Account> {
        let transport = self.network.client::<TokioRuntime>(name, "sixbells");
        let addrs = addrs.iter().copied();
        Client::with_transport::<TokioRuntime>(transport, addrs, config).unwrap()
    }
}

/// Tokio with a wall clock that is 5 s behind: more than any pause in these tests.
#[derive(Debug)]
struct Late;

impl AsyncRuntime for Late {
    delegate_to_tokio!();

    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }
}

impl Runtime for Late {
    async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        TokioRuntime::blocking(work).await
    }

    fn wall() -> Duration {
        TokioRuntime::wall().saturating_sub(Duration::from_secs(5))
    }
}
