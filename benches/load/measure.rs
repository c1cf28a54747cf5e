//! One cell of the table, and the failover row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::cluster::{Blob, Cluster};

/// Clients share a few connections, as the tasks of a service do.
const CONNECTIONS_MAX: usize = 8;
const KEYS: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    Write,
    Read,
    ReadLocal,
}

pub(crate) fn header() {
    println!(
        "{:<10} {:>8} {:>10} {:>9} {:>9} {:>9} {:>9} {:>12}",
        "what", "clients", "ops/s", "p50 ms", "p99 ms", "max ms", "syncs/s", "CPU us/op"
    );
}

pub(crate) async fn cell(
    cluster: &mut Cluster,
    verb: Verb,
    clients: usize,
    value: usize,
    seconds: f64,
) -> anyhow::Result<()> {
    run(cluster, verb, clients, value, seconds / 3.0).await?;
    let (syncs, cpu, began) = (cluster.syncs().await?, cluster.cpu_seconds(), Instant::now());
    let mut latencies = run(cluster, verb, clients, value, seconds).await?;
    let took = began.elapsed().as_secs_f64();
    let (syncs, cpu) = (cluster.syncs().await? - syncs, cluster.cpu_seconds() - cpu);
    latencies.sort_unstable();
    let quantile = |q: usize| latencies[(latencies.len() - 1) * q / 1000].as_secs_f64() * 1e3;
    let operations = f64::from(u32::try_from(latencies.len())?);
    println!(
        "{:<10} {clients:>8} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>9.0} {:>12.1}",
        format!("{verb:?}"),
        operations / took,
        quantile(500),
        quantile(990),
        quantile(1000),
        f64::from(u32::try_from(syncs)?) / took,
        cpu * 1e6 / operations,
    );
    Ok(())
}

async fn run(
    cluster: &Cluster,
    verb: Verb,
    clients: usize,
    value: usize,
    seconds: f64,
) -> anyhow::Result<Vec<Duration>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut connections = Vec::new();
    for _ in 0..clients.min(CONNECTIONS_MAX) {
        connections.push(cluster.client().await?);
    }
    let mut tasks: JoinSet<anyhow::Result<Vec<Duration>>> = JoinSet::new();
    for number in 0..clients {
        let (client, stop) = (connections[number % connections.len()].clone(), stop.clone());
        tasks.spawn(async move {
            let (mut latencies, mut key) = (Vec::new(), number as u64);
            while !stop.load(Ordering::Relaxed) {
                key = (key + 7_919) % KEYS;
                let began = Instant::now();
                match verb {
                    Verb::Write => client.write((key, Blob(vec![7; value]))).await?,
                    Verb::Read => drop(client.read(key).await?),
                    Verb::ReadLocal => drop(client.read_local(key).await?),
                }
                latencies.push(began.elapsed());
            }
            Ok(latencies)
        });
    }
    sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    while let Some(task) = tasks.join_next().await {
        all.extend(task??);
    }
    Ok(all)
}

/// SIGKILL of the leader to the next acknowledged write, over several kills.
pub(crate) async fn failover(cluster: &mut Cluster, kills: usize) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..kills {
        let client = cluster.client().await?;
        let leader = cluster.leader(&client).await?;
        client.write((0, Blob(Vec::new()))).await?;
        cluster.kill(leader).await?;
        let killed = Instant::now();
        client.write((0, Blob(Vec::new()))).await?;
        times.push(killed.elapsed());
        cluster.restart(leader)?;
        caught_up(cluster, &client).await?;
    }
    times.sort_unstable();
    let ms = |n: usize| times[n].as_secs_f64() * 1e3;
    println!(
        "failover over {kills} kills: min {:.0} ms, median {:.0} ms, max {:.0} ms",
        ms(0),
        ms(times.len() / 2),
        ms(times.len() - 1)
    );
    Ok(())
}

/// Waits until the leader says that no member lacks anything.
async fn caught_up(
    cluster: &Cluster,
    client: &sixbells::Client<crate::cluster::Values>,
) -> anyhow::Result<()> {
    for _ in 0..3_000 {
        cluster.leader(client).await?;
        client.write((0, Blob(Vec::new()))).await?;
        let status = client.status().await?;
        if status.lag.len() == 2 && status.lag.values().all(|lag| *lag <= 2) {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("a restarted node did not catch up")
}
