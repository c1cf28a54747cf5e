//! Real nodes: sockets, files, syncs and the real clock.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use sixbells::{
    Builder, Client, ClientConfig, Config, Error, Node, Role, StartError,
    runtime::{AsyncRuntime, TokioRuntime},
    storage::LogEngine,
};
use tempfile::TempDir;

use crate::cluster::{Command, Ledger, eventually, patiently};

/// Ports that were free a moment ago.
pub(crate) fn free_ports(count: usize) -> Vec<String> {
    let bind = |_| std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<_> = (0..count).map(bind).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

/// The same members on real ports and directories.
struct Real {
    dir: TempDir,
    addrs: Vec<String>,
    engine: LogEngine,
}

impl Real {
    fn new(size: usize, engine: LogEngine) -> Self {
        Self { dir: TempDir::new().unwrap(), addrs: free_ports(size), engine }
    }

    /// Nobody knows how fast this disk syncs, and an election that is to succeed takes several syncs.
    fn config(&self) -> Config {
        match self.addrs.len() {
            1 => Config::default(),
            _ => Config {
                election_timeout: Duration::from_millis(800)..Duration::from_millis(1_600),
                ..Config::default()
            },
        }
    }

    fn builder(&self, id: u64) -> Builder<Ledger> {
        let peers = (1..).zip(self.addrs.iter().cloned());
        let dir = self.dir.path().join(id.to_string());
        Node::builder(id).peers(peers).data_dir(dir).log_engine(self.engine).config(self.config())
    }

    async fn start(&self, id: u64) -> Node<Ledger> {
        let mut started = self.builder(id).start().await;
        // A node that was dropped lets go of its directory and port a moment later.
        for _ in 0..500 {
            match started {
                Ok(node) => return node,
                Err(StartError::Locked(_) | StartError::Bind { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            TokioRuntime::sleep(Duration::from_millis(10)).await;
            started = self.builder(id).start().await;
        }
        panic!("node {id} never started: {:?}", started.err());
    }

    fn file(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }
}

/// Adds once, however often it has to be asked for, and returns the sum.
async fn add(node: &Node<Ledger>, n: i64) -> i64 {
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let key = KEYS.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    let handle = node.handle();
    patiently(async || handle.write_once(key, Command::Add(7, n)).await).await
}

async fn sum(node: &Node<Ledger>) -> i64 {
    let handle = node.handle();
    patiently(async || handle.read(7).await).await
}

async fn leader(nodes: &BTreeMap<u64, Node<Ledger>>) -> u64 {
    let mut leading = None;
    eventually("a leader", || {
        let mut leaders = nodes.iter().filter(|(_, node)| node.status().role == Role::Leader);
        leading = leaders.next().map(|(id, _)| *id);
        leading.is_some()
    })
    .await;
    leading.unwrap()
}

/// A program that started its node in a task of its own did not compile. And whoever gives up half way has no node, so
/// none may be left that holds its directory and port.
#[tokio::test]
async fn whoever_starts_a_node_may_be_gone_before_it_runs() {
    let real = Real::new(1, LogEngine::Wal);
    let given_up = TokioRuntime::timeout(Duration::ZERO, real.builder(1).start()).await;
    assert!(given_up.is_err(), "a start takes longer than that");
    let started = TokioRuntime::spawn(async move { real.start(1).await }).await.unwrap();
    assert_eq!(add(&started, 1).await, 1);
}

/// The whole way, on each log engine: write, lose the leader, write, get it back, agree.
async fn a_real_cluster_survives_its_leader(engine: LogEngine) {
    let real = Real::new(3, engine);
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        nodes.insert(id, real.start(id).await);
    }
    assert_eq!(add(&nodes[&2], 1).await, 1);
    let handle = nodes[&3].handle();
    let other = patiently(async || handle.write(Command::Add(8, 1)).await).await;
    assert!(other >= 1, "more than once only if an attempt was unknown");
    let old = leader(&nodes).await;
    drop(nodes.remove(&old));
    let left = *nodes.keys().next().unwrap();
    // In the first moments it is sent to the leader that went, and what became of it is unknown.
    assert_eq!(add(&nodes[&left], 1).await, 2, "once, whatever became of the first attempt");
    nodes.insert(old, real.start(old).await);
    for node in nodes.values() {
        assert_eq!(sum(node).await, 2);
    }
    for (_, node) in nodes {
        node.shutdown().await;
    }
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        nodes.insert(id, real.builder(id).start().await.expect("free after shutdown"));
    }
    assert_eq!(add(&nodes[&1], 1).await, 3, "after all of them restarted");
}

#[tokio::test]
async fn with_the_write_ahead_log() {
    a_real_cluster_survives_its_leader(LogEngine::Wal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sled() {
    a_real_cluster_survives_its_leader(LogEngine::Sled).await;
}

/// A program that blocks its own threads, as a long computation in a task does, must not stop its node: a leader
/// that sends no heartbeats is deposed.
#[tokio::test]
async fn what_blocks_the_program_does_not_block_its_nodes() {
    let real = Real::new(3, LogEngine::Wal);
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(real.start(id).await);
    }
    let (addrs, (tell, told)) = (real.addrs.clone(), mpsc::channel());
    let elsewhere = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Client::<Ledger>::connect(addrs, ClientConfig::default()).await.unwrap();
            tell.send(patiently(async || client.write_once("k", Command::Add(7, 1)).await).await)
        })
    });
    // All of this test's runtime is this thread, and it does nothing until somebody was served.
    let sum = told.recv_timeout(Duration::from_secs(120)).expect("the nodes were blocked, too");
    assert_eq!(sum, 1);
    elsewhere.join().unwrap().unwrap();
    for node in nodes {
        node.shutdown().await;
    }
}

