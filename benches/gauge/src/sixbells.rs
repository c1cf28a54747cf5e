//! The system of this repository as node processes with their own disks.
//!
//! Owns [`Sixbells`], and [`Setup`]: what is varied. Everything else is the default, of the nodes and of the
//! client, but for the client's deadline, so that a request under overload is late rather than an error.
//! Invariant: every wait for a node has a bound.
//!
//! Does not: choose a leader or tune anything for the measurement.

use std::{fmt, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use anyhow::Context;
use sixbells::{
    Client, ClientConfig, LogEngine, Mode, Role, Status,
    runtime::TokioRuntime,
    transport::{Transport, tcp::TcpTransport},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    limits::Limits,
    machine::Values,
    node::Spec,
    process::{Processes, ports, store},
    system::{Connection, System},
};

/// Nobody waits longer for an order to be carried out: more than a snapshot may take on its way.
const ORDER_MAX: Duration = Duration::from_secs(15 * 60);

/// How often a node is asked how it is while somebody waits for it.
const POLL: Duration = Duration::from_millis(10);

/// Under load a healthy follower lacks a few entries at any moment.
const LAG_ENTRIES: u64 = 16;

/// What of a cluster is varied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// How many nodes.
    pub nodes: usize,
    /// In which mode.
    pub mode: Mode,
    /// On which log.
    pub engine: LogEngine,
    /// With which limits beside the default.
    pub limits: Limits,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} x{}", self.mode, self.engine, self.nodes)?;
        if self.limits == Limits::default() { Ok(()) } else { write!(f, ", {}", self.limits) }
    }
}

struct Talk {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    async fn ask(&mut self, order: &str) -> anyhow::Result<String> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        let answer = timeout(ORDER_MAX, self.answers.next_line()).await;
        answer.with_context(|| format!("{order}: no answer in time"))??.context("a node ended")
    }

    async fn order(&mut self, order: &str) -> anyhow::Result<()> {
        let answer = self.ask(order).await?;
        anyhow::ensure!(answer == "done", "{order}: {answer}");
        Ok(())
    }
}

/// How long a node took that was behind, from one moment.
#[derive(Clone, Copy, Debug)]
pub struct CaughtUp {
    /// Until it said how it is.
    pub answers: Duration,
    /// Until it lacked no more than any follower does.
    pub level: Duration,
}

/// A node that stands still.
#[must_use = "it goes on when it is given to `resume`"]
pub struct Paused {
    seat: usize,
    talk: Talk,
}

impl fmt::Debug for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paused").field("seat", &self.seat).finish_non_exhaustive()
    }
}

