//! The files of the write-ahead log: their names, and who makes and removes them.
//!
//! Owns [`Keeper`], a thread that makes the next file before it is needed, full of zeros and durable, and that
//! removes the files of purged entries. A sync of a write into such a file is one write and one flush of the
//! device: neither a length nor blocks have to be recorded, which costs as much again.
//!
//! In: files that are not needed any more, and the wish for a next one. Out: the next file.
//!
//! Invariants
//! - A file has its name only once it is durable, and holds nothing but zeros then.
//! - Files go away from the oldest on, one by one, so what is left after a crash has no gap; slowly, so that syncs of
//!   the log hardly wait for it.
//! - A file that goes away becomes the next one, if none is at hand: its blocks need not be found again, and the
//!   disk need not discard them.
//! - Where the next file cannot be made, the log fails only if it still cannot when it is needed. A file that
//!   cannot be removed is tried again with the next one, and before it.
//!
//! Does not: know what is in a file.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io, iter,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    blocks::{BLOCK_BYTES, Blocks},
    home::sync_dir,
};

const EXTENSION: &str = "wal";
/// What becomes the next file.
const SPARE: &str = "spare";
/// After a file is removed, before the next one is: each takes a disk and its file system some milliseconds, and a
/// snapshot makes many of them unneeded at once.
const REST: Duration = Duration::from_millis(20);
/// Zeros that are written before a sync: others wait for the disk meanwhile.
const STEP_BYTES: usize = 1 << 20;

/// A file that is full of zeros.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) path: PathBuf,
    /// For whole blocks.
    pub(super) file: File,
    pub(super) bytes: u64,
}

enum Order {
    Make { number: u64, bytes: u64 },
    Remove(Vec<PathBuf>),
}

/// See the module.
pub(super) struct Keeper {
    orders: Option<Sender<Order>>,
    made: Receiver<io::Result<Next>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    pub(super) fn start(dir: PathBuf) -> io::Result<Self> {
        let ((orders, taken), (make, made)) = (channel(), channel());
        let keep = move || {
            let mut gone = Gone { dir, paths: VecDeque::new(), stuck: false };
            loop {
                match taken.recv_timeout(gone.rest()) {
                    Ok(Order::Make { number, bytes }) => {
                        let made = self::make(&gone.dir, number, bytes);
                        if make.send(made).is_err() {
                            return;
                        }
                        // However often one is made, no more are there in the end.
                        gone.remove_one();
                    }
                    Ok(Order::Remove(paths)) => {
                        gone.paths.extend(paths);
                        gone.remove_one();
                    }
                    Err(RecvTimeoutError::Timeout) => gone.remove_one(),
                    Err(RecvTimeoutError::Disconnected) => return gone.remove_all(),
                }
            }
        };
        let thread = thread::Builder::new().name("sixbells-files".into()).spawn(keep)?;
        Ok(Self { orders: Some(orders), made, thread: Some(thread) })
    }

    /// Begins to make the file of this number and length.
    pub(super) fn make(&self, number: u64, bytes: u64) {
        self.order(Order::Make { number, bytes });
    }

    /// Waits for the file that was asked for.
    pub(super) fn next(&self) -> io::Result<Next> {
        let gone = || Err(io::Error::other("the keeper of the log's files is gone"));
        self.made.recv().unwrap_or_else(|_| gone())
    }

    /// Removes these, in this order, when there is time.
    pub(super) fn remove(&self, paths: Vec<PathBuf>) {
        self.order(Order::Remove(paths));
    }

    fn order(&self, order: Order) {
        // Where it has ended, the call for the next file says so.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the keeper of the log's files panicked");
        }
    }
}

/// The log's files in `dir`, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The number of a file, by which files are ordered.
pub(super) fn number(path: &Path) -> io::Result<u64> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let number = stem.and_then(|stem| stem.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("{} is no file of a log", path.display())))
}

