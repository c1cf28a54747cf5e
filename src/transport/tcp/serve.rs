//! The serving side: accepts connections and runs their requests.
//!
//! Owns the accept loop and, per connection, one task that reads requests and writes replies, plus
//! one task per request being served. Requests of clients that were read at once, of a kind that the service
//! shares, have one task, so that it can do once for all of them what it has to do for each.
//!
//! In: connections. Out: requests for the [`Service`], and its replies.
//!
//! Invariants
//! - A request holds slots of its connection, by its size, until its reply is written. Without free
//!   slots nothing is read: whoever does not take its replies cannot send more requests.
//! - A request of an in-order lane is served when its turn comes; one of a client when one of
//!   [`CLIENT_REQUESTS_MAX`] places is free, so that clients together have a limit too.
//! - A request once begun is served to its end even if its connection is gone, unless the transport
//!   is closed: half a request is not what the layers above are built for.
//! - What cannot be understood ends its connection, is logged once and counted.
//!
//! Does not: interpret requests.

use std::{
    collections::VecDeque,
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

use super::{
    handshake::{self, Identity, Rejected},
    order::{Orders, Place},
    stream::{self, BATCH_BYTES, Ended, FrameReader},
    tasks::Tasks,
};
use crate::{
    runtime::{AsyncRuntime, Instant as _, TokioRuntime},
    transport::{
        Lane, Message, Request, Service,
        wire::{self, FRAME_BYTES_MAX, Frame, HEADER_BYTES, HELLO_BYTES_MAX},
    },
};

/// Slots of a connection: small requests in flight on it.
pub(super) const SLOTS: u32 = 1_024;

/// Bytes of body that take one slot more, so that a connection has at most 16 MiB, or one request,
/// in flight.
const SLOT_BYTES: usize = 1 << 14;

/// Requests of all clients being served at once. A node's own limits come first; this one holds
/// whatever the node does with requests.
const CLIENT_REQUESTS_MAX: usize = 1 << 16;

/// Requests that are served together, and bytes of body after which there are no more: one task works on them.
const TOGETHER_MAX: usize = 128;
const TOGETHER_BYTES_MAX: usize = 1 << 16;

/// A connection on which nothing happens for longer is closed: twice as long as callers keep one.
const IDLE_MAX: Duration = Duration::from_secs(10 * 60);

/// Connections over the limit that are told so at the same time; more are closed without a word.
const REFUSALS_MAX: usize = 64;

/// Pause after the system could not accept, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Instant = <TokioRuntime as AsyncRuntime>::Instant;

pub(super) struct Limits {
    pub(super) connections: usize,
    /// Longest frame on [`Lane::Client`].
    pub(super) client_frame_bytes: usize,
}

pub(super) struct Server {
    identity: Identity,
    client_frame_bytes_max: usize,
    service: Arc<dyn Service>,
    tasks: Arc<Tasks>,
    orders: Orders,
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    client_requests: Arc<Semaphore>,
}

/// A connection that has shaken hands.
struct Connection {
    lane: Lane,
    place: Place,
    slots: Arc<Semaphore>,
    replies: Arc<Replies>,
}

/// A reply on its way out.
struct Reply {
    call: u64,
    message: Message,
    /// Given back once the reply is written.
    slots: OwnedSemaphorePermit,
}

/// The replies of a connection that wait to be written. Their slots bound them.
#[derive(Default)]
struct Replies {
    waiting: Mutex<VecDeque<Reply>>,
    added: Notify,
}

/// Requests that were read at once and are to be served together.
struct Group {
    arrived: Instant,
    requests: Vec<Request>,
    bytes: usize,
}

/// Counts a connection in the gauge.
struct Counted;

impl Server {
    pub(super) fn new(
        identity: Identity,
        limits: &Limits,
        service: Arc<dyn Service>,
        tasks: &Arc<Tasks>,
    ) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            identity,
            client_frame_bytes_max: limits.client_frame_bytes.min(FRAME_BYTES_MAX),
            service,
            tasks: Arc::clone(tasks),
            orders: Orders::default(),
            connections: permits(limits.connections),
            refusals: permits(REFUSALS_MAX),
            client_requests: permits(CLIENT_REQUESTS_MAX),
        }
    }

    /// Accepts until it is dropped.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    TokioRuntime::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let server = Arc::clone(self);
        if let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
            self.tasks.spawn(async move {
                let counted = Counted::new();
                server.connection(stream, peer).await;
                drop((counted, permit));
            });
            return;
        }
        count_refused("limit");
        tracing::debug!(%peer, "connection refused: over connections_max");
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.tasks.spawn(async move {
                server.turn_away(stream).await;
                drop(permit);
            });
        }
    }

    /// Takes the hello before it answers: closing a socket with unread bytes in it would destroy the
    /// answer on its way.
    async fn turn_away(&self, stream: TcpStream) {
        let (read, mut writer) = stream.into_split();
        let mut reader = FrameReader::new(read, HELLO_BYTES_MAX);
        let hello = TokioRuntime::timeout(Duration::from_secs(1), reader.next()).await;
        if matches!(hello, Ok(Ok(_))) {
            let node = self.identity.node;
            handshake::refuse(&mut writer, &format!("node {node} has too many connections")).await;
        }
    }

    async fn connection(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "connection lost");
            return;
        }
        let (read, write) = stream.into_split();
        match self.serve(FrameReader::new(read, HELLO_BYTES_MAX), write).await {
            Ok((_, Ended::Closed)) => {}
            Ok((lane, reason @ Ended::Frame(_))) => {
                metrics::counter!("sixbells_frames_refused_total").increment(1);
                tracing::warn!(%peer, ?lane, %reason, "connection closed");
            }
            Ok((lane, reason)) => tracing::debug!(%peer, ?lane, %reason, "connection closed"),
            Err(Rejected::Refused(reason)) => {
                count_refused("identity");
                tracing::warn!(%peer, reason, "connection refused");
            }
            Err(Rejected::Garbage(reason)) => {
                if matches!(reason, Ended::Frame(_)) {
                    metrics::counter!("sixbells_frames_refused_total").increment(1);
                }
                count_refused("handshake");
                tracing::debug!(%peer, %reason, "connection refused");
            }
        }
    }

    /// Serves one connection to its end. Any stream will do.
    async fn serve<R, W>(
        self: &Arc<Self>,
        mut reader: FrameReader<R>,
        mut writer: W,
    ) -> Result<(Lane, Ended), Rejected>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let (from, lane) = handshake::answer(&mut reader, &mut writer, &self.identity).await?;
        reader.limit = match lane {
            Lane::Client => self.client_frame_bytes_max,
            Lane::Control | Lane::Log | Lane::Snapshot => FRAME_BYTES_MAX,
        };
        let replies = Arc::new(Replies::default());
        let slots = Arc::new(Semaphore::new(SLOTS as usize));
        let place = self.orders.enter(from, lane);
        let connection = Connection { lane, place, slots, replies: Arc::clone(&replies) };
        let ended = tokio::select! {
            biased;
            Err(ended) = self.read_requests(&connection, &mut reader) => ended,
            ended = write_replies(&replies, &connection.slots, &mut writer) => ended,
            else => Ended::Closed,
        };
        Ok((lane, ended))
    }

    async fn read_requests<R>(
        self: &Arc<Self>,
        connection: &Connection,
        reader: &mut FrameReader<R>,
    ) -> Result<(), Ended>
    where
        R: AsyncRead + Unpin + Send,
    {
        loop {
            self.begin_buffered(connection, reader).await?;
            match TokioRuntime::timeout(IDLE_MAX, reader.fill()).await {
                Ok(filled) => filled?,
                Err(_) if connection.slots.available_permits() == SLOTS as usize => {
                    return Err(Ended::Because("nothing happened on it for long"));
                }
                Err(_) => {}
            }
        }
    }

    /// Begins to serve all requests that have arrived, each as soon as its connection and its lane allow.
    async fn begin_buffered<R>(
        self: &Arc<Self>,
        connection: &Connection,
        reader: &mut FrameReader<R>,
    ) -> Result<(), Ended>
    where
        R: AsyncRead + Unpin + Send,
    {
        let mut group = Group { arrived: Instant::now(), requests: Vec::new(), bytes: 0 };
        loop {
            let frame = match reader.buffered() {
                Ok(Some(frame)) => frame,
                last => {
                    self.begin(&mut group);
                    return last.map(drop);
                }
            };
            let shared = connection.lane == Lane::Client && self.service.shares(frame.message.kind);
            if !shared || !group.takes(&frame.message) {
                self.begin(&mut group);
            }
            let slots = match Arc::clone(&connection.slots).try_acquire_many_owned(weight(&frame)) {
                Ok(slots) => slots,
                Err(_none) => {
                    // Those of the group are given back only once it is served.
                    self.begin(&mut group);
                    let slots = Arc::clone(&connection.slots).acquire_many_owned(weight(&frame));
                    slots.await.map_err(|_closed| Ended::Closed)?
                }
            };
            let place = self.place(connection, &mut group).await?;
            group.add(frame, connection, slots, place);
        }
    }

    /// Waits for the turn of a request in its lane.
    async fn place(
        self: &Arc<Self>,
        connection: &Connection,
        group: &mut Group,
    ) -> Result<Option<OwnedSemaphorePermit>, Ended> {
        match connection.lane {
            Lane::Control => Ok(None),
            Lane::Log | Lane::Snapshot => {
                let turn = connection.place.turn().await;
                turn.map(Some).ok_or(Ended::Because("the caller has a newer connection"))
            }
            Lane::Client => match Arc::clone(&self.client_requests).try_acquire_owned() {
                Ok(place) => Ok(Some(place)),
                Err(_none) => {
                    self.begin(group);
                    Ok(Arc::clone(&self.client_requests).acquire_owned().await.ok())
                }
            },
        }
    }

    /// Begins to serve a group, and leaves an empty one.
    fn begin(self: &Arc<Self>, group: &mut Group) {
        let mut requests = mem::take(&mut group.requests);
        group.bytes = 0;
        let waited = group.arrived.elapsed();
        for request in &mut requests {
            request.remaining = request.remaining.saturating_sub(waited);
        }
        let service = Arc::clone(&self.service);
        if requests.len() > 1 {
            self.tasks.spawn(async move { service.serve_together(requests).await });
        } else if let Some(Request { message, remaining, answer }) = requests.pop() {
            self.tasks.spawn(async move { answer(service.serve(message, remaining).await) });
        }
    }
}

