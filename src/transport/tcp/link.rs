//! One link: the connection of one lane to one peer, made again whenever it breaks.
//!
//! Owns the task that connects, shakes hands, writes requests, reads replies and backs off.
//!
//! In: [`Calls`], filled by callers. Out: bytes, and an answer or a fault for every call.
//!
//! Invariants
//! - A connection is made when somebody calls, never before: an unused link costs nothing.
//! - After a failure nothing is dialled before a random pause that doubles up to [`PAUSE_MAX`];
//!   meanwhile calls fail at once. The pause is forgotten with the first reply, not with the first
//!   connection: a peer that accepts and hangs up must not be dialled in a loop.
//! - A link unused for [`UNUSED_MAX`] ends.
//!
//! Does not: send a request twice, or decide whom to call.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::yield_now,
};

use super::{
    calls::Calls,
    handshake,
    stream::{self, Ended, FrameReader},
};
use crate::{
    runtime::{AsyncRuntime, Runtime, TokioRuntime},
    transport::{
        Lane, Peer,
        wire::{FRAME_BYTES_MAX, HELLO_BYTES_MAX, Hello},
    },
};

/// Longer than a round trip around the world, and than one lost SYN.
const CONNECT_WAIT: Duration = Duration::from_millis(1_500);

/// Bound of the first random pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(25);

/// Bound of all later ones.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A link nobody calls through ends after this long, its connection with it.
const UNUSED_MAX: Duration = Duration::from_secs(5 * 60);

/// Whom a link connects.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) cluster: Arc<str>,
    /// The calling node; `None` for a client.
    pub(super) from: Option<u64>,
    pub(super) to: Peer,
    /// Where to dial; [`Peer::addr`] unless a route says otherwise.
    pub(super) dial: String,
    pub(super) lane: Lane,
    /// [`UNUSED_MAX`], but for tests.
    pub(super) unused_max: Duration,
}

impl Target {
    pub(super) fn new(
        cluster: Arc<str>,
        from: Option<u64>,
        to: &Peer,
        dial: String,
        lane: Lane,
    ) -> Self {
        Self { cluster, from, to: to.clone(), dial, lane, unused_max: UNUSED_MAX }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.to, self.lane)?;
        if self.dial != self.to.addr { write!(f, " through {}", self.dial) } else { Ok(()) }
    }
}

/// A link, for as long as its task runs.
pub(super) struct Link<F: Fn() -> bool> {
    pub(super) target: Target,
    pub(super) calls: Arc<Calls>,
    /// Takes the link out of use, if nobody uses it.
    pub(super) retire: F,
}

impl<F: Fn() -> bool> Drop for Link<F> {
    /// Whatever ended the task, the runtime's end included, nobody waits for it.
    fn drop(&mut self) {
        self.calls.close("the connection's task ended");
        (self.retire)();
    }
}

impl<F: Fn() -> bool + Send + Sync> Link<F> {
    pub(super) async fn run(self) {
        tokio::select! {
            biased;
            // First, so that no amount of work makes it late.
            never = self.calls.keep_time() => match never {},
            () = connect_again(&self.target, &self.calls, &self.retire) => {}
        }
    }
}

/// Serves a link until `retire` agrees that nobody uses it any more.
async fn connect_again(target: &Target, calls: &Calls, retire: impl Fn() -> bool + Sync + Send) {
    let mut failures = 0;
    let mut known = String::new();
    loop {
        if calls.queued() == 0 {
            let wake = TokioRuntime::timeout(target.unused_max, calls.wake.notified()).await;
            if wake.is_err() && retire() {
                return;
            }
            continue;
        }
        let reason = match dial(target).await {
            Ok((mut reader, mut writer)) => {
                tracing::debug!(%target, "connected");
                let mut replied = false;
                let ended = carry(target, calls, &mut reader, &mut writer, &mut replied).await;
                if replied {
                    failures = 0;
                    known.clear();
                }
                let Some(reason) = ended.map(|ended| ended.to_string()) else { continue };
                calls.fail_sent("broken", &reason);
                if replied {
                    // The peer was well a moment ago: whatever is queued may try once more at once.
                    tracing::debug!(%target, reason, "connection lost");
                    continue;
                }
                reason
            }
            Err(reason) => reason,
        };
        if reason != known {
            tracing::warn!(%target, reason, "no connection");
            known.clone_from(&reason);
        }
        calls.down(&reason);
        failures += 1;
        TokioRuntime::sleep(pause(failures)).await;
        calls.up();
    }
}

