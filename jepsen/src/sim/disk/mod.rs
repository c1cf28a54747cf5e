//! A simulated disk: what a host has written, and what of it a power loss leaves.
//!
//! Owns [`SimDisk`], the library's file door on one host, and one file beside it for the simulated
//! [`log`](super::log). Clones are the same disk; it outlives its host's processes.
//!
//! In: writes, syncs and names, as the process does them; faults. Out: what is there, an observation for
//! each snapshot that gets its name, and errors.
//!
//! Invariants
//! - the end of a process loses nothing that was written; a power loss keeps what was synced, and of
//!   the rest a random part: of bytes a prefix, torn anywhere and perhaps zeros at its end, of names
//!   any subset of the changes;
//! - a sync that fails has lost what it was to sync, although the process still reads it (fsyncgate);
//!   a later sync does not bring it back, and says nothing;
//! - a disk whose power failed does nothing more until the next [`boot`](SimDisk::boot);
//! - a bit that rots is one that was synced, so that whoever looks can know.
//!
//! Does not: take time. The blocking work around it does, and the log, which asks how long.

mod platter;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, Cursor, Read, Seek, Write},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sixbells::storage::{Disk, DiskFile, DiskReader, LogId};

use self::platter::{Platter, part};
use super::{
    Host, Observation,
    world::{self, Stream},
};
use crate::digest::digest;

/// The log's file. It has its own place, as the real engines' files do: the file door does not list it.
const LOG: &str = "log";

/// One host's disk.
#[derive(Clone)]
pub struct SimDisk {
    node: Host,
    sync: Range<Duration>,
    drive: Arc<Mutex<Drive>>,
}

struct Drive {
    platter: Platter,
    slowness: u32,
    power_fails_after: Option<u32>,
}

fn gone() -> io::Error {
    io::Error::other("the power failed")
}

impl SimDisk {
    /// An empty disk. A sync takes so long.
    pub fn new(node: Host, sync: Range<Duration>) -> Self {
        let drive = Drive { platter: Platter::with(LOG), slowness: 1, power_fails_after: None };
        Self { node, sync, drive: Arc::new(Mutex::new(drive)) }
    }