impl Replies {
    fn add(&self, reply: Reply) {
        self.lock().push_back(reply);
        self.added.notify_one();
    }

    fn next(&self) -> Option<Reply> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Reply>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn takes(&self, message: &Message) -> bool {
        let like = self.requests.first().is_none_or(|first| first.message.kind == message.kind);
        like && self.requests.len() < TOGETHER_MAX
            && self.bytes + message.body.len() <= TOGETHER_BYTES_MAX
    }

    fn add(
        &mut self,
        frame: Frame,
        connection: &Connection,
        slots: OwnedSemaphorePermit,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let Frame { call, remaining, message } = frame;
        let replies = Arc::clone(&connection.replies);
        let answer = move |message: Message| {
            drop(place);
            if message.body.len() + HEADER_BYTES > FRAME_BYTES_MAX {
                tracing::error!(bytes = message.body.len(), "a reply is too long to be sent");
                return;
            }
            // The connection may be gone: its caller has been told that the request is lost.
            replies.add(Reply { call, message, slots });
        };
        self.bytes += message.body.len();
        self.requests.push(Request { message, remaining, answer: Box::new(answer) });
    }
}

/// The slots that a request takes.
fn weight(frame: &Frame) -> u32 {
    u32::try_from(frame.message.body.len() / SLOT_BYTES + 1).unwrap_or(SLOTS).min(SLOTS)
}

