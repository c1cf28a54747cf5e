//! Row `behind`: does the leader feel a follower that has a million writes to catch up with?
//!
//! In: a follower that stood still, writes that it missed, and a steady load at a part of what the cluster can.
//! Out: how long it takes, and the leader's writes before, meanwhile and afterwards. Once the log is kept;
//! once it is purged, so that the leader has to send a snapshot.
//!
//! Does not: let snapshots come by themselves; whether there is one decides what the follower is sent. Restart the
//! follower: the row `restart` does, and what a start reads delays the leader only where they share a disk.

use std::time::Duration;

use sixbells_gauge::{Keys, Limits, Plan, Row, Until, meanwhile};
use tokio::time::Instant;

use crate::{
    arguments::Arguments,
    ground::{Ground, MANY, VALUE_BYTES, has_room, header, seconds, steady_rate, writes},
};

const WRITES: u64 = 1_000_000;
const LOG_BYTES: u64 = 1 << 30;

/// What the leader's p99 may grow by while a follower catches up.
const P99_RATIO_MAX: f64 = 2.0;

/// How long the leader may keep what a follower lacks that is away.
const PURGE_MAX: Duration = Duration::from_secs(60);

/// How long catching up may take.
const CATCH_UP_MAX: Duration = Duration::from_secs(20 * 60);

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.count(WRITES).max(1);
    if !has_room("behind", 3, (count, VALUE_BYTES), LOG_BYTES)? {
        return Ok(());
    }
    let kept = Limits::snapshots_on_order();
    one(arguments, count, ("from the log", kept)).await?;
    // Harmless to the follower that is well: nothing is purged but by the one snapshot, which waits for no load.
    let purged = Limits { log_keep_entries: Some(0), ..kept };
    one(arguments, count, ("from a snapshot", purged)).await
}

async fn one(
    arguments: &Arguments,
    count: u64,
    (how, limits): (&str, Limits),
) -> anyhow::Result<()> {
    println!("\nbehind, {how}: {count} writes of {VALUE_BYTES} B missed\n{}", header());
    let mut ground = Ground::prepare(limits).await?;
    let keys = Keys::below(count);
    let filled = ground.send(&writes(MANY, keys, Until::Requests(count)), "all").await?;
    ground.print(&filled).await?;
    let rate = steady_rate(&filled);
    let steady =
        Plan { rate: Some(rate), ..writes(MANY, keys.scattered(), arguments.for_a_phase()) };
    let before = ground.load(&steady, "before").await?;
    ground.print(&before).await?;

    let (leader, follower) = (ground.leader, ground.follower());
    let reached = ground.cluster.status(follower).await?.last_log_index;
    let paused = ground.cluster.pause(follower).await?;
    let missed = ground.send(&writes(MANY, keys, Until::Requests(count)), "missed").await?;
    ground.print(&missed).await?;
    if limits.log_keep_entries.is_some() {
        ground.cluster.snapshot(leader).await?;
        let began = Instant::now();
        ground.cluster.purged(leader, reached.unwrap_or(0) + 1, PURGE_MAX).await?;
        println!("the log was purged {} after the snapshot", seconds(began.elapsed()));
    }

    let (row, took) = meanwhile(&mut ground.cluster, &steady, async |cluster| {
        let began = Instant::now();
        cluster.resume(paused)?;
        cluster.caught_up((follower, leader), began, CATCH_UP_MAX).await
    })
    .await?;
    let during = Row { what: "during".into(), ..row };
    ground.print(&during).await?;
    let after = ground.load(&steady, "after").await?;
    ground.print(&after).await?;
    println!(
        "open loop at {:.0} writes/s; the follower answers after {}, has caught up after {}",
        rate,
        seconds(took.answers),
        seconds(took.level)
    );
    println!("during / before: {}", during.beside(&before));
    println!("after / before: {}", after.beside(&before));
    let ratio = during.p99_ms / before.p99_ms;
    let verdict = if ratio <= P99_RATIO_MAX { "met" } else { "missed" };
    println!("p99 during / before: {ratio:.2}; at most {P99_RATIO_MAX} is meant: {verdict}");
    ground.end().await
}
