//! Three real node processes on loopback, each with its own disk, to talk to and to break.
//!
//! ```text
//! cargo run --release --example cluster            until Ctrl-C; prints how to talk to it
//! cargo run --release --example cluster -- --demo  kills the leader under load, checks the history, exits
//! ```
//! `SIXBELLS_LOG=sixbells=info` shows what the nodes say.
//!
//! The parent starts this same program once per node (`node`), watches who leads, and ends what it
//! started. `demo` is the load, the kill and the verdict; `kv` is the state machine; `http` lets
//! `curl` talk to a node.

#![expect(
    clippy::disallowed_methods,
    reason = "an application lives in the real world; the doors bind the library"
)]

mod demo;
mod http;
mod kv;
mod node;
mod processes;

use std::{io::IsTerminal, path::PathBuf};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "A three-node key-value cluster on loopback")]
struct Arguments {
    /// Kill the leader under load, restart it, check the history and the machines, and exit.
    #[arg(long)]
    demo: bool,
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
    let mut cluster = processes::Cluster::start(dir.path(), dir.is_given(), arguments.port)?;
    let work = async {
        match arguments.demo {
            true => demo::run(&mut cluster).await,
            false => processes::stay(&mut cluster).await,
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
