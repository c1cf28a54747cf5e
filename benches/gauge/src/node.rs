//! One node in a process of its own, which answers orders on its standard input.
//!
//! Owns [`serve`], which a bench calls when it was started with `--node`, and [`Spec`], how the two say to
//! each other what to start. Orders are lines: `syncs`, answered with a number; `transfer ID`, `snapshot` and
//! `add ID ADDR`, answered with `done` or the error. One is carried out after the other, and the end of the input
//! is the end of the node.
//!
//! Does not: set anything but what the specification says; all else is the default.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Signal, set_parent_process_death_signal};
use sixbells::{Error, EventualNode, LogEngine, Mode, Node};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{limits::Limits, machine::Values};

/// What one node process is to be.
#[derive(Debug, PartialEq)]
pub(crate) struct Spec {
    pub(crate) id: u64,
    pub(crate) mode: Mode,
    pub(crate) engine: LogEngine,
    pub(crate) limits: Limits,
    pub(crate) dir: PathBuf,
    pub(crate) listen: String,
    /// The first members, with this node; none, if it is to be added to a cluster.
    pub(crate) peers: Vec<String>,
}

impl Spec {
    /// In one argument. The directory comes last, for it may have spaces.
    pub(crate) fn line(&self) -> String {
        let Self { id, mode, engine, limits, dir, listen, peers } = self;
        let (peers, dir) = (peers.join(","), dir.display());
        format!("{id} {mode} {engine} {limits} {listen} {peers} {dir}")
    }

    fn parse(line: &str) -> anyhow::Result<Self> {
        let mut parts = line.splitn(7, ' ');
        let mut next = || parts.next().context("the node's specification is too short");
        Ok(Self {
            id: next()?.parse()?,
            mode: next()?.parse().map_err(anyhow::Error::msg)?,
            engine: next()?.parse().map_err(anyhow::Error::msg)?,
            limits: next()?.parse()?,
            listen: next()?.to_owned(),
            peers: next()?.split(',').filter(|peer| !peer.is_empty()).map(str::to_owned).collect(),
            dir: next()?.into(),
        })
    }
}

enum Running {
    Strong(Node<Values>),
    Eventual(EventualNode<Values>),
}

/// Runs the node of a specification until its standard input ends.
///
/// # Errors
/// When it cannot start.
pub async fn serve(line: &str) -> anyhow::Result<()> {
    // A node that is stopped cannot notice that the bench is gone: the kernel ends it then.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let spec = Spec::parse(line)?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let samples = metrics.clone();
    tokio::spawn(async move {
        // Or the recorder would keep each sample, and the memory that is measured would be its own.
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            samples.run_upkeep();
        }
    });
    let builder = Node::<Values>::builder(spec.id).data_dir(spec.dir).listen(spec.listen);
    let builder = builder.log_engine(spec.engine).peers((1..).zip(spec.peers));
    let builder = builder.config(spec.limits.config());
    let node = match spec.mode {
        Mode::Strong => Running::Strong(builder.start().await?),
        Mode::Eventual => Running::Eventual(builder.start_eventual().await?),
    };
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        println!("{}", obey(&node, &metrics, &order).await);
    }
    match node {
        Running::Strong(node) => node.shutdown().await,
        Running::Eventual(node) => node.shutdown().await,
    }
    Ok(())
}

async fn obey(node: &Running, metrics: &PrometheusHandle, order: &str) -> String {
    let words: Vec<&str> = order.split(' ').collect();
    let done = match (words.as_slice(), node) {
        (["syncs"], _) => return syncs(&metrics.render()),
        (order, Running::Strong(node)) => administer(node, order).await,
        (_, Running::Eventual(_)) => return "nobody leads in eventual mode".into(),
    };
    done.map_or_else(|error| error.to_string(), |()| "done".into())
}

async fn administer(node: &Node<Values>, order: &[&str]) -> Result<(), Error> {
    let id = |text: &str| {
        text.parse().map_err(|error| Error::Refused(format!("{text:?} is no node: {error}")))
    };
    match *order {
        ["snapshot"] => node.snapshot().await,
        ["transfer", to] => node.transfer_leadership(id(to)?).await,
        ["add", node_id, addr] => node.add(id(node_id)?, addr).await,
        _ => Err(Error::Refused(format!("no order: {order:?}"))),
    }
}

fn syncs(rendered: &str) -> String {
    let counted = rendered.lines().find_map(|line| line.strip_prefix("sixbells_log_syncs_total"));
    counted.and_then(|line| line.split(' ').next_back()).unwrap_or("0").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_survives_the_command_line() {
        for peers in [vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()], Vec::new()] {
            let spec = Spec {
                id: 2,
                mode: Mode::Eventual,
                engine: LogEngine::Sled,
                limits: Limits::snapshots_on_order(),
                dir: "/a directory/2".into(),
                listen: "127.0.0.1:2".into(),
                peers,
            };
            assert_eq!(Spec::parse(&spec.line()).unwrap(), spec);
        }
    }
}
