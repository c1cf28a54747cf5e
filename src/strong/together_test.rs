//! Requests that arrive together at real nodes, on doors in memory.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    Config, Doors, Node, Role, StateMachine,
    batch::Batch,
    codec,
    error::StartError,
    proposal::Origin,
    runtime::{AsyncRuntime, TokioRuntime},
    storage::{LogId, LogStore, MemoryDisk, MemoryLog, Record},
    sum::Sum,
    transport::{BoxFuture, CallError, Lane, Peer, Service, Transport, memory::MemoryNetwork},
};

/// A door that shows the service behind it, and counts what goes out on [`Lane::Control`].
struct Window {
    door: Arc<dyn Transport>,
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown {
    service: OnceLock<Arc<dyn Service>>,
    control: AtomicUsize,
}

impl Shown {
    async fn serve(&self, requests: impl IntoIterator<Item = Request>) {
        self.service.get().unwrap().serve_together(requests.into_iter().collect()).await;
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.door.fmt(f)
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
        if lane == Lane::Control {
            self.shown.control.fetch_add(1, Ordering::Relaxed);
        }
        self.door.call(to, lane, request, timeout)
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        assert!(self.shown.service.set(service.clone()).is_ok());
        self.door.listen(service)
    }

    fn close(&self) {
        self.door.close();
    }
}

async fn start<S: StateMachine>(
    (id, size): (u64, u64),
    network: &MemoryNetwork,
    log: MemoryLog,
    disk: MemoryDisk,
) -> (Node<S>, Arc<Shown>) {
    let (network, shown) = (network.clone(), Arc::new(Shown::default()));
    let behind = shown.clone();
    let doors = Doors {
        disk: Arc::new(disk),
        log: Arc::new(log),
        transport: Box::new(move |who| {
            let door = network.node::<TokioRuntime>(format!("n{id}"), who);
            Arc::new(Window { door, shown: behind })
        }),
    };
    let peers = (1..=size).map(|id| (id, format!("n{id}")));
    let builder = Node::<S>::builder(id).peers(peers).config(Config::default());
    (builder.start_with::<TokioRuntime>(doors).await.unwrap(), shown)
}

async fn alone<S: StateMachine>() -> (Node<S>, Arc<Shown>) {
    start((1, 1), &MemoryNetwork::default(), MemoryLog::new(), MemoryDisk::default()).await
}

/// Three nodes that have a leader, which comes first.
async fn three(network: &MemoryNetwork) -> Vec<(Node<Sum>, Arc<Shown>)> {
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start((id, 3), network, MemoryLog::new(), MemoryDisk::default()).await);
    }
    nodes[0].0.handle().write(0).await.unwrap();
    nodes.sort_by_key(|(node, _)| node.status().role != Role::Leader);
    assert_eq!(nodes[0].0.status().role, Role::Leader);
    nodes
}

async fn end(nodes: Vec<(Node<Sum>, Arc<Shown>)>) {
    for (node, _) in nodes {
        node.shutdown().await;
    }
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
    let (node, shown) = alone::<Sum>().await;
    node.handle().read(()).await.unwrap();
    let replies = Replies::default();
    let bodies = [add(1, 10), Bytes::from_static(b"garbage"), add(3, 5), add(4, 1), add(1, 10)];
    let requests = (1..).zip(bodies).map(|(id, body)| {
        ask(Kind::Propose, (id, body), if id == 4 { 0 } else { 5_000 }, &replies)
    });
    shown.serve(requests).await;
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
    let nodes = three(&network).await;
    let replies = Replies::default();
    network.isolate(&format!("n{}", nodes[0].0.status().id), &["n1", "n2", "n3"]);
    let requests =
        [(1, 50), (2, 8_000)].map(|(id, ms)| ask(Kind::Propose, (id, add(id, 1)), ms, &replies));
    let asked = async {
        nodes[0].1.serve(requests).await;
    };
    let healed = async {
        // Not for as long as the lease, so that it still leads when the network is well again.
        TokioRuntime::sleep(Duration::from_millis(100)).await;
        let early = sorted(&replies);
        assert!(matches!(early[..], [(1, Err(Error::Unknown(_)))]), "{early:?}");
        network.heal();
    };
    tokio::join!(asked, healed);
    assert_eq!(sorted(&replies)[1], (2, sum(2)), "both were applied");
    end(nodes).await;
}

