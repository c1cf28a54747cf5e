//! Snapshots on their way between nodes, in pieces.
//!
//! Owns both ends of a transfer: [`send`] reads the file piece by piece, [`Inbox`] puts the pieces of
//! each sender together and has the whole verified.
//!
//! Invariants
//! - Pieces of one transfer come in order; one at any other offset ends the transfer, and the sender
//!   starts again from the beginning. The last piece is empty and says: install it.
//! - At most one transfer per sender is open, and nothing is handed over before its checksum is
//!   verified. A file that was handed over to be installed is never written to again.
//! - A piece is durable before the next one is sent, and a rest comes in between: the next sync of a log on the
//!   receiver's disk waits for one piece at most. So pieces are short, unless longer ones take hardly longer.
//! - A piece is waited for no longer than a batch of entries; only installing may take long, and is
//!   waited for as long as the receiver answers at all. A partition costs seconds, not
//!   `snapshot_timeout`.
//! - Memory: one piece at a time at either end.
//!
//! Does not: decide who needs a snapshot, install one, or resume a broken transfer.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use crate::{
    codec,
    config::Config,
    error::Error,
    rpc::{self, Chunk},
    runtime::{Instant, Runtime, Select2, rest_after},
    storage::{Pieces, Receiving, SnapshotFile, Snapshots},
    transport::{CallError, Kind, Lane, Message, Peer, Transport},
};

/// A rest follows each piece, for the receiver may share its disk with others, perhaps with the sender. All rests together
/// take no more than this part of the time that a transfer has.
const RESTS_PART: u32 = 4;

/// The most in a piece, unless more takes hardly longer.
const SHORT_BYTES: usize = 256 << 10;

/// What takes less than this is no long way.
const LONG: Duration = Duration::from_millis(10);

/// Pieces of a size that was tried, or gone back to, before another is tried.
const STAYS: u32 = 16;

/// The reply to a [`Chunk`].
#[derive(Serialize, Deserialize)]
pub(crate) enum SnapshotReply<T> {
    /// Received; the next piece starts here.
    Next(u64),
    /// All pieces were received and the snapshot was installed or found to be old; this is what the
    /// receiver has to say to that.
    Done(T),
}

/// Sends a snapshot with the sender's vote, if it has one, and returns what the receiver says.
pub(crate) async fn send<R: Runtime, T: DeserializeOwned>(
    transport: &dyn Transport,
    peer: &Peer,
    (from, vote): (u64, Bytes),
    file: SnapshotFile,
    config: &Config,
) -> Result<T, Error> {
    let deadline = R::Instant::now() + config.snapshot_timeout;
    let total = file.bytes;
    let unreadable = |e: io::Error| Error::Overloaded(format!("read snapshot: {e}"));
    let (mut offset, mut rests) = (0, config.snapshot_timeout / RESTS_PART);
    let (mut pieces, mut size) = (None, PieceSize::of(config.snapshot_chunk_bytes));
    while R::Instant::now() < deadline {
        let began = R::Instant::now();
        let (source, opened) = (file.clone(), pieces.take());
        let piece_bytes = size.bytes;
        let read = R::blocking(move || {
            let mut pieces: Pieces = opened.map_or_else(|| source.pieces(), Ok)?;
            pieces.next(piece_bytes).map(|bytes| (bytes, pieces))
        });
        let (bytes, opened) = read.await.and_then(|read| read).map_err(unreadable)?;
        pieces = Some(opened);
        let sent = offset + bytes.len() as u64;
        let chunk = Chunk { from, vote: vote.clone(), offset, total, bytes };
        let request =
            Message { kind: Kind::Snapshot, request: 0, body: codec::encode(&chunk).into() };
        let reply = if offset < total {
            transport.call(peer, Lane::Snapshot, request, config.append_timeout).await?
        } else {
            let remaining = deadline - R::Instant::now();
            let installed = transport.call(peer, Lane::Snapshot, request, remaining);
            let silent = silence::<R>(transport, peer, config.append_timeout);
            match R::select2(installed, silent).await {
                Select2::First(reply) => reply?,
                Select2::Second(error) => return Err(error.into()),
            }
        };
        match rpc::read_reply::<SnapshotReply<T>>(&reply)? {
            SnapshotReply::Next(next) if next == sent && next > offset => {
                let took = R::Instant::now() - began;
                size.took(took);
                offset = next;
                let rest = rest_after(took).min(rests);
                rests -= rest;
                R::sleep(rest).await;
            }
            SnapshotReply::Next(next) => {
                return Err(Error::Refused(format!("piece at {offset} answered with {next}")));
            }
            SnapshotReply::Done(said) => return Ok(said),
        }
    }
    Err(Error::Unknown(format!("{offset} of {total} bytes were sent in time")))
}

