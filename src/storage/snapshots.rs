//! Snapshot files: written whole or not at all, and checked before they are believed.
//!
//! Owns the names and the layout of snapshot files on a [`Disk`].
//!
//! ```text
//! name   snapshot-TERM-INDEX-built | snapshot-TERM-INDEX-received     (fixed-width hexadecimal)
//! bytes  "6BSN" | format u8 | meta length u32 | meta | state ... | length so far u64 | crc32 u32
//! ```
//!
//! In: a state written by the node itself, or the bytes of another node's file, chunk by chunk. Out:
//! [`SnapshotFile`]s, whose checksum was verified.
//!
//! Invariants
//! - A file under a snapshot's name is complete: it was written under a temporary name, synced,
//!   renamed, and the directory synced, in that order.
//! - An older snapshot is removed only after a newer one is durable; a large one step by step where it can be, see
//!   [`replaced`].
//! - *Built* snapshots hold nothing that the log did not hold durably; that lets the node tell a lost
//!   log from a received snapshot that the log never reached.
//!
//! Does not: know what the state or the membership inside looks like.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Disk, DiskFile, LogId,
    replaced::{self, Reader, Readers},
};
use crate::{
    checksummed::Checksummed,
    codec,
    error::Damage,
    plant::{Bug, planted},
    runtime::{Runtime, spawn},
    turns::Turns,
};

const MAGIC: &[u8; 4] = b"6BSN";
const HEADER_BYTES: u64 = 9;
const TRAILER_BYTES: u64 = 12;
const META_BYTES_MAX: u32 = 1 << 20;
const TEMPORARY: &str = "temporary-";
const BUFFER_BYTES: usize = 1 << 16;
/// Bytes that may wait to be made durable at once.
const STEP_BYTES: usize = 4 << 20;

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotMeta {
    /// The last entry in the state; `None` for the state before the first.
    pub(crate) last: Option<LogId>,
    /// The membership as of `last`, encoded by the consensus adapter.
    pub(crate) membership: Bytes,
}

/// Who made a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotOrigin {
    /// This node, from its own log.
    Built,
    /// The leader sent it; the own log may never have held these entries.
    Received,
}

/// A verified snapshot file. Clones name the same file.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    snapshots: Snapshots,
    name: String,
    pub(crate) meta: SnapshotMeta,
    pub(crate) origin: SnapshotOrigin,
    /// Length of the whole file.
    pub(crate) bytes: u64,
}

/// How a snapshot is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// At a start: nobody waits for anything else.
    AtOnce,
    /// Beside requests: others have the processor now and then.
    InTurns,
}

impl Reading {
    fn of<'a>(self, reader: impl Read + 'a) -> Box<dyn Read + 'a> {
        match self {
            Reading::AtOnce => Box::new(reader),
            Reading::InTurns => Box::new(Turns::of(reader)),
        }
    }
}

/// The snapshot files of one node.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    readers: Readers,
}