/// A cluster of node processes. They end with it.
pub struct Sixbells {
    setup: Setup,
    addrs: Vec<String>,
    processes: Processes,
    talks: Vec<Option<Talk>>,
    /// Those of a node that cannot be asked now.
    syncs_of_paused: u64,
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
        let (syncs_of_paused, spawned) = (0, Instant::now());
        let mut cluster = Self { setup, addrs, processes, talks, syncs_of_paused, spawned, dir };
        cluster.talks.resize_with(setup.nodes, || None);
        for seat in 0..setup.nodes {
            cluster.restart(seat)?;
        }
        Ok(cluster)
    }

    /// Hands the leadership over to the node of another seat; returns once it leads.
    ///
    /// # Errors
    /// When the node that leads refuses, or ended.
    pub async fn transfer(&mut self, from: usize, to: usize) -> anyhow::Result<()> {
        self.talk(from)?.order(&format!("transfer {}", to + 1)).await
    }

    /// Has the node of a seat take a snapshot; returns once it is durable.
    ///
    /// # Errors
    /// When it does not.
    pub async fn snapshot(&mut self, seat: usize) -> anyhow::Result<()> {
        self.talk(seat)?.order("snapshot").await
    }

    /// SIGKILL of the node of a seat, which has nothing to say from then on.
    ///
    /// # Errors
    /// When nothing runs there.
    pub async fn kill(&mut self, seat: usize) -> anyhow::Result<()> {
        self.processes.kill(seat).await?;
        self.talks[seat] = None;
        Ok(())
    }

    /// Stops the node of a seat, which says nothing until it goes on: as a machine whose disk or hypervisor hangs.
    ///
    /// # Errors
    /// When nothing runs there.
    pub async fn pause(&mut self, seat: usize) -> anyhow::Result<Paused> {
        self.syncs_of_paused = self.talk(seat)?.ask("syncs").await?.parse()?;
        self.processes.pause(seat)?;
        let talk = self.talks[seat].take().context("it has just answered")?;
        Ok(Paused { seat, talk })
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it was killed meanwhile.
    pub fn resume(&mut self, Paused { seat, talk }: Paused) -> anyhow::Result<()> {
        self.processes.resume(seat)?;
        self.syncs_of_paused = 0;
        self.talks[seat] = Some(talk);
        Ok(())
    }

    /// Starts one more node, on an empty disk, which belongs to no cluster yet; says its seat.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_stranger(&mut self) -> anyhow::Result<usize> {
        let seat = self.addrs.len();
        self.addrs.extend(ports(1)?);
        self.talks.push(None);
        self.restart(seat)?;
        Ok(seat)
    }

    /// Adds a stranger to the cluster; returns once it has caught up and votes.
    ///
    /// # Errors
    /// When it is not taken in, or does not catch up in time.
    pub async fn add(&mut self, leader: usize, seat: usize) -> anyhow::Result<()> {
        let order = format!("add {} {}", seat + 1, self.addrs[seat]);
        self.talk(leader)?.order(&order).await
    }

    /// How the node of a seat is.
    ///
    /// # Errors
    /// When it does not say so within a second.
    pub async fn status(&self, seat: usize) -> anyhow::Result<Status> {
        // A client of its own: one that found nobody listening pauses before it dials again.
        Ok(self.client(seat).await?.status_of(self.addrs[seat].clone()).await?)
    }

    /// Waits until the node of a seat says how it is, and says how long that took.
    ///
    /// # Errors
    /// When that takes longer than it may.
    pub async fn answers(
        &self,
        seat: usize,
        since: Instant,
        within: Duration,
    ) -> anyhow::Result<Duration> {
        while since.elapsed() < within {
            if self.status(seat).await.is_ok() {
                return Ok(since.elapsed());
            }
            sleep(POLL).await;
        }
        anyhow::bail!("a node does not answer within {within:?}")
    }

    /// Waits until the node of a seat has applied what the leader has committed, but for a few entries.
    ///
    /// # Errors
    /// When that takes longer than it may.
    pub async fn caught_up(
        &self,
        (seat, leader): (usize, usize),
        since: Instant,
        within: Duration,
    ) -> anyhow::Result<CaughtUp> {
        let answers = self.answers(seat, since, within).await?;
        let client = self.client(leader).await?;
        let status = |seat: usize| client.status_of(self.addrs[seat].clone());
        while since.elapsed() < within {
            // The leader first: so the other had a moment more. Under load either may be late to answer.
            if let (Ok(leads), Ok(follows)) = (status(leader).await, status(seat).await)
                && let (Some(committed), Some(applied)) = (leads.committed, follows.applied)
                && applied.index + LAG_ENTRIES >= committed.index
            {
                return Ok(CaughtUp { answers, level: since.elapsed() });
            }
            sleep(POLL).await;
        }
        anyhow::bail!("a node answered after {answers:?}, but did not catch up within {within:?}")
    }

    /// Waits until the log of a seat begins behind this entry.
    ///
    /// # Errors
    /// When that takes longer than it may.
    pub async fn purged(&self, seat: usize, entry: u64, within: Duration) -> anyhow::Result<()> {
        let (began, mut last) = (Instant::now(), None);
        while began.elapsed() < within {
            if let Ok(status) = self.status(seat).await {
                last = status.purged.map(|id| id.index);
                if last >= Some(entry) {
                    return Ok(());
                }
            }
            sleep(POLL).await;
        }
        anyhow::bail!("the log was purged up to {last:?} and not {entry} within {within:?}")
    }

    /// Bytes of the files of a seat whose names begin so.
    ///
    /// # Errors
    /// When its directory cannot be read.
    pub fn disk_bytes(&self, seat: usize, prefix: &str) -> anyhow::Result<u64> {
        let (mut left, mut bytes) = (vec![self.disk(seat)], 0);
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                // A file that was there a moment ago may have been purged.
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => left.push(entry.path()),
                    Ok(meta) if entry.file_name().to_string_lossy().starts_with(prefix) => {
                        bytes += meta.len();
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(bytes)
    }

    /// Clients that share connections, and ask the node of this seat first.
    pub fn crowd(&self, first: usize) -> Crowd {
        let (addrs, config) = self.contact(first);
        Crowd { network: Arc::new(TcpTransport::client(config.cluster.clone())), addrs, config }
    }

    async fn client(&self, first: usize) -> anyhow::Result<Client<Values>> {
        let (addrs, config) = self.contact(first);
        Ok(Client::connect(addrs, config).await?)
    }

    fn contact(&self, first: usize) -> (Vec<String>, ClientConfig) {
        let (mode, deadline) = (self.setup.mode, Duration::from_secs(20));
        let mut addrs = self.addrs.clone();
        addrs.rotate_left(first % self.addrs.len());
        (addrs, ClientConfig { mode, deadline, ..ClientConfig::default() })
    }

    fn talk(&mut self, seat: usize) -> anyhow::Result<&mut Talk> {
        let talk = self.talks.get_mut(seat).and_then(Option::as_mut);
        talk.with_context(|| format!("nothing runs on seat {seat}"))
    }

    fn disk(&self, seat: usize) -> PathBuf {
        self.dir.path().join((seat + 1).to_string())
    }

    /// Whether no member lacks anything, as the leader tells it after one more write.
    async fn is_level(&self, client: &Client<Values>) -> anyhow::Result<bool> {
        client.write((0, Vec::new().into())).await?;
        let status = client.status().await?;
        let all = status.lag.len() + 1 == self.addrs.len();
        Ok(status.role == Role::Leader && all && status.lag.values().all(|lag| *lag <= 2))
    }
}

