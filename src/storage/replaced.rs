//! How a snapshot goes away that another one has replaced.
//!
//! Owns [`Readers`], who reads which file, and [`remove_all`], which removes large files little by little: a file
//! system that is mounted with `discard` has the disk discard what is not needed any more with its next commit, and
//! every sync waits for that.
//!
//! In: names of snapshots that nobody needs. Out: room on the disk, after a while.
//!
//! Invariants
//! - Who has opened a snapshot reads it to its end: a file that is being read loses its name only, and goes at once
//!   when it has been read.
//! - A file loses its name before it loses bytes, so half a snapshot is never taken for one.
//!
//! Does not: know which snapshots are needed. Outlive the node: what is left is removed when the disk is opened next.

use std::{
    collections::BTreeMap,
    io::{self, Seek, SeekFrom},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Disk, DiskReader};
use crate::runtime::and_rest;

/// Begins the name of a file that goes away.
const REPLACED: &str = "temporary-replaced-";

/// Bytes that a disk discards without much ado. A file that is not longer than this goes at once.
const STEP_BYTES: u64 = 8 << 20;

/// See the module. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers {
    /// How many there are of each file that is read.
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    /// There is something for [`remove_all`] to do.
    left: Arc<AtomicBool>,
}

/// One who reads a file.
pub(super) struct Reader {
    readers: Readers,
    name: String,
}

impl Readers {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file for somebody.
    pub(super) fn open(
        &self,
        disk: &dyn Disk,
        name: &str,
    ) -> io::Result<(Box<dyn DiskReader>, Reader)> {
        let mut counts = self.counts();
        let opened = disk.open(name)?;
        *counts.entry(name.to_owned()).or_default() += 1;
        Ok((opened, Reader { readers: self.clone(), name: name.to_owned() }))
    }

    /// Takes a file away, at once or when [`remove_all`] is called.
    pub(super) fn take_away(&self, disk: &dyn Disk, name: &str) -> io::Result<()> {
        let counts = self.counts();
        let bytes = disk.open(name)?.seek(SeekFrom::End(0))?;
        if bytes <= STEP_BYTES || counts.contains_key(name) {
            return disk.remove(name);
        }
        disk.rename(name, &format!("{REPLACED}{name}"))?;
        self.left.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether there is something for [`remove_all`] to do; it is expected to be called then.
    pub(super) fn take_left(&self) -> bool {
        self.left.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut counts = self.readers.counts();
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
    }
}

/// Removes all that was taken away, while others use the disk. Blocks. Ends when nobody else has the disk any more.
pub(super) fn remove_all(disk: &Weak<dyn Disk>) -> io::Result<()> {
    if let Some(disk) = disk.upgrade() {
        disk.sync_names()?;
    }
    loop {
        let step = || -> io::Result<bool> {
            let Some(disk) = disk.upgrade() else { return Ok(false) };
            let names = disk.names()?;
            let Some(name) = names.iter().find(|name| name.starts_with(REPLACED)) else {
                return Ok(false);
            };
            let left = disk.shorten(name, STEP_BYTES);
            let removed = left.and_then(|left| if left == 0 { disk.remove(name) } else { Ok(()) });
            match removed {
                // Another one was called for the next snapshot, and was faster.
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(true),
            }
        };
        if !and_rest(step)? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        path::PathBuf,
    };

    use super::*;
    use crate::{
        runtime::Stopwatch,
        storage::{DiskFile, MemoryDisk, OsDisk},
    };

    const LARGE: u64 = 3 * STEP_BYTES + 1;

    fn content(bytes: u64) -> Vec<u8> {
        vec![7; usize::try_from(bytes).unwrap()]
    }

    fn with_file(disk: impl Disk, bytes: u64) -> (Arc<dyn Disk>, Readers) {
        disk.create("old").unwrap().write_all(&content(bytes)).unwrap();
        (Arc::new(disk), Readers::default())
    }

    /// 1.3 GiB were removed at once: the syncs of the log waited for 170 ms until the disk had discarded them.
    #[test]
    fn a_large_file_goes_step_by_step() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, readers) = with_file(OsDisk::open(dir.path()).unwrap(), LARGE);
        readers.take_away(&*disk, "old").unwrap();
        let name = format!("{REPLACED}old");
        assert!(readers.take_left() && !readers.take_left());
        assert_eq!(disk.names().unwrap(), [name.as_str()]);
        assert_eq!(disk.shorten(&name, STEP_BYTES).unwrap(), 2 * STEP_BYTES + 1);
        assert_eq!(disk.path(&name).metadata().unwrap().len(), 2 * STEP_BYTES + 1);
        remove_all(&Arc::downgrade(&disk)).unwrap();
        assert!(disk.names().unwrap().is_empty());
    }

    #[test]
    fn a_small_file_goes_at_once() {
        let (disk, readers) = with_file(MemoryDisk::default(), STEP_BYTES);
        readers.take_away(&*disk, "old").unwrap();
        assert!(disk.names().unwrap().is_empty() && !readers.take_left());
    }

    /// A transfer takes longer than it takes until the next snapshot.
    #[test]
    fn who_reads_a_file_reads_it_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, readers) = with_file(OsDisk::open(dir.path()).unwrap(), LARGE);
        let (mut opened, reader) = readers.open(&*disk, "old").unwrap();
        let second = readers.open(&*disk, "old").unwrap();
        drop(second);
        readers.take_away(&*disk, "old").unwrap();
        remove_all(&Arc::downgrade(&disk)).unwrap();
        assert!(disk.names().unwrap().is_empty());
        let mut read = Vec::new();
        opened.read_to_end(&mut read).unwrap();
        assert!(read == content(LARGE), "{} bytes", read.len());
        drop(reader);
        assert!(readers.counts().is_empty());
    }

    /// A node that has stopped and is started again wants its disk.
    #[test]
    fn nothing_is_done_for_a_node_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, readers) = with_file(OsDisk::open(dir.path()).unwrap(), LARGE);
        readers.take_away(&*disk, "old").unwrap();
        let weak = Arc::downgrade(&disk);
        drop(disk);
        let watch = Stopwatch::start();
        remove_all(&weak).unwrap();
        assert!(OsDisk::open(dir.path()).is_ok(), "after {watch:?}");
    }

    /// A disk on which somebody else removes every file just before.
    #[derive(Debug, Default)]
    struct Shared(MemoryDisk);

    impl Disk for Shared {
        fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
            self.0.create(name)
        }

        fn open(&self, name: &str) -> io::Result<Box<dyn DiskReader>> {
            self.0.open(name)
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }

        fn shorten(&self, name: &str, _bytes: u64) -> io::Result<u64> {
            self.0.remove(name)?;
            Err(io::ErrorKind::NotFound.into())
        }

        fn names(&self) -> io::Result<Vec<String>> {
            self.0.names()
        }

        fn sync_names(&self) -> io::Result<()> {
            self.0.sync_names()
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path(name)
        }
    }

    /// Two snapshots are replaced in a row, and each has its files removed.
    #[test]
    fn two_remove_the_same_files() {
        let (disk, readers) = with_file(Shared::default(), LARGE);
        disk.create("other").unwrap().write_all(&content(LARGE)).unwrap();
        readers.take_away(&*disk, "old").unwrap();
        readers.take_away(&*disk, "other").unwrap();
        remove_all(&Arc::downgrade(&disk)).unwrap();
        assert!(disk.names().unwrap().is_empty());
    }
}