impl Snapshots {
    /// Looks at what is there: removes unfinished files and returns the newest snapshot, verified.
    ///
    /// # Errors
    /// [`Damage`] inside an `InvalidData` error when the newest one is damaged.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> io::Result<(Self, Option<SnapshotFile>)> {
        let mut newest = None;
        for name in disk.names()? {
            if name.starts_with(TEMPORARY) {
                disk.remove(&name)?;
            } else if name.starts_with("snapshot-") {
                newest = Some(name);
            }
        }
        let this = Self { disk, readers: Readers::default() };
        let verify = |name| SnapshotFile::verify(&this, name, Reading::AtOnce);
        let current = newest.map(verify).transpose()?;
        Ok((this, current))
    }

    /// Writes a snapshot of the node's own state; `save` writes the state. Durable on return.
    pub(crate) fn build(
        &self,
        meta: SnapshotMeta,
        save: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<SnapshotFile> {
        let temporary = format!("{TEMPORARY}built");
        let mut out = Checksummed::buffered(Steady::new(self.disk.create(&temporary)?));
        let encoded = codec::encode(&meta);
        let length = u32::try_from(encoded.len()).map_err(io::Error::other)?;
        out.write_all(MAGIC)?;
        out.write_all(&[codec::FORMAT])?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&encoded)?;
        save(&mut out)?;
        let (mut file, bytes, crc) = Checksummed::finish(out)?;
        file.write_all(&bytes.to_le_bytes())?;
        file.write_all(&crc.to_le_bytes())?;
        file.finish()?;
        let file = SnapshotFile {
            snapshots: self.clone(),
            name: temporary,
            meta,
            origin: SnapshotOrigin::Built,
            bytes: bytes + TRAILER_BYTES,
        };
        if planted(Bug::PurgeEarly) {
            return Ok(file);
        }
        self.publish(file)
    }

    /// Starts to receive another node's snapshot. `sender` keeps two senders' files apart.
    pub(crate) fn receive(&self, sender: u64) -> io::Result<Receiving> {
        let name = format!("{TEMPORARY}from-{sender}");
        let file = self.disk.create(&name)?;
        Ok(Receiving { snapshots: self.clone(), name, file, bytes: 0 })
    }

    /// Gives a verified, synced file its name, makes that durable, and takes older ones away.
    /// [`tidy`](Self::tidy) comes next.
    pub(crate) fn publish(&self, file: SnapshotFile) -> io::Result<SnapshotFile> {
        let name = name(&file);
        if file.name != name {
            self.disk.rename(&file.name, &name)?;
            if !planted(Bug::NamesUnsynced) {
                self.disk.sync_names()?;
            }
        }
        for other in self.disk.names()? {
            if other.starts_with("snapshot-") && other < name {
                unless_gone(self.readers.take_away(&*self.disk, &other))?;
            }
        }
        Ok(SnapshotFile { name, ..file })
    }

    /// Removes what was taken away, if it takes long, where nobody waits for it.
    pub(crate) fn tidy<R: Runtime>(&self) {
        if !self.readers.take_left() {
            return;
        }
        let disk = Arc::downgrade(&self.disk);
        spawn::<R>(async move {
            let removed = R::aside(move || replaced::remove_all(&disk)).await;
            if let Err(error) = removed.and_then(|removed| removed) {
                tracing::error!(%error, "cannot remove a snapshot that was replaced");
            }
        });
    }
}

/// A file that is made durable as it grows: the syncs of the log would wait for all of one that is not.
struct Steady {
    file: Box<dyn DiskFile>,
    unsynced: usize,
}

impl Steady {
    fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, unsynced: 0 }
    }

    /// All bytes are on disk on return.
    fn finish(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        sync(&mut *self.file)
    }
}

