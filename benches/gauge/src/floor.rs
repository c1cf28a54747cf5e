//! The floor: the disk and the network under every figure, without any system on them.
//!
//! Owns [`bare`]: one `fdatasync` of 4 KiB in a file of zeros and one round trip on loopback, one after the other.
//! A replicated write of one client is hardly faster on this machine at this moment.
//!
//! Does not: batch, or use the runtime; a thread and blocking calls are the least there is. Append to a file that
//! grows: its sync would record a length and blocks, too.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    load::{Keys, Outcome, Plan, Until, Verb},
    process::{Used, store},
    row::Row,
};

const BLOCK_BYTES: usize = 4_096;
const BLOCKS: u64 = 4_096;
const MESSAGE_BYTES: usize = 128;

/// Measures the floor for this long.
///
/// # Errors
/// When disk or loopback fail.
pub fn bare(time: Duration) -> anyhow::Result<Row> {
    let dir = store()?;
    let file = File::create(dir.path().join("floor"))?;
    (0..BLOCKS).map(|_| [0; BLOCK_BYTES]).try_for_each(|block| (&file).write_all(&block))?;
    file.sync_all()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut message = [0; MESSAGE_BYTES];
        // Ends when the near side hangs up.
        while far.read_exact(&mut message).and_then(|()| far.write_all(&message)).is_ok() {}
    });
    let mut latencies_us = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let (mut syncs, mut message, began) = (0_u64, [7; MESSAGE_BYTES], Instant::now());
    while began.elapsed() < time {
        let once = Instant::now();
        file.write_all_at(&[7; BLOCK_BYTES], syncs % BLOCKS * BLOCK_BYTES as u64)?;
        file.sync_data()?;
        near.write_all(&message)?;
        near.read_exact(&mut message)?;
        latencies_us.saturating_record(u64::try_from(once.elapsed().as_micros())?);
        syncs += 1;
    }
    let took = began.elapsed();
    drop(near);
    let echoed = echo.join();
    anyhow::ensure!(echoed.is_ok(), "the echo panicked");
    let plan = Plan {
        verb: Verb::Write,
        clients: 1,
        value_bytes: BLOCK_BYTES,
        keys: Keys::below(1),
        rate: None,
        until: Until::Time(time),
    };
    let outcome = Outcome { latencies_us, writes: 0, errors: 0, first_error: None, took };
    let row =
        Row::of("bare".into(), &plan, &outcome, &Used { syncs: Some(syncs), ..Used::default() });
    // There is no node whose processor time or memory could be counted.
    Ok(Row { cpu_us_per_op: f64::NAN, resident_mib: f64::NAN, ..row })
}
