//! etcd as three node processes with their own disks, and a client of it.
//!
//! Owns [`Etcd`] and [`Client`]. Everything is etcd's default but names, addresses, directories, and the log
//! level. The load goes to the leader, as sixbells' own client sends it: a hop less, and what gave etcd
//! the higher figures when both were tried. `spread` sends it to all nodes in turn.
//!
//! Does not: install anything.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use sixbells_gauge::{Connection, Processes, System, ports, store};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    grpc::Channel,
    message::{
        PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse,
    },
};

const NODES: usize = 3;

/// Each time etcd syncs its log, and each time it commits to its tree, it counts one of these.
const SYNC_COUNTERS: [&str; 2] = [
    "etcd_disk_wal_fsync_duration_seconds_count ",
    "etcd_disk_backend_commit_duration_seconds_count ",
];

/// Whether the binary is there, by what it says of itself.
pub(crate) async fn version() -> Option<String> {
    let output = Command::new("etcd").arg("--version").output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.replace("etcd Version: ", "etcd "))
}

/// A cluster of etcd processes. They end with it.
pub(crate) struct Etcd {
    clients: Vec<String>,
    peers: Vec<String>,
    processes: Processes,
    spawned: Instant,
    /// Where the load goes, once it is known who leads.
    target: Option<usize>,
    spread: bool,
    /// Last, so that the disks go after those who write to them.
    dir: TempDir,
}

impl Etcd {
    /// Starts the processes, on empty disks, and waits for none of them.
    pub(crate) fn start(spread: bool) -> anyhow::Result<Self> {
        let mut addrs = ports(2 * NODES)?;
        let (peers, clients) = (addrs.split_off(NODES), addrs);
        let mut cluster = Self {
            clients,
            peers,
            processes: Processes::default(),
            spawned: Instant::now(),
            target: None,
            spread,
            dir: store()?,
        };
        for seat in 0..NODES {
            cluster.restart(seat)?;
        }
        Ok(cluster)
    }

    /// Finds out where the load is to go.
    pub(crate) async fn aim(&mut self) -> anyhow::Result<()> {
        let leader = self.leader().await?;
        self.target = (!self.spread).then_some(leader);
        Ok(())
    }

    async fn status(&self, seat: usize) -> anyhow::Result<StatusResponse> {
        let channel = Channel::new(self.clients[seat].clone());
        channel.call("/etcdserverpb.Maintenance/Status", &StatusRequest {}).await
    }

    /// Whether all nodes are there and within a few entries of each other.
    async fn is_level(&self) -> anyhow::Result<bool> {
        let mut applied = Vec::new();
        for seat in 0..NODES {
            applied.push(self.status(seat).await?.applied_index);
        }
        let (least, most) = (applied.iter().min(), applied.iter().max());
        Ok(least.zip(most).is_some_and(|(least, most)| most - least <= 2))
    }
}

impl System for Etcd {
    type Connection = Client;

    fn name(&self) -> String {
        "etcd".into()
    }

    fn spawned(&self) -> Instant {
        self.spawned
    }

    async fn connect(&self, number: usize) -> anyhow::Result<Client> {
        let seat = self.target.unwrap_or(number % NODES);
        Ok(Client::new(vec![Channel::new(self.clients[seat].clone())]))
    }

    async fn connect_any(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.clients.iter().cloned().map(Channel::new).collect()))
    }

    fn processes(&mut self) -> &mut Processes {
        &mut self.processes
    }

    async fn syncs(&mut self) -> anyhow::Result<Option<u64>> {
        let mut total = 0;
        for addr in &self.clients {
            let metrics = fetch(addr, "/metrics").await?;
            for counter in SYNC_COUNTERS {
                let line = metrics.lines().find_map(|line| line.strip_prefix(counter));
                total += line.with_context(|| format!("no {counter}"))?.trim().parse::<u64>()?;
            }
        }
        Ok(Some(total))
    }

    async fn leader(&mut self) -> anyhow::Result<usize> {
        for _ in 0..2_000 {
            for seat in 0..NODES {
                if let Ok(status) = self.status(seat).await
                    && status.header.is_some_and(|header| header.member_id == status.leader)
                {
                    return Ok(seat);
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("nobody leads")
    }

    fn restart(&mut self, seat: usize) -> anyhow::Result<()> {
        let (client, peer) = (&self.clients[seat], &self.peers[seat]);
        let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
        let members: Vec<String> =
            (0..).zip(&self.peers).map(|(n, addr)| format!("n{n}=http://{addr}")).collect();
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("n{seat}"), "--initial-cluster", &members.join(",")])
            .arg("--data-dir")
            .arg(self.dir.path().join(seat.to_string()))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--logger", "zap", "--log-level", "fatal"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.processes.spawn(seat, &mut command)?;
        Ok(())
    }

    async fn level(&mut self) -> anyhow::Result<()> {
        for _ in 0..3_000 {
            if self.is_level().await.unwrap_or(false) {
                return self.aim().await;
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("a node did not catch up")
    }
}

/// One HTTP/1.0 request, for the counters.
async fn fetch(addr: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// A client of etcd. With several nodes, each call goes to the next.
#[derive(Clone)]
pub(crate) struct Client {
    channels: Arc<Vec<Channel>>,
    turn: Arc<AtomicUsize>,
}

impl Client {
    fn new(channels: Vec<Channel>) -> Self {
        Self { channels: Arc::new(channels), turn: Arc::default() }
    }

    fn next(&self) -> &Channel {
        &self.channels[self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len()]
    }

    async fn range(&self, key: u64, serializable: bool) -> anyhow::Result<()> {
        let request = RangeRequest { key: key.to_be_bytes().into(), serializable };
        let _: RangeResponse = self.next().call("/etcdserverpb.KV/Range", &request).await?;
        Ok(())
    }
}

impl Connection for Client {
    async fn write(&self, key: u64, value: Vec<u8>) -> anyhow::Result<()> {
        let request = PutRequest { key: key.to_be_bytes().into(), value };
        let _: PutResponse = self.next().call("/etcdserverpb.KV/Put", &request).await?;
        Ok(())
    }

    async fn read(&self, key: u64) -> anyhow::Result<()> {
        self.range(key, false).await
    }

    async fn read_local(&self, key: u64) -> anyhow::Result<()> {
        self.range(key, true).await
    }
}