/// Makes a file of zeros, and makes it durable. Its length is rounded up to whole blocks.
pub(super) fn make(dir: &Path, number: u64, bytes: u64) -> io::Result<Next> {
    let (spare, path) = (dir.join(SPARE), dir.join(format!("{number:020}.{EXTENSION}")));
    let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
    let file = open_for_blocks(&spare)?;
    file.set_len(bytes)?;
    let mut zeros = Blocks::new(STEP_BYTES);
    zeros.memory().extend(iter::repeat_n(0, STEP_BYTES));
    let mut offset = 0;
    while offset < bytes {
        let step = usize::try_from(bytes - offset).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        file.write_all_at(&zeros.whole()[..step], offset)?;
        file.sync_data()?;
        offset += step as u64;
    }
    file.sync_all()?;
    fs::rename(&spare, &path)?;
    sync_dir(dir)?;
    Ok(Next { path, file, bytes })
}

/// Opens a file, to read and to mend it. Who reads names all that is wanted at once. What the kernel would read ahead
/// of that, 128 KiB on most machines and some MiB on others, a sync would have to wait for.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    // Advice: where it is not taken, all is as it was.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random);
    Ok(file)
}

/// Opens a file, or creates it, for writes of whole blocks. Where the file system can, they go past the kernel's
/// cache, which would copy them and look for what is to be written at each sync.
pub(super) fn open_for_blocks(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(target_os = "linux")]
    {
        let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).map_err(io::Error::other)?;
        match options.clone().custom_flags(direct).open(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            opened => return opened,
        }
    }
    options.open(path)
}

/// Files that are not needed any more, the oldest first.
struct Gone {
    dir: PathBuf,
    paths: VecDeque<PathBuf>,
    /// The oldest could not be removed.
    stuck: bool,
}

impl Gone {
    /// How long to wait before the next one is removed, for an order at most.
    fn rest(&self) -> Duration {
        if self.stuck || self.paths.is_empty() { Duration::MAX } else { REST }
    }

    fn remove_one(&mut self) {
        let Some(oldest) = self.paths.front() else { return };
        let removed = remove(&self.dir, oldest);
        self.stuck = removed.is_err();
        match removed {
            Ok(()) => drop(self.paths.pop_front()),
            Err(error) => {
                let files = self.paths.len();
                tracing::error!(%error, files, "cannot remove files of the log yet");
            }
        }
    }

    fn remove_all(mut self) {
        while !self.stuck && !self.paths.is_empty() {
            self.remove_one();
        }
    }
}

