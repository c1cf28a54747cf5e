//! The three processes: starting them, ending them by their ids, and saying how to talk to them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use sixbells::{Client, ClientConfig, Mode};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use crate::{kv::Kv, links::Links};

const NODES: u64 = 3;

/// A leader that no majority answered for so long is none.
const LATELY: Duration = Duration::from_secs(1);

/// The cluster's directory: the user's, or a temporary one that goes with the program.
pub(crate) enum Directory {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Directory {
    pub(crate) fn open(given: Option<PathBuf>) -> anyhow::Result<Self> {
        match given {
            Some(dir) => Ok(Self::Given(dir)),
            None => Ok(Self::Temporary(tempfile::tempdir()?)),
        }
    }

    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

pub(crate) struct Cluster {
    /// Told to nodes and clients, so that those of another run on the same ports are refused.
    name: String,
    dir: PathBuf,
    port: u16,
    mode: Mode,
    pub(crate) links: Links,
    children: Vec<Option<Child>>,
}

impl Cluster {
    /// The name of a cluster in a directory of the user's stays the same from run to run.
    pub(crate) async fn start(
        dir: &Path,
        given_dir: bool,
        port: u16,
        mode: Mode,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!((1..u16::MAX - 6).contains(&port), "no six ports from {port} on");
        let name = match given_dir {
            true => "example".into(),
            false => format!("example-{}", std::process::id()),
        };
        let (links, children) = (Links::default(), Vec::new());
        let mut cluster = Self { name, dir: dir.to_owned(), port, mode, links, children };
        if mode == Mode::Eventual {
            cluster.links = Links::open(cluster.ids(), |id| cluster.addr(id)).await?;
        }
        for id in 1..=NODES {
            let child = cluster.spawn(id)?;
            cluster.children.push(Some(child));
        }
        Ok(cluster)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> + Clone + use<> {
        1..=NODES
    }

    pub(crate) fn addr(&self, id: u64) -> String {
        format!("127.0.0.1:{}", u64::from(self.port) + id - 1)
    }

    pub(crate) fn addrs(&self) -> Vec<String> {
        self.ids().map(|id| self.addr(id)).collect()
    }

    pub(crate) fn http(&self, id: u64) -> String {
        format!("127.0.0.1:{}", u64::from(self.port) + NODES + id - 1)
    }

    fn spawn(&self, id: u64) -> anyhow::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("node").args(["--id", &id.to_string(), "--cluster", &self.name]);
        command.arg("--dir").arg(self.dir.join(id.to_string()));
        command.args(["--http", &self.http(id), "--mode", &self.mode.to_string()]);
        for peer in self.ids() {
            command.args(["--peer", &format!("{peer}={}", self.addr(peer))]);
            if let Some(link) = self.links.between(id, peer) {
                command.args(["--route", &format!("{peer}={link}")]);
            }
        }
        // The pipe closes when this process ends, however it ends, and then so does the node.
        command.stdin(Stdio::piped()).kill_on_drop(true);
        command.spawn().with_context(|| format!("start node {id}"))
    }

    /// SIGKILL: the process gets no chance to tidy up. Returns once it is gone.
    pub(crate) async fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        self.all_run()?;
        let child = self.children[usize::try_from(id - 1)?].take();
        let mut child = child.with_context(|| format!("node {id} does not run"))?;
        Ok(child.kill().await?)
    }

    /// Fails if a node that was started has ended by itself: what is seen then is another cluster.
    pub(crate) fn all_run(&mut self) -> anyhow::Result<()> {
        for (id, child) in (1..).zip(&mut self.children) {
            if let Some(ended) = child.as_mut().and_then(|child| child.try_wait().transpose()) {
                let (addr, status) = (id + u64::from(self.port) - 1, ended?);
                anyhow::bail!("node {id} ended ({status}); does something else use port {addr}?");
            }
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self, id: u64) -> anyhow::Result<()> {
        let child = self.spawn(id)?;
        self.children[usize::try_from(id - 1)?] = Some(child);
        Ok(())
    }

    pub(crate) async fn end(&mut self) {
        for child in self.children.iter_mut().flatten() {
            if let Err(error) = child.kill().await {
                eprintln!("ending a node: {error}");
            }
        }
    }

    pub(crate) async fn client(&self) -> anyhow::Result<Client<Kv>> {
        Ok(Client::connect(self.addrs(), self.client_config()).await?)
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let (cluster, mode) = (self.name.clone(), self.mode);
        ClientConfig { cluster, mode, ..ClientConfig::default() }
    }

    /// Waits for a leader.
    pub(crate) async fn leader(&mut self, client: &Client<Kv>) -> anyhow::Result<u64> {
        for _ in 0..600 {
            self.all_run()?;
            if let Some(leader) = self.who_leads(client).await {
                return Ok(leader);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("nobody led within 30 s")
    }

    async fn who_leads(&self, client: &Client<Kv>) -> Option<u64> {
        let mut leader: Option<(u64, u64)> = None;
        for addr in self.addrs() {
            match client.status_of(addr).await {
                Ok(status) if status.leads_a_quorum(LATELY) => {
                    leader = leader.max(Some((status.term, status.id)));
                }
                _ => {}
            }
        }
        leader.map(|(_, id)| id)
    }

    /// A client of one node.
    pub(crate) async fn client_of(&self, id: u64) -> anyhow::Result<Client<Kv>> {
        Ok(Client::connect([self.addr(id)], self.client_config()).await?)
    }

    pub(crate) fn disks(&self) -> std::path::Display<'_> {
        self.dir.display()
    }

    fn introduce(&self, leader: u64) {
        println!("\nThree nodes run; node {leader} leads. Their disks are in {}.", self.disks());
        println!("Talk to any of them:\n");
        println!("  curl -X PUT -d hello {}/kv/greeting", self.http(1));
        println!("  curl {}/kv/greeting", self.http(2));
        println!("  curl '{}/kv/greeting?local'       may be old", self.http(3));
        println!("  curl {}/status\n", self.http(leader));
        println!("Break one, and watch the others go on:\n");
        for (id, child) in self.ids().zip(&self.children) {
            let pid = child.as_ref().and_then(Child::id);
            println!("  kill -9 {:<8} node {id}", pid.map_or("?".into(), |pid| pid.to_string()));
        }
        println!("\nCtrl-C ends them all.");
    }
}

/// Runs for ever, saying who leads whenever that changes.
pub(crate) async fn stay(cluster: &mut Cluster) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let mut led = Some(cluster.leader(&client).await?);
    cluster.introduce(led.unwrap_or_default());
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = cluster.who_leads(&client).await;
        match now {
            Some(leader) if led != now => println!("node {leader} leads now"),
            None if led.is_some() => println!("nobody leads: writes wait for a majority"),
            Some(_) | None => {}
        }
        led = now;
    }
}

/// Returns when the program is told to end.
pub(crate) async fn told_to_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        biased;
        ended = tokio::signal::ctrl_c() => ended?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
