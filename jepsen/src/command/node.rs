//! `node`: one node of a test's cluster, in this process. Hidden: the harness starts it.
//!
//! In go the node's place in the cluster and, for each peer, the address to dial it at; it serves
//! until its standard input closes, and shuts down then.
//!
//! Invariants:
//! - it ends with the harness, however that ends, because the pipe to it closes;
//! - it ends with a status other than 0 when the node could not start or has stopped because of a
//!   fault, with the reason as its last words;
//! - it logs to standard error, which the harness has pointed to the node's own file;
//! - it takes snapshots and purges its log often, so that a run of a minute sees both.

use std::io::Read;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};
use sixbells::{Config, LogEngine, Mode, Node};
use sixbells_jepsen::cluster::Tested;
use sixbells_jepsen::report::Exit;
use tracing_subscriber::EnvFilter;

/// Where `SIXBELLS_LOG` says nothing else: openraft's own tale is long.
const LOGGED: &str = "info,openraft=warn";

/// Run one node of a test.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's id.
    #[arg(long)]
    id: u64,
    /// Its data directory.
    #[arg(long)]
    dir: PathBuf,
    /// The cluster's name.
    #[arg(long)]
    cluster: String,
    /// All members, this one included: where they listen.
    #[arg(long = "peer", value_name = "ID=ADDRESS", value_parser = parse_peer)]
    peers: Vec<(u64, String)>,
    /// Where to dial a peer instead.
    #[arg(long = "route", value_name = "ID=ADDRESS", value_parser = parse_peer)]
    routes: Vec<(u64, String)>,
    /// What it promises.
    #[arg(long, default_value_t)]
    mode: Mode,
    /// What keeps the log.
    #[arg(long, default_value_t)]
    log: LogEngine,
    /// A snapshot is taken after so many entries.
    #[arg(long, default_value_t = 300)]
    snapshot_entries: u64,
    /// So many entries are kept behind a snapshot: fewer than a node misses in a fault, so that it
    /// catches up from a snapshot now and then.
    #[arg(long, default_value_t = 100)]
    log_keep_entries: u64,
}

/// Runs the command.
pub(crate) fn run(args: &NodeArgs) -> anyhow::Result<Exit> {
    let filter = EnvFilter::try_from_env("SIXBELLS_LOG").unwrap_or_else(|_| LOGGED.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    // A node that is stopped cannot notice that the harness is gone: the kernel ends it then.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(args))
}

async fn serve(args: &NodeArgs) -> anyhow::Result<Exit> {
    let config = Config {
        snapshot_entries: args.snapshot_entries,
        log_keep_entries: args.log_keep_entries,
        ..Config::default()
    };
    let mut builder = Node::<Tested>::builder(args.id)
        .cluster(&args.cluster)
        .data_dir(&args.dir)
        .peers(args.peers.clone())
        .log_engine(args.log)
        .config(config);
    for (peer, address) in &args.routes {
        builder = builder.route(*peer, address);
    }
    match args.mode {
        Mode::Strong => {
            let node = builder.start().await?;
            tokio::select! {
                reason = node.stopped() => bail!("the node has stopped: {reason}"),
                () = input_closed() => node.shutdown().await,
            }
        }
        Mode::Eventual => {
            let node = builder.start_eventual().await?;
            tokio::select! {
                reason = node.stopped() => bail!("the node has stopped: {reason}"),
                () = input_closed() => node.shutdown().await,
            }
        }
    }
    Ok(Exit::Valid)
}

/// Waits until nobody holds the other end of the standard input. A thread of its own, since a read
/// cannot be taken back: it must not hold up the end of the process.
async fn input_closed() {
    let (closed, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
        // Nobody waits any more if the node has stopped by itself.
        let _gone = closed.send(());
    });
    // An error means that the thread is gone, and with it the harness' last word.
    let _closed = wait.await;
}

fn parse_peer(text: &str) -> Result<(u64, String), String> {
    let (id, address) = text.split_once('=').ok_or("it is not of the form ID=ADDRESS")?;
    Ok((id.parse().map_err(|error| format!("{id}: {error}"))?, address.to_owned()))
}
