//! Node processes by seat, and what the kernel says they used.
//!
//! Owns [`Processes`], and [`Memory`] and [`Used`], what is known of them. Invariants
//! - A process is ended by its own id, and waited for.
//! - None outlives its `Processes`, whichever way the measurement ends.
//!
//! Does not: know what runs in them.

use std::{
    net::TcpListener,
    ops::Sub,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// What the nodes of a system used since they started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time of all nodes.
    pub cpu_seconds: f64,
    /// Bytes that all nodes caused to be written to the disk.
    pub write_bytes: u64,
    /// Syncs of all nodes, if they are counted.
    pub syncs: Option<u64>,
    /// Resident memory of the node that has most: now, not since the start.
    pub resident_bytes_max: u64,
}

impl Sub for Used {
    type Output = Used;

    fn sub(self, earlier: Used) -> Used {
        Used {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            write_bytes: self.write_bytes.saturating_sub(earlier.write_bytes),
            syncs: self.syncs.zip(earlier.syncs).map(|(now, then)| now.saturating_sub(then)),
            resident_bytes_max: self.resident_bytes_max,
        }
    }
}

/// The resident memory of one process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most since it started, or since [`Processes::forget_peak`].
    pub peak: u64,
}

/// One process for each seat; a killed one leaves its seat empty.
#[derive(Debug, Default)]
pub struct Processes(Vec<Option<Child>>);

impl Processes {
    /// Starts a process on a seat. It dies with this value.
    ///
    /// # Errors
    /// When it cannot be started, or the seat is taken.
    pub fn spawn(&mut self, seat: usize, command: &mut Command) -> anyhow::Result<&mut Child> {
        if self.0.len() <= seat {
            self.0.resize_with(seat + 1, || None);
        }
        anyhow::ensure!(self.0[seat].is_none(), "seat {seat} has a process already");
        let child = command.kill_on_drop(true).spawn()?;
        Ok(self.0[seat].insert(child))
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// When nothing runs on the seat.
    pub async fn kill(&mut self, seat: usize) -> anyhow::Result<()> {
        let child = self.0.get_mut(seat).and_then(Option::take);
        Ok(child.context("no process to kill on this seat")?.kill().await?)
    }

    /// SIGSTOP: it does nothing until [`resume`](Self::resume), and loses nothing.
    ///
    /// # Errors
    /// When nothing runs on the seat.
    pub fn pause(&self, seat: usize) -> anyhow::Result<()> {
        self.send(seat, Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn resume(&self, seat: usize) -> anyhow::Result<()> {
        self.send(seat, Signal::CONT)
    }

    fn send(&self, seat: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid(seat)?.try_into()?).context("no process has this id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends all of them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        for mut child in self.0.drain(..).flatten() {
            child.kill().await?;
        }
        Ok(())
    }

    /// What those that run used, syncs aside: the kernel does not count them. What cannot be read is
    /// zero, for a process may end at any moment.
    pub fn used(&self) -> Used {
        let mut used = Used::default();
        for pid in self.0.iter().flatten().filter_map(Child::id) {
            used.cpu_seconds += cpu_seconds(pid).unwrap_or(0.0);
            used.write_bytes += field(pid, "io", "write_bytes:").unwrap_or(0);
            used.resident_bytes_max = used.resident_bytes_max.max(memory(pid).resident);
        }
        used
    }

    /// The memory of one of them.
    ///
    /// # Errors
    /// When nothing runs on the seat.
    pub fn memory(&self, seat: usize) -> anyhow::Result<Memory> {
        Ok(memory(self.pid(seat)?))
    }

    /// From now on, the peak of its memory is what it is now or will be.
    ///
    /// # Errors
    /// When nothing runs on the seat, or the kernel cannot.
    pub fn forget_peak(&self, seat: usize) -> anyhow::Result<()> {
        let file = format!("/proc/{}/clear_refs", self.pid(seat)?);
        std::fs::write(&file, "5").with_context(|| format!("no new peak by {file}"))
    }

    /// How many files one of them has open, connections among them.
    ///
    /// # Errors
    /// When nothing runs on the seat.
    pub fn open_files(&self, seat: usize) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.pid(seat)?))?.count())
    }

    fn pid(&self, seat: usize) -> anyhow::Result<u32> {
        let child = self.0.get(seat).and_then(Option::as_ref);
        child.and_then(Child::id).with_context(|| format!("nothing runs on seat {seat}"))
    }
}

/// Measures, unless this process is told to end before: then the processes under it end first.
///
/// # Errors
/// Those of the work, and that it was told to end.
pub async fn unless_told(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("told to end"),
        done = work => done,
    }
}

/// User and system time of a process, from the kernel, in its hundredths of a second.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: u32 = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    Some(f64::from(ticks) / 100.0)
}

fn memory(pid: u32) -> Memory {
    let bytes = |name| field(pid, "status", name).unwrap_or(0) * 1_024;
    Memory { resident: bytes("VmRSS:"), peak: bytes("VmHWM:") }
}

/// The number after a name in one of the files that the kernel keeps about a process.
fn field(pid: u32, file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A directory for the nodes' disks, beside the build: on a disk, not on a memory file system. What was deleted before
/// is gone from the disk, too: where it is mounted with `discard`, syncs would wait for that.
///
/// # Errors
/// When it cannot be made.
pub fn store() -> anyhow::Result<TempDir> {
    rustix::fs::sync();
    let program: PathBuf = std::env::current_exe()?;
    let beside: &Path = program.parent().context("the program has no directory")?;
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(beside)?)
}

/// Free addresses on loopback. All are held until all are known, so that none comes twice.
///
/// # Errors
/// When there is none.
pub fn ports(count: usize) -> anyhow::Result<Vec<String>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}
