//! A trial: one run against a cluster of real processes, from the first start to the report.
//!
//! ```text
//!   start -> ready -> quiet -> load beside nemesis -> heal -> serves again -> replicas -> last reads
//!                              \--------- recorded ---------/                            -> checkers
//! ```
//!
//! In go a [`Script`], the faults and the times; out comes an [`Outcome`]: a [`Report`], the events of
//! the history, which is in the run folder by then, and the same in the machine's own types.
//!
//! Invariants:
//! - the history is written whatever happened, also when the trial is interrupted;
//! - a node that ended by itself, a panic in a node's log, and a cluster that does not serve again
//!   once all is healed are findings: they make the trial invalid;
//! - an error of the harness ends the trial early, and the first one is told;
//! - when it is over, no process is left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sixbells::Mode;
use sixbells_checker::faults::{self, Band};
use sixbells_checker::nodes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::checker::budget::Budget;
use crate::checker::eventual::CONVERGENCE;
use crate::checker::replay::Typed;
use crate::checker::stats::Stats;
use crate::checker::{Explanation, Verdict};
use crate::cluster::{Cluster, Death, Plan};
use crate::eventual;
use crate::history::{Clock, Event, EventType, Process, Recorder, Worker, pairing};
use crate::journal::Journal;
use crate::load::{self, Load, Pace, Reads};
use crate::machine::Workbench;
use crate::nemesis::{Fault, Schedule};
use crate::observer;
use crate::replicas;
use crate::report::{Check, Report};
use crate::store::RunFolder;
use crate::workload::{Action, Evidence, Script};

/// How long a fresh cluster may take to serve. A machine that is busy compiling is slow.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long the cluster rests before the load, so that no election falls into it by chance.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// How long a cluster may take to serve again once all faults are healed. A failover takes about a
/// second; a follower may have to fetch a snapshot.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// How long the checkers search, and in how much memory.
const CHECK_MAX: Duration = Duration::from_secs(120);
const CHECK_BYTES_MAX: usize = 1 << 30;
/// How much of a dead node's log a report shows.
const TAIL_LINES: usize = 12;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// Everything that decides what a trial does.
#[derive(Debug)]
pub struct Trial {
    /// What is done, and how it is judged.
    pub script: Arc<dyn Script>,
    /// The nodes.
    pub plan: Plan,
    /// The load.
    pub pace: Pace,
    /// Which verb reads use.
    pub reads: Reads,
    /// How long load and nemesis run.
    pub time_limit: Duration,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// How long from one step of the nemesis to the next.
    pub interval: Duration,
}

/// What came of a trial.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For a person and for a program.
    pub report: Report,
    /// The history.
    pub events: Vec<Event>,
    /// What may have happened of it, in the machine's own types, on the same clock.
    pub operations: Vec<Typed<Workbench>>,
    /// The numbers of the commands in the order in which all nodes have applied them; empty if they did
    /// not come to rest.
    pub order: Vec<u64>,
    /// When all was healed, on the history's clock, if it came so far.
    pub healed: Option<u64>,
    /// How long the nodes took to come to rest once all was healed, if they did.
    pub rested: Option<Duration>,
}

impl Outcome {
    /// What was broken, and when.
    pub fn bands(&self) -> Vec<Band> {
        faults::bands(&self.events, Clock::Nanoseconds)
    }
}

