//! hiqlite as three node processes with their own disks, and its own client.
//!
//! Owns [`Hiqlite`] and [`Remote`]. A write is an upsert of one row, a read its consistent query, a local
//! read an ordinary query: a remote client sends that to the leader, which answers from its own database.
//! Everything is hiqlite's default but what `node` names; its cache, backups and dashboard are not built.
//!
//! The client is `hiqlite::Client::remote`, over a websocket to the leader. Two of its habits matter here
//! - After its connection broke it looks for the leader and then sleeps for a second before it connects; each
//!   further failure costs another second, and five after the fifth. With it a failover took 15 s each time,
//!   though there was a leader after less than 6. So start and failover are probed by `prober`, which does
//!   not wait for a client that sleeps; a program with hiqlite's client waits longer than the table says.
//! - It has no end. One that is dropped leaves a task that keeps its connection, or looks for its nodes
//!   without a pause while nobody leads. So no more are made than are used at once, and [`apart`] gives
//!   each turn a runtime that ends what is left before the next system is measured.
//!
//! hiqlite's nodes start one by one: the first leads a cluster of one until it lets the others in. So the
//! first write after a start may be on one disk only. All that follows waits for three voters.
//!
//! Does not: count syncs; hiqlite tells nobody how many there were.

mod node;
mod prober;

use std::{collections::BTreeMap, process::Stdio, sync::Arc, time::Duration};

use ::hiqlite::{Client, Param, Params};
use anyhow::Context;
use sixbells_gauge::{Connection, Processes, System, ports, store, unless_told};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    runtime::Runtime,
    sync::Mutex,
    task::block_in_place,
    time::{Instant, sleep, timeout},
};

pub(crate) use self::node::serve;
use self::{
    node::{SECRET, Spec, Status},
    prober::Prober,
};

const NODES: usize = 3;

/// As long as the other systems' clients wait.
const CALL_MAX: Duration = Duration::from_secs(20);

/// A cluster that has no leader, or a node that lacks something, for this long is given up. It starts anew
/// within seconds, if it does.
const WAIT_MAX: Duration = Duration::from_secs(60);

const ASK_EVERY: Duration = Duration::from_millis(20);

/// The tasks of one turn end within this.
const END_MAX: Duration = Duration::from_secs(1);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS kv (k INTEGER PRIMARY KEY, v BLOB)";
const WRITE: &str =
    "INSERT INTO kv (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const READ: &str = "SELECT v FROM kv WHERE k = $1";

/// Which release was built, by the lock file that built it.
pub(crate) fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let after = lock.split_once("name = \"hiqlite\"\nversion = \"").map(|(_, after)| after);
    after.and_then(|after| after.split('"').next()).unwrap_or("of an unknown version")
}

/// Does the work in a runtime of its own, which ends whatever tasks the work left. The calling thread waits.
///
/// # Errors
/// Those of the work, and that this process was told to end.
pub(crate) fn apart(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    block_in_place(|| {
        let runtime = Runtime::new()?;
        let done = runtime.block_on(unless_told(work));
        runtime.shutdown_timeout(END_MAX);
        done
    })
}

struct Talk {
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    async fn ask(&mut self) -> anyhow::Result<Status> {
        self.questions.write_all(b"status\n").await?;
        loop {
            let line = self.answers.next_line().await?.context("a node ended")?;
            if let Some(status) = Status::parse(&line) {
                return Ok(status);
            }
        }
    }
}

/// A cluster of hiqlite's processes. They end with it.
pub(crate) struct Hiqlite {
    rafts: Vec<String>,
    apis: Vec<String>,
    processes: Processes,
    talks: Vec<Option<Talk>>,
    spawned: Instant,
    clients: Mutex<BTreeMap<usize, Client>>,
    /// Last, so that the disks go after those who write to them.
    dir: TempDir,
}