/// Writes replies as they come, all that wait at once.
async fn write_replies<W>(replies: &Replies, slots: &Semaphore, writer: &mut W) -> Ended
where
    W: AsyncWrite + Unpin + Send,
{
    let (mut batch, mut held) = (Vec::new(), None::<OwnedSemaphorePermit>);
    loop {
        let Some(first) = replies.next() else {
            replies.added.notified().await;
            continue;
        };
        if slots.available_permits() + first.slots.num_permits() < SLOTS as usize {
            // Other requests are about to be answered as well: write once for all.
            yield_now().await;
        }
        let mut next = Some(first);
        while let Some(Reply { call, message, slots }) = next {
            wire::write_frame(&Frame { call, remaining: Duration::ZERO, message }, &mut batch);
            match &mut held {
                Some(held) => held.merge(slots),
                none => *none = Some(slots),
            }
            next = if batch.len() < BATCH_BYTES { replies.next() } else { None };
        }
        if let Err(ended) = stream::write_batch(writer, &mut batch).await {
            return ended;
        }
        held = None;
    }
}

fn count_refused(reason: &'static str) {
    metrics::counter!("sixbells_connections_refused_total", "reason" => reason).increment(1);
}

impl Counted {
    fn new() -> Self {
        metrics::gauge!("sixbells_connections").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("sixbells_connections").decrement(1.0);
    }
}
