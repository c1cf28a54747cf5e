//! `contrast`: the same workload, seed and faults in both modes.
//!
//! In go the workload, the seed and what may break; out come the table of both modes, the example that
//! tells the difference, and a page. Of several seeds, one line each.
//!
//! Invariants: a contrast in which a mode broke a promise is invalid (1); one that shows nothing is no
//! pass (255).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sixbells_jepsen::contrast::{Contrast, Outcome, Setting, page, processes, table};
use sixbells_jepsen::nemesis::Fault;
use sixbells_jepsen::report::Exit;
use sixbells_jepsen::sim::{Kind, seeds};
use sixbells_jepsen::store::RunFolder;
use sixbells_jepsen::terminal::Ink;
use sixbells_jepsen::workload::Workload;

use super::{BadArguments, interruption};

/// Run one workload, seed and schedule of faults in both modes, and put them side by side.
#[derive(Debug, Args)]
pub(crate) struct ContrastArgs {
    /// What clients do.
    #[arg(long, value_enum, default_value = "bank")]
    workload: Workload,
    /// The seed, or the first of many.
    #[arg(long, default_value_t = 3)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=7))]
    nodes: u64,
    /// What breaks, in both modes.
    #[arg(long, value_delimiter = ',', default_value = "partition")]
    nemesis: Vec<Kind>,
    /// Run real processes, and break those: any of kill, pause, partition.
    #[arg(long, conflicts_with = "seeds")]
    processes: bool,
    /// How long things break, in seconds; in simulated ones, unless there are processes.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=120))]
    time_limit: u64,
    /// Where the page goes, into a folder of its own.
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &ContrastArgs) -> anyhow::Result<Exit> {
    if let Some(kind) = args.nemesis.iter().find(|kind| Kind::STRONG.contains(kind)) {
        let reason = format!("{kind} means nothing in eventual mode, so there is no contrast");
        return Err(BadArguments(reason).into());
    }
    let contrasts = match args.processes {
        true => vec![(args.seed, of_processes(args)?)],
        false => {
            let end = args.seed.checked_add(args.seeds);
            let end = end.ok_or_else(|| BadArguments("there are no so high seeds".to_owned()))?;
            let contrast = |seed| args.setting(seed).run();
            seeds::each(args.seed..end, seeds::cores(), contrast, |_, _| false)
        }
    };
    let Some((_, first)) = contrasts.first() else { return Ok(Exit::HarnessFailure) };
    // The page is of the first that is not as expected.
    let shown = contrasts.iter().find(|(_, c)| c.outcome() != Outcome::AsExpected);
    let (seed, shown) = shown.map_or((args.seed, first), |(seed, contrast)| (*seed, contrast));
    if args.seeds > 1 {
        for (seed, contrast) in &contrasts {
            println!("{}", line(*seed, contrast));
        }
        println!();
    }
    let replay = args.replay(seed);
    let folder = RunFolder::create(&args.store, "contrast", seed, &replay)?;
    let path = folder.path().join("contrast.html");
    fs::write(&path, page::html(shown, &replay))?;
    println!("{}", table::text(shown));
    println!("for example: {}", shown.example());
    println!("page: {}", path.display());
    println!("replay: {replay}");
    let outcome = shown.outcome();
    let exit = outcome.exit();
    let word = match exit {
        Exit::Valid => "valid",
        Exit::Invalid => "invalid",
        Exit::Unknown => "unknown",
        Exit::BadArguments | Exit::HarnessFailure => "not evidence",
    };
    println!("{}: {outcome}", Ink::of_stdout().verdict(word));
    Ok(exit)
}

fn of_processes(args: &ContrastArgs) -> anyhow::Result<Contrast> {
    if let Some(kind) = args.nemesis.iter().find(|kind| kind.name().parse::<Fault>().is_err()) {
        let reason = format!("{kind} is none of kill, pause, partition: processes know no other");
        return Err(BadArguments(reason).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (setting, replay) = (args.setting(args.seed), args.replay(args.seed));
        processes::run(setting, &args.store, &replay, interruption()?).await
    })
}

fn line(seed: u64, contrast: &Contrast) -> String {
    let Contrast { eventual, .. } = contrast;
    format!(
        "seed {seed}: {}; eventual revoked {} of {} answers, {} stale reads",
        contrast.outcome(),
        eventual.revoked.len(),
        eventual.acknowledged(),
        eventual.staleness.stale()
    )
}

impl ContrastArgs {
    fn setting(&self, seed: u64) -> Setting {
        Setting {
            workload: self.workload,
            seed,
            nodes: self.nodes,
            faults: self.nemesis.clone(),
            active: Duration::from_secs(self.time_limit),
        }
    }

    fn replay(&self, seed: u64) -> String {
        let faults: Vec<&str> = self.nemesis.iter().map(|kind| kind.name()).collect();
        format!(
            "cargo jepsen contrast --workload {} --seed {seed} --nodes {} --nemesis {} --time-limit {}{}",
            self.workload,
            self.nodes,
            faults.join(","),
            self.time_limit,
            if self.processes { " --processes" } else { "" }
        )
    }
}
