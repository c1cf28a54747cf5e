//! The directory of a log engine: who owns it, what wrote it, and what it promised.
//!
//! Owns [`Home`]: `lock`, `format`, `witness`, and the subdirectory `log` with the engine's files.
//!
//! - `lock` is held for as long as the engine lives, and taken before anything is read or cut.
//! - `format` is one line: engine, format version, checksum. While a log is created it is called
//!   `creating`, and renamed last. So log files without it are either our own that never promised
//!   anything, which are removed, or somebody else's, which are refused.
//! - `witness` holds a number that grows with every sync: how far the log goes that was promised to
//!   others. It is written after the sync and before the `Done`s, without a sync of its own. An
//!   engine that finds less than its witness says has lost something acknowledged: damage, and
//!   never a tail to be cut. After a power cut the witness may be some seconds old, then it
//!   vouches for less; it never vouches for more than was synced.
//!
//! Does not: know what the engine writes, or what the witness counts.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{LogEngine, lock};
use crate::error::{Damage, StartError};

const MAGIC: &str = "sixbells-log";
const LOCK: &str = "lock";
/// Says which engine and format a log has. Durable before anything else of it.
pub(crate) const FORMAT: &str = "format";
const CREATING: &str = "creating";
const WITNESS: &str = "witness";
const LOG: &str = "log";

/// See the module.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    engine: LogEngine,
    witness: File,
    promised: u64,
    is_new: bool,
    _lock: File,
}

impl Home {
    /// Locks the directory, creating it if need be, and reads what it says of itself.
    pub(super) fn open(dir: &Path, engine: LogEngine) -> Result<Self, StartError> {
        let context = |e| StartError::io(format!("open log directory {}", dir.display()), e);
        fs::create_dir_all(dir).map_err(context)?;
        let held = File::create(dir.join(LOCK)).map_err(context)?;
        match lock::lock(&held) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StartError::Locked(dir.to_owned())),
            Err(TryLockError::Error(e)) => return Err(context(e)),
        }
        let is_new = !Self::check_format(dir, engine)?;
        if is_new {
            Self::prepare(dir).map_err(context)?;
        }
        let (witness, promised) = Self::open_witness(&dir.join(WITNESS), is_new)?;
        Ok(Self { dir: dir.to_owned(), engine, witness, promised, is_new, _lock: held })
    }

    /// Refuses a directory whose format file names another engine, without touching it.
    pub(super) fn refuse_other(dir: &Path, asked: LogEngine) -> Result<(), StartError> {
        let file = dir.join(FORMAT);
        if !file.try_exists().map_err(|e| StartError::io(format!("{}", file.display()), e))? {
            return Ok(());
        }
        let reason = format!("holds the log of another engine; the engine asked for is {asked}");
        Err(StartError::Foreign { file, reason })
    }

    /// Where the engine keeps its files.
    pub(super) fn log_dir(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// Whether nothing was ever promised here: the engine starts empty, then calls
    /// [`Self::establish`].
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// How far the log went when it was last promised to others.
    pub(super) fn promised(&self) -> u64 {
        self.promised
    }

    /// The engine's files are there and durable: from now on this is a log.
    pub(super) fn establish(&mut self, promised: u64) -> Result<(), StartError> {
        let context = |e| StartError::io(format!("create log directory {}", self.dir.display()), e);
        self.promise(promised).map_err(context)?;
        self.witness.sync_all().map_err(context)?;
        sync_dir(&self.log_dir()).map_err(context)?;
        sync_dir(&self.dir).map_err(context)?;
        let write = || {
            // The marker becomes the format file in one step: there is never half of one.
            let creating = self.dir.join(CREATING);
            let mut file = File::create(&creating)?;
            file.write_all(format_line(self.engine).as_bytes())?;
            file.sync_all()?;
            fs::rename(&creating, self.dir.join(FORMAT))?;
            sync_dir(&self.dir)?;
            self.dir.parent().map_or(Ok(()), sync_dir)
        };
        write().map_err(context)?;
        self.is_new = false;
        Ok(())
    }

    /// All up to here is durable and may be promised to others.
    pub(super) fn promise(&self, upto: u64) -> io::Result<()> {
        self.witness.write_all_at(&witness_bytes(upto), 0)
    }

    /// Whether there is a log of ours in `dir`; `false` if it is to be created.
    fn check_format(dir: &Path, engine: LogEngine) -> Result<bool, StartError> {
        let file = dir.join(FORMAT);
        let found = match fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Self::check_absent(dir).map(|()| false);
            }
            Err(e) => return Err(StartError::io(format!("read {}", file.display()), e)),
        };
        let foreign = |reason: String| StartError::Foreign { file: file.clone(), reason };
        let mut words = found.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(MAGIC), Some(name), _) if name != engine.to_string() => {
                Err(foreign(format!("written by engine {name}, but this is engine {engine}")))
            }
            (Some(MAGIC), Some(_), Some(found)) if found != version(engine) => Err(foreign(
                format!("log format version {found}, but this release reads {}", version(engine)),
            )),
            (Some(MAGIC), Some(_), Some(_)) if found == format_line(engine) => Ok(true),
            (Some(MAGIC), Some(_), Some(_)) => {
                let reason = format!("its checksum does not fit its line {:?}", found.trim_end());
                Err(Damage { file: file.clone(), offset: 0, reason }.into())
            }
            _ => Err(foreign("not the format file of a log".into())),
        }
    }

    fn check_absent(dir: &Path) -> Result<(), StartError> {
        let log = dir.join(LOG);
        if dir.join(CREATING).exists() || !log.exists() {
            return Ok(());
        }
        let reason = format!("holds log files, but there is no file {FORMAT} beside it");
        Err(StartError::Foreign { file: log, reason })
    }

    /// Marks the directory as being created and removes what an interrupted creation left.
    fn prepare(dir: &Path) -> io::Result<()> {
        File::create(dir.join(CREATING))?.sync_all()?;
        sync_dir(dir)?;
        match fs::remove_dir_all(dir.join(LOG)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::create_dir(dir.join(LOG))
    }

    fn open_witness(path: &Path, is_new: bool) -> Result<(File, u64), StartError> {
        let damaged = |reason: &str| {
            StartError::from(Damage { file: path.to_owned(), offset: 0, reason: reason.into() })
        };
        let opened = OpenOptions::new().read(true).write(true).create(is_new).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("the file is missing, though the log was in use"));
            }
            Err(e) => return Err(StartError::io(format!("open {}", path.display()), e)),
        };
        if is_new {
            return Ok((file, 0));
        }
        let bytes = fs::read(path).map_err(|e| StartError::io(path.display().to_string(), e))?;
        let number = bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        match number.filter(|number| bytes == witness_bytes(*number)) {
            Some(number) => Ok((file, number)),
            None => Err(damaged("its checksum does not fit")),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Only so that it is current after a power cut, too; it is right in any case.
        if let Err(error) = self.witness.sync_data() {
            tracing::warn!(%error, dir = %self.dir.display(), "the log's witness is not synced");
        }
    }
}

/// Of the format in which an engine writes.
fn version(engine: LogEngine) -> &'static str {
    match engine {
        // 1 was that of the crate raft-log.
        LogEngine::Wal => "2",
        LogEngine::Sled => "1",
    }
}

fn format_line(engine: LogEngine) -> String {
    let line = format!("{MAGIC} {engine} {}", version(engine));
    format!("{line} {:08x}\n", crc32fast::hash(line.as_bytes()))
}

fn witness_bytes(number: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
