//! Scenarios with whole nodes, in one thread, on memory: everything that a request passes but disk and sockets.
//!
//! Heartbeats and elections are minutes apart, so that none comes in the middle of what is measured. What is left
//! to chance (which task tokio polls next, names of requests) is below a thousandth.
//!
//! Does not: look inside. Commands of 128 bytes go in through handles, and responses come out.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use sixbells::{
    Client, ClientConfig, Config, Doors, Error, Handle, Node, Role, StartError,
    runtime::{AsyncRuntime, Instant, TokioRuntime},
    storage::{MemoryDisk, MemoryLog},
    transport::{
        BoxFuture as Answer, CallError, Kind, Lane, Message, Peer, Service, Transport,
        memory::MemoryNetwork,
        tcp::{NodeOptions, TcpTransport},
    },
};
use sixbells_gauge::{Blob, Values};
use tokio::runtime::{Builder, Runtime};

use crate::measured;

pub(crate) const WRITES: u64 = 3_200;
const AT_ONCE: u64 = 64;
const KEYS: u64 = 1_000;
const VALUE_BYTES: usize = 128;
pub(crate) const CALLS: u64 = 6_400;

/// A cluster that has a leader, and the runtime it lives on.
struct Cluster {
    runtime: Runtime,
    nodes: Vec<Node<Values>>,
    log: MemoryLog,
    disk: MemoryDisk,
}

fn addr(id: u64) -> String {
    format!("n{id}")
}

/// Nothing but what is asked of it: no snapshot, no hash of the state, no heartbeat in between.
fn config() -> Config {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    Config {
        heartbeat: minutes(2),
        election_timeout: minutes(10)..minutes(11),
        request_timeout: minutes(20),
        state_hash_entries: 0,
        ..Config::default()
    }
}

async fn start(
    (id, size): (u64, u64),
    config: Config,
    network: &MemoryNetwork,
    (log, disk): (&MemoryLog, &MemoryDisk),
) -> Result<Node<Values>, StartError> {
    let network = network.clone();
    let doors = Doors {
        disk: Arc::new(disk.clone()),
        log: Arc::new(log.clone()),
        transport: Box::new(move |who| network.node::<TokioRuntime>(addr(id), who)),
    };
    let peers = (1..=size).map(|id| (id, addr(id)));
    Node::builder(id).peers(peers).config(config).start_with::<TokioRuntime>(doors).await
}

impl Cluster {
    fn start(size: u64) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let network = MemoryNetwork::default();
        let (log, disk) = (MemoryLog::new(), MemoryDisk::default());
        let nodes = runtime.block_on(async {
            let mut nodes = vec![start((1, size), config(), &network, (&log, &disk)).await?];
            for id in 2..=size {
                let other = (&MemoryLog::new(), &MemoryDisk::default());
                nodes.push(start((id, size), config(), &network, other).await?);
            }
            Ok::<_, StartError>(nodes)
        })?;
        Ok(Self { runtime, nodes, log, disk })
    }

    /// The leader's handle, warm: its session is open.
    fn handle(&self) -> anyhow::Result<Handle<Values>> {
        self.runtime.block_on(async {
            self.nodes[0].handle().write((0, value())).await?;
            let deadline = <TokioRuntime as AsyncRuntime>::Instant::now() + Duration::from_secs(60);
            loop {
                let leads = |node: &&Node<Values>| node.status().role == Role::Leader;
                if let Some(leader) = self.nodes.iter().find(leads) {
                    let handle = leader.handle();
                    handle.write((0, value())).await?;
                    return Ok(handle);
                }
                let now = <TokioRuntime as AsyncRuntime>::Instant::now();
                ensure!(now < deadline, "nobody leads");
                TokioRuntime::sleep(Duration::from_millis(10)).await;
            }
        })
    }

    /// All requests, so many under way at once: each group is sent when the one before was answered.
    fn requests(
        &self,
        request: impl Fn(u64) -> BoxFuture<'static, Result<(), Error>>,
    ) -> anyhow::Result<()> {
        let mut answered = Ok(());
        measured(&mut || {
            answered = self.runtime.block_on(async {
                for group in groups() {
                    try_join_all(group.map(&request)).await?;
                }
                Ok::<_, Error>(())
            });
        });
        Ok(answered?)
    }

    fn applied(&self) -> u64 {
        self.nodes[0].status().applied.map_or(0, |last| last.index)
    }
}

/// The numbers of the requests, by those that are under way together.
fn groups() -> impl Iterator<Item = Range<u64>> {
    (0..WRITES / AT_ONCE).map(|group| group * AT_ONCE..(group + 1) * AT_ONCE)
}

fn value() -> Blob {
    Blob(vec![7; VALUE_BYTES])
}

fn write(handle: &Handle<Values>, n: u64) -> BoxFuture<'static, Result<(), Error>> {
    let handle = handle.clone();
    Box::pin(async move { handle.write((n % KEYS, value())).await })
}