/// Whoever takes the file's name next makes the log be purged.
fn sync(file: &mut dyn DiskFile) -> io::Result<()> {
    if planted(Bug::SnapshotUnsynced) { Ok(()) } else { file.sync() }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= STEP_BYTES {
            self.finish()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Two snapshots, one built and one received, may be published at once and clear the same one away.
fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Names sort by position, so the newest is the last.
fn name(file: &SnapshotFile) -> String {
    let LogId { term, index } = file.meta.last.unwrap_or_default();
    let origin = match file.origin {
        SnapshotOrigin::Built => "built",
        SnapshotOrigin::Received => "received",
    };
    format!("snapshot-{term:016x}-{index:016x}-{origin}")
}

impl SnapshotFile {
    /// Hands the state to `load`.
    pub(crate) fn load(
        &self,
        reading: Reading,
        load: impl FnOnce(&mut dyn Read) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut reader = self.snapshots.disk.open(&self.name)?;
        let start = state_start(&mut *reader)?;
        reader.seek(SeekFrom::Start(start))?;
        let state = self.bytes - TRAILER_BYTES - start;
        load(&mut io::BufReader::with_capacity(BUFFER_BYTES, reading.of(reader.take(state))))
    }

    /// Removes the file, if it was received and not published.
    pub(crate) fn discard(&self) -> io::Result<()> {
        match self.name.starts_with(TEMPORARY) {
            true => unless_gone(self.snapshots.disk.remove(&self.name)),
            false => Ok(()),
        }
    }

    /// The bytes of the file from the start, to be sent. They can be read to the end even if a newer
    /// snapshot takes the file's place meanwhile.
    pub(crate) fn pieces(&self) -> io::Result<Pieces> {
        let Snapshots { disk, readers } = &self.snapshots;
        let (file, reader) = readers.open(&**disk, &self.name)?;
        Ok(Pieces { file, _reader: reader })
    }

    fn verify(snapshots: &Snapshots, name: String, reading: Reading) -> io::Result<Self> {
        let disk = &snapshots.disk;
        let damaged = |offset: u64, reason: &str| {
            let damage = Damage { file: disk.path(&name), offset, reason: reason.to_owned() };
            io::Error::from(damage)
        };
        let mut reader = disk.open(&name)?;
        let length = reader.seek(SeekFrom::End(0))?;
        if length < HEADER_BYTES + TRAILER_BYTES {
            return Err(damaged(0, "shorter than a snapshot's header"));
        }
        let body = length - TRAILER_BYTES;
        reader.seek(SeekFrom::Start(0))?;
        let crc = checksum(&mut *reading.of(&mut *reader), body)?;
        let mut trailer = [0; 12];
        reader.read_exact(&mut trailer)?;
        if trailer[..8] != body.to_le_bytes() {
            return Err(damaged(body, "the length at the end is not the length found"));
        }
        if trailer[8..] != crc.to_le_bytes() {
            return Err(damaged(0, "checksum does not match"));
        }
        let meta = read_meta(&mut *reader).map_err(|e| damaged(0, &e.to_string()))?;
        let origin =
            if name.ends_with("-built") { SnapshotOrigin::Built } else { SnapshotOrigin::Received };
        Ok(Self { snapshots: snapshots.clone(), name, meta, origin, bytes: length })
    }
}

/// A snapshot on its way out.
pub(crate) struct Pieces {
    file: Box<dyn super::DiskReader>,
    _reader: Reader,
}

impl Pieces {
    /// The next `bytes` bytes; fewer at the end of the file, and none behind it.
    pub(crate) fn next(&mut self, bytes: usize) -> io::Result<Bytes> {
        let mut piece = Vec::new();
        (&mut self.file).take(bytes as u64).read_to_end(&mut piece)?;
        Ok(piece.into())
    }
}

/// A snapshot on its way in.
pub(crate) struct Receiving {
    snapshots: Snapshots,
    name: String,
    file: Box<dyn DiskFile>,
    bytes: u64,
}

impl Receiving {
    /// Bytes received so far, which is the offset expected next.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A piece; durable on return.
    pub(crate) fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        sync(&mut *self.file)?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// All bytes are here: verifies them. [`Snapshots::publish`] comes next, or nothing if the
    /// snapshot turns out not to be wanted.
    pub(crate) fn finish(self) -> io::Result<SnapshotFile> {
        SnapshotFile::verify(&self.snapshots, self.name, Reading::InTurns)
    }
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({} bytes so far)",
            self.snapshots.disk.path(&self.name).display(),
            self.bytes
        )
    }
}

fn checksum(reader: &mut dyn Read, bytes: u64) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        reader.read_exact(&mut buffer[..want])?;
        crc.update(&buffer[..want]);
        left -= want as u64;
    }
    Ok(crc.finalize())
}

fn read_header(reader: &mut dyn super::DiskReader) -> io::Result<u32> {
    reader.seek(SeekFrom::Start(0))?;
    let mut header = [0; 9];
    reader.read_exact(&mut header)?;
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    if header[..4] != *MAGIC {
        return Err(invalid("not a snapshot file".into()));
    }
    if header[4] != codec::FORMAT {
        return Err(invalid(format!("format version {}, not {}", header[4], codec::FORMAT)));
    }
    let length = u32::from_le_bytes([header[5], header[6], header[7], header[8]]);
    if length > META_BYTES_MAX {
        return Err(invalid(format!("meta of {length} bytes")));
    }
    Ok(length)
}

fn read_meta(reader: &mut dyn super::DiskReader) -> io::Result<SnapshotMeta> {
    let length = read_header(reader)?;
    let mut meta = vec![0; length as usize];
    reader.read_exact(&mut meta)?;
    Ok(codec::decode(&meta)?)
}

fn state_start(reader: &mut dyn super::DiskReader) -> io::Result<u64> {
    Ok(HEADER_BYTES + u64::from(read_header(reader)?))
}

#[cfg(test)]
#[path = "snapshots_test.rs"]
mod tests;
