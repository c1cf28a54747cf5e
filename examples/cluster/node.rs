//! One node process: the library's node, HTTP in front of it, and a loud end if it stops.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use metrics_exporter_prometheus::PrometheusBuilder;
use sixbells::{LogEngine, Node};

use crate::{http, kv::Kv};

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
    /// Where to serve HTTP.
    #[arg(long)]
    pub(crate) http: String,
    #[arg(long, default_value = "wal")]
    pub(crate) log: LogEngine,
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

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let node = Node::<Kv>::builder(options.id)
        .cluster(options.cluster)
        .data_dir(&options.dir)
        .peers(options.peers)
        .log_engine(options.log)
        .start()
        .await?;
    let node = Arc::new(node);
    let stop = async {
        tokio::select! {
            biased;
            reason = node.stopped() => anyhow::bail!("node {} stopped: {reason}", options.id),
            ended = tokio::signal::ctrl_c() => Ok(ended?),
            ended = orphaned() => ended,
            served = http::serve(&options.http, node.clone(), metrics) => served,
        }
    };
    let outcome = stop.await;
    node.shutdown().await;
    outcome
}
