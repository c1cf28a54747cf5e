//! Three real node processes on loopback, each with its own disk, to talk to and to break.
//!
//! ```text
//! cargo run --release --example cluster            until Ctrl-C; prints how to talk to it
//! cargo run --release --example cluster -- --demo  kills the leader under load, checks the history, exits
//! cargo run --release --example cluster -- --mode eventual [--demo]   cuts a node off, sells seats twice
//! ```
//! `SIXBELLS_LOG=sixbells=info` shows what the nodes say.
//!
//! The parent starts this same program once per node (`node`), watches who leads, and ends what it
//! started. `demo` is the load, the kill and the verdict, `seats` the same for the eventual mode, whose
//! nodes reach each other through `links` that can be cut; `kv` is the state machine; `http` lets
//! `curl` talk to a node.

#![expect(
    clippy::disallowed_methods,
    reason = "an application lives in the real world; the doors bind the library"
)]

mod demo;
mod http;
mod kv;
mod links;
mod node;
mod processes;
mod seats;

use std::{io::IsTerminal, path::PathBuf};

use clap::{Parser, Subcommand};
use sixbells::Mode;

#[derive(Parser)]
#[command(about = "A three-node key-value cluster on loopback")]
struct Arguments {
    /// Kill the leader under load, restart it, check the history and the machines, and exit. In
    /// eventual mode: cut a node off, sell the same seats on both sides, heal, count, and exit.
    #[arg(long)]
    demo: bool,
    /// `strong` or `eventual`.
    #[arg(long, default_value_t)]
    mode: Mode,
    /// Where the nodes keep their disks. A new temporary directory if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// First of six ports: three for the nodes, three for HTTP.
    #[arg(long, default_value_t = 7100)]
    port: u16,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// One node of the cluster. The parent starts it.
    #[command(hide = true)]
    Node(node::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SIXBELLS_LOG")
        .unwrap_or_else(|_| "error".into());
    let arguments = Arguments::parse();
    if let Some(Command::Node(options)) = arguments.command {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init();
        return node::run(options).await;
    }
    let dir = processes::Directory::open(arguments.dir)?;
    let mode = arguments.mode;
    let mut cluster =
        processes::Cluster::start(dir.path(), dir.is_given(), arguments.port, mode).await?;
    let work = async {
        match (mode, arguments.demo) {
            (Mode::Strong, true) => demo::run(&mut cluster).await,
            (Mode::Strong, false) => processes::stay(&mut cluster).await,
            (Mode::Eventual, true) => seats::run(&mut cluster).await,
            (Mode::Eventual, false) => seats::stay(&mut cluster).await,
        }
    };
    let outcome = tokio::select! {
        biased;
        ended = processes::told_to_end() => ended,
        done = work => done,
    };
    cluster.end().await;
    outcome
}
