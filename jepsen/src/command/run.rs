//! `run`: a test against real processes.
//!
//! In go the workload, the faults and the times; out come the report on standard output, whose last
//! line is the verdict (with `--json`, the only line is one object), the run folder with all that there
//! is to look at later, and the exit code. Progress goes to standard error.
//!
//! Invariants:
//! - everything random comes from `--seed`, and the replay command names it even if it was not given;
//! - Ctrl-C, SIGTERM and SIGHUP end the run, its processes first, with its history written;
//! - the nodes' data is kept unless the run was valid;
//! - a run that is too short for each of its faults to fire once is refused before it begins.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, ValueEnum};
use sixbells::{LogEngine, Mode};
use sixbells_jepsen::cluster::Plan;
use sixbells_jepsen::history::{Clock, Event, pairing};
use sixbells_jepsen::junit::{self, Undecided};
use sixbells_jepsen::load::{Pace, Reads};
use sixbells_jepsen::nemesis::Fault;
use sixbells_jepsen::page::Page;
use sixbells_jepsen::report::{Exit, Report};
use sixbells_jepsen::store::RunFolder;
use sixbells_jepsen::terminal::Ink;
use sixbells_jepsen::trial::{Outcome, Trial};
use sixbells_jepsen::workload::Workload;
use tracing_subscriber::EnvFilter;

use super::{BadArguments, interruption};

/// What is left of a run for the fault that is installed last to do harm.
const LAST_FAULT_SECONDS: f64 = 1.0;

/// Test a cluster of real processes on this machine, while it is being broken.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What the clients do, and how it is judged.
    #[arg(long, value_enum, default_value = "register")]
    workload: Workload,
    /// What the cluster promises. strong: agree on the order, then apply; linearizable. eventual: apply,
    /// then agree on the order; answers may be revoked.
    #[arg(long, value_name = "strong|eventual", default_value_t)]
    mode: Mode,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// How many clients; client n asks node n modulo the number of nodes first.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    concurrency: u64,
    /// Operations per second of all clients together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many seconds load and faults last.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time_limit: u64,
    /// What breaks: any of kill, pause, partition. Without it, nothing does.
    #[arg(long, value_delimiter = ',', value_name = "FAULT,..")]
    nemesis: Vec<Fault>,
    /// Seconds from one step of the nemesis to the next: break, heal, break.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = parse_interval)]
    nemesis_interval: f64,
    /// Decides everything random. Without it, the clock decides, and the report says how.
    #[arg(long)]
    seed: Option<u64>,
    /// What keeps the nodes' logs: wal or sled. Without it, wal; in eventual mode sled.
    #[arg(long)]
    log: Option<LogEngine>,
    /// Where run folders are kept.
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
    /// Print one JSON object instead of words.
    #[arg(long)]
    json: bool,
    /// Plant a bug that the run must find.
    #[arg(long, value_enum, hide = true)]
    plant: Option<Plant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Plant {
    /// Reads are answered from the state of the node that is asked, which may be stale.
    LocalReads,
}

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    args.check_length()?;
    let seed = args.seed.unwrap_or_else(seed_of_the_clock);
    let script = args.workload.script(seed, args.concurrency);
    let replay = args.replay(seed);
    let name = format!("{}-{}", args.workload, args.mode);
    let folder = RunFolder::create(&args.store, &name, seed, &replay)
        .with_context(|| format!("make a run folder in {}", args.store.display()))?;
    eprintln!("{}", folder.path().display());
    log_to(&folder)?;
    let faults = args.nemesis.clone();
    let trial = Trial {
        script,
        plan: Plan { nodes: args.nodes, mode: args.mode, engine: args.log() },
        pace: Pace { rate: f64::from(args.rate), concurrency: args.concurrency, seed },
        reads: match args.plant {
            Some(Plant::LocalReads) => Reads::Local,
            None => Reads::Linearizable,
        },
        time_limit: Duration::from_secs(args.time_limit),
        faults,
        interval: Duration::from_secs_f64(args.nemesis_interval),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let Outcome { report, events, .. } = runtime.block_on(async {
        let interrupted = interruption()?;
        trial.run(&folder, interrupted).await
    })?;
    let subject = folder.path().display().to_string();
    let report = Report { subject, seed: Some(seed), replay: Some(replay), ..report };
    leave(&folder, &report, &events).context("write the results")?;
    if report.exit() == Exit::Valid {
        folder.remove_data().context("remove the nodes' data")?;
    }
    match args.json {
        true => println!("{}", report.json()),
        false => println!("{}", report.words_in(Ink::of_stdout())),
    }
    Ok(report.exit())
}

