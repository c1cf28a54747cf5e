//! A network inside one process, for tests: no ports, no delay, and links that can be cut.
//!
//! Owns [`MemoryNetwork`], the wires, and the [`Transport`]s plugged into it.
//!
//! Invariants
//! - A message over a cut link is lost, in the direction that is cut; the caller waits for its
//!   timeout, as on a real network.
//! - Cluster, node id and disk id are checked as the real handshake checks them.
//! - A closed door neither serves nor sends, and what is under way through it ends there.
//! - Order and timing follow from the runtime alone, so a deterministic runtime gives a
//!   deterministic cluster.
//!
//! Does not: delay, reorder or duplicate; a simulated network does. Nor hold turns: requests of an in-order lane
//! are begun in their order, and served side by side.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{BoxFuture, CallError, Lane, Message, Peer, Service, Transport};
use crate::{
    error::StartError,
    runtime::{Runtime, Select3},
    storage::Identity,
};

/// The wires between the nodes of a test. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    wires: Arc<Mutex<Wires>>,
}

#[derive(Default)]
struct Wires {
    serving: BTreeMap<String, Serving>,
    cut: BTreeSet<(String, String)>,
}

#[derive(Clone)]
struct Serving {
    who: Identity,
    service: Arc<dyn Service>,
    open: Open,
}

/// Has no permits, ever: waiting for one ends when the door is closed.
type Open = Arc<Semaphore>;

impl MemoryNetwork {
    /// The network door of a node. It serves at `addr`, as `who` and as nobody else.
    pub fn node<R: Runtime>(&self, addr: impl Into<String>, who: &Identity) -> Arc<dyn Transport> {
        self.plug::<R>(addr.into(), who.cluster.clone(), Some(who.clone()))
    }

    /// The network door of a client of the cluster named, whose links can be cut like any other.
    pub fn client<R: Runtime>(
        &self,
        addr: impl Into<String>,
        cluster: impl Into<String>,
    ) -> Arc<dyn Transport> {
        self.plug::<R>(addr.into(), cluster.into(), None)
    }

    fn plug<R: Runtime>(
        &self,
        addr: String,
        cluster: String,
        who: Option<Identity>,
    ) -> Arc<dyn Transport> {
        let (network, open) = (self.clone(), Arc::new(Semaphore::new(0)));
        Arc::new(Plug::<R> { network, addr, cluster, who, open, runtime: PhantomData })
    }

    /// Cuts the link from one address to another, in that direction.
    pub fn cut(&self, from: &str, to: &str) {
        self.wires().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Cuts every link between an address and the others given, both ways.
    pub fn isolate(&self, addr: &str, others: &[&str]) {
        for other in others {
            self.cut(addr, other);
            self.cut(other, addr);
        }
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.wires().cut.clear();
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").field("cut", &self.wires().cut).finish()
    }
}

struct Plug<R> {
    network: MemoryNetwork,
    addr: String,
    cluster: String,
    who: Option<Identity>,
    open: Open,
    runtime: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Plug<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)
    }
}

/// Where a message goes.
enum Way {
    To(Serving),
    /// Over a cut link: nobody will ever answer.
    Nowhere,
}

impl<R: Runtime> Plug<R> {
    /// Who is there, if it is the one that is meant. `Err` is the reason, for people.
    fn find(&self, to: &Peer) -> Result<Way, String> {
        if self.open.is_closed() {
            return Err("the transport is closed".into());
        }
        let wires = self.network.wires();
        if wires.cut.contains(&(self.addr.clone(), to.addr.clone())) {
            return Ok(Way::Nowhere);
        }
        let serving = wires.serving.get(&to.addr).ok_or("nobody listens")?;
        let Identity { cluster, node, disk, .. } = &serving.who;
        if *cluster != self.cluster {
            return Err(format!("this is cluster {cluster:?}, not {:?}", self.cluster));
        }
        if to.node.is_some_and(|meant| meant != *node) {
            return Err(format!("this is node {node}"));
        }
        if to.disk.is_some_and(|meant| meant != *disk) {
            return Err(format!("node {node} has another disk: its data was lost"));
        }
        Ok(Way::To(serving.clone()))
    }

    async fn exchange(&self, way: Way, to: &Peer, request: Message, timeout: Duration) -> Message {
        if let Way::To(serving) = way {
            let reply = serving.service.serve(request, timeout).await;
            if !self.network.wires().cut.contains(&(to.addr.clone(), self.addr.clone())) {
                return reply;
            }
        }
        std::future::pending().await
    }
}

impl<R: Runtime> Transport for Plug<R> {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        _lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        Box::pin(async move {
            let way = self
                .find(to)
                .map_err(|reason| CallError::NotSent { to: to.to_string(), reason })?;
            let there = match &way {
                Way::To(serving) => serving.open.clone(),
                Way::Nowhere => Arc::new(Semaphore::new(0)),
            };
            let exchange = self.exchange(way, to, request, timeout);
            let ended = R::select3(self.open.acquire(), there.acquire(), exchange);
            let lost = |reason: &str| CallError::Lost { to: to.to_string(), reason: reason.into() };
            match R::timeout(timeout, ended).await {
                Ok(Select3::Third(reply)) => Ok(reply),
                Ok(Select3::First(_) | Select3::Second(_)) => Err(lost("the connection broke")),
                Err(_elapsed) => Err(lost("timed out")),
            }
        })
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(async move {
            let who = self.who.clone().ok_or_else(|| {
                StartError::Config("transport: a client does not listen".to_owned())
            })?;
            let serving = Serving { who, service, open: self.open.clone() };
            let mut wires = self.network.wires();
            if wires.serving.contains_key(&self.addr) {
                let source = std::io::ErrorKind::AddrInUse.into();
                return Err(StartError::Bind { addr: self.addr.clone(), source });
            }
            wires.serving.insert(self.addr.clone(), serving);
            Ok(())
        })
    }

    fn close(&self) {
        self.open.close();
        let served = {
            let mut wires = self.network.wires();
            let own = wires
                .serving
                .get(&self.addr)
                .is_some_and(|serving| Arc::ptr_eq(&serving.open, &self.open));
            if own { wires.serving.remove(&self.addr) } else { None }
        };
        // Dropped outside the lock: the service may hold the last handle of a whole node.
        drop(served);
    }
}
