//! openraft's own storage suite, over our adapters and each log engine.

use std::{path::Path, sync::Arc};

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{Log, Pace, SharedState, StateMachineStore, Types};
use crate::{
    hashes::Hashes,
    machine::{StateMachine, Typed},
    runtime::TokioRuntime,
    storage::{LogEngine, LogStore, MemoryDisk, MemoryLog, Snapshots, open_log},
};

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Nothing;

impl StateMachine for Nothing {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();

    fn apply(&mut self, (): ()) {}

    fn query(&self, (): ()) {}
}

/// Makes a store in a fresh directory.
struct Stores<F>(F);

type C = Types<TokioRuntime>;

impl<F> StoreBuilder<C, Log<TokioRuntime>, StateMachineStore<TokioRuntime>, TempDir> for Stores<F>
where
    F: Fn(&Path) -> Arc<dyn LogStore> + Send + Sync + 'static,
{
    async fn build(
        &self,
    ) -> Result<(TempDir, Log<TokioRuntime>, StateMachineStore<TokioRuntime>), StorageError<C>>
    {
        let dir = TempDir::new().unwrap();
        let log = (self.0)(dir.path());
        let state = Arc::new(SharedState::open(Typed::<Nothing>::boxed(), None).unwrap());
        let (snapshots, _) = Snapshots::open(Arc::new(MemoryDisk::default())).unwrap();
        let store = StateMachineStore::new(
            state,
            snapshots,
            None,
            log.clone(),
            (Hashes::every(0), Pace::every(u64::MAX)),
        );
        Ok((dir, Log::new(log, u64::MAX), store))
    }
}

#[tokio::test]
async fn wal() {
    Suite::test_all(Stores(|dir: &Path| open_log(LogEngine::Wal, dir).unwrap())).await.unwrap();
}

#[tokio::test]
async fn sled() {
    Suite::test_all(Stores(|dir: &Path| open_log(LogEngine::Sled, dir).unwrap())).await.unwrap();
}

#[tokio::test]
async fn memory() {
    let open = |_: &Path| Arc::new(MemoryLog::new()) as Arc<dyn LogStore>;
    Suite::test_all(Stores(open)).await.unwrap();
}
