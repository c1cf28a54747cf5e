//! One node process: started, signalled, watched, ended.
//!
//! In goes a command line; a [`Process`] is its handle, and every end that nobody ordered goes to the
//! [`Deaths`], which a run looks at.
//!
//! Invariants:
//! - a process has one owner, the task that watches it: when that is dropped, it is killed;
//! - it has a process group of its own: a Ctrl-C meant for the harness must not look like a crash;
//! - its standard input is a pipe that closes with this process, however this one ends, and a node
//!   takes that as the order to shut down: no node outlives its harness;
//! - [`Process::kill`] and [`Process::close`] return once the process is gone and reaped;
//! - a process that ended before the order to end it arrived has died by itself.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long a node may take to shut down.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);
/// How long the system may take to make a process stand still.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A node that ended though nobody told it to, or not as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Which node.
    pub node: u64,
    /// What it did, in words that follow its name.
    pub how: String,
}

/// All deaths of a run, in order.
#[derive(Debug, Default)]
pub struct Deaths(watch::Sender<Vec<Death>>);

impl Deaths {
    fn enter(&self, node: u64, how: String) {
        tracing::error!("node {node} {how}");
        self.0.send_modify(|deaths| deaths.push(Death { node, how }));
    }

    /// Those so far.
    pub fn so_far(&self) -> Vec<Death> {
        self.0.borrow().clone()
    }

    /// Waits for the first.
    pub async fn first(&self) {
        let mut deaths = self.0.subscribe();
        if deaths.wait_for(|deaths| !deaths.is_empty()).await.is_err() {
            // Unreachable while `self` lives; and if it did happen, nobody has died.
            std::future::pending::<()>().await;
        }
    }
}

/// A running node process.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    order: Option<oneshot::Sender<Order>>,
    watcher: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Kill,
    Close,
}

impl Process {
    /// Starts a process as `node`.
    pub(super) fn spawn(
        node: u64,
        command: &mut Command,
        deaths: &Arc<Deaths>,
    ) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("start node {node}"))?;
        let raw = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = raw.with_context(|| format!("node {node} has no process id"))?;
        tracing::info!(node, pid = pid.as_raw_nonzero().get(), "started");
        let (order, orders) = oneshot::channel();
        let watcher = tokio::spawn(watch(node, child, orders, Arc::clone(deaths)));
        Ok(Self { pid, order: Some(order), watcher })
    }

    /// Its id.
    pub(super) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it has not been reaped yet.
    pub(super) fn is_running(&self) -> bool {
        !self.watcher.is_finished()
    }

    /// Ends it without warning.
    pub(super) async fn kill(mut self) {
        self.end(Order::Kill).await;
    }

    /// Asks it to shut down, and kills it if it does not.
    pub(super) async fn close(mut self) {
        self.end(Order::Close).await;
    }

    async fn end(&mut self, order: Order) {
        if let Some(orders) = self.order.take() {
            // Nobody listens any more if it has died by itself, which is entered already.
            let _dead = orders.send(order);
        }
        let _ended = (&mut self.watcher).await;
    }

    /// Makes it stand still, and returns once it does.
    pub(super) async fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + STOP_MAX;
        while self.is_running() && !self.stands_still() {
            anyhow::ensure!(Instant::now() < deadline, "process {} does not stop", self.id());
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Lets it go on.
    pub(super) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // The id is ours until the watcher has reaped it; a process that has just died is no error.
        match kill_process(self.pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal process {}", self.id())),
        }
    }

    /// What the system says, or the signal's word for it where there is no `/proc`.
    fn stands_still(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        // The state follows the name, which is in brackets and may hold anything.
        stat.map_or(true, |stat| {
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
        })
    }
}

/// Owns the process until its end.
async fn watch(
    node: u64,
    mut child: Child,
    mut orders: oneshot::Receiver<Order>,
    deaths: Arc<Deaths>,
) {
    // Taken out, since waiting would close it.
    let stdin = child.stdin.take();
    let order = tokio::select! {
        biased;
        status = child.wait() => return deaths.enter(node, words("by itself", status)),
        order = &mut orders => order,
    };
    if let Ok(Order::Close) = order {
        drop(stdin);
        match timeout(SHUTDOWN_MAX, child.wait()).await {
            Ok(Ok(status)) if status.success() => return,
            Ok(status) => return deaths.enter(node, words("when told to shut down", status)),
            Err(_elapsed) => {
                let late = format!("did not shut down within {} s", SHUTDOWN_MAX.as_secs());
                deaths.enter(node, late);
            }
        }
    }
    // It fails for a process that has ended already, whose status then says so.
    let _ended = child.start_kill();
    let status = child.wait().await;
    let killed = |status: &ExitStatus| status.signal() == Some(Signal::KILL.as_raw());
    if !status.as_ref().is_ok_and(killed) {
        deaths.enter(node, words("by itself", status));
    }
}

fn words(when: &str, status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended {when}, with exit status {code}"),
            (None, Some(signal)) => format!("ended {when}, by signal {signal}"),
            (None, None) => format!("ended {when}: {status}"),
        },
        Err(error) => format!("could not be waited for: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deaths: &Arc<Deaths>) -> Process {
        Process::spawn(7, Command::new("sh").args(["-c", script]), deaths).unwrap()
    }

    fn exists(pid: i32) -> bool {
        std::path::Path::new(&format!("/proc/{pid}")).exists()
    }

    /// A crash that nobody notices is the one bug a test of real processes must not have.
    #[tokio::test]
    async fn an_end_that_nobody_ordered_is_a_death() {
        let deaths = Arc::new(Deaths::default());
        let process = shell("exit 3", &deaths);
        timeout(Duration::from_secs(5), deaths.first()).await.unwrap();
        let how = "ended by itself, with exit status 3".to_owned();
        assert_eq!(deaths.so_far(), [Death { node: 7, how }]);
        process.kill().await;
        assert_eq!(deaths.so_far().len(), 1);
    }

    #[tokio::test]
    async fn ordered_ends_are_no_deaths_and_leave_no_process() {
        let deaths = Arc::new(Deaths::default());
        let process = shell("sleep 60 & wait", &deaths);
        let pid = process.id();
        process.pause().await.unwrap();
        assert!(process.stands_still());
        process.kill().await;
        assert!(!exists(pid));
        // Reads until its standard input closes.
        shell("cat > /dev/null", &deaths).close().await;
        assert_eq!(deaths.so_far(), []);
        shell("cat > /dev/null; exit 4", &deaths).close().await;
        let how = "ended when told to shut down, with exit status 4".to_owned();
        assert_eq!(deaths.so_far(), [Death { node: 7, how }]);
    }
}