/// How many bytes a piece has. Where the way is long, twice as many take hardly longer; where the disk is slow, twice as
/// long, and then whoever shares it would wait for twice as long, too. One tells them apart by trying.
struct PieceSize {
    bytes: usize,
    max: usize,
    /// What a piece took before the size was doubled last.
    half_took: Duration,
    /// Pieces before another size is tried: a larger one where they are short, and short ones again where they are as
    /// large as they may be, for what the half took may be long ago.
    stays: u32,
}

impl PieceSize {
    fn of(max: usize) -> Self {
        Self { bytes: SHORT_BYTES.min(max), max, half_took: Duration::ZERO, stays: 0 }
    }

    fn took(&mut self, took: Duration) {
        let (short, is_short) = (SHORT_BYTES.min(self.max), self.bytes <= SHORT_BYTES);
        self.stays = self.stays.saturating_sub(1);
        if took < LONG {
            self.bytes = short;
        } else if !is_short && took > self.half_took * 3 / 2 {
            (self.bytes, self.stays) = (short, STAYS);
        } else if self.stays == 0 && self.bytes == self.max {
            self.bytes = short;
        } else if self.stays == 0 {
            (self.bytes, self.half_took) = (self.max.min(2 * self.bytes), took);
            self.stays = if self.bytes == self.max { STAYS } else { 0 };
        }
    }
}

/// Returns when the peer does not answer at all any more.
async fn silence<R: Runtime>(
    transport: &dyn Transport,
    peer: &Peer,
    timeout: Duration,
) -> CallError {
    loop {
        R::sleep(timeout).await;
        let probe = Message { kind: Kind::Probe, request: 0, body: Bytes::new() };
        if let Err(error) = transport.call(peer, Lane::Control, probe, timeout).await {
            return error;
        }
    }
}

/// Transfers open at once: more are leftovers.
const TRANSFERS_MAX: usize = 4;

/// Transfers on their way in.
#[derive(Debug)]
pub(crate) struct Inbox {
    shelf: Mutex<Option<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    snapshots: Snapshots,
    open: BTreeMap<u64, Transfer>,
    /// Files that were whole: their names are not used again, for they may be waiting to be installed.
    whole: u64,
}

#[derive(Debug)]
struct Transfer {
    name: u64,
    receiving: Receiving,
}

impl Inbox {
    pub(crate) fn new(snapshots: Snapshots) -> Self {
        Self { shelf: Mutex::new(Some(Shelf { snapshots, open: BTreeMap::new(), whole: 0 })) }
    }

    /// Lets go of the disk; takes nothing more.
    pub(crate) async fn close(&self) {
        *self.shelf.lock().await = None;
    }

