//! Stories of a state, and of a snapshot, that took long to go.

use std::{
    sync::{
        Condvar,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use openraft::storage::RaftStateMachine;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    machine::{StateMachine, Typed},
    runtime::{AsyncRuntime, TokioRuntime},
    storage::{Disk, MemoryDisk, MemoryLog, OsDisk},
    strong::suite::Nothing,
};

type R = TokioRuntime;

/// Whether a part that is freed has to wait, and whether one was freed.
static HELD: Mutex<bool> = Mutex::new(false);
static LET_GO: Condvar = Condvar::new();
static FREED: AtomicBool = AtomicBool::new(false);

/// How long it waits at most, so that whoever waits for it fails and does not hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// What states share, as those of a persistent map do.
struct Part(u64);

impl Drop for Part {
    fn drop(&mut self) {
        let held = HELD.lock().unwrap();
        drop(LET_GO.wait_timeout_while(held, PATIENCE, |held| *held).unwrap());
        FREED.store(true, SeqCst);
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
struct Large(Arc<Part>);

impl Default for Large {
    fn default() -> Self {
        1.into()
    }
}

impl From<u64> for Large {
    fn from(n: u64) -> Self {
        Self(Arc::new(Part(n)))
    }
}

impl From<Large> for u64 {
    fn from(large: Large) -> u64 {
        large.0.0
    }
}

impl StateMachine for Large {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, (): ()) {}

    fn query(&self, (): ()) -> u64 {
        self.0.0
    }
}

/// A state of a million keys was replaced under the lock that reads take: they waited a third of a second, until the
/// last key of the old one was freed.
#[tokio::test]
async fn nobody_waits_until_a_replaced_state_is_freed() {
    let (snapshots, _) = Snapshots::open(Arc::new(MemoryDisk::default())).unwrap();
    let mut machine = Typed::<Large>::boxed();
    machine.load(&mut &codec::encode(&2_u64)[..]).unwrap();
    let other = SharedState::<R>::open(machine, None).unwrap().capture().unwrap();
    let file = snapshots.build(other.meta(), |out| other.save(out)).unwrap();
    let state = Arc::new(SharedState::<R>::open(Typed::<Large>::boxed(), None).unwrap());
    let watchers = (Hashes::every(0), Pace::every(u64::MAX));
    let log = Arc::new(MemoryLog::new());
    let mut store = StateMachineStore::<R>::new(state.clone(), snapshots, None, log, watchers);

    FREED.store(false, SeqCst);
    *HELD.lock().unwrap() = true;
    let meta = to_snapshot::<R>(file.clone()).unwrap().meta;
    store.install_snapshot(&meta, file).await.unwrap();
    let answer = state.query(&codec::encode(&())).unwrap();
    let freed = FREED.load(SeqCst);
    *HELD.lock().unwrap() = false;
    LET_GO.notify_all();
    assert_eq!((answer, freed), (Bytes::from(codec::encode(&2_u64)), false));
    while !FREED.load(SeqCst) {
        R::sleep(Duration::from_millis(5)).await;
    }
}

/// A large snapshot that was replaced is removed step by step, which has to be begun by whoever replaced it.
#[tokio::test]
async fn of_what_a_snapshot_replaced_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(dir.path()).unwrap());
    let (snapshots, _) = Snapshots::open(disk.clone()).unwrap();
    let replace = |index: u64| {
        let large = |index| {
            let last = Some(LogId { term: 1, index });
            let meta = SnapshotMeta { last, membership: Bytes::new() };
            snapshots.build(meta, |out| out.write_all(&vec![7; 9 << 20])).unwrap()
        };
        large(index);
        large(index + 1);
        let names = disk.names().unwrap();
        assert!(names.iter().any(|name| name.contains("replaced")), "{names:?}");
    };
    let all_gone = async || {
        let some = || disk.names().unwrap().iter().any(|name| name.contains("replaced"));
        for _ in 0..2_000 {
            if !some() {
                return;
            }
            R::sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?}", disk.names());
    };
    let shared = || Arc::new(SharedState::<R>::open(Typed::<Nothing>::boxed(), None).unwrap());
    let watchers = (Hashes::every(0), Pace::every(u64::MAX));
    let log = Arc::new(MemoryLog::new());
    let mut store = StateMachineStore::<R>::new(shared(), snapshots.clone(), None, log, watchers);

    replace(1);
    store.build_snapshot().await.unwrap();
    all_gone().await;

    let captured = shared().capture().unwrap();
    let meta = SnapshotMeta { last: Some(LogId { term: 1, index: 9 }), ..captured.meta() };
    replace(3);
    let file = snapshots.build(meta, |out| captured.save(out)).unwrap();
    let meta = to_snapshot::<R>(file.clone()).unwrap().meta;
    store.install_snapshot(&meta, file).await.unwrap();
    all_gone().await;
}
