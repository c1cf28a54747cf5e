//! Row `connections`: do 256 active clients feel that 10,000 others are connected?
//!
//! In: as many connections to the leader as it accepts, each idle but for one write. Out: writes and reads of the
//! active ones without and with them, and the memory that one takes on the leader: its task, its
//! buffers, and the session and the log entry of its one write.
//!
//! Does not: wait until they end. A client gives up a connection that it has not used for five minutes, so what is
//! measured is measured before.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use sixbells::Client;
use sixbells_gauge::{Keys, Limits, Plan, Row, System, Values, Verb, open_files_max, preload};
use tokio::time::Instant;

use crate::{
    arguments::Arguments,
    ground::{Ground, MANY, VALUE_BYTES, has_room, header, seconds, writes},
};

/// What a node accepts by default, less some for its peers and the active clients.
const CONNECTIONS: u64 = 9_900;
const KEYS: u64 = 10_000;
const LOG_BYTES: u64 = 1 << 30;

/// Connections that are opened at the same time.
const OPENING: usize = 64;

/// Open files of a process that are something else: its log, its peers, the active clients.
const OTHER_FILES: u64 = 200;

/// Opening and measuring have to be done by then, or the first connections are given up.
const UNUSED_MAX: Duration = Duration::from_secs(5 * 60);

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = arguments.connections.unwrap_or_else(|| arguments.count(CONNECTIONS)).max(1);
    let allowed = open_files_max().map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES));
    let count = wanted.min(allowed);
    println!("\nconnections: {MANY} active clients, {count} idle connections to the leader");
    if count < wanted {
        println!("{wanted} were wanted, but a process may have {allowed} open files and no more");
    }
    if !has_room("connections", 3, (KEYS, VALUE_BYTES), LOG_BYTES)? {
        return Ok(());
    }
    let mut ground = Ground::prepare(Limits::default()).await?;
    let plan = writes(MANY, Keys::below(KEYS), arguments.for_a_phase());
    preload(&ground.cluster, &plan).await?;
    println!("{}", header());
    let alone = both(&mut ground, &plan).await?;

    let leader = ground.leader;
    let memory = ground.cluster.processes().memory(leader)?.resident;
    let files = ground.cluster.processes().open_files(leader)?;
    let began = Instant::now();
    let (idle, error) = open(&ground, count).await;
    let took = began.elapsed();
    let grown = ground.cluster.processes().memory(leader)?.resident.saturating_sub(memory);
    if let Some(error) = error {
        println!("{} of {count} were opened; the first error: {error:#}", idle.len());
    }
    let crowded = both(&mut ground, &plan).await?;
    let held = ground.cluster.processes().open_files(leader)?.saturating_sub(files);
    println!(
        "opened in {}; the leader has {held} files more open than before, and {} bytes for each connection",
        seconds(took),
        grown / (idle.len() as u64).max(1)
    );
    if began.elapsed() > UNUSED_MAX {
        println!("that took longer than a client keeps a connection: some were closed meanwhile");
    }
    for (with, without) in crowded.iter().zip(&alone) {
        println!("{} with them / without: {}", with.what, with.beside(without));
    }
    drop(idle);
    ground.end().await
}

/// Writes, then reads.
async fn both(ground: &mut Ground, plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for verb in [Verb::Write, Verb::Read] {
        let row = ground.load(&Plan { verb, ..*plan }, &verb.to_string()).await?;
        ground.print(&row).await?;
        rows.push(row);
    }
    Ok(rows)
}

/// Clients with a connection each, and what the first said that has none.
async fn open(ground: &Ground, count: u64) -> (Vec<Client<Values>>, Option<anyhow::Error>) {
    let opening = stream::iter(0..count).map(|number| async move {
        let client = ground.cluster.connect(ground.leader).await?;
        client.write((number % KEYS, vec![7; VALUE_BYTES].into())).await?;
        anyhow::Ok(client)
    });
    let (mut open, mut first_error) = (Vec::new(), None);
    let mut opened = opening.buffer_unordered(OPENING);
    while let Some(client) = opened.next().await {
        match client {
            Ok(client) => open.push(client),
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    (open, first_error)
}
