//! The real network: frames over TCP.
//!
//! Owns [`TcpTransport`], which both dials and serves. Below it: `link` is one connection that dials
//! again when it breaks, with its `calls`; `serve` accepts connections and runs requests, `order`
//! keeps the lanes in order across connections; `handshake`, `stream` and `tasks` serve both sides.
//!
//! In: calls for a peer on a lane, and the [`Service`] of a node. Out: replies, or errors that say
//! whether the request may have left.
//!
//! Invariants, beside those of [`Transport`]
//! - Connections, queues, requests being served and handshakes all have limits; what is over a limit
//!   is refused or waits in the sender's socket.
//! - Whatever arrives on the port, the worst it does is to close its own connection.
//! - Once [`Transport::closed`] returns, no task and no socket is left and the port is free.
//!
//! Does not: encrypt or authenticate. Run it on a network you trust.

mod calls;
mod handshake;
mod link;
mod order;
mod serve;
mod stream;
mod tasks;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use calls::{Calls, Fault, NotQueued};
use handshake::Identity;
use link::{Link, Target};
use serve::Server;
use tasks::Tasks;
use tokio::net::TcpListener;

use super::{
    BoxFuture, CallError, Lane, Message, Peer, Service, Transport,
    wire::{FRAME_BYTES_MAX, HEADER_BYTES},
};
use crate::{
    error::StartError,
    runtime::{AsyncRuntime, Stopwatch, TokioRuntime},
};

/// Links that end before a request is queued at them, after which it is given up.
const LINKS_MAX: usize = 4;

/// Who a node is on the network, where it listens and what it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOptions {
    /// The cluster's name. Connections from another cluster are refused.
    pub cluster: String,
    /// The node's id.
    pub node: u64,
    /// The id of the node's disk; a caller that expects another one is refused.
    pub disk: u64,
    /// Where to listen, `host:port`. Port 0 takes any free one, see [`TcpTransport::local_addr`].
    pub listen: String,
    /// Connections accepted at once; one more is refused.
    pub connections_max: usize,
    /// Longest body of a request on [`Lane::Client`]; a connection that sends a longer one is
    /// closed. The other lanes, which only nodes use, allow what any configuration allows.
    pub client_frame_bytes_max: usize,
    /// Where to dial a node, by id, instead of the address that the membership names: for address
    /// translation, proxies and fault injection. Usually empty.
    pub routes: BTreeMap<u64, String>,
}

/// A [`Transport`] over TCP. Closed when dropped.
#[derive(Debug)]
pub struct TcpTransport {
    cluster: Arc<str>,
    /// `None` for a client.
    node: Option<NodeOptions>,
    links: Arc<Links>,
    tasks: Arc<Tasks>,
    local_addr: OnceLock<SocketAddr>,
    #[cfg(test)]
    unused_max: Option<Duration>,
}

/// The links in use, by peer and lane.
#[derive(Debug, Default)]
struct Links(Mutex<BTreeMap<Peer, [Option<Arc<Calls>>; 4]>>);

impl TcpTransport {
    /// The transport of a node. Nothing is opened before [`Transport::listen`] or the first call.
    pub fn node(options: NodeOptions) -> Self {
        let cluster = options.cluster.as_str().into();
        Self::new(cluster, Some(options))
    }

    /// The transport of a client of the cluster named.
    pub fn client(cluster: String) -> Self {
        Self::new(cluster.into(), None)
    }

    fn new(cluster: Arc<str>, node: Option<NodeOptions>) -> Self {
        Self {
            cluster,
            node,
            links: Arc::default(),
            tasks: Arc::default(),
            local_addr: OnceLock::new(),
            #[cfg(test)]
            unused_max: None,
        }
    }

