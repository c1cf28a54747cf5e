//! The three processes: starting them, ending them by their ids, and saying how to talk to them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use sixbells::{Client, ClientConfig, Role, Status};
use tokio::process::{Child, Command};

use crate::kv::Kv;

const NODES: u64 = 3;

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

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

pub(crate) struct Cluster {
    dir: PathBuf,
    port: u16,
    children: Vec<Option<Child>>,
}

impl Cluster {
    pub(crate) fn start(dir: &Path, port: u16) -> anyhow::Result<Self> {
        anyhow::ensure!(port < u16::MAX - 6, "no six ports from {port} on");
        let mut cluster = Self { dir: dir.to_owned(), port, children: Vec::new() };
        for id in 1..=NODES {
            let child = cluster.spawn(id)?;
            cluster.children.push(Some(child));
        }
        Ok(cluster)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        1..=NODES
    }

    pub(crate) fn addr(&self, id: u64) -> String {
        format!("127.0.0.1:{}", u64::from(self.port) + id - 1)
    }

    pub(crate) fn addrs(&self) -> Vec<String> {
        self.ids().map(|id| self.addr(id)).collect()
    }

    fn http(&self, id: u64) -> String {
        format!("127.0.0.1:{}", u64::from(self.port) + NODES + id - 1)
    }

    fn spawn(&self, id: u64) -> anyhow::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("node").args(["--id", &id.to_string()]);
        command.arg("--dir").arg(self.dir.join(id.to_string()));
        command.args(["--http", &self.http(id)]);
        for peer in self.ids() {
            command.args(["--peer", &format!("{peer}={}", self.addr(peer))]);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command.spawn().with_context(|| format!("start node {id}"))
    }

    /// SIGKILL: the process gets no chance to tidy up. Returns once it is gone.
    pub(crate) async fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        let child = self.children[usize::try_from(id - 1)?].take();
        let mut child = child.with_context(|| format!("node {id} does not run"))?;
        Ok(child.kill().await?)
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
        Ok(Client::connect(self.addrs(), ClientConfig::default()).await?)
    }

    /// Waits for a node that calls itself leader and that others follow.
    pub(crate) async fn leader(&self, client: &Client<Kv>) -> anyhow::Result<Status> {
        for _ in 0..600 {
            for addr in self.addrs() {
                match client.status_of(addr).await {
                    Ok(status) if status.role == Role::Leader => return Ok(status),
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("nobody led within 30 s")
    }

    fn introduce(&self, leader: u64) {
        println!(
            "\nThree nodes run; node {leader} leads. Their disks are in {}.",
            self.dir.display()
        );
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

/// Runs until Ctrl-C, saying who leads whenever that changes.
pub(crate) async fn stay(cluster: &Cluster) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let mut led = cluster.leader(&client).await?.id;
    cluster.introduce(led);
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = cluster.leader(&client).await?.id;
            if now != led {
                println!("node {now} leads now");
                led = now;
            }
        }
    };
    tokio::select! {
        biased;
        ended = tokio::signal::ctrl_c() => Ok(ended?),
        failed = watch => failed,
    }
}