impl Trial {
    /// Runs it, until it is over or `interrupted`, and reports.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub async fn run(
        &self,
        folder: &RunFolder,
        interrupted: impl Future<Output = ()>,
    ) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let recorder = Recorder::new(self.pace.concurrency);
        let journal = Journal::new(&recorder);
        let mut outcome = Outcome::default();
        match Cluster::start(self.plan, folder).await {
            Ok(cluster) => {
                let phases = self.phases(&cluster, &journal, &mut outcome);
                let ended = tokio::select! {
                    ended = phases => Some(ended),
                    () = interrupted => None,
                    never = observer::observe(&cluster, &recorder) => match never {},
                };
                let failures = &mut outcome.report.failures;
                match ended {
                    Some(Ok(())) => cluster.close().await,
                    Some(Err(error)) => failures.push(format!("{error:#}")),
                    None => failures.push("the run was interrupted".to_owned()),
                }
                cluster.kill_all().await;
                outcome.report.checks.extend(deaths(&cluster, folder));
            }
            Err(error) => outcome.report.failures.push(format!("{error:#}")),
        }
        outcome.report.checks.extend(panics(self.plan.nodes, folder));
        if self.plan.mode == Mode::Strong {
            outcome.report.notes.push(snapshots(self.plan.nodes, folder));
        }
        outcome.events = recorder.events();
        outcome.operations = journal.operations();
        folder.write_history(&outcome.events).context("write the history")?;
        tell("checking the history");
        self.judge(&mut outcome);
        outcome.report.took = Some(began.elapsed());
        Ok(outcome)
    }

    async fn phases(
        &self,
        cluster: &Cluster,
        journal: &Arc<Journal>,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        tell(&format!("starting {} nodes", self.plan.nodes));
        let ready = async {
            tokio::select! {
                ready = cluster.serves(READY_MAX) => ready.map(Some),
                () = cluster.deaths().first() => Ok(None),
            }
        };
        let Some(took) = ready.await? else { return Ok(()) };
        tell(&format!("ready after {:.1} s", took.as_secs_f64()));
        sleep(QUIET_MAX.min(self.time_limit / 10)).await;
        let report = &mut outcome.report;
        let workers = self.break_under_load(cluster, journal, report).await?;
        if !cluster.deaths().so_far().is_empty() {
            return Ok(());
        }
        let healed = Instant::now();
        outcome.healed = Some(journal.recorder().elapsed());
        tell("healed; waiting until the cluster serves");
        match cluster.serves(RECOVERY_MAX).await {
            Ok(took) => {
                let ms = took.as_millis();
                report.notes.push(format!("served through every node {ms} ms after healing"));
            }
            Err(error) => report.checks.push(finding("recovery", error.to_string(), Vec::new())),
        }
        let rest = replicas::compare(cluster, RECOVERY_MAX).await?;
        outcome.order = rest.order();
        outcome.rested = rest.reached().then(|| healed.elapsed());
        self.compared(rest.replayed(&journal.operations()), outcome);
        self.last_reads(cluster, journal, workers, &mut outcome.report).await
    }

    /// In eventual mode that the replicas come to one state is what is promised, else it goes without
    /// saying.
    fn compared(&self, verdict: Verdict, outcome: &mut Outcome) {
        let Outcome { report, rested, .. } = outcome;
        let ms = rested.map(|rested| rested.as_millis()).unwrap_or_default();
        if let Verdict::Valid { operations, .. } = verdict {
            report.notes.push(format!(
                "all nodes hold the same after {operations} commands, {ms} ms after healing"
            ));
        }
        let name = match self.plan.mode {
            Mode::Strong if matches!(verdict, Verdict::Valid { .. }) => return,
            Mode::Strong => "replicas".to_owned(),
            Mode::Eventual => CONVERGENCE.to_owned(),
        };
        report.checks.push(Check { name, verdict, details: serde_json::Value::Null });
    }

    /// The load beside the nemesis, until the time is over or somebody has died.
    async fn break_under_load(
        &self,
        cluster: &Cluster,
        journal: &Arc<Journal>,
        report: &mut Report,
    ) -> anyhow::Result<Vec<Worker>> {
        let recorder = journal.recorder();
        let mut load = Load::new(&self.script, cluster, journal, self.pace, self.reads).await?;
        load.set_up(READY_MAX).await.context("prepare the workload")?;
        if self.plan.mode == Mode::Eventual {
            // What is prepared at one node would be missing at the others, and answers be revoked for
            // no fault's sake.
            replicas::at_rest(cluster, READY_MAX).await?;
        }
        tell(&format!("load and faults for {} s", self.time_limit.as_secs()));
        let (conductor, stop) = watch::channel(false);
        let schedule = Schedule::new(self.pace.seed, &self.faults, self.interval);
        let nemesis = async {
            let mut stop = stop.clone();
            let stopped = async move {
                // A conductor that is gone has nothing more to conduct.
                let _gone = stop.wait_for(|stop| *stop).await.map(drop);
            };
            let (coverage, result) = schedule.run(cluster, recorder, stopped).await;
            // A harness that fails has no reason to go on.
            conductor.send_replace(true);
            (coverage, result)
        };
        let conduct = async {
            let mut stopped = stop.clone();
            tokio::select! {
                () = sleep(self.time_limit) => {}
                () = cluster.deaths().first() => {}
                _early = stopped.wait_for(|stop| *stop) => {}
                () = progress(recorder) => {}
            }
            conductor.send_replace(true);
        };
        let (workers, (coverage, result), ()) = tokio::join!(load.run(&stop), nemesis, conduct);
        report.gaps.extend(coverage.gaps());
        report.notes.extend(coverage.table());
        result.context("the nemesis failed")?;
        Ok(workers)
    }

    async fn last_reads(
        &self,
        cluster: &Cluster,
        journal: &Arc<Journal>,
        workers: Vec<Worker>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let nodes: Vec<u64> = (1..=self.plan.nodes).collect();
        let reads = self.script.final_reads(&nodes, &journal.recorder().events());
        let missing =
            load::last_reads(&self.script, cluster, journal, workers, &reads, RECOVERY_MAX).await?;
        report.notes.push(format!("{} last reads", reads.len()));
        if let Some((node, Action { invocation, .. })) = missing.first() {
            let count = missing.len();
            let read = format!("{} of {}", invocation.f, invocation.value());
            let gap = format!("{count} last reads never succeeded, such as {read} at node {node}");
            report.gaps.push(gap);
        }
        Ok(())
    }

    /// Lets the checkers look at what was recorded.
    fn judge(&self, outcome: &mut Outcome) {
        let Outcome { report, events, operations: typed, order, rested, .. } = outcome;
        let (clock, operations) = match pairing::pair(events) {
            Ok(paired) => paired,
            Err(error) => {
                let pairing::PairingError { position, reason } = error;
                report.failures.push(format!("event {position} of the history: {reason}"));
                return;
            }
        };
        report.stats = Stats::of(&operations, clock);
        if report.stats.totals().0 == 0 {
            report.gaps.push("no operation succeeded".to_owned());
        } else if let verdict @ Verdict::Unknown { .. } = report.stats.verdict() {
            let name = "stats".to_owned();
            report.checks.push(Check { name, verdict, details: serde_json::Value::Null });
        }
        let mut checks = Vec::new();
        if self.plan.mode == Mode::Eventual && rested.is_some() {
            checks.extend(eventual::checks(typed, order, Clock::Nanoseconds));
            report.notes.extend(eventual::notes(typed, order, Clock::Nanoseconds));
        }
        let mut budget = Budget::new(CHECK_MAX, CHECK_BYTES_MAX);
        let evidence = Evidence { clock, operations: &operations, typed, order };
        match self.script.check(&evidence, &mut budget) {
            Ok(of_workload) => checks.extend(of_workload),
            Err(error) => report.failures.push(error.to_string()),
        }
        // First, as it is what the trial is about; but a convergence that failed is graver than what
        // clients saw before it could be there.
        let at = report.checks.iter().take_while(|check| check.name == CONVERGENCE).count();
        report.checks.splice(at..at, checks);
    }
}

