//! One request at a time, across connections.
//!
//! Owns the turns of the in-order lanes. On one connection order is simple; but a caller that lost
//! a connection makes a new one while a request of the old one is still being served, or waits in
//! its buffer. Served side by side, an old batch of entries could arrive behind a newer one.
//!
//! In: a connection of a node on a lane. Out: turns, each held until its request is served.
//!
//! Invariants
//! - At most one turn per calling node and lane is held at a time, whatever became of connections.
//! - Once a newer connection exists, an older one gets no more turns.
//! - Memory is held for connections and requests that exist, not for ids that were once claimed.
//!
//! Does not: order requests of clients, which have no id to be known by.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::transport::Lane;

#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<BTreeMap<(u64, Lane), Order>>);

#[derive(Debug)]
struct Order {
    /// One permit. A turn holds it alive beyond its connection.
    turn: Weak<Semaphore>,
    newest: Arc<AtomicU64>,
}

/// A connection's place in the order of its caller.
#[derive(Debug)]
pub(super) struct Place {
    turn: Arc<Semaphore>,
    newest: Arc<AtomicU64>,
    own: u64,
}

impl Orders {
    /// A connection begins; older ones of the same node and lane get no more turns.
    pub(super) fn enter(&self, from: Option<u64>, lane: Lane) -> Place {
        let Some(from) = from else { return Place::alone() };
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.retain(|_, order| order.turn.strong_count() > 0);
        let known = orders.get(&(from, lane)).and_then(Order::join);
        known.unwrap_or_else(|| {
            let place = Place::alone();
            let turn = Arc::downgrade(&place.turn);
            orders.insert((from, lane), Order { turn, newest: Arc::clone(&place.newest) });
            place
        })
    }
}

impl Order {
    fn join(&self) -> Option<Place> {
        let turn = self.turn.upgrade()?;
        let own = self.newest.fetch_add(1, SeqCst) + 1;
        Some(Place { turn, newest: Arc::clone(&self.newest), own })
    }
}

impl Place {
    fn alone() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), newest: Arc::default(), own: 0 }
    }

    /// Waits for this connection's turn; `None` if a newer connection has taken its place.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        (self.newest.load(SeqCst) == self.own).then_some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_connection_waits_for_the_turn_of_the_older_and_replaces_it() {
        let orders = Orders::default();
        let old = orders.enter(Some(1), Lane::Log);
        let serving = old.turn().await.unwrap();
        drop(old);
        let new = orders.enter(Some(1), Lane::Log);
        assert_eq!(new.turn.available_permits(), 0, "the old request is still being served");
        drop(serving);
        drop(new.turn().await.unwrap());
        let newest = orders.enter(Some(1), Lane::Log);
        assert!(new.turn().await.is_none(), "replaced");
        assert!(newest.turn().await.is_some());
    }

    #[tokio::test]
    async fn other_nodes_lanes_and_clients_do_not_wait() {
        let orders = Orders::default();
        let places = [(Some(1), Lane::Log), (Some(2), Lane::Log), (Some(1), Lane::Snapshot)]
            .map(|(from, lane)| orders.enter(from, lane));
        let clients = [(); 2].map(|()| orders.enter(None, Lane::Log));
        let mut held = Vec::new();
        for place in places.iter().chain(&clients) {
            held.push(place.turn().await.unwrap());
        }
        assert_eq!(held.len(), 5);
    }

    #[test]
    fn claimed_ids_are_forgotten() {
        let orders = Orders::default();
        for node in 0..100 {
            drop(orders.enter(Some(node), Lane::Log));
        }
        assert_eq!(orders.0.lock().unwrap().len(), 1);
    }
}
