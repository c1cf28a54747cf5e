//! Writes for the time around a failure, by clients that are never old.
//!
//! Owns [`Prober`]: a client for each node, which begins at that node and is replaced after [`AGE_MAX`]. A
//! client of hiqlite that was sent to a leader that is dead sleeps for a second at a time, and for five after
//! its fifth failure; what is asked here is when the cluster is there again, not when a client wakes.
//!
//! Invariant: a replaced client is gone. It has no end of its own, so each has a runtime that ends it.
//!
//! Does not: carry a load. A failover has a grain of [`AGE_MAX`], not of 10 ms as with the other systems.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use ::hiqlite::Client;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Mutex,
    time::Instant,
};

use super::node::SECRET;

/// Long enough to connect, to be sent on to the leader, and to write there.
const AGE_MAX: Duration = Duration::from_millis(250);

pub(crate) struct Prober {
    seats: Vec<(String, Mutex<Option<Attempt>>)>,
    turn: AtomicUsize,
}

struct Attempt {
    client: Client,
    began: Instant,
    /// Ends the client's tasks.
    _runtime: Ending,
}

/// A runtime that may be dropped where waiting is not allowed.
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Its tasks wait for nothing but the network, so they need not be waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Prober {
    pub(super) fn new(apis: &[String]) -> Self {
        let seats = apis.iter().map(|addr| (addr.clone(), Mutex::default())).collect();
        Self { seats, turn: AtomicUsize::default() }
    }

    /// The client of the node whose turn it is.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.seats.len();
        let (addr, seat) = &self.seats[turn];
        let mut seat = seat.lock().await;
        match &*seat {
            Some(attempt) if attempt.began.elapsed() < AGE_MAX => Ok(attempt.client.clone()),
            _ => Ok(seat.insert(Attempt::to(addr.clone()).await?).client.clone()),
        }
    }
}

impl Attempt {
    async fn to(addr: String) -> anyhow::Result<Self> {
        let began = Instant::now();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        // "With a proxy" it does not look for the leader first, which could take for ever.
        let (tls, unverified, proxy) = (false, false, true);
        let made = Client::remote(vec![addr], tls, unverified, SECRET.into(), proxy, None);
        let made = runtime.spawn(made);
        let runtime = Ending(Some(runtime));
        Ok(Self { client: made.await??, began, _runtime: runtime })
    }
}