/// Nodes that ended by themselves, each with its last words.
fn deaths(cluster: &Cluster, folder: &RunFolder) -> Vec<Check> {
    let deaths = cluster.deaths().so_far();
    let check = |death: &Death| {
        let log = folder.node_log(death.node);
        let Death { node, how } = death;
        let sentence = format!("node {node} {how}; its log is {}", log.display());
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        finding("processes", sentence, tail.map(|line| (*line).to_owned()).collect())
    };
    deaths.iter().map(check).collect()
}

/// Panics that a node has lived through: a task is gone, and nobody noticed.
fn panics(nodes: u64, folder: &RunFolder) -> Vec<Check> {
    let panic = |node: u64| {
        let text = std::fs::read_to_string(folder.node_log(node)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.contains("panicked at"))?;
        let tail = lines[at..].iter().take(TAIL_LINES).map(|line| (*line).to_owned());
        Some(finding("logs", format!("node {node} panicked"), tail.collect()))
    };
    (1..=nodes).filter_map(panic).collect()
}

/// How often the path past the log was taken. A run without it says nothing about snapshots.
fn snapshots(nodes: u64, folder: &RunFolder) -> String {
    let logs: Vec<String> = (1..=nodes)
        .map(|node| std::fs::read_to_string(folder.node_log(node)).unwrap_or_default())
        .collect();
    let count = |what: &str| logs.iter().map(|log| log.matches(what).count()).sum::<usize>();
    let (taken, installed) = (count("snapshot taken"), count("snapshot installed"));
    format!("{taken} snapshots taken, {installed} installed from another node")
}

fn finding(name: &str, sentence: String, operations: Vec<String>) -> Check {
    let explanation = Explanation { sentence, operations, ..Explanation::default() };
    let verdict = Verdict::Invalid { explanation };
    Check { name: name.to_owned(), verdict, details: serde_json::Value::Null }
}

/// Tells how it goes, for ever.
async fn progress(recorder: &Recorder) {
    let began = Instant::now();
    loop {
        sleep(PROGRESS).await;
        let events = recorder.events();
        let count = |event_type| {
            let of_clients = events.iter().filter(|event| event.process != Process::Nemesis);
            of_clients.filter(|event| event.event_type == event_type).count()
        };
        let (ok, fail) = (count(EventType::Ok), count(EventType::Fail));
        let info = count(EventType::Info);
        let broke = |event: &&Event| event.process == Process::Nemesis && event.f != nodes::STATUS;
        let nemesis = events.iter().rev().find(broke);
        let nemesis = nemesis.map(|event| format!("; {} {}", event.f, event.value));
        let seconds = began.elapsed().as_secs();
        let nemesis = nemesis.unwrap_or_default();
        tell(&format!("{seconds} s: {ok} ok, {fail} fail, {info} info{nemesis}"));
    }
}

/// For whoever waits, and for the log.
fn tell(line: &str) {
    eprintln!("{line}");
    tracing::info!("{line}");
}