/// A random time below a bound that doubles with each failure, so that the callers of a node that
/// comes back do not all come back in the same moment.
fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << (failures - 1).min(16));
    let bound = u64::try_from(doubled.min(PAUSE_MAX).as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(TokioRuntime::random_below(bound + 1))
}

/// Connects and shakes hands. The one place that names the kind of stream.
async fn dial(
    target: &Target,
) -> Result<
    (FrameReader<impl AsyncRead + Unpin + Send + use<>>, impl AsyncWrite + Unpin + Send + use<>),
    String,
> {
    let connect = TokioRuntime::timeout(CONNECT_WAIT, TcpStream::connect(&target.dial));
    let stream = match connect.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return Err(format!("cannot connect: {e}")),
        Err(_) => return Err(format!("no connection within {CONNECT_WAIT:?}")),
    };
    stream.set_nodelay(true).map_err(|e| format!("cannot connect: {e}"))?;
    let (read, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(read, HELLO_BYTES_MAX);
    let hello = Hello {
        cluster: target.cluster.as_ref().to_owned(),
        from: target.from,
        node: target.to.node,
        disk: target.to.disk,
        lane: target.lane.byte(),
    };
    handshake::call(&mut reader, &mut writer, &hello, &target.to).await?;
    reader.limit = FRAME_BYTES_MAX;
    Ok((reader, writer))
}

/// Carries calls over a connection until it ends; `None` if it was closed because nobody used it.
async fn carry<R, W>(
    target: &Target,
    calls: &Calls,
    reader: &mut FrameReader<R>,
    writer: &mut W,
    replied: &mut bool,
) -> Option<Ended>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    calls.connected();
    tokio::select! {
        biased;
        ended = read_replies(calls, reader, replied) => Some(ended),
        ended = write_requests(target, calls, writer) => ended,
        ended = silence(calls) => Some(ended),
    }
}

async fn read_replies<R>(calls: &Calls, reader: &mut FrameReader<R>, replied: &mut bool) -> Ended
where
    R: AsyncRead + Unpin + Send,
{
    loop {
        match reader.buffered() {
            Ok(Some(frame)) => {
                *replied = true;
                if !calls.answer(frame.call, frame.message) {
                    metrics::counter!("sixbells_replies_late_total").increment(1);
                }
            }
            Ok(None) => {
                if let Err(ended) = reader.fill().await {
                    return ended;
                }
                calls.heard();
            }
            Err(ended) => {
                metrics::counter!("sixbells_frames_refused_total").increment(1);
                return ended;
            }
        }
    }
}

/// `None` once nobody has called for long.
async fn write_requests<W>(target: &Target, calls: &Calls, writer: &mut W) -> Option<Ended>
where
    W: AsyncWrite + Unpin + Send,
{
    let mut batch = Vec::new();
    loop {
        if calls.is_busy() {
            // Others are about to call as well: let them, and write once for all.
            yield_now().await;
        }
        calls.drain(&mut batch);
        if !batch.is_empty() {
            if let Err(ended) = stream::write_batch(writer, &mut batch).await {
                return Some(ended);
            }
            continue;
        }
        let wake = TokioRuntime::timeout(target.unused_max, calls.wake.notified()).await;
        if wake.is_err() && calls.is_unused() {
            return None;
        }
    }
}

async fn silence(calls: &Calls) -> Ended {
    loop {
        calls.silent.notified().await;
        if calls.is_silent() {
            return Ended::Because("silent, though an answer was due");
        }
    }
}
