//! What the stories share: engines, seeded numbers, and a log in memory as the reference.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sixbells::{
    Damage, StartError,
    storage::{
        Done, LogEngine, LogId, LogState, LogStore, MemoryLog, Record, Vote, open_log_sized,
    },
};

pub(crate) const ENGINES: [LogEngine; 2] = [LogEngine::Wal, LogEngine::Sled];
/// Small files, so that the write-ahead log begins new ones often.
pub(crate) const FILE_BYTES: u64 = 64 << 10;

pub(crate) fn open(engine: LogEngine, dir: &Path) -> Result<Arc<dyn LogStore>, StartError> {
    open_log_sized(engine, dir, FILE_BYTES)
}

/// Calls a write and waits for its `Done`.
pub(crate) fn wait(write: impl FnOnce(Done)) -> io::Result<()> {
    let (tx, rx) = mpsc::channel();
    write(Box::new(move |result| tx.send(result).unwrap()));
    rx.recv_timeout(Duration::from_secs(60)).expect("a Done was never called")
}

/// The seed of a random story: from `SIXBELLS_SEED`, else `fallback`. Printed, for a failing test
/// shows its output.
pub(crate) fn seeded(test: &str, fallback: u64) -> StdRng {
    let seed = std::env::var("SIXBELLS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(fallback);
    println!("replay: SIXBELLS_SEED={seed} cargo test --test storage {test}");
    StdRng::seed_from_u64(seed)
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

/// An entry whose content follows from where it stands.
pub(crate) fn record(term: u64, index: u64, length: usize) -> Record {
    let word = (term << 32 ^ index).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let payload: Vec<u8> = word.iter().copied().cycle().take(length).collect();
    Record { id: id(term, index), payload: Bytes::from(payload) }
}

/// One write, as data.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append(Vec<Record>),
    Vote(Vote),
    Committed(LogId),
    Truncate(Option<LogId>),
    Purge(LogId),
}

impl Step {
    pub(crate) fn run(&self, log: &dyn LogStore, done: Done) {
        match self.clone() {
            Step::Append(records) => log.append(records, done),
            Step::Vote(vote) => log.save_vote(vote, done),
            Step::Truncate(last) => log.truncate_after(last, done),
            Step::Purge(upto) => log.purge(upto, done),
            Step::Committed(committed) => {
                log.save_committed(committed);
                // A barrier, so that this step has a `Done` as well.
                log.append(Vec::new(), done);
            }
        }
    }

    pub(crate) fn apply(&self, log: &dyn LogStore) {
        wait(|done| self.run(log, done)).unwrap();
    }

    /// The steps in between that a crash may leave: an append, entry by entry.
    pub(crate) fn parts(&self) -> Vec<Step> {
        match self {
            Step::Append(records) => {
                records.iter().map(|record| Step::Append(vec![record.clone()])).collect()
            }
            Step::Vote(_) | Step::Committed(_) | Step::Truncate(_) | Step::Purge(_) => {
                vec![self.clone()]
            }
        }
    }

    /// A next step that a node might take: mostly appends, with rolling purges and truncations.
    pub(crate) fn random(rng: &mut StdRng, log: &dyn LogStore, length_max: usize) -> Step {
        let LogState { vote, purged, last, .. } = log.state();
        let floor = purged.map_or(0, |p| p.index + 1);
        let end = last.map_or(0, |l| l.index + 1);
        let term = vote.map_or(1, |v| v.term).max(last.map_or(1, |l| l.term));
        let at = |index: u64| log.read(index..index + 1, u64::MAX).unwrap()[0].id;
        match rng.random_range(0..12) {
            0 => Step::Vote(Vote {
                term: term + 1,
                voted_for: rng.random_range(1..4),
                committed: rng.random(),
            }),
            1 if end > floor => Step::Committed(at(rng.random_range(floor..end))),
            2 if end > floor => {
                Step::Truncate(Some(at(end.saturating_sub(rng.random_range(1..40)).max(floor))))
            }
            3 | 4 if end > floor + 200 => {
                Step::Purge(at(rng.random_range(floor..end.saturating_sub(100))))
            }
            _ => {
                let count = rng.random_range(1..=64);
                let length = rng.random_range(0..length_max);
                Step::Append((end..end + count).map(|i| record(term, i, length)).collect())
            }
        }
    }
}

/// State and entries.
pub(crate) fn content(log: &dyn LogStore) -> (LogState, Vec<Record>) {
    (log.state(), log.read(0..u64::MAX, u64::MAX).unwrap())
}

/// Asserts that both hold the same, naming the first difference only.
pub(crate) fn assert_same(found: &dyn LogStore, expected: &dyn LogStore, context: &str) {
    assert_eq!(found.state(), expected.state(), "{context}");
    let ((_, found), (_, expected)) = (content(found), content(expected));
    let differs = found.iter().zip(&expected).find(|(a, b)| a != b).map(|(a, b)| (a.id, b.id));
    assert_eq!(differs, None, "{context}");
    assert_eq!(found.len(), expected.len(), "{context}");
}

/// Plays `steps` until the reference holds what `found` holds, beginning after those that were
/// acknowledged; panics if it never does. The reference stays where it matched.
pub(crate) fn match_prefix(found: &dyn LogStore, acked: &[Step], rest: &[Step], model: &MemoryLog) {
    for step in acked {
        step.apply(model);
    }
    let found_content = content(found);
    let mut parts = rest.iter().flat_map(Step::parts);
    while content(model) != found_content {
        let Some(part) = parts.next() else {
            panic!(
                "holds {:?} with {} entries, which no prefix of its writes explains; acknowledged \
                 {}, unacknowledged {}",
                found_content.0,
                found_content.1.len(),
                acked.len(),
                rest.len()
            );
        };
        part.apply(model);
    }
}

/// Random writes, done to the log in `dir` and to the reference, and listed.
pub(crate) fn build(
    engine: LogEngine,
    dir: &Path,
    rng: &mut StdRng,
    steps: usize,
    length_max: usize,
) -> (MemoryLog, Vec<Step>) {
    let (log, model) = (open(engine, dir).unwrap(), MemoryLog::new());
    let mut list = Vec::new();
    for _ in 0..steps {
        let step = Step::random(rng, &*log, length_max);
        step.apply(&*log);
        step.apply(&model);
        list.push(step);
    }
    (model, list)
}

pub(crate) fn expect_damage(result: Result<Arc<dyn LogStore>, StartError>, why: &str) -> Damage {
    match result {
        Err(StartError::Damaged(damage)) => damage,
        other => panic!("{why}: expected damage, found {other:?}"),
    }
}

/// The files below `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The files of the write-ahead log that hold records, oldest first.
pub(crate) fn chunks(dir: &Path) -> Vec<PathBuf> {
    let mut found = files(dir);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    found.retain(|path| !used(path).is_empty());
    found
}

/// The records of a file, without the zeros behind them. Their headers say how long they are, and are never zero.
pub(crate) fn used(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    let mut end = 0;
    while let Some(header) = bytes.get(end..end + 17).filter(|header| header[16] != 0) {
        let length = u32::from_le_bytes(*header[4..].first_chunk().unwrap());
        end += 17 + usize::try_from(length).unwrap() + 1;
    }
    bytes.truncate(end);
    bytes
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