/// A wiped real node under its old id is refused by the handshake, and one of another cluster, too.
#[tokio::test]
async fn a_wiped_or_foreign_node_is_kept_out() {
    let real = Real::new(3, LogEngine::Wal);
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        nodes.insert(id, real.start(id).await);
    }
    add(&nodes[&1], 1).await;
    let wiped = (1..=3).find(|id| nodes[id].status().role != Role::Leader).unwrap();
    nodes.remove(&wiped).unwrap().shutdown().await;
    std::fs::remove_dir_all(real.file(&wiped.to_string())).unwrap();
    let back = real.start(wiped).await;
    let via = *nodes.keys().next().unwrap();
    for _ in 0..20 {
        add(&nodes[&via], 1).await;
    }
    assert_eq!(back.status().last_log_index, None, "{}", back.status());
    back.shutdown().await;

    std::fs::remove_dir_all(real.file(&wiped.to_string())).unwrap();
    let stranger = real.builder(wiped).cluster("another").start().await.unwrap();
    let error = nodes[&via].add(9, real.addrs[usize::try_from(wiped).unwrap() - 1].clone()).await;
    assert!(error.unwrap_err().is_definite());
    assert_eq!(stranger.status().last_log_index, None);
}

/// Each wrong directory has a name of its own, and is left as it was.
#[tokio::test]
async fn wrong_directories_are_refused_by_name() {
    let real = Real::new(1, LogEngine::Wal);
    let node = real.start(1).await;
    add(&node, 5).await;
    let locked = real.builder(1).listen("127.0.0.1:0").start().await.unwrap_err();
    assert!(matches!(locked, StartError::Locked(_)), "{locked}");
    node.shutdown().await;

    let dir = real.file("1");
    let other_node = Node::<Ledger>::builder(2).data_dir(&dir).listen("127.0.0.1:0");
    let other_cluster = real.builder(1).cluster("another");
    let other_engine = real.builder(1).log_engine(LogEngine::Sled);
    for wrong in [other_node, other_cluster, other_engine] {
        let error = wrong.start().await.unwrap_err();
        assert!(matches!(error, StartError::WrongIdentity { .. }), "{error}");
    }
    assert!(!real.file("1/sled").exists(), "the wrong engine left something behind");
    let node = real.start(1).await;
    assert_eq!(add(&node, 1).await, 6);
}

/// Somebody deleted the log, but not the identity. The node has promised, and forgotten what.
#[tokio::test]
async fn a_log_that_was_deleted_is_damage() {
    for (engine, emptied) in [
        (LogEngine::Wal, false),
        (LogEngine::Wal, true),
        (LogEngine::Sled, false),
        (LogEngine::Sled, true),
    ] {
        let real = Real::new(1, engine);
        let node = real.start(1).await;
        add(&node, 5).await;
        node.shutdown().await;
        let log = real.file(&format!("1/{engine}"));
        std::fs::remove_dir_all(&log).unwrap();
        if emptied {
            std::fs::create_dir(&log).unwrap();
        }
        let error = real.builder(1).start().await.unwrap_err();
        assert!(matches!(error, StartError::Damaged(_)), "{error}");
    }
}

/// What `shutdown` promises: as soon as it returns, directory and port can be used again. No waiting,
/// no retry, whatever the node was doing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_shutdown_directory_and_port_are_free_at_once() {
    for engine in [LogEngine::Wal, LogEngine::Sled] {
        let real = Real::new(1, engine);
        for n in 1..=5 {
            let node = real.builder(1).start().await.expect("free at once");
            let kept = node.handle();
            assert_eq!(add(&node, 1).await, n);
            if n % 2 == 0 {
                node.snapshot().await.unwrap();
            }
            node.shutdown().await;
            assert!(matches!(kept.write(Command::Add(7, 1)).await, Err(Error::Stopped(_))));
        }
    }
}

/// A port that is taken is an error that names it; the directory is free for the next attempt.
#[tokio::test]
async fn a_taken_port_leaves_the_directory_free() {
    let real = Real::new(1, LogEngine::Wal);
    let squatter = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = squatter.local_addr().unwrap().to_string();
    let error = real.builder(1).listen(taken.clone()).start().await.unwrap_err();
    assert!(matches!(&error, StartError::Bind { addr, .. } if *addr == taken), "{error}");
    let node = real.builder(1).start().await.expect("the directory is free");
    assert_eq!(add(&node, 1).await, 1);
}

/// What is missing or contradicts itself is told before anything is created.
#[tokio::test]
async fn an_incomplete_configuration_is_refused() {
    let dir = TempDir::new().unwrap();
    let data: &Path = &dir.path().join("data");
    let slow = Config { heartbeat: Duration::from_secs(9), ..Config::default() };
    for incomplete in [
        Node::<Ledger>::builder(1).peers([(1, "127.0.0.1:0")]),
        Node::<Ledger>::builder(1).data_dir(data),
        Node::<Ledger>::builder(1).data_dir(data).peers([(2, "127.0.0.1:0")]),
        Node::<Ledger>::builder(1).data_dir(data).peers([(1, "127.0.0.1:0")]).config(slow),
    ] {
        let error = incomplete.start().await.unwrap_err();
        assert!(matches!(error, StartError::Config(_)), "{error}");
    }
    assert!(!data.exists());
}
