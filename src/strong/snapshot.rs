//! Snapshots on their way between nodes, in pieces.
//!
//! Owns both ends of a transfer: [`send`] reads the file piece by piece, [`Inbox`] puts the pieces of
//! each sender together and has the whole verified.
//!
//! Invariants
//! - Pieces of one transfer come in order; one at any other offset ends the transfer, and the sender
//!   starts again from the beginning.
//! - At most one transfer per sender is open, and nothing is installed before its checksum is
//!   verified.
//! - Memory: one piece at a time at either end.
//!
//! Does not: decide who needs a snapshot (openraft does), or resume a broken transfer.

use std::{collections::BTreeMap, io, time::Duration};

use openraft::alias::VoteOf;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::types::Types;
use crate::{
    codec,
    error::Error,
    rpc::{self, Chunk},
    runtime::Runtime,
    storage::{Receiving, SnapshotFile, Snapshots},
    transport::{Kind, Lane, Message, Peer, Transport},
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

/// Sends a snapshot and returns the receiver's vote.
pub(super) async fn send<R: Runtime>(
    transport: &dyn Transport,
    peer: &Peer,
    from: u64,
    vote: &VoteOf<Types<R>>,
    file: SnapshotFile,
    chunk_bytes: usize,
    timeout: Duration,
) -> Result<VoteOf<Types<R>>, Error> {
    let (vote, total) = (bytes::Bytes::from(codec::encode(vote)), file.bytes);
    let mut offset = 0;
    while offset < total {
        let source = file.clone();
        let bytes = R::blocking(move || source.chunk(offset, chunk_bytes))
            .await
            .and_then(|read| read)
            .map_err(|e| Error::Stopped(format!("read snapshot: {e}")))?;
        let chunk = Chunk { from, vote: vote.clone(), offset, total, bytes };
        let request =
            Message { kind: Kind::Snapshot, request: 0, body: codec::encode(&chunk).into() };
        let reply = transport.call(peer, Lane::Snapshot, request, timeout).await?;
        match rpc::read_reply::<SnapshotReply<R>>(&reply)? {
            SnapshotReply::Next(next) if next > offset => offset = next,
            SnapshotReply::Next(next) => {
                return Err(Error::Refused(format!("piece at {offset} answered with {next}")));
            }
            SnapshotReply::Done(vote) => return Ok(vote),
        }
    }
    Err(Error::Unknown(format!("all {total} bytes were sent, but none was the last")))
}

/// Transfers on their way in.
#[derive(Debug)]
pub(super) struct Inbox {
    shelf: Mutex<Option<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    snapshots: Snapshots,
    open: BTreeMap<u64, Receiving>,
}

impl Inbox {
    pub(super) fn new(snapshots: Snapshots) -> Self {
        Self { shelf: Mutex::new(Some(Shelf { snapshots, open: BTreeMap::new() })) }
    }

    /// Lets go of the disk; takes nothing more.
    pub(super) async fn close(&self) {
        *self.shelf.lock().await = None;
    }

    /// Takes a piece. With the last one the snapshot is whole, and is returned, verified; before,
    /// the offset of the next piece.
    pub(super) async fn take<R: Runtime>(
        &self,
        chunk: Chunk,
    ) -> io::Result<Result<SnapshotFile, u64>> {
        let mut shelf = self.shelf.lock().await;
        let shelf = shelf.as_mut().ok_or_else(|| io::Error::other("the node is stopping"))?;
        let receiving = shelf.open.remove(&chunk.from);
        let snapshots = shelf.snapshots.clone();
        let from = chunk.from;
        let step = R::blocking(move || {
            let mut receiving = match receiving {
                _ if chunk.offset == 0 => snapshots.receive(chunk.from)?,
                Some(receiving) if receiving.bytes() == chunk.offset => receiving,
                _ => return Err(io::Error::other("out of order; start again")),
            };
            receiving.append(&chunk.bytes)?;
            match receiving.bytes() >= chunk.total {
                true => receiving.finish().map(Step::Whole),
                false => Ok(Step::Open(receiving)),
            }
        })
        .await??;
        Ok(match step {
            Step::Whole(file) => Ok(file),
            Step::Open(receiving) => {
                let next = receiving.bytes();
                shelf.open.insert(from, receiving);
                Err(next)
            }
        })
    }
}

enum Step {
    Open(Receiving),
    Whole(SnapshotFile),
}