/// A leader that has lost its followers has a batch under way that is never applied, and what comes waits behind
/// it. It leads no more, and must say so: whoever waited would be told `Unknown` for nothing.
#[tokio::test(start_paused = true)]
async fn who_waits_behind_what_hangs_is_refused_once_the_lease_is_over() {
    let network = MemoryNetwork::default();
    let nodes = three(&network).await;
    network.isolate(&format!("n{}", nodes[0].0.status().id), &["n1", "n2", "n3"]);
    let replies = Replies::default();
    let one = |id| [ask(Kind::Propose, (id, add(id, 1)), 60_000, &replies)];
    let late = async {
        TokioRuntime::sleep(Duration::from_millis(700)).await;
        let began = <TokioRuntime as AsyncRuntime>::Instant::now();
        // The first is due when it comes; the other one will be, with nothing to wake anybody up.
        let behind = async {
            nodes[0].1.serve(one(3)).await;
            nodes[0].1.serve(one(4)).await;
        };
        TokioRuntime::timeout(Duration::from_secs(2), behind).await.expect("it hangs");
        for (_, refused) in sorted(&replies) {
            assert!(matches!(refused, Err(Error::NotLeader { .. })), "{refused:?}");
        }
        assert_eq!(replies.lock().unwrap().len(), 2);
        assert!(began.elapsed() < Duration::from_millis(20), "some milliseconds later");
        network.heal();
    };
    let second = async {
        // Not in the batch of the first.
        TokioRuntime::sleep(Duration::from_millis(10)).await;
        nodes[0].1.serve(one(2)).await;
    };
    tokio::join!(nodes[0].1.serve(one(1)), second, late);
    end(nodes).await;
}

fn read(id: u128, body: Vec<u8>, ms: u64, seen: &Seen) -> Request {
    let seen = seen.clone();
    Request {
        message: Message { kind: Kind::Read, request: id, body: body.into() },
        remaining: Duration::from_millis(ms),
        answer: Box::new(move |reply| {
            seen.lock().unwrap().push((reply.request, rpc::read_reply(&reply)));
        }),
    }
}

type Seen = Arc<Mutex<Vec<(u128, Result<Bytes, Error>)>>>;

/// One message to each follower confirms the leader for all of them; one that is too long is refused alone.
#[tokio::test(start_paused = true)]
async fn reads_share_a_round() {
    let network = MemoryNetwork::default();
    let nodes = three(&network).await;
    nodes[0].0.handle().write(3).await.unwrap();
    let (shown, seen) = (&nodes[0].1, Seen::default());
    let before = shown.control.load(Ordering::Relaxed);
    let body = |id| if id == 7 { vec![0; 2 << 20] } else { Vec::new() };
    shown.serve((0..40).map(|id| read(id, body(id), 5_000, &seen))).await;
    let rounds = shown.control.load(Ordering::Relaxed) - before;
    assert!((2..=4).contains(&rounds), "{rounds} messages for 40 reads");
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 40);
    for (id, answer) in seen {
        match answer {
            Err(Error::TooLarge(_)) => assert_eq!(id, 7),
            answer => assert_eq!(answer, Ok(codec::encode(&3_u64).into()), "{id}"),
        }
    }
    end(nodes).await;
}

#[tokio::test(start_paused = true)]
async fn an_impatient_read_does_not_wait_for_the_patient() {
    let network = MemoryNetwork::default();
    let nodes = three(&network).await;
    network.isolate(&format!("n{}", nodes[0].0.status().id), &["n1", "n2", "n3"]);
    let seen = Seen::default();
    let reads = [(1, 20), (2, 200)].map(|(id, ms)| read(id, Vec::new(), ms, &seen));
    let early = async {
        TokioRuntime::sleep(Duration::from_millis(50)).await;
        let seen = seen.lock().unwrap().clone();
        assert!(matches!(seen[..], [(1, Err(Error::NotLeader { .. }))]), "{seen:?}");
    };
    tokio::join!(nodes[0].1.serve(reads), early);
    assert_eq!(seen.lock().unwrap().len(), 2);
    end(nodes).await;
}

/// Panics when it is asked for 13.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Touchy;

impl StateMachine for Touchy {
    type Command = ();
    type Response = ();
    type Query = u64;
    type Answer = u64;

    fn apply(&mut self, (): ()) {}

    fn query(&self, n: u64) -> u64 {
        assert_ne!(n, 13, "on purpose");
        n
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_that_panics_loses_its_own_reply_alone() {
    let (node, shown) = alone::<Touchy>().await;
    node.handle().write(()).await.unwrap();
    let seen = Seen::default();
    let asked = (10..16).map(|n: u64| read(n.into(), codec::encode(&n), 5_000, &seen));
    shown.serve(asked).await;
    let answered: Vec<u128> = seen.lock().unwrap().iter().map(|(id, _)| *id).collect();
    assert_eq!(answered, [10, 11, 12, 14, 15]);
    node.shutdown().await;
}

/// Another release wrote the second command of an entry. The first one of it was carried out by then: the state is
/// between two entries' states, and nobody may see it.
#[tokio::test(start_paused = true)]
async fn half_an_entry_is_never_seen() {
    let network = MemoryNetwork::default();
    let (log, disk) = (MemoryLog::new(), MemoryDisk::default());
    let (node, _) = start::<Sum>((1, 1), &network, log.clone(), disk.clone()).await;
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
    let (node, _) = start::<Sum>((1, 1), &network, log, disk).await;
    let reason = node.stopped().await;
    assert!(reason.contains(&format!("log entry {id}")), "{reason}");
    let seen = node.handle().read_local(()).await;
    assert!(matches!(seen, Err(Error::Stopped(_))), "{seen:?}");
}