    /// Takes a piece. With the last one the snapshot is whole, and is returned, verified; before,
    /// the offset of the next piece.
    pub(crate) async fn take<R: Runtime>(
        &self,
        chunk: Chunk,
    ) -> io::Result<Result<SnapshotFile, u64>> {
        let mut shelf = self.shelf.lock().await;
        let shelf = shelf.as_mut().ok_or_else(|| io::Error::other("the node is stopping"))?;
        let (from, snapshots, open) = (chunk.from, shelf.snapshots.clone(), &mut shelf.open);
        let transfer = open.remove(&from);
        if open.len() >= TRANSFERS_MAX {
            open.pop_first();
        }
        let free = || (shelf.whole..).find(|name| open.values().all(|other| other.name != *name));
        let name = transfer.as_ref().map(|transfer| transfer.name).or_else(free).unwrap_or(from);
        let step = R::blocking(move || {
            let mut receiving = match transfer {
                _ if chunk.offset == 0 => snapshots.receive(name)?,
                Some(Transfer { receiving, .. }) if receiving.bytes() == chunk.offset => receiving,
                _ => return Err(io::Error::other("out of order; start again")),
            };
            if chunk.bytes.is_empty() && chunk.offset == chunk.total {
                return receiving.finish().map(Step::Whole);
            }
            receiving.append(&chunk.bytes)?;
            Ok(Step::Open(receiving))
        })
        .await??;
        Ok(match step {
            Step::Whole(file) => {
                shelf.whole = shelf.whole.max(name + 1);
                Ok(file)
            }
            Step::Open(receiving) => {
                let next = receiving.bytes();
                shelf.open.insert(from, Transfer { name, receiving });
                Err(next)
            }
        })
    }
}

enum Step {
    Open(Receiving),
    Whole(SnapshotFile),
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{
        error::StartError,
        runtime::{AsyncRuntime, REST_MAX, TokioRuntime},
        storage::{MemoryDisk, SnapshotMeta},
        transport::{BoxFuture, Service},
    };

    /// How long a piece takes, by its number and length.
    type Takes = fn(usize, usize) -> Duration;

    /// Takes each piece, and so long for it. Counts them.
    #[derive(Debug)]
    struct Slow(Inbox, Takes, AtomicUsize);

