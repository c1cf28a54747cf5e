//! Snapshots on their way in, in pieces.
//!
//! Owns [`Inbox`], which puts the pieces of each sender together and has the whole verified.
//!
//! Invariants
//! - Pieces of one transfer come in order; one at any other offset ends the transfer, and the sender
//!   starts again from the beginning.
//! - At most one transfer per sender is open, and nothing is handed over before its checksum is
//!   verified. A file that was handed over to be installed is never written to again.
//!
//! Does not: install, or send.

use std::{collections::BTreeMap, io};

use tokio::sync::Mutex;

use crate::{
    rpc::Chunk,
    runtime::Runtime,
    storage::{Receiving, SnapshotFile, Snapshots},
};

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
