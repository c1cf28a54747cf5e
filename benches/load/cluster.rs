//! Three node processes with their own disks, and what they say of themselves.

use std::{process::Stdio, time::Duration};

use anyhow::Context;
use imbl::OrdMap;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::{Deserialize, Serialize};
use sixbells::{Client, ClientConfig, LogEngine, Node, Role, StateMachine};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, sleep},
};

/// Values by number, on a persistent map.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Values(OrdMap<u64, Blob>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blob(#[serde(with = "serde_bytes")] pub(crate) Vec<u8>);

impl StateMachine for Values {
    type Command = (u64, Blob);
    type Response = ();
    type Query = u64;
    type Answer = Option<Blob>;

    fn apply(&mut self, (key, value): (u64, Blob)) {
        self.0.insert(key, value);
    }

    fn query(&self, key: u64) -> Option<Blob> {
        self.0.get(&key).cloned()
    }
}

/// One node, which answers a line on its standard input with its sync count.
pub(crate) async fn node(spec: &str) -> anyhow::Result<()> {
    let mut parts = spec.split(' ');
    let mut next = || parts.next().context("node specification");
    let (id, engine, dir): (u64, LogEngine, _) =
        (next()?.parse()?, next()?.parse().map_err(anyhow::Error::msg)?, next()?);
    let peers = parts.enumerate().map(|(n, addr)| (n as u64 + 1, addr.to_owned()));
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let node =
        Node::<Values>::builder(id).data_dir(dir).log_engine(engine).peers(peers).start().await?;
    let mut asked = BufReader::new(tokio::io::stdin()).lines();
    while let Some(_line) = asked.next_line().await? {
        let text = metrics.render();
        let counted = text.lines().find_map(|line| line.strip_prefix("sixbells_log_syncs_total"));
        let syncs = counted.and_then(|line| line.split(' ').next_back()).unwrap_or("0");
        println!("{syncs}");
    }
    node.shutdown().await;
    Ok(())
}

struct Process {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

pub(crate) struct Cluster {
    engine: LogEngine,
    dir: tempfile::TempDir,
    addrs: Vec<String>,
    processes: Vec<Option<Process>>,
    pub(crate) first_write_ms: u128,
}

impl Cluster {
    pub(crate) async fn start(engine: LogEngine) -> anyhow::Result<Self> {
        let reserved: Vec<_> =
            (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let addrs = reserved
            .iter()
            .map(|listener| Ok(listener.local_addr()?.to_string()))
            .collect::<anyhow::Result<_>>()?;
        drop(reserved);
        // On the disk that holds the build, not on a memory file system.
        let dir = tempfile::tempdir_in(std::env::current_exe()?.parent().context("no directory")?)?;
        let mut cluster = Self { engine, dir, addrs, processes: Vec::new(), first_write_ms: 0 };
        let spawned = Instant::now();
        for id in 1..=3 {
            let process = cluster.spawn(id)?;
            cluster.processes.push(Some(process));
        }
        cluster.client().await?.write((0, Blob(Vec::new()))).await?;
        cluster.first_write_ms = spawned.elapsed().as_millis();
        Ok(cluster)
    }

    fn spawn(&self, id: usize) -> anyhow::Result<Process> {
        let dir = self.dir.path().join(id.to_string());
        let spec = format!("{id} {} {} {}", self.engine, dir.display(), self.addrs.join(" "));
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--node", &spec])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let ask = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Process { child, ask, answers })
    }

    pub(crate) async fn client(&self) -> anyhow::Result<Client<Values>> {
        let config = ClientConfig { deadline: Duration::from_secs(20), ..ClientConfig::default() };
        Ok(Client::connect(self.addrs.clone(), config).await?)
    }

    /// Syncs of all three nodes since they started.
    pub(crate) async fn syncs(&mut self) -> anyhow::Result<u64> {
        let mut total = 0;
        for process in self.processes.iter_mut().flatten() {
            process.ask.write_all(b"syncs\n").await?;
            let line = process.answers.next_line().await?.context("a node ended")?;
            total += line.parse::<u64>()?;
        }
        Ok(total)
    }

    /// CPU seconds that the three nodes have used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let ids = self.processes.iter().flatten().filter_map(|process| process.child.id());
        ids.filter_map(cpu_seconds).sum()
    }

    pub(crate) async fn leader(&self, client: &Client<Values>) -> anyhow::Result<u64> {
        for _ in 0..2_000 {
            for addr in &self.addrs {
                if let Ok(status) = client.status_of(addr.clone()).await
                    && status.role == Role::Leader
                {
                    return Ok(status.id);
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("nobody leads")
    }

    pub(crate) async fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        let process = self.processes[usize::try_from(id)? - 1].take();
        Ok(process.context("not running")?.child.kill().await?)
    }

    pub(crate) fn restart(&mut self, id: u64) -> anyhow::Result<()> {
        let id = usize::try_from(id)?;
        self.processes[id - 1] = Some(self.spawn(id)?);
        Ok(())
    }

    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        for process in self.processes.iter_mut().flatten() {
            process.child.kill().await?;
        }
        Ok(())
    }
}

/// User and system time of a process, from the kernel, in its hundredths of a second.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: u32 = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    Some(f64::from(ticks) / 100.0)
}
