//! One node process: the library's node, HTTP in front of it, and a loud end if it stops.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sixbells::{Error, EventualNode, Handle, LogEngine, Mode, Node};

use crate::{
    http,
    kv::{Answer, Kv, Query},
};

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) id: u64,
    #[arg(long)]
    pub(crate) cluster: String,
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// `id=host:port`, for each initial member.
    #[arg(long = "peer", value_parser = parse_peer)]
    pub(crate) peers: Vec<(u64, String)>,
    /// `id=host:port`, for each peer that is to be reached at another address than its own.
    #[arg(long = "route", value_parser = parse_peer)]
    pub(crate) routes: Vec<(u64, String)>,
    #[arg(long, default_value_t)]
    pub(crate) mode: Mode,
    /// Where to serve HTTP.
    #[arg(long)]
    pub(crate) http: String,
    /// `wal` or `sled`; the mode's own if not given.
    #[arg(long)]
    pub(crate) log: Option<LogEngine>,
}

/// A node in either mode.
pub(crate) enum Running {
    Strong(Node<Kv>),
    Eventual(EventualNode<Kv>),
}

impl Running {
    async fn start(options: &Options) -> anyhow::Result<Self> {
        let mut builder = Node::<Kv>::builder(options.id)
            .cluster(&options.cluster)
            .data_dir(&options.dir)
            .peers(options.peers.clone());
        for (peer, addr) in &options.routes {
            builder = builder.route(*peer, addr);
        }
        if let Some(engine) = options.log {
            builder = builder.log_engine(engine);
        }
        Ok(match options.mode {
            Mode::Strong => Self::Strong(builder.start().await?),
            Mode::Eventual => Self::Eventual(builder.start_eventual().await?),
        })
    }

    pub(crate) fn handle(&self) -> Handle<Kv> {
        match self {
            Self::Strong(node) => node.handle(),
            Self::Eventual(node) => node.handle(),
        }
    }

    /// In strong mode every read is final.
    pub(crate) async fn read_stable(&self, query: Query) -> Result<Answer, Error> {
        match self {
            Self::Strong(node) => node.handle().read(query).await,
            Self::Eventual(node) => node.read_stable(&query),
        }
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let status = match self {
            Self::Strong(node) => serde_json::to_value(node.status()),
            Self::Eventual(node) => serde_json::to_value(node.status()),
        };
        status.unwrap_or_else(|error| error.to_string().into())
    }

    async fn stopped(&self) -> String {
        match self {
            Self::Strong(node) => node.stopped().await,
            Self::Eventual(node) => node.stopped().await,
        }
    }

    async fn shutdown(&self) {
        match self {
            Self::Strong(node) => node.shutdown().await,
            Self::Eventual(node) => node.shutdown().await,
        }
    }
}

fn parse_peer(text: &str) -> Result<(u64, String), String> {
    let (id, addr) = text.split_once('=').ok_or("expected id=host:port")?;
    Ok((id.parse().map_err(|e| format!("{id}: {e}"))?, addr.to_owned()))
}

/// Returns when the parent, which holds the other end of the standard input, is gone.
async fn orphaned() -> anyhow::Result<()> {
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

/// The recorder keeps each sample of a histogram until somebody reads the metrics, or this is called: where
/// nobody reads them, each write would leave a few behind.
async fn condense(metrics: &PrometheusHandle) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        metrics.run_upkeep();
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let node = Arc::new(Running::start(&options).await?);
    let stop = async {
        tokio::select! {
            biased;
            reason = node.stopped() => anyhow::bail!("node {} stopped: {reason}", options.id),
            ended = tokio::signal::ctrl_c() => Ok(ended?),
            ended = orphaned() => ended,
            served = http::serve(&options.http, node.clone(), metrics.clone()) => served,
            never = condense(&metrics) => never,
        }
    };
    let outcome = stop.await;
    node.shutdown().await;
    outcome
}
