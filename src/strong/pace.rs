//! When a snapshot is due because the log has grown.
//!
//! Owns [`Pace`], the count of what was applied since the last snapshot, and the task that asks for the next
//! one. openraft counts entries; but an entry may hold one small command or a batch of many, and what
//! a restart reads, and a disk holds, is bytes.
//!
//! In: the bytes of each entry applied, the bytes of each snapshot. Out: orders for snapshots.
//!
//! Invariant: a snapshot is due when as many bytes were applied as the last one has, and no fewer than
//! `Config::snapshot_bytes`. So all snapshots together cost the disk no more than the log does (Ongaro's
//! dissertation, section 5.1.3).
//!
//! Does not: take snapshots, or wait for them. What is applied while one is taken counts for it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::Strong;
use crate::runtime::Runtime;

#[derive(Debug)]
pub(crate) struct Pace {
    min: u64,
    /// Bytes between two snapshots.
    distance: AtomicU64,
    applied: AtomicU64,
    due: Notify,
}

impl Pace {
    /// At least so many bytes lie between two snapshots.
    pub(crate) fn every(min: u64) -> Arc<Self> {
        let (distance, applied) = (AtomicU64::new(min), AtomicU64::new(0));
        Arc::new(Self { min, distance, applied, due: Notify::new() })
    }

    /// So many bytes were applied.
    pub(super) fn applied(&self, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.applied.fetch_add(bytes, Ordering::Relaxed);
        let distance = self.distance.load(Ordering::Relaxed);
        // Told once.
        if before < distance && before + bytes >= distance {
            self.due.notify_one();
        }
    }

    /// A snapshot of so many bytes is there, whoever asked for it.
    pub(super) fn taken(&self, bytes: u64) {
        self.distance.store(bytes.max(self.min), Ordering::Relaxed);
        self.applied.store(0, Ordering::Relaxed);
    }

    /// Looks whether it is time to end.
    pub(super) fn wake(&self) {
        self.due.notify_one();
    }
}

impl<R: Runtime> Strong<R> {
    /// Asks for a snapshot whenever one is due. Ends with the node.
    pub(crate) async fn keep_pace(self: Arc<Self>) {
        loop {
            self.pace.due.notified().await;
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.raft.trigger().snapshot().await {
                tracing::debug!(%error, "no snapshot, for the engine has ended");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a state that is larger than the log, a snapshot for each 64 MiB would write it again and again.
    #[tokio::test]
    async fn large_snapshots_are_further_apart() {
        let pace = Pace::every(100);
        let due = |bytes| {
            pace.applied(bytes);
            futures_util::FutureExt::now_or_never(pace.due.notified()).is_some()
        };
        assert_eq!([due(60), due(39), due(1)], [false, false, true]);
        assert_eq!([due(99), due(7_000)], [false, false], "asked for once");
        pace.taken(250);
        assert_eq!([due(100), due(149), due(1)], [false, false, true]);
        pace.taken(7_000);
        assert!(!due(500));
        // The state has shrunk, and somebody took a snapshot of it by hand.
        pace.taken(3);
        assert_eq!([due(99), due(1)], [false, true]);
    }
}