    /// Where it listens; `None` before [`Transport::listen`] has succeeded.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr.get().copied()
    }

    /// The link to a peer, made if there is none; `None` when closed.
    fn link(&self, to: &Peer, lane: Lane) -> Option<Arc<Calls>> {
        let mut links = self.links.lock();
        if self.tasks.is_stopping() {
            return None;
        }
        let lanes = match links.get_mut(to) {
            Some(lanes) => lanes,
            None => links.entry(to.clone()).or_default(),
        };
        let slot = &mut lanes[usize::from(lane.byte())];
        if let Some(calls) = slot {
            return Some(Arc::clone(calls));
        }
        let calls = Arc::new(Calls::default());
        *slot = Some(Arc::clone(&calls));
        drop(links);
        let retire = {
            let (links, to, calls) = (Arc::clone(&self.links), to.clone(), Arc::clone(&calls));
            move || links.retire(&to, lane, &calls)
        };
        let link = Link { target: self.target(to, lane), calls: Arc::clone(&calls), retire };
        self.tasks.spawn(link.run());
        Some(calls)
    }

    fn target(&self, to: &Peer, lane: Lane) -> Target {
        let route = self.node.as_ref().zip(to.node).and_then(|(own, id)| own.routes.get(&id));
        let dial = route.unwrap_or(&to.addr).clone();
        let from = self.node.as_ref().map(|own| own.node);
        let target = Target::new(Arc::clone(&self.cluster), from, to, dial, lane);
        #[cfg(test)]
        let target = Target { unused_max: self.unused_max.unwrap_or(target.unused_max), ..target };
        target
    }

    async fn exchange(
        &self,
        to: &Peer,
        lane: Lane,
        mut request: Message,
        timeout: Duration,
    ) -> Result<Message, Fault> {
        let length = request.body.len() + HEADER_BYTES;
        if length > FRAME_BYTES_MAX {
            return Err(Fault::not_sent("too_large", format!("a frame of {length} bytes")));
        }
        for _ in 0..LINKS_MAX {
            let Some(calls) = self.link(to, lane) else {
                return Err(Fault::not_sent("closed", "the transport is closed"));
            };
            match calls.queue(request, timeout) {
                Ok(waiting) if self.tasks.are_here() => return waiting.reply().await,
                // Its time is kept on another runtime, which may stand still.
                Ok(waiting) => {
                    let reply = TokioRuntime::timeout(timeout, waiting.reply()).await;
                    let late = || Fault::lost("timeout", format!("timed out after {timeout:?}"));
                    return reply.unwrap_or_else(|_| Err(late()));
                }
                Err(NotQueued::Fault(fault)) => return Err(fault),
                Err(NotQueued::Retired(back)) => request = back,
            }
        }
        Err(Fault::not_sent("closed", "the runtime of the connections has ended"))
    }

    async fn start(&self, service: Arc<dyn Service>) -> Result<(), StartError> {
        let refused = |why: &str| StartError::Config(format!("transport: {why}"));
        let own = self.node.as_ref().ok_or_else(|| refused("a client does not listen"))?;
        let bind = |source: io::Error| StartError::Bind { addr: own.listen.clone(), source };
        let listener = TcpListener::bind(&own.listen).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        if self.local_addr.set(addr).is_err() {
            return Err(refused("already listening"));
        }
        let identity = Identity { cluster: own.cluster.clone(), node: own.node, disk: own.disk };
        let limits = serve::Limits {
            connections: own.connections_max,
            client_frame_bytes: own.client_frame_bytes_max.saturating_add(HEADER_BYTES),
        };
        let server = Arc::new(Server::new(identity, &limits, service, &self.tasks));
        self.tasks.spawn(server.accept(listener));
        Ok(())
    }
}

impl Transport for TcpTransport {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        Box::pin(async move {
            let watch = Stopwatch::start();
            let rpc = request.kind.name();
            let reply = self.exchange(to, lane, request, timeout).await;
            metrics::histogram!("sixbells_rpc_duration_seconds", "rpc" => rpc)
                .record(watch.seconds());
            reply.map_err(|Fault { sent, kind, reason }| {
                metrics::counter!("sixbells_rpc_errors_total", "kind" => kind).increment(1);
                let to = to.to_string();
                if sent {
                    CallError::Lost { to, reason }
                } else {
                    CallError::NotSent { to, reason }
                }
            })
        })
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(self.start(service))
    }

    fn close(&self) {
        self.tasks.stop();
        let links = std::mem::take(&mut *self.links.lock());
        for calls in links.into_values().flatten().flatten() {
            calls.close("the transport was closed");
        }
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.tasks.ended())
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.close();
    }
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Peer, [Option<Arc<Calls>>; 4]>> {
        // Each change is one assignment: there is no half of it to see.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a link nobody uses. Under the lock, so that nobody finds an ended link here.
    fn retire(&self, to: &Peer, lane: Lane, calls: &Arc<Calls>) -> bool {
        let mut links = self.lock();
        if !calls.retire_if_unused() {
            return false;
        }
        if let Some(lanes) = links.get_mut(to) {
            // Another link may have taken its place.
            lanes[usize::from(lane.byte())].take_if(|known| Arc::ptr_eq(known, calls));
            if lanes.iter().all(Option::is_none) {
                links.remove(to);
            }
        }
        true
    }
}
