//! The system of this repository as node processes with their own disks.
//!
//! Owns [`Sixbells`], and [`Setup`]: what is varied. Everything else is the default, of the nodes and of the
//! client, but for the client's deadline, so that a request under overload is late rather than an error.
//!
//! Does not: choose a leader or tune anything for the measurement.

use std::{fmt, process::Stdio, time::Duration};

use anyhow::Context;
use sixbells::{Client, ClientConfig, LogEngine, Mode, Role};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    time::{Instant, sleep},
};

use crate::{
    machine::{Blob, Values},
    node::Spec,
    process::{Processes, ports, store},
    system::{Connection, System},
};

/// What of a cluster is varied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// How many nodes.
    pub nodes: usize,
    /// In which mode.
    pub mode: Mode,
    /// On which log.
    pub engine: LogEngine,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} x{}", self.mode, self.engine, self.nodes)
    }
}

struct Talk {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    async fn ask(&mut self, order: &str) -> anyhow::Result<String> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        self.answers.next_line().await?.context("a node ended")
    }
}

/// A cluster of node processes. They end with it.
pub struct Sixbells {
    setup: Setup,
    addrs: Vec<String>,
    processes: Processes,
    talks: Vec<Option<Talk>>,
    spawned: Instant,
    /// Last, so that the disks go after those who write to them.
    dir: TempDir,
}

impl fmt::Debug for Sixbells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sixbells").field(&self.setup).finish()
    }
}

impl Sixbells {
    /// Starts the processes, on empty disks, and waits for none of them.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(setup: Setup) -> anyhow::Result<Self> {
        let (addrs, dir) = (ports(setup.nodes)?, store()?);
        let (processes, talks) = (Processes::default(), Vec::new());
        let mut cluster = Self { setup, addrs, processes, talks, spawned: Instant::now(), dir };
        cluster.talks.resize_with(setup.nodes, || None);
        for seat in 0..setup.nodes {
            cluster.restart(seat)?;
        }
        Ok(cluster)
    }

    /// When the first process was spawned.
    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// Hands the leadership over to the node of another seat; returns once it leads.
    ///
    /// # Errors
    /// When the node that leads refuses, or ended.
    pub async fn transfer(&mut self, from: usize, to: usize) -> anyhow::Result<()> {
        let talk = self.talks[from].as_mut().context("the leader does not run")?;
        let answer = talk.ask(&format!("transfer {}", to + 1)).await?;
        anyhow::ensure!(answer == "done", "the leadership was not handed over: {answer}");
        Ok(())
    }

    async fn client(&self, first: usize) -> anyhow::Result<Client<Values>> {
        let config = ClientConfig {
            mode: self.setup.mode,
            deadline: Duration::from_secs(20),
            ..ClientConfig::default()
        };
        let mut addrs = self.addrs.clone();
        addrs.rotate_left(first % self.addrs.len());
        Ok(Client::connect(addrs, config).await?)
    }

    /// Whether no member lacks anything, as the leader tells it after one more write.
    async fn is_level(&self, client: &Client<Values>) -> anyhow::Result<bool> {
        client.write((0, Blob(Vec::new()))).await?;
        let status = client.status().await?;
        let all = status.lag.len() + 1 == self.setup.nodes;
        Ok(status.role == Role::Leader && all && status.lag.values().all(|lag| *lag <= 2))
    }
}

impl System for Sixbells {
    type Connection = Client<Values>;

    fn name(&self) -> String {
        format!("sixbells {}", self.setup)
    }

    /// In strong mode a client finds the leader. In eventual mode it stays where it is, so the number
    /// spreads the load.
    async fn connect(&self, number: usize) -> anyhow::Result<Client<Values>> {
        self.client(number).await
    }

    async fn connect_any(&self) -> anyhow::Result<Client<Values>> {
        self.client(0).await
    }

    fn processes(&mut self) -> &mut Processes {
        &mut self.processes
    }

    async fn syncs(&mut self) -> anyhow::Result<u64> {
        let mut total = 0;
        for talk in self.talks.iter_mut().flatten() {
            total += talk.ask("syncs").await?.parse::<u64>()?;
        }
        Ok(total)
    }

    async fn leader(&mut self) -> anyhow::Result<usize> {
        let client = self.client(0).await?;
        for _ in 0..2_000 {
            for (seat, addr) in self.addrs.iter().enumerate() {
                if let Ok(status) = client.status_of(addr.clone()).await
                    && status.role == Role::Leader
                {
                    return Ok(seat);
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("nobody leads")
    }

    fn restart(&mut self, seat: usize) -> anyhow::Result<()> {
        let spec = Spec {
            id: seat as u64 + 1,
            mode: self.setup.mode,
            engine: self.setup.engine,
            dir: self.dir.path().join((seat + 1).to_string()),
            addrs: self.addrs.clone(),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--node", &spec.line()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = self.processes.spawn(seat, &mut command)?;
        let orders = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        self.talks[seat] = Some(Talk { orders, answers });
        Ok(())
    }

    async fn level(&mut self) -> anyhow::Result<()> {
        let client = self.client(0).await?;
        for _ in 0..3_000 {
            if self.is_level(&client).await.unwrap_or(false) {
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("a node did not catch up")
    }
}

impl Connection for Client<Values> {
    async fn write(&self, key: u64, value: Vec<u8>) -> anyhow::Result<()> {
        Ok(Client::write(self, (key, Blob(value))).await?)
    }

    async fn read(&self, key: u64) -> anyhow::Result<()> {
        Client::read(self, key).await?;
        Ok(())
    }

    async fn read_local(&self, key: u64) -> anyhow::Result<()> {
        Client::read_local(self, key).await?;
        Ok(())
    }
}
