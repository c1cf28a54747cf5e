//! Snapshots on their way between nodes, in pieces.
//!
//! Owns the sending end of a transfer: [`send`] reads the file piece by piece. The other end is
//! [`inbox`](crate::inbox).
//!
//! Invariants
//! - Pieces of one transfer come in order; one at any other offset ends the transfer, and the sender
//!   starts again from the beginning. The last piece is empty and says: install it.
//! - A piece is waited for no longer than a batch of entries; only installing may take long, and is
//!   waited for as long as the receiver answers at all. A partition costs seconds, not
//!   `snapshot_timeout`.
//! - Memory: one piece at a time at either end.
//!
//! Does not: decide who needs a snapshot (openraft does), or resume a broken transfer.

use std::{io, time::Duration};

use openraft::{
    alias::VoteOf,
    async_runtime::{Instant, Select2},
};
use serde::{Deserialize, Serialize};

use super::types::Types;
use crate::{
    codec,
    error::Error,
    rpc::{self, Chunk},
    runtime::Runtime,
    storage::{Pieces, SnapshotFile},
    transport::{CallError, Kind, Lane, Message, Peer, Transport},
};

/// The reply to a [`Chunk`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) enum SnapshotReply<R: Runtime> {
    /// Received; the next piece starts here.
    Next(u64),
    /// All pieces were received and the snapshot was installed or found to be old; this is the
    /// receiver's vote.
    Done(VoteOf<Types<R>>),
}

/// What bounds a transfer, from [`Config`](crate::Config).
pub(super) struct Limits {
    pub(super) chunk_bytes: usize,
    pub(super) piece_timeout: Duration,
    pub(super) timeout: Duration,
}

/// Sends a snapshot and returns the receiver's vote.
pub(super) async fn send<R: Runtime>(
    transport: &dyn Transport,
    peer: &Peer,
    from: u64,
    vote: &VoteOf<Types<R>>,
    file: SnapshotFile,
    limits: Limits,
) -> Result<VoteOf<Types<R>>, Error> {
    let deadline = R::Instant::now() + limits.timeout;
    let (vote, total) = (bytes::Bytes::from(codec::encode(vote)), file.bytes);
    let unreadable = |e: io::Error| Error::Overloaded(format!("read snapshot: {e}"));
    let mut offset = 0;
    let mut pieces = None;
    while R::Instant::now() < deadline {
        let (source, opened, chunk_bytes) = (file.clone(), pieces.take(), limits.chunk_bytes);
        let read = R::blocking(move || {
            let mut pieces: Pieces = opened.map_or_else(|| source.pieces(), Ok)?;
            pieces.next(chunk_bytes).map(|bytes| (bytes, pieces))
        });
        let (bytes, opened) = read.await.and_then(|read| read).map_err(unreadable)?;
        pieces = Some(opened);
        let sent = offset + bytes.len() as u64;
        let chunk = Chunk { from, vote: vote.clone(), offset, total, bytes };
        let request =
            Message { kind: Kind::Snapshot, request: 0, body: codec::encode(&chunk).into() };
        let reply = if offset < total {
            transport.call(peer, Lane::Snapshot, request, limits.piece_timeout).await?
        } else {
            let remaining = deadline - R::Instant::now();
            let installed = transport.call(peer, Lane::Snapshot, request, remaining);
            let silent = silence::<R>(transport, peer, limits.piece_timeout);
            match R::select2(installed, silent).await {
                Select2::First(reply) => reply?,
                Select2::Second(error) => return Err(error.into()),
            }
        };
        match rpc::read_reply::<SnapshotReply<R>>(&reply)? {
            SnapshotReply::Next(next) if next == sent && next > offset => offset = next,
            SnapshotReply::Next(next) => {
                return Err(Error::Refused(format!("piece at {offset} answered with {next}")));
            }
            SnapshotReply::Done(vote) => return Ok(vote),
        }
    }
    Err(Error::Unknown(format!("{offset} of {total} bytes were sent in time")))
}

/// Returns when the peer does not answer at all any more.
async fn silence<R: Runtime>(
    transport: &dyn Transport,
    peer: &Peer,
    timeout: Duration,
) -> CallError {
    loop {
        R::sleep(timeout).await;
        let probe = Message { kind: Kind::Probe, request: 0, body: bytes::Bytes::new() };
        if let Err(error) = transport.call(peer, Lane::Control, probe, timeout).await {
            return error;
        }
    }
}