    fn lock(&self) -> MutexGuard<'_, Drive> {
        self.drive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the process sees, as long as there is power.
    fn look(&self) -> io::Result<MutexGuard<'_, Drive>> {
        let drive = self.lock();
        if drive.platter.off { Err(gone()) } else { Ok(drive) }
    }

    /// One operation of the process, unless the power fails in the middle of it: then `half` of it is
    /// done, and the host ends.
    fn operate<T>(
        &self,
        half: impl FnOnce(&mut Platter),
        whole: impl FnOnce(&mut Platter) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut drive = self.look()?;
        match drive.power_fails_after {
            None => return whole(&mut drive.platter),
            Some(0) => {}
            Some(left) => {
                drive.power_fails_after = Some(left - 1);
                return whole(&mut drive.platter);
            }
        }
        half(&mut drive.platter);
        drive.lose_power();
        drop(drive);
        world::trace("power", self.node, || format!("fails on node {}", self.node));
        world::reach("power failed during a disk operation");
        world::kill(self.node);
        Err(gone())
    }

    fn write(&self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let half = |platter: &mut Platter| {
            // The power fails; whether there was room does not matter any more.
            drop(platter.write(file, &bytes[..part(bytes.len())]));
        };
        self.operate(half, |platter| platter.write(file, bytes))
    }

    fn sync(&self, file: u64) -> io::Result<()> {
        self.operate(|_| {}, |platter| platter.sync(file))
    }

    /// Power is there; the host begins.
    pub fn boot(&self) {
        self.lock().platter.off = false;
    }

    /// Power loss: what was synced is kept, and a random part of the rest.
    pub fn crash(&self) {
        self.lock().lose_power();
    }

    /// The end of a process: what it wrote is there, but for what a failed sync has dropped.
    pub fn exit(&self) {
        let mut drive = self.lock();
        drive.power_fails_after = None;
        drive.platter.exit();
    }

    /// Power fails in the middle of an operation, after so many others.
    pub fn crash_after(&self, operations: u32) {
        self.lock().power_fails_after = Some(operations);
    }

    /// The next sync fails, and loses what it was to sync.
    pub fn fail_next_sync(&self) {
        self.lock().platter.sync_fails = true;
    }

    /// The disk is full after so many more bytes.
    pub fn fill(&self, bytes: u64) {
        self.lock().platter.room = Some(bytes);
    }

    /// The disk has room again.
    pub fn free(&self) {
        self.lock().platter.room = None;
    }

    /// Syncs take so many times as long.
    pub fn slow(&self, factor: u32) {
        self.lock().slowness = factor;
    }

    /// Ends every fault that has not come yet.
    pub fn heal(&self) {
        let mut drive = self.lock();
        (drive.slowness, drive.power_fails_after) = (1, None);
        (drive.platter.sync_fails, drive.platter.room) = (false, None);
    }

    /// Whether a fault waits here for whoever writes next.
    pub fn is_failing(&self) -> bool {
        let drive = self.lock();
        drive.platter.sync_fails || drive.platter.room.is_some()
    }

    /// Loses everything.
    pub fn wipe(&self) {
        self.lock().platter.wipe(LOG);
        world::observe(&Observation::Wiped { node: self.node });
    }

    /// Flips a bit of something that a restart reads: returns in which file. `None` if there is
    /// nothing.
    pub fn rot(&self) -> Option<String> {
        let mut drive = self.lock();
        // Names sort by position: an older snapshot that is still there is read by nobody.
        let newest = drive.platter.names().filter(|name| snapshot(name).is_some()).max().cloned();
        drive.platter.rot(|name| {
            !name.starts_with("temporary")
                && (snapshot(name).is_none() || newest.as_deref() == Some(name))
        })
    }

    /// How long a sync takes that begins now.
    pub(super) fn sync_time(&self) -> Duration {
        let time = world::draw_duration(Stream::Disk, self.sync.clone());
        let stalled = world::disk_busy_until(self.node).saturating_sub(world::now());
        stalled + time * self.lock().slowness
    }

    /// What is in the log's file, and how much of it is there for sure.
    pub(super) fn read_log(&self) -> io::Result<(Vec<u8>, usize)> {
        let mut drive = self.look()?;
        let (_, content) = drive.platter.file(LOG)?;
        Ok((content.bytes.clone(), content.synced))
    }

    /// Appends to the log's file.
    pub(super) fn write_log(&self, bytes: &[u8]) -> io::Result<()> {
        let (file, _) = self.look()?.platter.file(LOG)?;
        self.write(file, bytes)
    }

    /// Cuts the log's file off.
    pub(super) fn cut_log(&self, length: usize) -> io::Result<()> {
        let cut = |platter: &mut Platter| {
            platter.file(LOG)?.1.cut(length);
            Ok(())
        };
        self.operate(|_| {}, cut)
    }

    /// Syncs the log's file.
    pub(super) fn sync_log(&self) -> io::Result<()> {
        let (file, _) = self.look()?.platter.file(LOG)?;
        self.sync(file)
    }
}

impl Drive {
    fn lose_power(&mut self) {
        self.power_fails_after = None;
        self.platter.lose_power();
    }
}

/// Which entry a snapshot of this name ends with.
fn snapshot(name: &str) -> Option<LogId> {
    let mut numbers = name.strip_prefix("snapshot-")?.split('-');
    let mut number = || u64::from_str_radix(numbers.next()?, 16).ok();
    Some(LogId { term: number()?, index: number()? })
}

struct SimFile {
    disk: SimDisk,
    file: u64,
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(self.file, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync(self.file)
    }
}

/// The file as it was when it was opened.
struct SimReader(Cursor<Vec<u8>>);

impl Read for SimReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for SimReader {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl DiskReader for SimReader {}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.operate(|_| {}, |platter| Ok(platter.create(name)))?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskReader>> {
        let bytes = self.look()?.platter.file(name)?.1.bytes.clone();
        Ok(Box::new(SimReader(Cursor::new(bytes))))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let rename = |platter: &mut Platter| {
            platter.rename(from, to)?;
            Ok(digest(&platter.file(to)?.1.bytes))
        };
        let hash = self.operate(|_| {}, rename)?;
        if let Some(last) = snapshot(to) {
            let (node, name) = (self.node, to.to_owned());
            world::trace("snapshot", hash, || format!("{name} on node {node}"));
            world::reach(match to.ends_with("-built") {
                true => "a snapshot was built",
                false => "a snapshot was received",
            });
            world::observe(&Observation::Snapshot { node, name, last, hash });
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(|_| {}, |platter| platter.remove(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.look()?.platter.names().filter(|name| *name != LOG).cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        let sync = |platter: &mut Platter| {
            platter.sync_names();
            Ok(())
        };
        self.operate(|_| {}, sync)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("(disk of node {})", self.node)).join(name)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("node", &self.node).finish_non_exhaustive()
    }
}