impl Hiqlite {
    /// Starts the processes, on empty disks, and waits for none of them.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut addrs = ports(2 * NODES)?;
        let (rafts, apis) = (addrs.split_off(NODES), addrs);
        let mut cluster = Self {
            rafts,
            apis,
            processes: Processes::default(),
            talks: Vec::new(),
            spawned: Instant::now(),
            clients: Mutex::default(),
            dir: store()?,
        };
        cluster.talks.resize_with(NODES, || None);
        for seat in 0..NODES {
            cluster.restart(seat)?;
        }
        Ok(cluster)
    }

    /// The client of this number, made when it is first asked for. The first one makes the table.
    async fn client(&self, number: usize) -> anyhow::Result<Client> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&number) {
            return Ok(client.clone());
        }
        let (tls, unverified, proxy) = (false, false, false);
        let made = Client::remote(self.apis.clone(), tls, unverified, SECRET.into(), proxy, None);
        let client = timeout(WAIT_MAX, made).await.context("a client found no leader")??;
        if clients.is_empty() {
            make_table(&client).await?;
        }
        clients.insert(number, client.clone());
        Ok(client)
    }

    async fn statuses(&mut self) -> anyhow::Result<Vec<Status>> {
        let mut all = Vec::new();
        for talk in &mut self.talks {
            all.push(talk.as_mut().context("a node does not run")?.ask().await?);
        }
        Ok(all)
    }

    /// Asks all nodes until their answers are good.
    async fn wait(&mut self, good: fn(&[Status]) -> bool) -> anyhow::Result<Vec<Status>> {
        loop {
            let all = self.statuses().await?;
            if good(&all) {
                return Ok(all);
            }
            sleep(ASK_EVERY).await;
        }
    }
}

/// Whether all follow one leader, all vote, and none is more than a few entries behind.
fn level(all: &[Status]) -> bool {
    let led = all.iter().all(|status| status.leader != 0 && status.leader == all[0].leader);
    let applied = || all.iter().map(|status| status.applied);
    let spread = applied().max().zip(applied().min()).map(|(most, least)| most - least);
    led && all.iter().all(|status| status.voters == NODES) && spread.is_some_and(|few| few <= 2)
}

/// Who leads, by its own word.
fn leading(all: &[Status]) -> Option<usize> {
    (1..).zip(all).position(|(id, status)| status.leader == id)
}

async fn make_table(client: &Client) -> anyhow::Result<()> {
    let until = Instant::now() + WAIT_MAX;
    loop {
        // A cluster that is letting a node in may refuse.
        match timeout(CALL_MAX, client.execute(TABLE, Params::new())).await? {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => sleep(ASK_EVERY).await,
        }
    }
}

impl System for Hiqlite {
    type Connection = Remote;

    fn name(&self) -> String {
        "hiqlite".into()
    }

    fn spawned(&self) -> Instant {
        self.spawned
    }

    async fn connect(&self, number: usize) -> anyhow::Result<Remote> {
        Ok(Remote::Steady(self.client(number).await?))
    }

    async fn connect_any(&self) -> anyhow::Result<Remote> {
        // For the table.
        self.client(0).await?;
        Ok(Remote::Probing(Arc::new(Prober::new(&self.apis))))
    }

    fn processes(&mut self) -> &mut Processes {
        &mut self.processes
    }

    async fn syncs(&mut self) -> anyhow::Result<Option<u64>> {
        Ok(None)
    }

    async fn leader(&mut self) -> anyhow::Result<usize> {
        let all = timeout(WAIT_MAX, self.wait(|all| leading(all).is_some())).await;
        leading(&all.context("nobody leads")??).context("nobody leads")
    }

    fn restart(&mut self, seat: usize) -> anyhow::Result<()> {
        let spec = Spec {
            id: seat as u64 + 1,
            rafts: self.rafts.clone(),
            apis: self.apis.clone(),
            dir: self.dir.path().join((seat + 1).to_string()),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--hiqlite-node", &spec.line()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = self.processes.spawn(seat, &mut command)?;
        let questions = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        self.talks[seat] = Some(Talk { questions, answers });
        Ok(())
    }

    async fn level(&mut self) -> anyhow::Result<()> {
        timeout(WAIT_MAX, self.wait(level)).await.context("a node did not catch up")??;
        Ok(())
    }
}

/// A client of hiqlite. Clones share its websocket.
#[derive(Clone)]
pub(crate) enum Remote {
    Steady(Client),
    Probing(Arc<Prober>),
}

impl Remote {
    async fn client(&self) -> anyhow::Result<Client> {
        match self {
            Self::Steady(client) => Ok(client.clone()),
            Self::Probing(prober) => prober.client().await,
        }
    }
}

impl Connection for Remote {
    async fn write(&self, key: u64, value: Vec<u8>) -> anyhow::Result<()> {
        let row = vec![Param::from(i64::try_from(key)?), Param::from(value)];
        timeout(CALL_MAX, self.client().await?.execute(WRITE, row)).await??;
        Ok(())
    }

    async fn read(&self, key: u64) -> anyhow::Result<()> {
        let key = vec![Param::from(i64::try_from(key)?)];
        timeout(CALL_MAX, self.client().await?.query_consistent(READ, key)).await??;
        Ok(())
    }

    async fn read_local(&self, key: u64) -> anyhow::Result<()> {
        let key = vec![Param::from(i64::try_from(key)?)];
        timeout(CALL_MAX, self.client().await?.query_raw(READ, key)).await??;
        Ok(())
    }
}
