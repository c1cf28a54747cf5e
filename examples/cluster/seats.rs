//! The eventual mode, shown: a node is cut off, both sides sell the same seats, and both say that it went
//! well. Once they have heard of each other, half of the buyers were told something untrue.
//!
//! What it says at the end was checked: each seat has one owner, the three machines hold the same, and
//! every sale that was acknowledged stands or was counted as revoked.

use std::time::Duration;

use anyhow::{bail, ensure};
use sixbells::{Client, EventualStatus};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    kv::{Answer, Command, Kv, Query},
    processes::Cluster,
};

const SEATS: u64 = 8;

/// Who is cut off.
const ALONE: u64 = 3;

/// A sale that a node has acknowledged.
struct Sale {
    seat: String,
    buyer: String,
}

pub(crate) async fn run(cluster: &mut Cluster) -> anyhow::Result<()> {
    acquainted(cluster).await?;
    println!("three nodes run in eventual mode; each accepts writes, and asks nobody");
    cluster.links.cut(ALONE);
    println!("node {ALONE} is cut off from nodes 1 and 2");

    let mut sales = Vec::new();
    for seller in [1, ALONE] {
        let client = cluster.client_of(seller).await?;
        let began = Instant::now();
        for number in 1..=SEATS {
            sales.push(sell(&client, format!("seat-{number}"), seller).await?);
        }
        let each_ms = began.elapsed().as_secs_f64() * 1e3 / SEATS as f64;
        println!("node {seller} sells {SEATS} seats, {each_ms:.1} ms each: all acknowledged");
    }
    println!("in strong mode, node {ALONE} would have refused, for it has no majority");

    cluster.links.heal();
    let healed = Instant::now();
    let keys = agreement(cluster).await?;
    println!(
        "healed; the three machines agree after {:.0} ms",
        healed.elapsed().as_secs_f64() * 1e3
    );
    ensure!(keys as u64 == SEATS, "{keys} seats have an owner, {SEATS} were sold");
    verdict(cluster, &sales).await
}

async fn sell(client: &Client<Kv>, seat: String, seller: u64) -> anyhow::Result<Sale> {
    let buyer = format!("a customer of node {seller}");
    let taken = client.write(Command::Claim(seat.clone(), buyer.clone())).await?;
    ensure!(taken.is_none(), "node {seller} knows that {seat} is taken by {taken:?}");
    Ok(Sale { seat, buyer })
}

async fn verdict(cluster: &Cluster, sales: &[Sale]) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let mut revoked = 0;
    for Sale { seat, buyer } in sales {
        // Nothing is tentative any more: this is final.
        match client.read_stable(Query::Get(seat.clone())).await? {
            Answer::Value(Some(owner)) if owner == *buyer => {}
            Answer::Value(Some(owner)) => {
                println!("  {seat}: {buyer} was told \"yours\", and {owner} has it");
                revoked += 1;
            }
            other => bail!("{seat} was sold, and now it is {other:?}"),
        }
    }
    ensure!(revoked == SEATS, "{revoked} sales were revoked: each seat was sold twice");
    println!(
        "verdict: {} sales acknowledged, {revoked} of them revoked; nothing else was lost, and the \
         replicas agree",
        sales.len()
    );
    Ok(())
}

/// Waits until each node has heard of the others, and accepts.
async fn acquainted(cluster: &mut Cluster) -> anyhow::Result<()> {
    for _ in 0..600 {
        cluster.all_run()?;
        let ready = |status: &EventualStatus| status.waits_for.is_none();
        if statuses(cluster).await.is_ok_and(|statuses| statuses.iter().all(ready)) {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("the nodes did not hear of each other within 30 s")
}

/// The status of each node that answers; an error if one does not.
async fn statuses(cluster: &Cluster) -> anyhow::Result<Vec<EventualStatus>> {
    let client = cluster.client().await?;
    let mut statuses = Vec::new();
    for addr in cluster.addrs() {
        statuses.push(client.eventual_status_of(addr).await?);
    }
    Ok(statuses)
}

/// Waits until everything is final everywhere, and the same; returns the number of keys.
async fn agreement(cluster: &Cluster) -> anyhow::Result<usize> {
    let mut seen = Vec::new();
    for _ in 0..1_500 {
        let statuses = statuses(cluster).await?;
        let first = &statuses[0].have;
        if statuses.iter().all(|status| status.tentative == 0 && status.have == *first) {
            seen.clear();
            for id in cluster.ids() {
                seen.push(cluster.client_of(id).await?.read_stable(Query::Digest).await?);
            }
            if let Answer::Digest { keys, .. } = seen[0]
                && seen.iter().all(|digest| *digest == seen[0])
            {
                return Ok(keys);
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    bail!("the machines did not agree within 30 s: {seen:?}")
}

fn introduce(cluster: &Cluster) {
    println!("\nThree nodes run in eventual mode. Their disks are in {}.", cluster.disks());
    println!("Cut one off: type\n\n  cut 3\n\nand sell a seat twice:\n");
    println!("  curl -X PUT -d ann '{}/kv/seat-1?claim'", cluster.http(1));
    println!("  curl -X PUT -d bob '{}/kv/seat-1?claim'", cluster.http(ALONE));
    println!("  curl {}/kv/seat-1", cluster.http(ALONE));
    println!("  curl '{}/kv/seat-1?stable'        final, and not there yet", cluster.http(1));
    println!("  curl {}/status", cluster.http(1));
    println!("\nThen type\n\n  heal\n\nand ask node {ALONE} again. Ctrl-C ends them all.");
}

/// What is typed, read on a thread of its own: a task that waits for a line would keep the program from
/// ending.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Runs for ever, and cuts and heals as it is told on the standard input.
pub(crate) async fn stay(cluster: &mut Cluster) -> anyhow::Result<()> {
    acquainted(cluster).await?;
    introduce(cluster);
    let mut lines = typed();
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["cut", id] if cluster.ids().any(|known| known.to_string() == id) => {
                cluster.links.cut(id.parse()?);
                println!("node {id} is cut off; every node goes on");
            }
            ["heal"] => {
                cluster.links.heal();
                match agreement(cluster).await {
                    Ok(_) => println!("healed; the three machines agree"),
                    Err(error) => println!("healed, but: {error}"),
                }
            }
            [] => {}
            _ => println!("cut 1, cut 2, cut 3, or heal"),
        }
    }
    // Nobody types any more; the nodes stay.
    std::future::pending().await
}
