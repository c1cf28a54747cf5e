//! The door to files: all that the snapshots and the identity file need of a disk.
//!
//! Owns [`Disk`], one flat directory of files, with a real ([`OsDisk`]) and an in-memory
//! ([`MemoryDisk`]) implementation. The log engines bring their own files and do not pass here.
//!
//! Invariants
//! - A file's bytes are durable after [`DiskFile::sync`]; its name, and the effect of a rename
//!   or a removal, only after [`Disk::sync_names`]. A crash in between may keep either.
//! - [`OsDisk`] holds an exclusive lock on its directory for as long as it lives.
//!
//! Does not: retry a failed sync, cache, or know what is in the files.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::lock;
use crate::error::StartError;

/// One flat directory. Calls block; the runtime door's `blocking` keeps them off other tasks.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// A new, empty file for writing; an old one of that name is emptied.
    ///
    /// # Errors
    /// As the system says. The same holds for every method below.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// A reader from the start of the file; `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskReader>>;

    /// Gives a file another name, replacing a file of that name in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Cuts up to so many bytes off the end of a file, durably, and says how many are left. A disk that removes a large
    /// file as fast as a small one does nothing and says 0.
    fn shorten(&self, name: &str, bytes: u64) -> io::Result<u64> {
        let _ = (name, bytes);
        Ok(0)
    }

    /// The names of all files, sorted.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals durable.
    fn sync_names(&self) -> io::Result<()>;

    /// Where the file is, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// A file being written.
pub trait DiskFile: Write + Send {
    /// Makes all that was written durable. An error is final: the bytes may be lost.
    ///
    /// # Errors
    /// As the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file being read.
pub trait DiskReader: Read + Seek + Send {}

impl DiskReader for File {}
impl DiskReader for io::Cursor<SharedBytes> {}

/// A file's content in memory, shared with its readers.
#[derive(Clone, Debug, Default)]
struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct OsDisk {
    dir: PathBuf,
    _lock: File,
}

impl OsDisk {
    const LOCK: &'static str = "lock";

    /// Creates the directory if need be and locks it for this process.
    ///
    /// # Errors
    /// [`StartError::Locked`] when another process (or another node of this one) has it.
    pub fn open(dir: &Path) -> Result<Self, StartError> {
        let context = || format!("open data directory {}", dir.display());
        fs::create_dir_all(dir).map_err(|e| StartError::io(context(), e))?;
        // The directory's own name is in its parent.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let parent = File::open(parent).and_then(|parent| parent.sync_all());
            parent.map_err(|e| StartError::io(context(), e))?;
        }
        let held = File::create(dir.join(Self::LOCK)).map_err(|e| StartError::io(context(), e))?;
        match lock::lock(&held) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: held }),
            Err(TryLockError::WouldBlock) => Err(StartError::Locked(dir.to_owned())),
            Err(TryLockError::Error(e)) => Err(StartError::io(context(), e)),
        }
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Disk for OsDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(self.dir.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskReader>> {
        Ok(Box::new(File::open(self.dir.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn shorten(&self, name: &str, bytes: u64) -> io::Result<u64> {
        let file = File::options().write(true).open(self.dir.join(name))?;
        let left = file.metadata()?.len().saturating_sub(bytes);
        file.set_len(left)?;
        file.sync_all()?;
        Ok(left)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && name != Self::LOCK
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A directory in memory, for tests and for nodes that need not outlive their process. Clones share
/// the files, as a restarted node finds what the last one left.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<String, SharedBytes>>>,
}

impl MemoryDisk {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, SharedBytes>) -> T) -> T {
        f(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn missing(name: &str) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    name: String,
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.with(|files| match files.get_mut(&self.name) {
            Some(file) => {
                Arc::make_mut(&mut file.0).extend_from_slice(bytes);
                Ok(bytes.len())
            }
            None => Err(MemoryDisk::missing(&self.name)),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.with(|files| files.insert(name.to_owned(), SharedBytes::default()));
        Ok(Box::new(MemoryFile { disk: self.clone(), name: name.to_owned() }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskReader>> {
        let file = self.with(|files| files.get(name).cloned());
        Ok(Box::new(io::Cursor::new(file.ok_or_else(|| Self::missing(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|files| {
            let file = files.remove(from).ok_or_else(|| Self::missing(from))?;
            files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|files| files.remove(name).map(drop).ok_or_else(|| Self::missing(name)))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.with(|files| files.keys().cloned().collect()))
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("(memory)").join(name)
    }
}
