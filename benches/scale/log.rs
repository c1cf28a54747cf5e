//! Row `log`: is the ten-millionth write as cheap as the first?
//!
//! In: a state that does not grow, 10,000 keys. Out: a row for each tenth of the writes, and how the last
//! compares with the first. Snapshots and purges are those of the default configuration.

use sixbells_gauge::{Keys, Limits, Row, Until};

use crate::{
    arguments::Arguments,
    ground::{Ground, MANY, VALUE_BYTES, has_room, header, writes},
};

const WRITES: u64 = 10_000_000;
const KEYS: u64 = 10_000;
const PARTS: u64 = 10;

/// What the log of a node may take: entries kept behind a snapshot, of 64 KiB each at most, and those since.
const LOG_BYTES: u64 = 1 << 30;

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let each = (arguments.count(WRITES) / PARTS).max(1);
    println!("\nlog: {PARTS} x {each} writes of {VALUE_BYTES} B over {KEYS} keys\n{}", header());
    if !has_room("log", 3, (KEYS, VALUE_BYTES), LOG_BYTES)? {
        return Ok(());
    }
    let mut ground = Ground::prepare(Limits::default()).await?;
    let plan = writes(MANY, Keys::below(KEYS), Until::Requests(each));
    let mut rows: Vec<Row> = Vec::new();
    for part in 1..=PARTS {
        let row = ground.send(&plan, &format!("{part}/{PARTS}")).await?;
        ground.print(&row).await?;
        rows.push(row);
    }
    if let [first, .., last] = rows.as_slice() {
        println!("last / first: {}", last.beside(first));
    }
    ground.end().await
}
