//! Requests that arrive together at real nodes, on doors in memory.

use std::sync::{Arc, Mutex, OnceLock};

use super::*;
use crate::{
    Config, Doors, Node, Role,
    batch::Batch,
    codec,
    error::StartError,
    proposal::Origin,
    runtime::{AsyncRuntime, TokioRuntime},
    storage::{LogId, LogStore, MemoryDisk, MemoryLog, Record},
    sum::Sum,
    transport::{BoxFuture, CallError, Lane, Peer, Service, Transport, memory::MemoryNetwork},
};

/// A door that shows the service behind it.
#[derive(Debug)]
struct Window {
    door: Arc<dyn Transport>,
    service: Shown,
}

type Shown = Arc<OnceLock<ServiceHandle>>;

struct ServiceHandle(Arc<dyn Service>);

impl std::fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("service")
    }
}

impl Transport for Window {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        self.door.call(to, lane, request, timeout)
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        self.service.set(ServiceHandle(service.clone())).unwrap();
        self.door.listen(service)
    }

    fn close(&self) {
        self.door.close();
    }
}

async fn start(
    (id, size): (u64, u64),
    network: &MemoryNetwork,
    log: MemoryLog,
    disk: MemoryDisk,
) -> (Node<Sum>, Shown) {
    let (network, service) = (network.clone(), Shown::default());
    let shown = service.clone();
    let doors = Doors {
        disk: Arc::new(disk),
        log: Arc::new(log),
        transport: Box::new(move |who| {
            let door = network.node::<TokioRuntime>(format!("n{id}"), who);
            Arc::new(Window { door, service })
        }),
    };
    let peers = (1..=size).map(|id| (id, format!("n{id}")));
    let builder = Node::<Sum>::builder(id).peers(peers).config(Config::default());
    (builder.start_with::<TokioRuntime>(doors).await.unwrap(), shown)
}

fn add(id: u128, n: u64) -> Bytes {
    let key = id.to_le_bytes();
    let origin = Origin::Once { key: &key, keys_max: u64::MAX };
    Proposal::new(id, origin, &codec::encode(&n)).bytes().clone()
}

type Replies = Arc<Mutex<Vec<(u128, Result<Outcome, Error>)>>>;

fn ask(kind: Kind, (id, body): (u128, Bytes), ms: u64, replies: &Replies) -> Request {
    let replies = replies.clone();
    Request {
        message: Message { kind, request: id, body },
        remaining: Duration::from_millis(ms),
        answer: Box::new(move |reply| {
            replies.lock().unwrap().push((reply.request, rpc::read_reply(&reply)));
        }),
    }
}

fn sum(n: u64) -> Result<Outcome, Error> {
    Ok(Outcome::Response(codec::encode(&n).into()))
}

fn sorted(replies: &Replies) -> Vec<(u128, Result<Outcome, Error>)> {
    let mut replies = replies.lock().unwrap().clone();
    replies.sort_by_key(|(id, _)| *id);
    replies
}

/// One that cannot be read, or comes too late, is refused, and takes none of the others with it.
#[tokio::test(start_paused = true)]
async fn each_is_answered_as_if_it_had_come_alone() {
    let network = MemoryNetwork::default();
    let (node, shown) = start((1, 1), &network, MemoryLog::new(), MemoryDisk::default()).await;
    node.handle().read(()).await.unwrap();
    let replies = Replies::default();
    let bodies = [add(1, 10), Bytes::from_static(b"garbage"), add(3, 5), add(4, 1), add(1, 10)];
    let requests = (1..).zip(bodies).map(|(id, body)| {
        ask(Kind::Propose, (id, body), if id == 4 { 0 } else { 5_000 }, &replies)
    });
    let service = &shown.get().unwrap().0;
    service.serve_together(requests.collect()).await;
    let replies = sorted(&replies);
    assert_eq!(replies.len(), 5);
    assert_eq!((&replies[0].1, &replies[2].1), (&sum(10), &sum(15)));
    assert!(matches!(replies[1].1, Err(Error::Refused(_))), "{:?}", replies[1]);
    assert!(matches!(replies[3].1, Err(Error::Overloaded(_))), "{:?}", replies[3]);
    assert_eq!(replies[4].1, sum(10), "the second copy in the same batch is no second effect");
    assert_eq!(node.handle().read(()).await, Ok(15));
    node.shutdown().await;
}

