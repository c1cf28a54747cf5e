//! The doors to durable storage, and the words that cross them.
//!
//! Owns the vocabulary of the log ([`LogId`], [`Vote`], [`Record`]) and the [`LogStore`] door. A log
//! store keeps three things in ONE ordered stream of writes: the vote, the committed position and
//! the entries. Whatever survives a crash is a prefix of that stream.
//!
//! In: ordered writes, each with a [`Done`] that is called once the write is on disk.
//! Out: records by index, and the [`LogState`] as it was found on opening.
//!
//! Invariants
//! - A write is readable as soon as the call that made it returns; it is durable when its `Done` is
//!   called with `Ok`, never earlier.
//! - `Done`s are called in the order of the calls that brought them. One sync may serve many.
//! - Entries are contiguous: `purged.index + 1 ..= last.index`, without a gap.
//! - A write that fails closes the store: that `Done` and every later one gets the error. A failed
//!   sync is never retried, for the kernel may have dropped the dirty pages (fsyncgate).
//! - Damage is an error that names file and offset. A torn tail that was never acknowledged is cut
//!   and reported; nothing else is repaired by forgetting.
//!
//! Does not: interpret payloads, know about openraft, or decide when to snapshot or purge.

mod blocks;
mod commit;
mod disk;
mod files;
mod front;
mod home;
mod identity;
mod index;
mod lock;
mod memory;
mod records;
mod replaced;
mod scan;
mod sled;
mod slot;
mod snapshots;
mod state;
mod wal;

use std::{cmp::Ordering, fmt, io, ops::Range, path::Path, str::FromStr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use disk::{Disk, DiskFile, DiskReader, MemoryDisk, OsDisk};
pub(crate) use home::FORMAT as LOG_FORMAT_FILE;
pub use identity::Identity;
pub use memory::MemoryLog;
pub(crate) use snapshots::{
    Pieces, Reading, Receiving, SnapshotFile, SnapshotMeta, SnapshotOrigin, Snapshots,
};

use self::{commit::GroupCommit, home::Home};
use crate::error::StartError;

/// The position of an entry: the term of the leader that proposed it, and its place in the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// Place in the log. The first entry, the initial membership, has index 0.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// For whom a node voted, and whether a quorum agreed. Forgetting one elects two leaders in a term,
/// so it is durable before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// The candidate.
    pub voted_for: u64,
    /// Whether a quorum granted it, so that the candidate is the leader of the term.
    pub committed: bool,
}

impl PartialOrd for Vote {
    /// Two candidates of one term are incomparable: a node may not go from one to the other. Unless
    /// a quorum granted one: then the other lost, and who voted for the loser follows the winner.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.term.cmp(&other.term) {
            Ordering::Equal if self.committed != other.committed => {
                Some(self.committed.cmp(&other.committed))
            }
            Ordering::Equal if self.voted_for != other.voted_for => None,
            unequal => Some(unequal),
        }
    }
}

/// One log entry as the store sees it: a position and opaque bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub id: LogId,
    /// What it says; shared with the network and the state machine, not copied.
    pub payload: Bytes,
}

/// What a log store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogState {
    /// The last vote saved.
    pub vote: Option<Vote>,
    /// The last committed position saved. It may lag behind what is committed, never lead it.
    pub committed: Option<LogId>,
    /// The last entry removed from the front.
    pub purged: Option<LogId>,
    /// The last entry; equal to `purged` when the log holds none.
    pub last: Option<LogId>,
}

