//! The folder a run leaves behind: `store/<name>/<time>/`, and `store/latest`.
//!
//! In go a root, the name of the test, its seed and the command that repeats it; out comes a
//! [`RunFolder`] that says where everything belongs:
//!
//! ```text
//! store/register-strong/20261123T201500.250Z/
//!   run.json        name, time, seed and replay command, written first
//!   history.edn     for Jepsen's own tools
//!   history.jsonl   for `sixbells-jepsen check`
//!   results.json    the report
//!   junit.xml       the same for a build server
//!   timeline.html   the history with its faults and nodes, to look at
//!   harness.log     what the harness did
//!   node-1.log      one for each node
//!   data/node-1/    what each node kept, unless the run was valid
//! ```
//!
//! Invariants:
//! - a run never writes into another's folder, even if both began in the same millisecond;
//! - `run.json` is there before the first operation, so that a run that dies can be repeated;
//! - `latest` always points to a folder: it is replaced in one step.
//!
//! Logs are written by those who log; this only names them. Old runs are never deleted.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use crate::history::{Event, Format, file};

/// How many folders of one millisecond are tried.
const SAME_TIME_MAX: u32 = 100;

/// Where a run keeps its results.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder and points `latest` to it. `name` may hold letters, digits, `-`, `_`, `.`.
    pub fn create(root: &Path, name: &str, seed: u64, replay: &str) -> io::Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || name == "latest" || !name.chars().all(plain)
        {
            let reason = format!("{name:?} cannot be the name of a run folder");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = timestamp(since);
        fs::create_dir_all(root.join(name))?;
        let (relative, path) = make_unique(root, name, &time)?;
        let folder = Self { path };
        let run = json!({ "name": name, "time": time, "seed": seed, "replay": replay });
        fs::write(folder.path.join("run.json"), format!("{run:#}\n"))?;
        point_latest(root, &relative)?;
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the harness logs.
    pub fn harness_log(&self) -> PathBuf {
        self.path.join("harness.log")
    }

    /// Where a node logs.
    pub fn node_log(&self, node: u64) -> PathBuf {
        self.path.join(format!("node-{node}.log"))
    }

    /// Where a node keeps its data.
    pub fn node_data(&self, node: u64) -> PathBuf {
        self.path.join("data").join(format!("node-{node}"))
    }

    /// Removes the data of all nodes: worth keeping only if something is wrong with it.
    pub fn remove_data(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.path.join("data")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the history in both formats.
    pub fn write_history(&self, events: &[Event]) -> io::Result<()> {
        for (name, format) in [("history.edn", Format::Edn), ("history.jsonl", Format::Jsonl)] {
            let mut out = BufWriter::new(File::create(self.path.join(name))?);
            file::write(&mut out, events, format)?;
            out.flush()?;
        }
        Ok(())
    }

    /// Writes the report.
    pub fn write_results(&self, results: &Json) -> io::Result<()> {
        fs::write(self.path.join("results.json"), format!("{results:#}\n"))
    }

    /// Writes the report for a build server.
    pub fn write_junit(&self, xml: &str) -> io::Result<()> {
        fs::write(self.path.join("junit.xml"), xml)
    }

    /// Writes the page.
    pub fn write_page(&self, html: &str) -> io::Result<()> {
        fs::write(self.path.join("timeline.html"), html)
    }
}

/// Makes a folder that nobody else made; returns it relative to the root, and in full.
fn make_unique(root: &Path, name: &str, time: &str) -> io::Result<(PathBuf, PathBuf)> {
    for attempt in 1..=SAME_TIME_MAX {
        let folder = if attempt == 1 { time.to_owned() } else { format!("{time}-{attempt}") };
        let relative = Path::new(name).join(folder);
        let path = root.join(&relative);
        match fs::create_dir(&path) {
            Ok(()) => return Ok((relative, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let reason = format!("{SAME_TIME_MAX} runs of {name} began at {time}");
    Err(io::Error::new(io::ErrorKind::AlreadyExists, reason))
}

/// Replaces the link by renaming a new one over it, so that nobody ever finds it missing.
fn point_latest(root: &Path, relative: &Path) -> io::Result<()> {
    let unique = relative.to_string_lossy().replace('/', "_");
    let fresh = root.join(format!(".latest-{unique}"));
    std::os::unix::fs::symlink(relative, &fresh)?;
    fs::rename(&fresh, root.join("latest"))
}

/// A moment as `20261123T201500.250Z`, which sorts by time and is a legal file name.
fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millisecond = since_epoch.subsec_millis();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{millisecond:03}Z")
}

/// The date of a day since 1970, by counting in eras of 400 years that begin in March, so that the
/// leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1460 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps + day_of_era / 36_524) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{History, Recorder, Value};

    #[test]
    fn times_are_written_as_dates() {
        let at = |seconds, millis: u32| timestamp(Duration::new(seconds, millis * 1_000_000));
        assert_eq!(at(0, 0), "19700101T000000.000Z");
        assert_eq!(at(951_782_399, 7), "20000228T235959.007Z");
        assert_eq!(at(951_782_400, 0), "20000229T000000.000Z");
        assert_eq!(at(1_735_689_599, 999), "20241231T235959.999Z");
        assert_eq!(at(4_107_542_400, 0), "21000301T000000.000Z");
    }

    #[test]
    fn each_run_has_its_own_folder_and_latest_is_the_last() {
        let root = tempfile::tempdir().unwrap();
        let create = || RunFolder::create(root.path(), "register", 7, "cargo jepsen run").unwrap();
        let folders: Vec<_> = (0..5).map(|_| create()).collect();
        let mut paths: Vec<_> = folders.iter().map(|f| f.path().to_owned()).collect();
        paths.dedup();
        assert_eq!(paths.len(), 5);
        let latest = fs::canonicalize(root.path().join("latest")).unwrap();
        assert_eq!(latest, fs::canonicalize(&paths[4]).unwrap());
        let run = fs::read_to_string(latest.join("run.json")).unwrap();
        assert!(run.contains("\"seed\": 7") && run.contains("cargo jepsen run"));
        for bad in ["", "..", "a/b", "latest"] {
            assert!(RunFolder::create(root.path(), bad, 7, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stored_history_reads_back_in_both_formats() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path(), "set", 1, "").unwrap();
        let recorder = Recorder::new(1);
        let mut worker = recorder.worker(0);
        worker.invoke("add", Value::Int(3));
        recorder.nemesis("kill", Value::pair("node", 1));
        folder.write_history(&recorder.events()).unwrap();
        for name in ["history.edn", "history.jsonl"] {
            let history = History::read(&folder.path().join(name), Format::Auto).unwrap();
            assert_eq!(history.events, recorder.events(), "{name}");
        }
    }
}
