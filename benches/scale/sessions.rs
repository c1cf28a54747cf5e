//! Row `sessions`: does a write feel how many sessions the cluster remembers?
//!
//! In: 1,000 sessions, then a million. Each is opened by a client of its own with one write; such clients share
//! a few connections, and all but a thousand are forgotten at once, for the cluster remembers the session and not
//! the client. Out: writes that go round a thousand of the sessions, which lie all over the table, and the
//! memory of a session. (With the two commands that opened and used it, as far as the log's cache has room:
//! 64 MiB in all.)
//!
//! Does not: open more than it can in [`OPENING_MAX`]; it says how many there are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use sixbells::Client;
use sixbells_gauge::{Connection, Keys, Limits, Plan, Row, System, Values, measure_on, preload};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    arguments::Arguments,
    ground::{Ground, MANY, VALUE_BYTES, has_room, header, seconds, writes},
};

const SESSIONS: u64 = 1_000_000;
const FEW: u64 = 1_000;
const KEYS: u64 = 10_000;
const LOG_BYTES: u64 = 1 << 30;

/// Sessions that are opened at the same time: by so many tasks, so many each.
const TASKS: u64 = 8;
const OPENING: usize = 32;

/// Nothing more is opened after this.
const OPENING_MAX: Duration = Duration::from_secs(10 * 60);

/// What the table may hold beside: the nodes' own sessions and those of the clients that prepare.
const OTHERS: u64 = 1_000;

/// Many sessions as one connection: each write goes by the next of them.
#[derive(Clone)]
struct Round {
    clients: Arc<Vec<Client<Values>>>,
    next: Arc<AtomicUsize>,
}

impl Round {
    fn of(clients: &[Client<Values>]) -> Self {
        Self { clients: Arc::new(clients.to_vec()), next: Arc::default() }
    }

    fn client(&self) -> &Client<Values> {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }
}

impl Connection for Round {
    async fn write(&self, key: u64, value: Vec<u8>) -> anyhow::Result<()> {
        Connection::write(self.client(), key, value).await
    }

    async fn read(&self, key: u64) -> anyhow::Result<()> {
        Connection::read(self.client(), key).await
    }

    async fn read_local(&self, key: u64) -> anyhow::Result<()> {
        Connection::read_local(self.client(), key).await
    }
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let many = arguments.sessions.unwrap_or_else(|| arguments.count(SESSIONS)).max(2);
    let few = FEW.min(many / 2);
    println!("\nsessions: {few}, then {many}; writes by {few} of them\n{}", header());
    // To a node a session is a key with a value of some 200 bytes, and so it is to its snapshots.
    if !has_room("sessions", 3, (KEYS + many, 200), LOG_BYTES)? {
        return Ok(());
    }
    let limits = Limits { sessions_max: Some(many + OTHERS), ..Limits::default() };
    let mut ground = Ground::prepare(limits).await?;
    let plan = writes(MANY, Keys::below(KEYS), arguments.for_a_phase());
    preload(&ground.cluster, &plan).await?;

    let clients = open(&ground, few, 1).await?;
    let with_few = cost(&mut ground, &clients, &plan).await?;
    drop(clients);
    let (before, more, began) = (memory(&mut ground)?, many - few, Instant::now());
    let clients = open(&ground, more, more.div_ceil(few)).await?;
    let (took, grown) = (began.elapsed(), memory(&mut ground)?.saturating_sub(before));
    let reached = ground.cluster.status(ground.leader).await?.sessions;
    println!("{more} more sessions were asked for, there are {reached}; it took {}", seconds(took));
    let with_many = cost(&mut ground, &clients, &plan).await?;
    println!("{reached} sessions / {few}: {}", with_many.beside(&with_few));
    let each = grown / reached.saturating_sub(few).max(1);
    println!("memory of the leader for each session: {each} bytes");
    ground.end().await
}

/// What a write costs by these sessions.
async fn cost(ground: &mut Ground, clients: &[Client<Values>], plan: &Plan) -> anyhow::Result<Row> {
    anyhow::ensure!(!clients.is_empty(), "no session was opened");
    // Several names for one, for each has its own record of latencies.
    let rounds = vec![Round::of(clients); usize::try_from(TASKS)?];
    let row = measure_on(&mut ground.cluster, &rounds, plan).await?;
    let sessions = ground.cluster.status(ground.leader).await?.sessions;
    let row = Row { what: format!("{sessions}"), ..row };
    ground.print(&row).await?;
    Ok(row)
}

/// The leader's.
fn memory(ground: &mut Ground) -> anyhow::Result<u64> {
    Ok(ground.cluster.processes().memory(ground.leader)?.resident)
}

/// Opens sessions, and keeps the client of every so many-th.
async fn open(ground: &Ground, count: u64, keep_every: u64) -> anyhow::Result<Vec<Client<Values>>> {
    let (mut tasks, deadline) = (JoinSet::new(), Instant::now() + OPENING_MAX);
    let numbers = Arc::new(AtomicU64::new(0));
    for _ in 0..TASKS {
        let (crowd, numbers) = (ground.cluster.crowd(ground.leader), numbers.clone());
        tasks.spawn(async move {
            let own = std::iter::from_fn(|| {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                (number < count && Instant::now() < deadline).then_some(number)
            });
            let opening = stream::iter(own).map(|number| {
                let client = crowd.client();
                async move {
                    let client = client?;
                    client.write((number % KEYS, vec![7; VALUE_BYTES].into())).await?;
                    anyhow::Ok(number.is_multiple_of(keep_every).then_some(client))
                }
            });
            let mut opened = opening.buffer_unordered(OPENING);
            let mut kept = Vec::new();
            while let Some(client) = opened.next().await {
                kept.extend(client?);
            }
            anyhow::Ok(kept)
        });
    }
    let mut kept = Vec::new();
    while let Some(opened) = tasks.join_next().await {
        kept.extend(opened??);
    }
    Ok(kept)
}