/// Removes a file, or makes it the next one. After an error it may be there still, or come back.
pub(super) fn remove(dir: &Path, path: &Path) -> io::Result<()> {
    let spare = dir.join(SPARE);
    let removed = match spare.try_exists()? {
        true => fs::remove_file(path),
        false => fs::rename(path, &spare),
    };
    match removed {
        // Somebody may have tidied up.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_dir(dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Stopwatch, give_way};

    #[test]
    fn what_goes_away_becomes_the_next_file() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(dir.path().to_owned()).unwrap();
        let ask = |number| {
            keeper.make(number, 3 << 20);
            keeper.next().unwrap()
        };
        let (first, second) = (ask(1), ask(2));
        let used = open(&first.path).unwrap();
        used.write_all_at(&[7; 5 << 20], 0).unwrap();
        keeper.remove(vec![first.path]);
        let third = ask(3);
        keeper.remove(vec![second.path]);
        // What still reads the first one reads the third now.
        assert_eq!(used.metadata().unwrap().len(), 3 << 20);
        let content = fs::read(&third.path).unwrap();
        assert!(content.len() == 3 << 20 && content.iter().all(|byte| *byte == 0));
        assert_eq!(number(&third.path).unwrap(), 3);
        drop(keeper);
        assert_eq!(list(dir.path()).unwrap(), [third.path]);
        // The second becomes the one after that.
        assert_eq!(dir.path().read_dir().unwrap().count(), 2);
    }

    /// A snapshot made 24 files unneeded, which were removed at a stretch: for the tenth of a second that it took, writes
    /// took up to 18 ms.
    #[test]
    fn files_go_away_slowly_and_who_wants_one_does_not_wait_for_that() {
        const FILES: u32 = 50;
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..FILES).map(|n| dir.path().join(format!("{n}.wal"))).collect();
        paths.iter().for_each(|path| fs::write(path, "x").unwrap());
        let left = || paths.iter().filter(|path| path.exists()).count();
        let (keeper, watch) = (Keeper::start(dir.path().to_owned()).unwrap(), Stopwatch::start());
        keeper.remove(paths.clone());
        keeper.make(100, 1);
        keeper.next().unwrap();
        assert!(left() > 0, "removed before, in {watch:?}");
        while left() > 0 && watch.seconds() < 60.0 {
            give_way();
        }
        assert_eq!(left(), 0, "in {watch:?}");
        // The first one goes at once, and the second after the file that was made.
        let rests = f64::from(FILES - 2) * 0.02;
        assert!(watch.seconds() >= rests, "{watch:?}");
    }

    /// Small files are filled faster than one is removed each 20 ms: had those that are made no regard for those that
    /// are to go, the disk would be full some day.
    #[test]
    fn one_goes_for_each_that_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..20).map(|n| dir.path().join(format!("{n}.wal"))).collect();
        paths.iter().for_each(|path| fs::write(path, "x").unwrap());
        let keeper = Keeper::start(dir.path().to_owned()).unwrap();
        keeper.remove(paths.clone());
        for number in 100..121 {
            keeper.make(number, 1);
            keeper.next().unwrap();
        }
        // The one that goes with the last is perhaps on its way.
        let left = paths.iter().filter(|path| path.exists()).count();
        assert!(left <= 1, "{left} files");
    }

    /// A follower that is far behind has the whole log read. What is read beside it stands in the way of a sync.
    #[cfg(target_os = "linux")]
    #[test]
    fn no_more_is_read_than_is_asked_for() {
        const ASKED: usize = 64 << 10;
        let from_disk = || -> u64 {
            let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
            let count = counts.lines().find_map(|line| line.strip_prefix("read_bytes: "));
            count.unwrap().parse().unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let file = open(&make(dir.path(), 1, 4 << 20).unwrap().path).unwrap();
        let before = from_disk();
        file.read_exact_at(&mut [7; ASKED], 0).unwrap();
        let read = from_disk() - before;
        assert!(read <= ASKED as u64, "{read} bytes");
    }

    /// There was no room, then there is.
    #[test]
    fn a_failure_does_not_end_the_keeper() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("log");
        let keeper = Keeper::start(inside.clone()).unwrap();
        keeper.make(1, 1);
        assert_eq!(keeper.next().unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&inside).unwrap();
        keeper.remove(vec![inside.join("none")]);
        keeper.make(1, 1);
        assert_eq!(keeper.next().unwrap().bytes, BLOCK_BYTES as u64);
    }

    /// Were a later one removed first, a log with a gap would be left, which does not open.
    #[test]
    fn no_file_goes_before_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let [stuck, older, newer] = ["stuck", "1.wal", "2.wal"].map(|name| dir.path().join(name));
        [&older, &newer].iter().for_each(|path| fs::write(path, "x").unwrap());
        // A directory that is not empty cannot be removed as a file; the spare one is there already.
        fs::create_dir_all(stuck.join("inside")).unwrap();
        fs::write(dir.path().join(SPARE), "x").unwrap();
        let paths = VecDeque::from([stuck.clone()]);
        let mut gone = Gone { dir: dir.path().to_owned(), paths, stuck: false };
        gone.remove_one();
        assert_eq!(
            (gone.paths.len(), gone.rest()),
            (1, Duration::MAX),
            "tried fifty times a second"
        );
        let keeper = Keeper::start(dir.path().to_owned()).unwrap();
        keeper.remove(vec![stuck.clone(), older.clone()]);
        keeper.remove(vec![newer.clone()]);
        drop(keeper);
        assert!(older.exists() && newer.exists());
        fs::remove_dir_all(&stuck).unwrap();
        let keeper = Keeper::start(dir.path().to_owned()).unwrap();
        keeper.remove(vec![stuck, older.clone(), newer.clone()]);
        drop(keeper);
        assert!(!older.exists() && !newer.exists());
    }
}
