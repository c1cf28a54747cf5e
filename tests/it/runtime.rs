//! A runtime made outside the library: all that it takes, by the names the library gives it.
//!
//! Its watch channel wakes in order and its random numbers follow from a seed, as a simulation needs;
//! the rest is tokio's.

use std::{
    cell::RefCell,
    future::Future,
    io,
    sync::{
        Arc, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use sixbells::{
    Client, ClientConfig, Doors, Node,
    runtime::{
        AsyncRuntime, OptionalSend, OptionalSync, Runtime, TokioRuntime,
        watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender},
    },
    storage::{MemoryDisk, MemoryLog},
    transport::memory::MemoryNetwork,
};
use tokio::sync::Notify;

use crate::{
    cluster::{Command, Ledger, addr},
    delegate::delegate_to_tokio,
};

thread_local! {
    static RNG: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(6));
}

#[derive(Debug)]
struct Elsewhere;

impl AsyncRuntime for Elsewhere {
    delegate_to_tokio!();

    type ThreadLocalRng = StdRng;
    type Watch = InOrder;

    fn thread_rng() -> StdRng {
        RNG.with_borrow_mut(StdRng::from_rng)
    }
}

impl Runtime for Elsewhere {
    async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        Ok(work())
    }

    fn wall() -> Duration {
        Duration::ZERO
    }
}

/// Those who wait are woken in the order in which they began to.
struct InOrder;

struct Watched<T> {
    value: RwLock<T>,
    version: AtomicU64,
    senders: AtomicUsize,
    woken: Notify,
}

struct Sender<T>(Arc<Watched<T>>);

struct Receiver<T> {
    watched: Arc<Watched<T>>,
    seen: u64,
}

impl<T> Watched<T> {
    fn receiver(self: &Arc<Self>) -> Receiver<T> {
        Receiver { watched: self.clone(), seen: self.version.load(Ordering::SeqCst) }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.woken.notify_waiters();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { watched: self.watched.clone(), seen: self.seen }
    }
}

impl Watch for InOrder {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let watched = Arc::new(Watched {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            woken: Notify::new(),
        });
        let receiver = watched.receiver();
        (Sender(watched), receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<InOrder, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        let receivers = Arc::strong_count(&self.0) - self.0.senders.load(Ordering::SeqCst);
        if receivers == 0 {
            return Err(SendError(value));
        }
        self.send_if_modified(|current| {
            *current = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = modify(&mut self.0.value.write().unwrap());
        if modified {
            self.0.version.fetch_add(1, Ordering::SeqCst);
            self.0.woken.notify_waiters();
        }
        modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read().unwrap()
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receiver()
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<InOrder, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let woken = self.watched.woken.notified();
            let version = self.watched.version.load(Ordering::SeqCst);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.watched.senders.load(Ordering::SeqCst) == 0 {
                return Err(RecvError(()));
            }
            woken.await;
        }
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.watched.value.read().unwrap()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        self.seen = self.watched.version.load(Ordering::SeqCst);
        self.watched.value.read().unwrap()
    }
}

/// A simulation could not be written if this took a name that only openraft has.
#[tokio::test(start_paused = true)]
async fn a_node_and_a_client_run_on_a_runtime_from_elsewhere() {
    let network = MemoryNetwork::default();
    let doors = Doors {
        disk: Arc::new(MemoryDisk::default()),
        log: Arc::new(MemoryLog::new()),
        transport: {
            let network = network.clone();
            Box::new(move |who| network.node::<Elsewhere>(addr(1), who))
        },
    };
    let builder = Node::<Ledger>::builder(1).peers([(1, addr(1))]);
    let node = builder.start_with::<Elsewhere>(doors).await.unwrap();

    let config = ClientConfig::default();
    let transport = network.client::<Elsewhere>("client", config.cluster.clone());
    let client = Client::<Ledger>::with_transport::<Elsewhere>(transport, [addr(1)], config);
    let client = client.unwrap();
    assert_eq!(client.write(Command::Add(7, 5)).await, Ok(5));
    assert_eq!(client.read(7).await, Ok(5));
    assert_eq!(node.handle().read(7).await, Ok(5));
    node.shutdown().await;
}