/// Called exactly once, when a write is durable or has failed. May be called on any thread, also
/// before the call that took it returns. Must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The door to the log. Calls return without waiting for the disk; they are made by one writer at a
/// time, while [`LogStore::read`] and [`LogStore::state`] may run beside them on other threads.
pub trait LogStore: Send + Sync + fmt::Debug + 'static {
    /// What the store holds, writes that are not yet durable included.
    fn state(&self) -> LogState;

    /// The entries of `range` that exist, oldest first, stopping once `bytes_max` of payload is
    /// exceeded, but always at least one if any exists. May read the disk.
    ///
    /// # Errors
    /// Damage (`InvalidData`, naming file and offset) or an IO error. State is unchanged.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>>;

    /// What [`read`](Self::read) would return, if that needs no disk. Never waits.
    fn read_recent(&self, range: Range<u64>, bytes_max: u64) -> Option<Vec<Record>>;

    /// Appends entries that follow the last one. With no records it is a barrier: `done` is called
    /// once everything before it is durable.
    fn append(&self, records: Vec<Record>, done: Done);

    /// Saves the vote.
    fn save_vote(&self, vote: Vote, done: Done);

    /// Saves the committed position, in order with the rest but without a sync of its own.
    fn save_committed(&self, committed: LogId);

    /// Removes every entry after `last` (`None`: all of them).
    fn truncate_after(&self, last: Option<LogId>, done: Done);

    /// Removes every entry up to and including `upto`. Where `upto` is beyond the last entry, the
    /// log is empty afterwards and goes on from `upto`.
    fn purge(&self, upto: LogId, done: Done);
}

/// What keeps the log on disk. A directory is written by one engine for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogEngine {
    /// A write-ahead log in files of [`LOG_FILE_BYTES`], with a checksum for every record. The next file is made
    /// while the newest one fills, so that a sync records no lengths. Purging gives back whole files.
    #[default]
    Wal,
    /// The embedded store sled, with checksums and syncs of our own. Purge a little, often: it does
    /// not give back what is purged at once.
    Sled,
}

impl fmt::Display for LogEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogEngine::Wal => "wal",
            LogEngine::Sled => "sled",
        })
    }
}

impl FromStr for LogEngine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "wal" => Ok(LogEngine::Wal),
            "sled" => Ok(LogEngine::Sled),
            _ => Err(format!("no log engine {name:?}; there are \"wal\" and \"sled\"")),
        }
    }
}

/// How large a file of the write-ahead log is. The first one has 1 MiB.
pub const LOG_FILE_BYTES: u64 = 16 << 20;

/// The largest size of a file.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Opens the log in the subdirectory of `dir` that has the engine's name; creates it if there is
/// none. Blocks on the disk.
///
/// Dropping the last handle writes what is queued and gives the directory free.
///
/// # Errors
/// [`StartError::Locked`], [`StartError::Foreign`] for another format or another engine's log in
/// `dir`, [`StartError::Damaged`] where something acknowledged is missing or changed, and
/// [`StartError::Io`]. The disk is unchanged, except that a torn tail that was never acknowledged
/// is cut, and that sled repairs in its own way while it opens: what it found damaged stays refused,
/// but keep a copy of the directory if you want to look into it.
pub fn open_log(engine: LogEngine, dir: &Path) -> Result<Arc<dyn LogStore>, StartError> {
    open_log_sized(engine, dir, LOG_FILE_BYTES)
}

/// [`open_log`] with files of another size, up to 1 GiB. Smaller files give space back sooner and cost more
/// syncs. The engine sled has one file and ignores it.
///
/// # Errors
/// As [`open_log`].
pub fn open_log_sized(
    engine: LogEngine,
    dir: &Path,
    file_bytes: u64,
) -> Result<Arc<dyn LogStore>, StartError> {
    for other in [LogEngine::Wal, LogEngine::Sled].into_iter().filter(|other| *other != engine) {
        Home::refuse_other(&dir.join(other.to_string()), engine)?;
    }
    let home = Home::open(&dir.join(engine.to_string()), engine)?;
    let file_bytes = file_bytes.min(FILE_BYTES_MAX);
    let started = match engine {
        LogEngine::Wal => start(wal::open(home, file_bytes)?),
        LogEngine::Sled => start(sled::open(home)?),
    };
    started.map_err(|e| StartError::io("start the log's writer thread", e))
}

fn start<E: commit::Engine>(opened: commit::Opened<E>) -> io::Result<Arc<dyn LogStore>> {
    Ok(Arc::new(GroupCommit::start(opened)?))
}
