//! openraft's log storage on top of our [`LogStore`] door.
//!
//! Owns the translation of entries to records, and of `Done` to openraft's callbacks.
//!
//! Invariants
//! - A vote is durable before `save_vote` returns; an append is acknowledged to openraft after its
//!   sync; truncation and purging are durable before they return.
//! - Reads that need the disk run where they do not hold up other tasks.
//! - What a member is to be sent that is no longer in memory comes in batches of at most
//!   [`LITTLE_BYTES`].
//!
//! Does not: cache, group or sync. The store does.

use std::{
    fmt::Debug,
    io,
    marker::PhantomData,
    ops::{Bound, Range, RangeBounds},
    sync::Arc,
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    alias::{EntryOf, LogIdOf, VoteOf},
    storage::{IOFlushed, RaftLogStorage},
};
use tokio::sync::oneshot;

use super::{
    replicate::LITTLE_BYTES,
    types::{Types, from_raft, to_entry, to_raft, to_record, vote_from_raft, vote_to_raft},
};
use crate::{
    plant::{Bug, planted},
    runtime::Runtime,
    storage::{Done, LogStore},
};

/// The adapter. Clones share the store.
pub(crate) struct Log<R> {
    store: Arc<dyn LogStore>,
    append_bytes_max: u64,
    runtime: PhantomData<fn() -> R>,
}

impl<R> Clone for Log<R> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            append_bytes_max: self.append_bytes_max,
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> Log<R> {
    pub(crate) fn new(store: Arc<dyn LogStore>, append_bytes_max: u64) -> Self {
        Self { store, append_bytes_max, runtime: PhantomData }
    }

    /// From memory up to `bytes`, or else from the disk up to `old_bytes`.
    async fn read(
        &self,
        range: Range<u64>,
        (bytes, old_bytes): (u64, u64),
    ) -> io::Result<Vec<EntryOf<Types<R>>>> {
        let records = match self.store.read_recent(range.clone(), bytes) {
            Some(records) => records,
            None => {
                let store = self.store.clone();
                R::blocking(move || store.read(range, old_bytes)).await??
            }
        };
        records.into_iter().map(to_entry::<R>).collect()
    }
}

/// Waits until what `write` does to the store is durable.
pub(super) async fn durable(write: impl FnOnce(Done)) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    write(Box::new(move |result| drop(sender.send(result))));
    receiver.await.map_err(|_dropped| io::Error::other("the log store dropped a write"))?
}

impl<R: Runtime> RaftLogReader<Types<R>> for Log<R> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types<R>>>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from..to.max(from), (u64::MAX, u64::MAX)).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryOf<Types<R>>>, io::Error> {
        let bytes = self.append_bytes_max;
        self.read(start..end, (bytes, bytes.min(LITTLE_BYTES))).await
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types<R>>>, io::Error> {
        let vote = self.store.state().vote.filter(|_| !planted(Bug::VoteForgotten));
        Ok(vote.map(vote_to_raft::<R>))
    }
}

impl<R: Runtime> RaftLogStorage<Types<R>> for Log<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types<R>>, io::Error> {
        let state = self.store.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(to_raft::<R>),
            last_log_id: state.last.map(to_raft::<R>),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types<R>>) -> Result<(), io::Error> {
        let vote = vote_from_raft::<R>(vote);
        durable(|done| self.store.save_vote(vote, done)).await
    }

    async fn save_committed(
        &mut self,
        committed: Option<LogIdOf<Types<R>>>,
    ) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.store.save_committed(from_raft::<R>(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<Types<R>>>, io::Error> {
        let state = self.store.state();
        let committed = match planted(Bug::CommittedTooFar) {
            true => state.last,
            false => state.committed,
        };
        Ok(committed.map(to_raft::<R>))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types<R>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types<R>>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(to_record::<R>).collect();
        self.store.append(records, Box::new(move |result| flushed.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types<R>>>) -> Result<(), io::Error> {
        let last = last.as_ref().map(from_raft::<R>);
        durable(|done| self.store.truncate_after(last, done)).await
    }

    async fn purge(&mut self, upto: LogIdOf<Types<R>>) -> Result<(), io::Error> {
        let upto = from_raft::<R>(&upto);
        durable(|done| self.store.purge(upto, done)).await
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::{
        batch::Batch,
        proposal::{Origin, Proposal},
        runtime::TokioRuntime,
        storage::{LogEngine, LogId, open_log},
    };

    /// What a member asks for that keeps up is in memory, and comes at once. For one that is far behind, a mebibyte
    /// is a mebibyte that all who share its disk wait for.
    #[tokio::test]
    async fn old_entries_come_in_short_batches() {
        const BYTES: usize = 24 << 10;
        let dir = tempfile::tempdir().unwrap();
        let store = open_log(LogEngine::Wal, dir.path()).unwrap();
        let origin = || Origin::Session { session: 1, sequence: 1, floor: 0 };
        let records = (0..1_000).map(|index| {
            let batch = Batch::of(&[&Proposal::new(1, origin(), &vec![0; BYTES])]);
            let log_id = to_raft::<TokioRuntime>(LogId { term: 1, index });
            to_record::<TokioRuntime>(openraft::Entry {
                log_id,
                payload: EntryPayload::Normal(batch),
            })
        });
        durable(|done| store.append(records.collect(), done)).await.unwrap();
        let mut log = Log::<TokioRuntime>::new(store, 1 << 20);
        let mut count = async |from| log.limited_get_log_entries(from, 1_000).await.unwrap().len();
        assert_eq!((count(0).await, count(100).await), (2, 2));
        assert!(count(900).await > 10);
        assert_eq!(log.try_get_log_entries(0..1_000).await.unwrap().len(), 1_000);
    }
}