/// A leader that is cut off tells each when its own time is over that nobody knows; who can wait learns it.
#[tokio::test(start_paused = true)]
async fn the_impatient_do_not_hurry_the_patient() {
    let network = MemoryNetwork::default();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start((id, 3), &network, MemoryLog::new(), MemoryDisk::default()).await);
    }
    nodes[0].0.handle().write(0).await.unwrap();
    let leads = |(node, _): &&(Node<Sum>, Shown)| node.status().role == Role::Leader;
    let (leader, shown) = nodes.iter().find(leads).unwrap();
    let addr = format!("n{}", leader.status().id);
    let replies = Replies::default();
    // Not for as long as its lease, so that it still leads when the network is well again.
    network.isolate(&addr, &["n1", "n2", "n3"]);
    let requests =
        [(1, 50), (2, 8_000)].map(|(id, ms)| ask(Kind::Propose, (id, add(id, 1)), ms, &replies));
    let service = shown.get().unwrap().0.clone();
    let served = tokio::spawn(service.serve_together(requests.into()));
    TokioRuntime::sleep(Duration::from_millis(100)).await;
    let early = sorted(&replies);
    assert!(matches!(early[..], [(1, Err(Error::Unknown(_)))]), "{early:?}");
    network.heal();
    served.await.unwrap();
    assert_eq!(sorted(&replies)[1], (2, sum(2)), "both were applied");
    for (node, _) in nodes {
        node.shutdown().await;
    }
}

/// Reads that came together see what was acknowledged before, and one that is too long is refused alone.
#[tokio::test(start_paused = true)]
async fn reads_share_a_round() {
    let network = MemoryNetwork::default();
    let (node, shown) = start((1, 1), &network, MemoryLog::new(), MemoryDisk::default()).await;
    node.handle().write(3).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = (0..40).map(|id| {
        let seen = seen.clone();
        let body = if id == 7 { vec![0; 2 << 20] } else { Vec::new() };
        Request {
            message: Message { kind: Kind::Read, request: id, body: body.into() },
            remaining: Duration::from_secs(5),
            answer: Box::new(move |reply| {
                let answer: Result<Bytes, Error> = rpc::read_reply(&reply);
                seen.lock().unwrap().push((reply.request, answer));
            }),
        }
    });
    let service = &shown.get().unwrap().0;
    service.serve_together(requests.collect()).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 40);
    for (id, answer) in seen.iter() {
        match answer {
            Err(Error::TooLarge(_)) => assert_eq!(*id, 7),
            answer => assert_eq!(answer, &Ok(codec::encode(&3_u64).into()), "{id}"),
        }
    }
    node.shutdown().await;
}

/// Another release wrote the second command of an entry. The first one of it was carried out by then: the state is
/// between two entries' states, and nobody may see it.
#[tokio::test(start_paused = true)]
async fn half_an_entry_is_never_seen() {
    let network = MemoryNetwork::default();
    let (log, disk) = (MemoryLog::new(), MemoryDisk::default());
    let (node, _) = start((1, 1), &network, log.clone(), disk.clone()).await;
    node.handle().write(3).await.unwrap();
    node.shutdown().await;
    let last = log.state().last.unwrap();
    let origin = |key| Origin::Once { key, keys_max: 9 };
    let good = Proposal::new(1, origin(b"a"), &codec::encode(&1_u64));
    let bad = Proposal::new(2, origin(b"b"), b"not a u64");
    let id = LogId { index: last.index + 1, ..last };
    let payload = Batch::of(&[&good, &bad]).bytes().clone();
    let (log, network) = (log.crash(), MemoryNetwork::default());
    log.append(vec![Record { id, payload }], Box::new(|written| written.unwrap()));
    let (node, _) = start((1, 1), &network, log, disk).await;
    let reason = node.stopped().await;
    assert!(reason.contains(&format!("log entry {id}")), "{reason}");
    let seen = node.handle().read_local(()).await;
    assert!(matches!(seen, Err(Error::Stopped(_))), "{seen:?}");
}
