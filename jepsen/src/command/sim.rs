//! `sim`: simulates clusters, one seed or many.
//!
//! In go seeds, and what may break; out come a coverage table and the verdict. A seed that fails is made
//! smaller, and written down as a case that replays.
//!
//! Invariants:
//! - the same seed and arguments give the same trace hash, in any process of one build;
//! - of many seeds, a fault that stood in a plan and never fired, or a state that was not reached, is
//!   no evidence: 255. One seed shows what it reached, and claims no more.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use sixbells::Mode;
use sixbells_jepsen::report::Exit;
use sixbells_jepsen::sim::campaign::{Campaign, Case, Sweep};
use sixbells_jepsen::sim::plan::Frame;
use sixbells_jepsen::sim::run::Outcome;
use sixbells_jepsen::sim::{Kind, bug, seeds};
use sixbells_jepsen::store::RunFolder;
use sixbells_jepsen::terminal::Ink;
use sixbells_jepsen::workload::Workload;

use super::BadArguments;

/// How many smaller cases are tried once one fails.
const TRIES: u32 = 300;

/// Simulate whole clusters in one thread, each from one seed: exact, repeatable, thousands a minute.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// The seed, or the first of many.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds. Without this, one, and what it reached.
    #[arg(long)]
    seeds: Option<u64>,
    /// What clients do. Default: by turns.
    #[arg(long, value_enum)]
    workload: Option<Workload>,
    /// What the cluster promises: strong or eventual.
    #[arg(long, default_value_t)]
    mode: Mode,
    /// How many nodes, to choose from. Default: 1 to 7, three most often.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Vec<u64>,
    /// What may break. Default: everything.
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<Kind>,
    /// How long things break, in simulated seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    time_limit: u64,
    /// Plant a known bug, by its name in `bugs`. Its plans have nodes and faults of their own.
    #[arg(long, conflicts_with_all = ["mode", "nodes", "nemesis", "time_limit"])]
    plant: Option<String>,
    /// On how many threads. Default: all cores.
    #[arg(long)]
    jobs: Option<usize>,
    /// Run the case in this file, as a failing run has written it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "plant", "workload", "mode", "nodes", "nemesis", "time_limit"])]
    case: Option<PathBuf>,
    /// Write down everything that happens, with one seed or a case.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    trace: Option<PathBuf>,
    /// Where a failing run leaves its case and its history.
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &SimArgs) -> anyhow::Result<Exit> {
    let campaign = campaign(args)?;
    if let Some(path) = &args.case {
        let bytes = fs::read(path).with_context(|| path.display().to_string());
        let case = bytes.and_then(|bytes| Ok(serde_json::from_slice::<Case>(&bytes)?));
        let case = case.map_err(|e| BadArguments(format!("{}: {e:#}", path.display())))?;
        known(case.planted.as_deref())?;
        case.plan.check().map_err(|e| BadArguments(format!("{}: {e}", path.display())))?;
        return one(args, &case);
    }
    match args.seeds {
        None => one(args, &campaign.case(args.seed)),
        Some(0) => Err(BadArguments("--seeds 0 shows nothing".to_owned()).into()),
        Some(count) => many(args, &campaign, count),
    }
}

pub(super) fn known(name: Option<&str>) -> anyhow::Result<Option<&'static bug::Planted>> {
    let Some(name) = name else { return Ok(None) };
    let names = || bug::catalogue().map(|planted| planted.name).collect::<Vec<_>>().join(", ");
    let found = bug::Planted::named(name);
    Ok(Some(found.ok_or_else(|| {
        BadArguments(format!("no bug {name:?} in this build; there are {}", names()))
    })?))
}

fn campaign(args: &SimArgs) -> anyhow::Result<Campaign> {
    let active = Duration::from_secs(args.time_limit);
    let mut frame = Frame { active, ..Frame::of(args.mode) };
    if !args.nodes.is_empty() {
        frame.nodes.clone_from(&args.nodes);
    }
    if !args.nemesis.is_empty() {
        if let Some(kind) = args.nemesis.iter().find(|kind| !frame.faults.contains(kind)) {
            let reason = format!("{kind} means nothing in {} mode", args.mode);
            return Err(BadArguments(reason).into());
        }
        frame.faults.clone_from(&args.nemesis);
        frame.insist = true;
    }
    let planted = known(args.plant.as_deref())?;
    Ok(Campaign { frame, workload: args.workload, planted })
}

/// One run, with its trace hash.
fn one(args: &SimArgs, case: &Case) -> anyhow::Result<Exit> {
    let log = args.trace.as_deref().map(writer).transpose()?;
    let outcome = case.run(log);
    let mut out = io::stdout().lock();
    for (what, count) in &outcome.traces.reached {
        writeln!(out, "{what:<42} {count:>9}")?;
    }
    let traces = &outcome.traces;
    writeln!(
        out,
        "{:.1} simulated s, {} steps; trace hash {:016x}",
        traces.simulated.as_secs_f64(),
        traces.steps,
        traces.hash
    )?;
    drop(out);
    let seed = case.plan.seed;
    match &outcome.violation {
        Some(_) if args.case.is_some() => failed(case, &outcome, None),
        Some(_) => failed(case, &outcome, Some(args)),
        None => {
            println!("seed {seed}, {}: {}", case.workload, said("valid"));
            Ok(Exit::Valid)
        }
    }
}