    impl Transport for Slow {
        fn call<'a>(
            &'a self,
            _to: &'a Peer,
            _lane: Lane,
            request: Message,
            _timeout: Duration,
        ) -> BoxFuture<'a, Result<Message, CallError>> {
            Box::pin(async move {
                let chunk: Chunk = codec::decode(&request.body).unwrap();
                let number = self.2.fetch_add(1, Ordering::Relaxed);
                let takes = (self.1)(number, chunk.bytes.len());
                <TokioRuntime as AsyncRuntime>::sleep(takes).await;
                let reply = match self.0.take::<TokioRuntime>(chunk).await.unwrap() {
                    Ok(whole) => SnapshotReply::Done(whole.bytes),
                    Err(next) => SnapshotReply::Next(next),
                };
                Ok(rpc::reply(0, &Ok::<_, Error>(reply)))
            })
        }

        fn listen(&self, _service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
            Box::pin(async { Ok(()) })
        }

        fn close(&self) {}
    }

    /// How long it takes to send so many bytes, and in how many pieces; the last one is empty.
    async fn transfer(
        bytes: usize,
        takes: Takes,
        (snapshot_chunk_bytes, snapshot_timeout): (usize, Duration),
    ) -> (Duration, usize) {
        let snapshots = || Snapshots::open(Arc::new(MemoryDisk::default())).unwrap().0;
        let meta = SnapshotMeta { last: None, membership: Bytes::new() };
        let file = snapshots().build(meta, |out| out.write_all(&vec![7; bytes])).unwrap();
        let config = Config { snapshot_chunk_bytes, snapshot_timeout, ..Config::default() };
        let peer = Peer { addr: "there".into(), node: None, disk: None };
        let slow = Slow(Inbox::new(snapshots()), takes, AtomicUsize::new(0));
        let (bytes, began) = (file.bytes, <TokioRuntime as AsyncRuntime>::Instant::now());
        let sent = send::<TokioRuntime, u64>(&slow, &peer, (1, Bytes::new()), file, &config).await;
        assert_eq!(sent.unwrap(), bytes);
        (began.elapsed(), slow.2.into_inner())
    }

    /// A follower was sent 137 MiB at the speed of the disk, which was the leader's as well, and for as long as that
    /// took the leader's writes took four times what they had taken.
    #[tokio::test(start_paused = true)]
    async fn two_thirds_of_the_time_are_left_to_others_but_not_of_a_long_way_or_a_short_time() {
        const fn ms(ms: u64) -> Duration {
            Duration::from_millis(ms)
        }
        let of_ten = async |takes, timeout| transfer(9_900, takes, (1_000, timeout)).await;
        let (took, pieces) = of_ten(|_, _| ms(5), ms(10_000)).await;
        assert_eq!((took, pieces), (10 * ms(15) + ms(5), 11));
        let (took, pieces) = of_ten(|_, _| ms(1_000), ms(60_000)).await;
        assert_eq!((took, pieces), (11 * ms(1_000) + 10 * REST_MAX, 11));
        let (took, pieces) = of_ten(|_, _| ms(20), ms(600)).await;
        assert_eq!((took, pieces), (11 * ms(20) + ms(150), 11));
    }

    /// On the leader's disk, its p99 beside pieces of 1 MiB was 2.0 to 2.8 times what it had been; beside a quarter of that,
    /// 1.2 to 2.0 times. And where a disk was slow, pieces were long because each took long, which made that worse.
    #[tokio::test(start_paused = true)]
    async fn pieces_are_short_unless_longer_ones_take_hardly_longer() {
        let pieces = async |takes| {
            let megabyte = (1 << 20, Duration::from_secs(600));
            transfer(4 << 20, takes, megabyte).await.1
        };
        // What the header makes it longer than 4 MiB comes in a piece of its own, and the last one is empty.
        assert_eq!(pieces(|_, _| Duration::from_millis(2)).await, 16 + 2);
        // 256 and 512 KiB, three of 1 MiB, what is left, and the empty one.
        assert_eq!(pieces(|_, _| Duration::from_millis(100)).await, 2 + 3 + 2, "a long way");
        let way: Takes = |_, bytes| Duration::from_micros(20_000 + bytes as u64 / 125);
        assert_eq!(pieces(way).await, 2 + 3 + 2, "a way that is not so long, at 1 Gbit/s");
        let disk: Takes = |_, bytes| Duration::from_micros(bytes as u64 / 20);
        assert_eq!(pieces(disk).await, 2 + 13 + 2, "a slow disk: one of 512 KiB, to see");
        let after_a_stall: Takes = |number, bytes| match number {
            0 => Duration::from_millis(100),
            _ => Duration::from_micros(bytes as u64 / 32),
        };
        assert_eq!(pieces(after_a_stall).await, 3 + 9 + 2, "and one of 1 MiB");
    }

    /// What a piece of half the size took may be long ago, or have been a stall.
    #[test]
    fn a_size_is_not_kept_for_ever() {
        let disk = |bytes: usize| Duration::from_micros(bytes as u64 / 20);
        let longer = |stalled: usize, max: usize, took: &dyn Fn(usize) -> Duration| {
            let mut size = PieceSize::of(max);
            let mut longer = 0;
            for piece in 0..1_000 {
                longer += usize::from(size.bytes > SHORT_BYTES);
                size.took(if piece < stalled {
                    Duration::from_millis(100)
                } else {
                    took(size.bytes)
                });
            }
            longer
        };
        let slow = longer(0, 1 << 20, &disk);
        assert!((50..70).contains(&slow), "one in {STAYS}, to see: {slow}");
        for stalled in 1..4 {
            for max in [512 << 10, 1 << 20] {
                let after = longer(stalled, max, &disk);
                assert!((50..70 + STAYS as usize).contains(&after), "{stalled}, {max}: {after}");
            }
        }
        let way = longer(0, 1 << 20, &|_| Duration::from_millis(100));
        assert!(way > 850, "nearly all where the way is long: {way}");
        let turns = std::cell::Cell::new(0);
        let now_and_then = |bytes: usize| {
            turns.set(turns.get() + 1);
            let quick = bytes <= SHORT_BYTES && turns.get() % 2 == 0;
            if quick { Duration::from_millis(9) } else { disk(bytes) }
        };
        let mixed = longer(0, 1 << 20, &now_and_then);
        assert!(mixed < 100, "what takes less than {LONG:?} is no reason to try again: {mixed}");
    }
}