/// Encoding, session, proposal, consensus, log in memory, applying; with three nodes also the batches to the
/// followers and all that they do with them.
pub(crate) fn writes(size: u64) -> anyhow::Result<()> {
    let cluster = Cluster::start(size)?;
    let handle = cluster.handle()?;
    cluster.requests(|n| write(&handle, n))
}

/// The same with keys of the application, which are remembered in another table.
pub(crate) fn writes_once() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let handle = cluster.handle()?;
    cluster.requests(|n| {
        let handle = handle.clone();
        Box::pin(async move { handle.write_once(n.to_le_bytes(), (n % KEYS, value())).await })
    })
}

/// Linearizable reads of what is there.
pub(crate) fn reads() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let handle = cluster.handle()?;
    cluster.requests(|_| {
        let handle = handle.clone();
        Box::pin(async move {
            handle.read(0).await?.map(drop).ok_or_else(|| Error::Unknown("no value".into()))
        })
    })
}

/// A log without a snapshot, applied by a node that starts on it: entries decoded, sessions, the machine.
pub(crate) fn replay() -> anyhow::Result<()> {
    let before = Cluster::start(1)?;
    let handle = before.handle()?;
    before.runtime.block_on(async {
        for group in groups() {
            try_join_all(group.map(|n| write(&handle, n))).await?;
        }
        Ok::<_, Error>(())
    })?;
    let applied = before.applied();
    ensure!(applied >= WRITES / AT_ONCE, "only {applied} entries to apply");
    let (log, network) = (before.log.crash(), MemoryNetwork::default());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut started = None;
    measured(&mut || {
        started = Some(runtime.block_on(async {
            // It has to be elected again: not after minutes.
            let config = Config { state_hash_entries: 0, ..Config::default() };
            let node = start((1, 1), config, &network, (&log, &before.disk)).await?;
            while node.status().applied.map_or(0, |last| last.index) < applied {
                TokioRuntime::sleep(Duration::from_millis(100)).await;
            }
            Ok::<_, StartError>(node)
        }));
    });
    drop(started.context("did not run")??);
    Ok(())
}

/// A leader that is always there, and answers at once: a session the first time, and then that it is done.
#[derive(Debug, Default)]
struct Obliging(AtomicBool);

impl Transport for Obliging {
    fn call<'a>(
        &'a self,
        _to: &'a Peer,
        _lane: Lane,
        request: Message,
        _timeout: Duration,
    ) -> Answer<'a, Result<Message, CallError>> {
        let body: &'static [u8] = match self.0.swap(true, Ordering::Relaxed) {
            false => &[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            true => &[0; 16],
        };
        let reply = Message { kind: Kind::Reply, body: Bytes::from_static(body), ..request };
        Box::pin(std::future::ready(Ok(reply)))
    }

    fn listen(&self, _service: Arc<dyn Service>) -> Answer<'_, Result<(), StartError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) {}
}

/// What a client does for a write before it is sent and after it was answered.
pub(crate) fn client() -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (leader, config) = (Arc::new(Obliging::default()), ClientConfig::default());
    let client = Client::<Values>::with_transport::<TokioRuntime>(leader, ["leader"], config)?;
    runtime.block_on(client.write((0, value())))?;
    let mut answered = Ok(());
    measured(&mut || {
        answered = runtime.block_on(async {
            for n in 0..WRITES {
                client.write((n % KEYS, value())).await?;
            }
            Ok::<_, Error>(())
        });
    });
    Ok(answered?)
}

/// Answers with what was said.
struct Echo;

impl Service for Echo {
    fn shares(&self, _kind: Kind) -> bool {
        true
    }

    fn serve(&self, request: Message, _remaining: Duration) -> Answer<'static, Message> {
        Box::pin(std::future::ready(Message { kind: Kind::Reply, ..request }))
    }
}

/// Requests there and back, 64 at once on one connection, so that frames are most of it and not the sockets: two
/// frames written and two read for each.
pub(crate) fn frames() -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = TcpTransport::node(NodeOptions {
        cluster: "sixbells".into(),
        node: 1,
        disk: 1,
        listen: "127.0.0.1:0".into(),
        connections_max: 10,
        client_frame_bytes_max: 1 << 20,
        routes: BTreeMap::new(),
    });
    runtime.block_on(server.listen(Arc::new(Echo)))?;
    let addr = server.local_addr().context("it does not listen")?.to_string();
    let peer = Peer { addr, node: Some(1), disk: Some(1) };
    let client = TcpTransport::client("sixbells".into());
    let request =
        Message { kind: Kind::Propose, request: 7, body: Bytes::from_static(&[7; VALUE_BYTES]) };
    let call = || client.call(&peer, Lane::Client, request.clone(), Duration::from_secs(60));
    runtime.block_on(call())?;
    let mut answered = Ok(());
    measured(&mut || {
        answered = runtime.block_on(async {
            for _ in 0..CALLS / AT_ONCE {
                try_join_all((0..AT_ONCE).map(|_| call())).await?;
            }
            Ok(())
        });
    });
    Ok(answered.map_err(|error: sixbells::transport::CallError| error)?)
}
