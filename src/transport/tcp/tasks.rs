//! Tasks that end together.
//!
//! Owns the life of every task of a transport: [`Tasks::spawn`] starts one, [`Tasks::stop`] ends all
//! of them by dropping them where they wait, [`Tasks::ended`] waits until the last one is gone.
//!
//! Invariants
//! - Nothing of a task, its sockets included, is left once it no longer counts as alive.
//! - A task spawned after `stop` ends before it has done anything.
//!
//! Does not: let a task finish what it does. Whoever needs that must not do it in such a task.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;

use crate::runtime::Spawner;

#[derive(Debug, Default)]
pub(super) struct Tasks {
    alive: AtomicUsize,
    stopping: AtomicBool,
    stop: Notify,
    ended: Notify,
    /// A node's tasks stay on its threads, also those that a caller elsewhere makes necessary.
    spawner: Spawner,
}

/// Counts one task as alive.
struct Alive(Arc<Tasks>);

impl Tasks {
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.alive.fetch_add(1, SeqCst);
        let alive = Alive(Arc::clone(self));
        self.spawner.spawn(async move {
            tokio::select! {
                biased;
                () = alive.0.stopped() => {}
                () = task => {}
            }
            // `select!` has dropped the task by now: what it owned is gone before it is not counted.
            drop(alive);
        });
    }

    /// Whether the tasks are on the runtime of whoever asks.
    pub(super) fn are_here(&self) -> bool {
        self.spawner.is_here()
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.stop.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    pub(super) fn alive(&self) -> usize {
        self.alive.load(SeqCst)
    }

    /// Waits until no task is left.
    pub(super) async fn ended(&self) {
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.alive() == 0 {
                return;
            }
            ended.await;
        }
    }

    async fn stopped(&self) {
        let mut stop = pin!(self.stop.notified());
        stop.as_mut().enable();
        if !self.is_stopping() {
            stop.await;
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.alive.fetch_sub(1, SeqCst) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}