/// Makes clients that have a session each and share their connections: one to each node.
#[derive(Debug)]
pub struct Crowd {
    network: Arc<dyn Transport>,
    addrs: Vec<String>,
    config: ClientConfig,
}

impl Crowd {
    /// One more client.
    ///
    /// # Errors
    /// When its configuration is refused.
    pub fn client(&self) -> anyhow::Result<Client<Values>> {
        let (network, config) = (self.network.clone(), self.config.clone());
        Ok(Client::with_transport::<TokioRuntime>(network, self.addrs.clone(), config)?)
    }
}

impl System for Sixbells {
    type Connection = Client<Values>;

    fn name(&self) -> String {
        format!("sixbells {}", self.setup)
    }

    fn spawned(&self) -> Instant {
        self.spawned
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

    async fn syncs(&mut self) -> anyhow::Result<Option<u64>> {
        let mut total = self.syncs_of_paused;
        for talk in self.talks.iter_mut().flatten() {
            total += talk.ask("syncs").await?.parse::<u64>()?;
        }
        Ok(Some(total))
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
        let founds = seat < self.setup.nodes;
        let spec = Spec {
            id: seat as u64 + 1,
            mode: self.setup.mode,
            engine: self.setup.engine,
            limits: self.setup.limits,
            dir: self.disk(seat),
            listen: self.addrs[seat].clone(),
            peers: if founds { self.addrs[..self.setup.nodes].to_vec() } else { Vec::new() },
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
        Ok(Client::write(self, (key, value.into())).await?)
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
