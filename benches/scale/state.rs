//! Row `state`: what a large state costs where all of it has to be written down, or sent.
//!
//! In: 10 million keys. Out: a row for each tenth of them; writes alone and while a snapshot is taken, on
//! the leader and on a follower; and while a fourth node with an empty disk is sent everything. Beside these the loop is
//! open: a moment in which nothing is written counts against all that was due then.
//!
//! Does not: set when snapshots are due by themselves. One was taken on order just before, so that the next
//! that nobody ordered is far away; where it comes all the same, the row says so.

use std::time::Duration;

use sixbells_gauge::{Keys, Limits, Memory, Plan, Row, System, Until, meanwhile};
use tokio::time::Instant;

use crate::{
    arguments::Arguments,
    ground::{
        Ground, MANY, NODES, VALUE_BYTES, has_room, header, mib, seconds, steady_rate, writes,
    },
};

const KEYS: u64 = 10_000_000;
const PARTS: u64 = 10;
const LOG_BYTES: u64 = 4 << 30;

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let each = (arguments.count(KEYS) / PARTS).max(1);
    println!("\nstate: {PARTS} x {each} keys of {VALUE_BYTES} B\n{}", header());
    if !has_room("state", 4, (each * PARTS, VALUE_BYTES), LOG_BYTES)? {
        return Ok(());
    }
    let mut ground = Ground::prepare(Limits::default()).await?;
    let rate = fill(&mut ground, each).await?;
    for seat in 0..NODES {
        ground.cluster.snapshot(seat).await?;
    }
    let keys = Keys::below(each * PARTS).scattered();
    let plan = Plan { rate: Some(rate), ..writes(MANY, keys, arguments.for_a_phase()) };
    println!("open loop at {rate:.0} writes/s");
    let alone = undisturbed(&mut ground, &plan).await?;
    for (seat, what) in [(ground.leader, "leader"), (ground.follower(), "follower")] {
        snapshot(&mut ground, &plan, (seat, what), &alone).await?;
    }
    fourth(&mut ground, &plan, &alone).await?;
    ground.end().await
}

/// Fills the state, and says at what rate to write beside something else then.
async fn fill(ground: &mut Ground, each: u64) -> anyhow::Result<f64> {
    let (mut rows, mut rate): (Vec<Row>, f64) = (Vec::new(), 0.0);
    for part in 0..PARTS {
        let plan = writes(MANY, Keys::new(part * each, each), Until::Requests(each));
        let row = ground.send(&plan, &format!("{}/{PARTS}", part + 1)).await?;
        ground.print(&row).await?;
        rate = steady_rate(&row);
        rows.push(row);
    }
    if let [first, .., last] = rows.as_slice() {
        println!("last / first: {}", last.beside(first));
    }
    Ok(rate)
}

/// Writes while nothing else goes on.
async fn undisturbed(ground: &mut Ground, plan: &Plan) -> anyhow::Result<Row> {
    let before = snapshots(ground).await?;
    let row = ground.load(plan, "alone").await?;
    ground.print(&row).await?;
    if before != snapshots(ground).await? {
        println!("a snapshot that nobody had ordered was taken meanwhile");
    }
    Ok(row)
}

/// The last entry of each node's snapshot.
async fn snapshots(ground: &Ground) -> anyhow::Result<Vec<Option<u64>>> {
    let mut all = Vec::new();
    for seat in 0..NODES {
        all.push(ground.cluster.status(seat).await?.snapshot.map(|id| id.index));
    }
    Ok(all)
}

async fn snapshot(
    ground: &mut Ground,
    plan: &Plan,
    (seat, what): (usize, &str),
    alone: &Row,
) -> anyhow::Result<()> {
    let before = fresh_peak(ground, seat)?;
    let (row, took) = meanwhile(&mut ground.cluster, plan, async |cluster| {
        let began = Instant::now();
        cluster.snapshot(seat).await?;
        Ok(began.elapsed())
    })
    .await?;
    let row = Row { what: "snapshot".into(), ..row };
    ground.print(&row).await?;
    println!("while the {what} took one / alone: {}", row.beside(alone));
    let bytes = ground.cluster.disk_bytes(seat, "snapshot-")?;
    let peak = ground.cluster.processes().memory(seat)?.peak;
    println!(
        "snapshot of the {what}: {}, {:.1} MiB; its memory {:.0} MiB before, {:.0} MiB at most",
        seconds(took),
        mib(bytes),
        mib(before.resident),
        mib(peak)
    );
    Ok(())
}

/// A fourth node joins with nothing.
async fn fourth(ground: &mut Ground, plan: &Plan, alone: &Row) -> anyhow::Result<()> {
    let leader = ground.leader;
    let before = fresh_peak(ground, leader)?;
    let (row, (seat, took)) = meanwhile(&mut ground.cluster, plan, async |cluster| {
        let began = Instant::now();
        let seat = cluster.start_stranger()?;
        cluster.answers(seat, began, START_MAX).await?;
        let began = Instant::now();
        cluster.add(leader, seat).await?;
        Ok((seat, began.elapsed()))
    })
    .await?;
    let row = Row { what: "fourth".into(), ..row };
    ground.print(&row).await?;
    println!("while a fourth node was sent everything / alone: {}", row.beside(alone));
    let sender = ground.cluster.processes().memory(leader)?.peak;
    let Memory { resident, peak } = ground.cluster.processes().memory(seat)?;
    println!(
        "fourth node: has everything and votes after {}; memory of the leader {:.0} MiB before, {:.0} MiB at \
         most; of the fourth {:.0} MiB at most, {:.0} MiB then",
        seconds(took),
        mib(before.resident),
        mib(sender),
        mib(peak),
        mib(resident)
    );
    Ok(())
}

/// A process that was started answers within this, on an empty disk.
const START_MAX: Duration = Duration::from_secs(30);

fn fresh_peak(ground: &mut Ground, seat: usize) -> anyhow::Result<Memory> {
    let processes = ground.cluster.processes();
    processes.forget_peak(seat)?;
    processes.memory(seat)
}
