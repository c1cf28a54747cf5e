//! Whether an operation costs the same however large log, state, connections and sessions have grown; and how
//! long a node takes that has to read, or to be sent, all of it.
//!
//! ```text
//! cargo bench -p sixbells-gauge --bench scale                           everything, in full: half an hour or more
//! cargo bench -p sixbells-gauge --bench scale -- --quick                a hundredth of all numbers
//! cargo bench -p sixbells-gauge --bench scale -- --only log,behind --scale 0.1
//! ```
//! | row | what grows | what is asked |
//! |---|---|---|
//! | `log` | 10 million writes over 10,000 keys | are the last million as cheap as the first? |
//! | `state` | 10 million keys | do writes feel a snapshot being taken, or a fourth node being sent it all? |
//! | `connections` | 9,900 that are idle | do 256 active clients feel them, and what memory has each? |
//! | `sessions` | a million | does a write feel the table, and what memory has each? |
//! | `restart` | a million entries, or a snapshot of 1 GiB | how long until the node answers, and lacks nothing? |
//! | `behind` | a million writes that a follower missed | does the leader feel it catching up, and how long? |
//!
//! Three node processes in strong mode, real disks and real syncs, on loopback; clients in this process, on the
//! same cores. Columns are those of the bench `load` (`CPU us` of all nodes for a write, `MiB` resident memory of
//! the largest node) and `disk MiB`, the largest data directory, `entries`, the leader's last log index: an
//! entry holds one command, or under load many. What a machine has no room for is said and left out.
//!
//! Does not: judge. Quote ratios, with the machine and whether it was busy.

#![expect(
    clippy::disallowed_methods,
    reason = "it measures the real world; the doors bind the library"
)]

mod arguments;
mod behind;
mod connections;
mod ground;
mod log;
mod restart;
mod sessions;
mod state;

use clap::Parser;
use sixbells_gauge::{serve, unless_told};

use crate::arguments::Arguments;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(spec) = &arguments.node {
        return serve(spec).await;
    }
    unless_told(run(&arguments)).await
}

/// Every row that is wanted. One that fails is told, and the next has its turn.
async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!("scale {}; closed loop, but for where a rate is named", arguments.fraction());
    let mut failed = Vec::new();
    for row in arguments::ROWS.into_iter().filter(|row| arguments.wants(row)) {
        let done = match row {
            "log" => log::run(arguments).await,
            "state" => state::run(arguments).await,
            "connections" => connections::run(arguments).await,
            "sessions" => sessions::run(arguments).await,
            "restart" => restart::run(arguments).await,
            _ => behind::run(arguments).await,
        };
        if let Err(error) = done {
            println!("{row}: FAILED: {error:#}");
            failed.push(row);
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
