//! The TCP transport over loopback: a real one on the side under test, and on the other side either
//! another real one or a bare socket that speaks, or breaks, the protocol by hand.
//!
//! Owns what the tests share: services that echo or wait, bare sockets, and waiting for conditions.
//!
//! Invariant: no test takes a pause for proof that something has happened; a pause only gives what
//! must not happen a chance to.

mod dialing;
mod ending;
mod hostile;
mod serving;

use std::{
    future::ready,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
};

use super::{stream::FrameReader, *};
use crate::{
    codec,
    runtime::{AsyncRuntime, Runtime, TokioRuntime},
    transport::{
        Kind,
        wire::{self, Frame, HELLO_BYTES_MAX, Hello, Welcome},
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Longer than anything here takes on a busy machine, so that only what hangs fails by it.
const LONG: Duration = Duration::from_secs(30);

/// A service made of a function.
struct Serve<F>(F);

impl<F> Service for Serve<F>
where
    F: Fn(Message, Duration) -> BoxFuture<'static, Message> + Send + Sync + 'static,
{
    fn serve(&self, request: Message, remaining: Duration) -> BoxFuture<'static, Message> {
        (self.0)(request, remaining)
    }
}

fn echo() -> Arc<dyn Service> {
    Arc::new(Serve(|request: Message, _| -> BoxFuture<'static, Message> {
        Box::pin(ready(Message { kind: Kind::Reply, ..request }))
    }))
}

/// A service that counts requests and answers when it is let.
struct Held {
    begun: AtomicUsize,
    go: Arc<Semaphore>,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self { begun: AtomicUsize::new(0), go: Arc::new(Semaphore::new(0)) })
    }

    fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    fn let_go(&self, count: usize) {
        self.go.add_permits(count);
    }
}

impl Service for Held {
    fn serve(&self, request: Message, _: Duration) -> BoxFuture<'static, Message> {
        self.begun.fetch_add(1, SeqCst);
        let go = Arc::clone(&self.go);
        Box::pin(async move {
            go.acquire_owned().await.unwrap().forget();
            Message { kind: Kind::Reply, ..request }
        })
    }
}

fn options(node: u64) -> NodeOptions {
    NodeOptions {
        cluster: "bells".into(),
        node,
        disk: node * 100,
        listen: "127.0.0.1:0".into(),
        connections_max: 100,
        client_frame_bytes_max: 1 << 20,
        routes: BTreeMap::new(),
    }
}

async fn started(options: NodeOptions, service: Arc<dyn Service>) -> TcpTransport {
    let transport = TcpTransport::node(options);
    transport.listen(service).await.unwrap();
    transport
}

fn client() -> TcpTransport {
    TcpTransport::client("bells".into())
}

/// The peer that listens on `addr` under the ids of `options(node)`.
fn peer_at(addr: SocketAddr, node: u64) -> Peer {
    Peer { addr: addr.to_string(), node: Some(node), disk: Some(node * 100) }
}

fn peer(transport: &TcpTransport) -> Peer {
    peer_at(transport.local_addr().unwrap(), transport.node.as_ref().unwrap().node)
}

fn request(body: impl Into<Bytes>) -> Message {
    Message { kind: Kind::Propose, request: 77, body: body.into() }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        TokioRuntime::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Calls until a call succeeds, for links that need a moment to come back.
async fn eventually_called(from: &TcpTransport, to: &Peer, lane: Lane) {
    for _ in 0..3_000 {
        match from.call(to, lane, request("again"), SECOND).await {
            Ok(reply) => return assert_eq!(reply.body, "again"),
            Err(_) => TokioRuntime::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("{to} never answered");
}

fn not_sent(result: Result<Message, CallError>) -> String {
    match result {
        Err(CallError::NotSent { reason, .. }) => reason,
        other => panic!("not NotSent: {other:?}"),
    }
}

fn lost(result: Result<Message, CallError>) -> String {
    match result {
        Err(CallError::Lost { reason, .. }) => reason,
        other => panic!("not Lost: {other:?}"),
    }
}

/// A bare socket on one side of a connection.
struct Bare {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Bare {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (read, writer) = stream.into_split();
        Self { reader: FrameReader::new(read, 1 << 25), writer }
    }

    /// Calls a node by hand.
    async fn dial(to: &TcpTransport, from: Option<u64>, lane: Lane) -> Self {
        let stream = TcpStream::connect(to.local_addr().unwrap()).await.unwrap();
        let mut bare = Self::new(stream);
        let hello =
            Hello { cluster: "bells".into(), from, node: None, disk: None, lane: lane.byte() };
        bare.send(0, wire::bare(Kind::Hello, codec::encode_tagged(&hello))).await;
        assert_eq!(bare.next().await.message.kind, Kind::Welcome);
        bare
    }

    /// Accepts a call by hand, as `node`.
    async fn accept(listener: &TcpListener, node: u64) -> Self {
        let mut bare = Self::new(listener.accept().await.unwrap().0);
        assert_eq!(bare.next().await.message.kind, Kind::Hello);
        let welcome = codec::encode_tagged(&Welcome { node, disk: node * 100 });
        bare.send(0, wire::bare(Kind::Welcome, welcome)).await;
        bare
    }

    async fn send(&mut self, call: u64, message: Message) {
        self.writer.write_all(&frame(call, message)).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        TokioRuntime::timeout(LONG, self.reader.next()).await.unwrap().unwrap()
    }

    /// Waits until the other side has closed, by a FIN or a reset.
    async fn closed(&mut self) {
        let end = TokioRuntime::timeout(LONG, self.reader.next()).await.unwrap();
        assert!(end.is_err(), "{end:?}");
    }
}

fn frame(call: u64, message: Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write_frame(&Frame { call, remaining: SECOND, message }, &mut bytes);
    bytes
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