fn writer(path: &Path) -> anyhow::Result<Box<dyn FnMut(String)>> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut file = BufWriter::new(file);
    let mut broken = false;
    Ok(Box::new(move |line| {
        if let Err(error) = writeln!(file, "{line}")
            && !std::mem::replace(&mut broken, true)
        {
            eprintln!("the trace cannot be written: {error}");
        }
    }))
}

fn many(args: &SimArgs, campaign: &Campaign, count: u64) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let shown = io::stderr().is_terminal();
    let progress = |done: u64| {
        if shown && (done.is_multiple_of(50) || done == count) {
            eprint!("\r{done} of {count} seeds, {:.0} a minute ", rate(done, began.elapsed()));
        }
    };
    let jobs = args.jobs.unwrap_or_else(seeds::cores);
    let end = args.seed.checked_add(count);
    let end = end.ok_or_else(|| BadArguments("there are no so high seeds".to_owned()))?;
    let sweep = campaign.sweep(args.seed..end, jobs, progress);
    if shown {
        eprintln!();
    }
    let took = began.elapsed();
    println!("{}", sweep.table());
    println!(
        "{} seeds, {:.0} simulated s in {:.1} s on {jobs} threads: {:.0} seeds a minute",
        sweep.seeds,
        sweep.simulated.as_secs_f64(),
        took.as_secs_f64(),
        rate(sweep.seeds, took)
    );
    if let Some((case, outcome)) = &sweep.failed {
        return failed(case, outcome, Some(args));
    }
    conclude(campaign, &sweep)
}

fn rate(seeds: u64, took: Duration) -> f64 {
    60.0 * seeds as f64 / took.as_secs_f64().max(0.001)
}

fn conclude(campaign: &Campaign, sweep: &Sweep) -> anyhow::Result<Exit> {
    if let Some(planted) = campaign.planted {
        println!("{} was not caught in {} seeds", planted.name, sweep.seeds);
        return Ok(Exit::Valid);
    }
    let gaps = sweep.gaps(&campaign.frame.faults);
    for gap in &gaps {
        println!("gap: {gap}");
    }
    if gaps.is_empty() {
        println!("{} seeds: {}", sweep.seeds, said("valid"));
        return Ok(Exit::Valid);
    }
    println!("{} seeds: {}, for {}", sweep.seeds, said("not evidence"), gaps[0]);
    Ok(Exit::HarnessFailure)
}

/// A verdict's word as standard output deserves it.
fn said(word: &str) -> String {
    Ink::of_stdout().verdict(word)
}

/// Says what was wrong and how to see it again; with a store, of the smallest case that shows it.
fn failed(case: &Case, outcome: &Outcome, store: Option<&SimArgs>) -> anyhow::Result<Exit> {
    let Some(violation) = &outcome.violation else { return Ok(Exit::Valid) };
    let seed = case.plan.seed;
    let Some(args) = store else {
        println!("{violation}");
        println!("seed {seed}, {}: {}, {}", case.workload, said("invalid"), violation.oracle);
        return Ok(Exit::Invalid);
    };
    let replay = replay(case, args);
    let small = case.shrink(violation.oracle, TRIES);
    let outcome = small.run(None);
    let folder = RunFolder::create(&args.store, "sim", seed, &replay)?;
    let path = folder.path().join("case.json");
    fs::write(&path, serde_json::to_vec_pretty(&small)?)?;
    folder.write_history(&outcome.history)?;
    println!("{}", outcome.violation.as_ref().unwrap_or(violation));
    let plan = &small.plan;
    println!(
        "made smaller: {} nodes, {} clients with {} operations at most, {} steps of the nemesis",
        plan.nodes,
        plan.clients,
        plan.operations,
        plan.steps.len()
    );
    for step in &plan.steps {
        println!(
            "  {:>7.3} s, for {:.3} s: {:?}",
            step.at.as_secs_f64(),
            step.lasting.as_secs_f64(),
            step.fault
        );
    }
    println!("replay: cargo jepsen sim --case {}", path.display());
    println!("replay: {replay}");
    println!("seed {seed}, {}: {}, {}", case.workload, said("invalid"), violation.oracle);
    Ok(Exit::Invalid)
}

/// The command that runs this seed again, as it was before it was made smaller.
fn replay(case: &Case, args: &SimArgs) -> String {
    let mut command = format!("cargo jepsen sim --seed {}", case.plan.seed);
    command += &format!(" --workload {} --mode {}", case.workload, case.plan.mode);
    let joined = |words: Vec<String>| words.join(",");
    if let Some(bug) = &case.planted {
        return command + &format!(" --plant {bug}");
    }
    if !args.nodes.is_empty() {
        let nodes = args.nodes.iter().map(ToString::to_string).collect();
        command += &format!(" --nodes {}", joined(nodes));
    }
    if !args.nemesis.is_empty() {
        let faults = args.nemesis.iter().map(ToString::to_string).collect();
        command += &format!(" --nemesis {}", joined(faults));
    }
    command + &format!(" --time-limit {}", args.time_limit)
}
