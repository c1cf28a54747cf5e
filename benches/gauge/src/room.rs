//! What the machine has left: memory, disk and open files.
//!
//! Owns [`Room`]. Out: what the kernel says at this moment. Invariant: what cannot be found out is `None`, and
//! stands in nobody's way.
//!
//! Does not: reserve anything; others on the machine may take it the next moment.

use std::{
    fmt,
    fs::read_to_string,
    path::Path,
    process::{Command, Stdio},
};

const GIB: f64 = (1_u64 << 30) as f64;

/// What is left, or what is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Bytes on the disk of the nodes.
    pub disk_bytes: Option<u64>,
}

impl Room {
    /// What is left now, the disk being that of this directory.
    pub fn left(dir: &Path) -> Self {
        let memory = number_after(&read("/proc/meminfo"), "MemAvailable:");
        Self { memory_bytes: memory.map(|kib| kib * 1_024), disk_bytes: disk_bytes(dir) }
    }

    /// Whether this is enough for what is needed.
    pub fn holds(&self, needed: &Room) -> bool {
        let fits = |has: Option<u64>, needs: Option<u64>| {
            has.zip(needs).is_none_or(|(has, needs)| has >= needs)
        };
        fits(self.memory_bytes, needed.memory_bytes) && fits(self.disk_bytes, needed.disk_bytes)
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = |bytes: Option<u64>| match bytes {
            Some(bytes) => format!("{:.1} GiB", bytes as f64 / GIB),
            None => "an unknown amount".into(),
        };
        write!(f, "{} of memory, {} of disk", gib(self.memory_bytes), gib(self.disk_bytes))
    }
}

/// How many files this process, and so each that it starts, may have open.
pub fn open_files_max() -> Option<u64> {
    number_after(&read("/proc/self/limits"), "Max open files")
}

fn read(file: &str) -> String {
    read_to_string(file).unwrap_or_default()
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// By `df`, for the standard library does not ask the file system.
fn disk_bytes(dir: &Path) -> Option<u64> {
    let mut df = Command::new("df");
    let out = df.args(["-B1", "--output=avail"]).arg(dir).stderr(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&out.stdout).lines().next_back()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_stands_in_nobodys_way() {
        let little = Room { memory_bytes: Some(5), disk_bytes: None };
        assert!(little.holds(&Room { memory_bytes: Some(5), disk_bytes: Some(1 << 60) }));
        assert!(!little.holds(&Room { memory_bytes: Some(6), disk_bytes: None }));
    }

    #[test]
    fn this_machine_has_some() {
        let left = Room::left(Path::new("/"));
        assert!(left.memory_bytes > Some(0) && left.disk_bytes > Some(0), "{left}");
        assert!(open_files_max() > Some(0));
    }
}
