//! One node of hiqlite in a process of its own, which says how it is when it is asked.
//!
//! Owns [`serve`], for a process that was started with `--hiqlite-node`, [`Spec`], what it is to be, and
//! [`Status`], what it says. Each line of the standard input is a question; its end is the end of the node.
//!
//! Synced on every write, by `LogSync::Immediate`; the default syncs every 200 ms, after the answer. As read in
//! the source of `hiqlite-wal` 0.15.1 (`writer.rs`), an append then calls openraft back only after an `msync`
//! that waits. openraft 0.9.25 (`append_to_log`) waits for that call on leader and follower alike before it
//! goes on, so an acknowledged write is on the disks of a majority. A log file that is full is synced before
//! the next is begun, and a vote before it is answered. Each append is synced by itself, and openraft 0.9
//! appends the entries of a leader one by one. The database is not synced; after a crash it is made again
//! from the last snapshot and the log.
//!
//! Does not: set anything else but addresses, directory and secrets. Without a subscriber nothing is logged.

use std::path::PathBuf;

use ::hiqlite::{Client, LogSync, Node, NodeConfig, start_node};
use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Of nodes on loopback; hiqlite wants them to have 16 characters.
pub(super) const SECRET: &str = "of-nodes-on-loopback";

/// Begins the lines that are answers.
const MARK: &str = "status ";

/// What one node process is to be.
#[derive(Debug, PartialEq)]
pub(super) struct Spec {
    pub(super) id: u64,
    pub(super) rafts: Vec<String>,
    pub(super) apis: Vec<String>,
    pub(super) dir: PathBuf,
}

impl Spec {
    /// In one argument. The directory comes last, for it may have spaces.
    pub(super) fn line(&self) -> String {
        let Self { id, rafts, apis, dir } = self;
        format!("{id} {} {} {}", rafts.join(","), apis.join(","), dir.display())
    }

    fn parse(line: &str) -> anyhow::Result<Self> {
        let mut parts = line.splitn(4, ' ');
        let mut next = || parts.next().context("the node's specification is too short");
        let addrs = |list: &str| list.split(',').map(str::to_owned).collect();
        Ok(Self {
            id: next()?.parse()?,
            rafts: addrs(next()?),
            apis: addrs(next()?),
            dir: next()?.into(),
        })
    }

    fn config(&self) -> anyhow::Result<NodeConfig> {
        let nodes = (1..).zip(self.rafts.iter().zip(&self.apis)).map(|(id, (raft, api))| Node {
            id,
            addr_raft: raft.clone(),
            addr_api: api.clone(),
        });
        let dir = self.dir.to_str().context("the directory's name is not UTF-8")?;
        Ok(NodeConfig {
            node_id: self.id,
            nodes: nodes.collect(),
            listen_addr_api: "127.0.0.1".into(),
            listen_addr_raft: "127.0.0.1".into(),
            data_dir: dir.to_owned().into(),
            wal_sync: LogSync::Immediate,
            secret_raft: SECRET.into(),
            secret_api: SECRET.into(),
            ..NodeConfig::default()
        })
    }
}

/// What a node knows of its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Status {
    /// Whom it takes for the leader; 0 if nobody.
    pub(super) leader: u64,
    /// At first the cluster has one, and the others are let in by and by.
    pub(super) voters: usize,
    /// How much of the log is in its database.
    pub(super) applied: u64,
}

impl Status {
    async fn of(client: &Client) -> anyhow::Result<Self> {
        let metrics = client.metrics_db().await?;
        metrics.running_state?;
        Ok(Self {
            leader: metrics.current_leader.unwrap_or(0),
            voters: metrics.membership_config.voter_ids().count(),
            applied: metrics.last_applied.map_or(0, |entry| entry.index),
        })
    }

    fn line(self) -> String {
        format!("{MARK}{} {} {}", self.leader, self.voters, self.applied)
    }

    /// What another process said of itself; nothing, if the line is not about that: hiqlite prints, too,
    /// when it restores a database.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.strip_prefix(MARK)?.split(' ');
        Some(Self {
            leader: numbers.next()?.parse().ok()?,
            voters: numbers.next()?.parse().ok()?,
            applied: numbers.next()?.parse().ok()?,
        })
    }
}

/// Runs the node of a specification until its standard input ends.
///
/// # Errors
/// When it cannot start, or its Raft stopped.
pub(crate) async fn serve(line: &str) -> anyhow::Result<()> {
    let spec = Spec::parse(line)?;
    std::fs::create_dir_all(&spec.dir)?;
    let mut start = Box::pin(start_node(spec.config()?));
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    let mut client = None;
    // It takes seconds to start. Meanwhile it answers, too, and ends when it is left alone.
    loop {
        tokio::select! {
            started = &mut start, if client.is_none() => client = Some(started?),
            question = questions.next_line() => match (question?, &client) {
                (None, _) => return Ok(()),
                (Some(_), None) => println!("{}", Status::default().line()),
                (Some(_), Some(client)) => println!("{}", Status::of(client).await?.line()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_between_the_processes_survives() {
        let addrs = |port: u16| (port..port + 3).map(|n| format!("127.0.0.1:{n}")).collect();
        let dir = "/a directory/2".into();
        let spec = Spec { id: 2, rafts: addrs(1), apis: addrs(4), dir };
        assert_eq!(Spec::parse(&spec.line()).unwrap(), spec);
        let status = Status { leader: 3, voters: 2, applied: 1 };
        assert_eq!(Status::parse(&status.line()), Some(status));
        assert_eq!(Status::parse("Database restore remaining: 0"), None);
    }
}
