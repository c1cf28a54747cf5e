//! The floor: the disk and the network under every figure, without any system on them.
//!
//! Owns
//! - [`bare`]: one `fdatasync` of 4 KiB in a file of zeros and one round trip on loopback, one after the other. A
//!   replicated write of one client is hardly faster on this machine at this moment.
//! - [`quorum`]: what such a write is made of where all nodes share this machine. A client, a leader and two followers,
//!   each a thread; the leader passes a message to both and syncs, as they do, and replies after the first of them.
//!
//! Does not: batch, encode, or use the runtime; a thread and blocking calls are the least there is. Append to a file
//! that grows: its sync would record a length and blocks, too.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
};

use crate::{
    load::{Keys, Outcome, Plan, Until, Verb},
    process::{Used, store},
    row::Row,
};

const BLOCK_BYTES: usize = 4_096;
const BLOCKS: u64 = 4_096;
const FOLLOWERS: usize = 2;

const MESSAGE: [u8; 128] = [7; _];

/// Measures a sync and a round trip for this long.
///
/// # Errors
/// When disk or loopback fail.
pub fn bare(time: Duration) -> anyhow::Result<Row> {
    let dir = store()?;
    let mut file = Zeros::in_dir(dir.path(), 0)?;
    let (mut near, far) = connection()?;
    let echo = serve(far, (), |()| Ok(()));
    let latencies = repeat(time, || {
        file.sync_one()?;
        ask(&mut near)
    });
    drop(near);
    ended(echo)?;
    Ok(row("bare", latencies?, file.written, time))
}

/// Measures writes to a leader and two followers for this long.
///
/// # Errors
/// When disk or loopback fail.
pub fn quorum(time: Duration) -> anyhow::Result<Row> {
    let dir = store()?;
    let (mut streams, mut followers) = (Vec::new(), Vec::new());
    for seat in 1..=FOLLOWERS {
        let (near, far) = connection()?;
        let file = Zeros::in_dir(dir.path(), seat)?;
        followers.push(serve(far, file, Zeros::sync_one));
        streams.push(near);
    }
    let (mut client, far) = connection()?;
    let file = Zeros::in_dir(dir.path(), 0)?;
    let replies = vec![0; FOLLOWERS];
    let leader = serve(far, Leader { file, followers: streams, replies }, Leader::replicate);
    let latencies = repeat(time, || ask(&mut client));
    drop(client);
    let mut leader = ended(leader)?;
    while leader.replies.iter().any(|replies| *replies < leader.file.written) {
        leader.take_replies()?;
    }
    let mut syncs = leader.file.written;
    // The followers' connections end.
    drop(leader);
    for follower in followers {
        syncs += ended(follower)?.written;
    }
    Ok(row("quorum", latencies?, syncs, time))
}

struct Leader {
    file: Zeros,
    followers: Vec<TcpStream>,
    /// How many each of them has sent.
    replies: Vec<u64>,
}

impl Leader {
    fn replicate(&mut self) -> io::Result<()> {
        for follower in &mut self.followers {
            follower.write_all(&MESSAGE)?;
        }
        self.file.sync_one()?;
        while self.replies.iter().all(|replies| *replies < self.file.written) {
            self.take_replies()?;
        }
        Ok(())
    }

    /// From whoever replies first, or has replied.
    fn take_replies(&mut self) -> io::Result<()> {
        let fd = |follower| PollFd::new(follower, PollFlags::IN);
        let mut fds: Vec<_> = self.followers.iter().map(fd).collect();
        retry_on_intr(|| poll(&mut fds, None))?;
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let nodes = self.followers.iter_mut().zip(&mut self.replies);
        for ((follower, replies), _) in nodes.zip(ready).filter(|(_, ready)| *ready) {
            follower.read_exact(&mut [0; MESSAGE.len()])?;
            *replies += 1;
        }
        Ok(())
    }
}

/// A file whose blocks are there before they are written.
struct Zeros {
    file: File,
    written: u64,
}

impl Zeros {
    fn in_dir(dir: &Path, name: usize) -> io::Result<Self> {
        let mut file = File::create(dir.join(name.to_string()))?;
        (0..BLOCKS).try_for_each(|_| file.write_all(&[0; BLOCK_BYTES]))?;
        file.sync_all()?;
        Ok(Self { file, written: 0 })
    }

    fn sync_one(&mut self) -> io::Result<()> {
        let at = self.written % BLOCKS * BLOCK_BYTES as u64;
        self.file.write_all_at(&[7; BLOCK_BYTES], at)?;
        self.written += 1;
        self.file.sync_data()
    }
}

fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

/// One round trip.
fn ask(near: &mut TcpStream) -> io::Result<()> {
    near.write_all(&MESSAGE)?;
    near.read_exact(&mut [0; MESSAGE.len()])
}

/// A thread that replies to each message when its work is done, until the other side hangs up.
fn serve<T: Send + 'static>(
    mut far: TcpStream,
    mut node: T,
    work: fn(&mut T) -> io::Result<()>,
) -> JoinHandle<io::Result<T>> {
    thread::spawn(move || {
        let mut message = MESSAGE;
        while far.read_exact(&mut message).is_ok() {
            work(&mut node)?;
            if far.write_all(&message).is_err() {
                break;
            }
        }
        Ok(node)
    })
}

fn ended<T>(thread: JoinHandle<io::Result<T>>) -> anyhow::Result<T> {
    let node = thread.join().map_err(|_panic| anyhow::anyhow!("a node without a system panicked"));
    Ok(node??)
}

/// Does it again and again, and says how long each took.
fn repeat(
    time: Duration,
    mut once: impl FnMut() -> io::Result<()>,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies_us = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let began = Instant::now();
    while began.elapsed() < time {
        let asked = Instant::now();
        once()?;
        latencies_us.saturating_record(u64::try_from(asked.elapsed().as_micros())?);
    }
    Ok(latencies_us)
}

fn row(what: &str, latencies_us: Histogram<u64>, syncs: u64, took: Duration) -> Row {
    let plan = Plan {
        verb: Verb::Write,
        clients: 1,
        value_bytes: BLOCK_BYTES,
        keys: Keys::below(1),
        rate: None,
        until: Until::Time(took),
    };
    let used = Used { syncs: Some(syncs), ..Used::default() };
    let outcome = Outcome { latencies_us, writes: 0, errors: 0, first_error: None, took };
    let row = Row::of(what.into(), &plan, &outcome, &used);
    // There is no node whose processor time or memory could be counted.
    Row { cpu_us_per_op: f64::NAN, resident_mib: f64::NAN, ..row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_synced_once_or_by_three() {
        let time = Duration::from_millis(300);
        let (one, three) = (bare(time).unwrap(), quorum(time).unwrap());
        assert!(one.syncs_per_op == 1.0, "{one}");
        assert!(three.syncs_per_op == 3.0, "{three}");
    }
}
