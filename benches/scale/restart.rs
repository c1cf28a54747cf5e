//! Row `restart`: how long a node needs that has to read everything first.
//!
//! In: a follower that was killed, once with a million entries in its log and no snapshot, once with a
//! snapshot of 1 GiB and next to no log. Out: the time from the spawn until it says how it is, and until it lacks
//! nothing. Nothing else goes on meanwhile.

use std::time::Duration;

use sixbells_gauge::{Keys, Limits, Plan, System, Until};
use tokio::time::Instant;

use crate::{
    arguments::Arguments,
    ground::{Ground, MANY, VALUE_BYTES, has_room, header, mib, seconds, writes},
};

const ENTRIES: u64 = 1_000_000;
const KEYS: u64 = 10_000;

/// What comes while an entry is under way shares the next one: so two clients fill the log with entries of one
/// command each, or nearly, and no number fills it faster.
const FEW: usize = 2;

/// An entry of one small command on disk.
const ENTRY_BYTES: u64 = 512;

/// With this many keys of this size, the snapshot has 1 GiB.
const LARGE_KEYS: u64 = 4_000_000;
const LARGE_VALUE_BYTES: usize = 256;

/// How long a restart may take.
const RESTART_MAX: Duration = Duration::from_secs(20 * 60);

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    from_log(arguments).await?;
    from_snapshot(arguments).await
}

async fn from_log(arguments: &Arguments) -> anyhow::Result<()> {
    let entries = arguments.count(ENTRIES).max(1);
    println!("\nrestart from a log of {entries} entries, no snapshot\n{}", header());
    if !has_room("restart", 3, (KEYS, VALUE_BYTES), entries * ENTRY_BYTES)? {
        return Ok(());
    }
    let mut ground = Ground::prepare(Limits::snapshots_on_order()).await?;
    let mut left = entries;
    while left > 0 {
        let plan = writes(FEW, Keys::below(KEYS), Until::Requests(left));
        let row = ground.send(&plan, "fill").await?;
        ground.print(&row).await?;
        anyhow::ensure!(row.errors == 0, "the log could not be filled");
        // Some entries have two commands.
        left = entries.saturating_sub(ground.last_index().await?);
    }
    restart(ground).await
}

async fn from_snapshot(arguments: &Arguments) -> anyhow::Result<()> {
    let keys = arguments.count(LARGE_KEYS).max(1);
    println!("\nrestart from a snapshot of {keys} keys of {LARGE_VALUE_BYTES} B\n{}", header());
    let log_bytes = keys * (LARGE_VALUE_BYTES as u64 + 100);
    if !has_room("restart", 3, (keys, LARGE_VALUE_BYTES), log_bytes)? {
        return Ok(());
    }
    let limits = Limits { log_keep_entries: Some(0), ..Limits::snapshots_on_order() };
    let mut ground = Ground::prepare(limits).await?;
    let plan = writes(MANY, Keys::below(keys), Until::Requests(keys));
    let row = ground.send(&Plan { value_bytes: LARGE_VALUE_BYTES, ..plan }, "fill").await?;
    ground.print(&row).await?;
    let (follower, began) = (ground.follower(), Instant::now());
    ground.cluster.snapshot(follower).await?;
    println!("snapshot taken in {}", seconds(began.elapsed()));
    restart(ground).await
}

/// Kills a follower, and starts it again.
async fn restart(mut ground: Ground) -> anyhow::Result<()> {
    let (leader, follower) = (ground.leader, ground.follower());
    ground.cluster.level().await?;
    let status = ground.cluster.status(follower).await?;
    let snapshot = ground.cluster.disk_bytes(follower, "snapshot-")?;
    let all = ground.cluster.disk_bytes(follower, "")?;
    println!(
        "the follower has entries {} to {}, a snapshot of {:.1} MiB, and {:.1} MiB beside it",
        status.purged.map_or(0, |id| id.index + 1),
        status.last_log_index.unwrap_or(0),
        mib(snapshot),
        mib(all.saturating_sub(snapshot))
    );
    ground.cluster.kill(follower).await?;
    let began = Instant::now();
    ground.cluster.restart(follower)?;
    let took = ground.cluster.caught_up((follower, leader), began, RESTART_MAX).await?;
    println!(
        "it answers after {}, has caught up after {}; its memory {:.0} MiB at most",
        seconds(took.answers),
        seconds(took.level),
        mib(ground.cluster.processes().memory(follower)?.peak)
    );
    ground.end().await
}
