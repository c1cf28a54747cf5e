//! The demonstration: load, SIGKILL of the leader, failover time, restart, and a verdict.
//!
//! What it says at the end was checked: the history that the clients recorded is linearizable, and
//! the three machines hold the same.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use sixbells::{Client, Error};
use sixbells_jepsen::{
    checker::{Verdict, budget::Budget, linearizable},
    history::{Completion, Recorder, Value, Worker, pairing},
    model::Keyed,
};
use tokio::time::{Instant, sleep};

use crate::{
    kv::{Answer, Command, Kv, Query},
    processes::Cluster,
};

const CLIENTS: u64 = 8;
const KEYS: i64 = 20;
/// A pause between requests: enough load to see, few enough operations for any checker.
const PAUSE: Duration = Duration::from_millis(2);

/// What the clients share.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    next_value: AtomicI64,
    /// Invocation and completion of acknowledged writes, the newest last.
    writes: Mutex<Vec<(Instant, Instant)>>,
}

pub(crate) async fn run(cluster: &mut Cluster) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let leader = cluster.leader(&client).await?;
    println!("node {leader} leads; {CLIENTS} clients write and read {KEYS} keys");

    let recorder = Recorder::new(CLIENTS);
    let load = Arc::new(Load::default());
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (client, worker) = (cluster.client().await?, recorder.worker(number));
        clients.spawn(drive(client, worker, load.clone(), number));
    }
    sleep(Duration::from_secs(2)).await;

    let before = load.acknowledged.load(Ordering::Relaxed);
    cluster.kill(leader).await?;
    let killed = Instant::now();
    println!("kill -9 of node {leader}, after {before} acknowledged operations");
    let failover = first_write_after(&load, killed).await?;
    println!("first write acknowledged after {:.0} ms", failover.as_secs_f64() * 1e3);
    let successor = cluster.leader(&client).await?;
    println!("node {successor} leads");

    cluster.restart(leader)?;
    println!("node {leader} restarts from its disk");
    sleep(Duration::from_secs(2)).await;
    load.stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.transpose()?.is_some() {}

    let keys = agreement(cluster).await?;
    println!("the three machines agree on {keys} keys");
    judge(&recorder)
}

async fn drive(client: Client<Kv>, mut worker: Worker, load: Arc<Load>, number: u64) {
    let mut turn = i64::try_from(number).unwrap_or_default();
    while !load.stop.load(Ordering::Relaxed) {
        turn += 1;
        let key = turn / 2 * 7 % KEYS;
        let name = format!("key-{key}");
        let invoked = Instant::now();
        if turn % 2 == 0 {
            worker.invoke("read", pair(key, Value::Nil));
            let answer = client.read(Query::Get(name)).await;
            worker.complete(read_completion(key, answer), None, None);
        } else {
            let value = load.next_value.fetch_add(1, Ordering::Relaxed) + 1;
            worker.invoke("write", pair(key, value));
            let written = client.write(Command::Put(name, value.to_string())).await;
            if written.is_ok() {
                load.acknowledged.fetch_add(1, Ordering::Relaxed);
                load.writes().push((invoked, Instant::now()));
            }
            let completion = match written {
                Ok(_) => Completion::Ok(pair(key, value)),
                Err(error) => failure(&error),
            };
            worker.complete(completion, None, None);
        }
        sleep(PAUSE).await;
    }
}

impl Load {
    fn writes(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Instant)>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair(key: i64, value: impl Into<Value>) -> Value {
    Value::pair(key, value)
}

fn read_completion(key: i64, answer: Result<Answer, Error>) -> Completion {
    match answer {
        Ok(Answer::Value(Some(text))) => match text.parse::<i64>() {
            Ok(value) => Completion::Ok(pair(key, value)),
            Err(_) => Completion::Ok(pair(key, text.as_str())),
        },
        Ok(_) => Completion::Ok(pair(key, Value::Nil)),
        Err(error) => failure(&error),
    }
}

/// The whole mapping from an error to Jepsen's words.
fn failure(error: &Error) -> Completion {
    match error.is_definite() {
        true => Completion::Fail(error.to_string()),
        false => Completion::Info(error.to_string()),
    }
}

/// How long after the kill the first write that began after it was acknowledged.
async fn first_write_after(load: &Load, killed: Instant) -> anyhow::Result<Duration> {
    while killed.elapsed() < Duration::from_secs(30) {
        let first = load.writes().iter().find(|(invoked, _)| *invoked > killed).copied();
        if let Some((_, completed)) = first {
            return Ok(completed - killed);
        }
        sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!("no write was acknowledged within 30 s after the kill")
}

/// Waits until each node's own state is the same, and returns the number of keys.
async fn agreement(cluster: &Cluster) -> anyhow::Result<usize> {
    let mut seen = Vec::new();
    for _ in 0..300 {
        seen.clear();
        for id in cluster.ids() {
            let config = cluster.client_config();
            let client = Client::<Kv>::connect([cluster.addr(id)], config).await?;
            seen.push(client.read_local(Query::Digest).await.ok());
        }
        if let Some(Answer::Digest { keys, .. }) = seen[0]
            && seen.iter().all(|digest| *digest == seen[0])
        {
            return Ok(keys);
        }
        sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the machines did not agree within 30 s: {seen:?}")
}

fn judge(recorder: &Recorder) -> anyhow::Result<()> {
    let (clock, operations) = pairing::pair(&recorder.events())
        .map_err(|e| anyhow::anyhow!("the history cannot be read: {e:?}"))?;
    let mut budget = Budget::new(Duration::from_secs(60), 1 << 30);
    let mut model = Keyed::kv();
    let verdict = linearizable::check_operations(&mut model, &operations, clock, &[], &mut budget)?;
    let verdict = Verdict::from(verdict);
    ensure!(
        matches!(verdict, Verdict::Valid { .. }),
        "the history is {}: {verdict:?}",
        verdict.word()
    );
    println!(
        "verdict: all {} operations are linearizable; nothing acknowledged was lost",
        operations.len()
    );
    Ok(())
}
