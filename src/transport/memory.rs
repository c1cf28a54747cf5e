//! A network inside one process, for tests: no ports, no delay, and links that can be cut.
//!
//! Owns [`MemoryNetwork`], the wires, and the [`Transport`]s plugged into it.
//!
//! Invariants
//! - A message over a cut link is lost, in the direction that is cut; the caller waits for its
//!   timeout, as on a real network.
//! - Order and timing follow from the runtime alone, so a deterministic runtime gives a
//!   deterministic cluster.
//!
//! Does not: delay, reorder or duplicate. A simulated network does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{BoxFuture, CallError, Lane, Message, Peer, Service, Transport};
use crate::{error::StartError, runtime::Runtime};

/// The wires between the nodes of a test. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    wires: Arc<Mutex<Wires>>,
}

#[derive(Default)]
struct Wires {
    serving: BTreeMap<String, Arc<dyn Service>>,
    cut: BTreeSet<(String, String)>,
}

impl MemoryNetwork {
    /// The network door of whoever has this address.
    pub fn transport<R: Runtime>(&self, addr: impl Into<String>) -> Arc<dyn Transport> {
        Arc::new(Plug::<R> { network: self.clone(), addr: addr.into(), runtime: PhantomData })
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
    runtime: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Plug<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)
    }
}

impl<R: Runtime> Plug<R> {
    async fn exchange(&self, to: &Peer, request: Message, timeout: Duration) -> Option<Message> {
        let (there, back) =
            ((self.addr.clone(), to.addr.clone()), (to.addr.clone(), self.addr.clone()));
        let service = {
            let wires = self.network.wires();
            (!wires.cut.contains(&there)).then(|| wires.serving.get(&to.addr).cloned()).flatten()
        };
        let reply = service?.serve(request, timeout).await;
        (!self.network.wires().cut.contains(&back)).then_some(reply)
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
            let (addr, link) = (to.addr.clone(), (self.addr.clone(), to.addr.clone()));
            let (absent, cut) = {
                let wires = self.network.wires();
                (!wires.serving.contains_key(&addr), wires.cut.contains(&link))
            };
            if absent && !cut {
                let reason = "nobody listens".to_owned();
                return Err(CallError::NotSent { to: to.to_string(), reason });
            }
            let exchange = async {
                match self.exchange(to, request, timeout).await {
                    Some(reply) => reply,
                    None => std::future::pending().await,
                }
            };
            R::timeout(timeout, exchange).await.map_err(|_elapsed| CallError::Lost {
                to: to.to_string(),
                reason: "timed out".into(),
            })
        })
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        self.network.wires().serving.insert(self.addr.clone(), service);
        Box::pin(async { Ok(()) })
    }

    fn close(&self) {
        self.network.wires().serving.remove(&self.addr);
    }
}