/// Leaves the report in the folder, for a person, for a program and for a build server.
fn leave(folder: &RunFolder, report: &Report, events: &[Event]) -> std::io::Result<()> {
    folder.write_results(&report.json())?;
    folder.write_junit(&junit::xml(std::slice::from_ref(report), Undecided::Error))?;
    // What does not pair is a failure that the report tells already; faults and nodes are left to see.
    let (clock, operations) = pairing::pair(events).unwrap_or((Clock::Nanoseconds, Vec::new()));
    folder.write_page(&Page::of(report, events, clock, &operations).html())
}

impl RunArgs {
    /// Steps install and heal in turns, so the last of the faults is first installed at step 2F - 1.
    fn check_length(&self) -> Result<(), BadArguments> {
        let faults: BTreeSet<Fault> = self.nemesis.iter().copied().collect();
        let Some(last) = (2 * faults.len()).checked_sub(1) else { return Ok(()) };
        let (count, limit, interval) = (faults.len(), self.time_limit, self.nemesis_interval);
        let seconds = |time: u64| Duration::from_secs(time).as_secs_f64();
        let needed = (0..last).map(|_| interval).sum::<f64>() + LAST_FAULT_SECONDS;
        if seconds(limit) > needed {
            return Ok(());
        }
        Err(BadArguments(format!(
            "--time-limit {limit} is too short for {count} kinds of fault, one step every \
             {interval} s, to fire each: set --time-limit above {needed:.1}, or a shorter \
             --nemesis-interval"
        )))
    }

    fn log(&self) -> LogEngine {
        self.log.unwrap_or(match self.mode {
            Mode::Strong => LogEngine::default(),
            Mode::Eventual => LogEngine::Sled,
        })
    }

    /// The command that does the same again, all defaults spelt out: they may change.
    fn replay(&self, seed: u64) -> String {
        let word = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let mut command = format!(
            "cargo jepsen run --workload {} --mode {} --nodes {} --concurrency {} --rate {} \
             --time-limit {} --nemesis-interval {} --seed {seed} --log {}",
            self.workload,
            self.mode,
            self.nodes,
            self.concurrency,
            self.rate,
            self.time_limit,
            self.nemesis_interval,
            self.log(),
        );
        if !self.nemesis.is_empty() {
            let faults: Vec<&str> = self.nemesis.iter().map(|fault| fault.name()).collect();
            command += &format!(" --nemesis {}", faults.join(","));
        }
        if let Some(plant) = self.plant {
            command += &format!(" --plant {}", word(&|| plant.to_possible_value()));
        }
        command
    }
}

fn parse_interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match (0.1..=3600.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err(format!("{seconds} is not within 0.1 and 3600")),
    }
}

/// The one number that nobody chose; everything else follows from it.
fn seed_of_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() << 20 | u64::from(since.subsec_micros())
}

fn log_to(folder: &RunFolder) -> anyhow::Result<()> {
    let file = File::create(folder.harness_log()).context("make the harness' log")?;
    let filter = EnvFilter::try_from_env("SIXBELLS_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        run: RunArgs,
    }

    fn check_length(arguments: &str) -> Result<(), String> {
        let words = ["run"].into_iter().chain(arguments.split_whitespace());
        Alone::try_parse_from(words).unwrap().run.check_length().map_err(|error| error.to_string())
    }

    #[test]
    fn a_run_too_short_for_its_faults_is_told_what_to_set() {
        for enough in [
            "",
            "--time-limit 1",
            "--nemesis kill,pause,partition --time-limit 60",
            "--nemesis kill,partition --time-limit 30",
            "--nemesis kill,partition --time-limit 20",
            "--nemesis kill,partition --time-limit 20 --nemesis-interval 2",
            "--nemesis kill,kill --time-limit 7",
            "--nemesis kill,pause,partition --time-limit 27",
        ] {
            assert_eq!(check_length(enough), Ok(()), "{enough}");
        }
        let error = check_length("--nemesis kill,pause,partition --time-limit 26").unwrap_err();
        assert!(error.contains("--time-limit above 26.0"), "{error}");
        assert!(check_length("--nemesis kill --time-limit 6").is_err());
        assert!(check_length("--nemesis partition --nemesis-interval 0.5 --time-limit 1").is_err());
    }

    /// The replay command of a run must not depend on what the defaults become.
    #[test]
    fn each_mode_has_its_own_log_and_the_replay_says_which() {
        let replay = |arguments: &str| {
            let words = ["run"].into_iter().chain(arguments.split_whitespace());
            Alone::try_parse_from(words).unwrap().run.replay(7)
        };
        let strong = replay("");
        assert!(strong.contains("--workload register --mode strong"), "{strong}");
        assert!(strong.contains("--log wal"), "{strong}");
        let eventual = replay("--mode eventual --workload bank");
        assert!(eventual.contains("--workload bank --mode eventual"), "{eventual}");
        assert!(eventual.contains("--log sled"), "{eventual}");
        assert!(replay("--mode eventual --log wal").contains("--log wal"));
        let help = Alone::command().render_long_help().to_string();
        assert!(help.contains("answers may be revoked"), "{help}");
    }
}
