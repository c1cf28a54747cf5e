//! `bugs`: plants each known bug and looks for it.
//!
//! In go the catalogue of planted bugs; out comes a row for each: after how many seeds it was caught, by
//! which oracle, how soon. Then the same seeds run once more without the bug, and must pass.
//!
//! Invariants: a bug that its budget of seeds does not catch, or a seed that fails without it, is a
//! failure of the test kit: 255.

use std::time::{Duration, Instant};

use clap::Args;
use sixbells_jepsen::report::Exit;
use sixbells_jepsen::sim::bug::{Planted, catalogue};
use sixbells_jepsen::sim::campaign::{Campaign, Case};
use sixbells_jepsen::sim::{oracle::Violation, seeds};

/// Plant each known bug in turn, and show that the simulation finds it.
#[derive(Debug, Args)]
pub(crate) struct BugsArgs {
    /// Only these, by name.
    bugs: Vec<String>,
    /// On how many threads. Default: all cores.
    #[arg(long)]
    jobs: Option<usize>,
}

struct Hunt {
    caught: Option<(Case, Violation, Duration)>,
    tried: u64,
    took: Duration,
    /// A seed that fails without the bug, and how.
    unclean: Option<(u64, Violation)>,
}

/// Runs the command.
pub(crate) fn run(args: &BugsArgs) -> anyhow::Result<Exit> {
    for name in &args.bugs {
        super::sim::known(Some(name))?;
    }
    let wanted = |planted: &&Planted| {
        args.bugs.is_empty() || args.bugs.iter().any(|name| name == planted.name)
    };
    let jobs = args.jobs.unwrap_or_else(seeds::cores);
    let (began, mut caught, mut all, mut unclean) = (Instant::now(), 0, 0, 0);
    println!(
        "{:<28} {:>6} {:>7}  {:<22} {:>10} {:>8}  what is wrong",
        "bug", "seeds", "budget", "caught by", "simulated", "real"
    );
    for planted in catalogue().filter(wanted) {
        let hunt = hunt(planted, jobs);
        all += 1;
        caught += u64::from(hunt.caught.is_some());
        unclean += u64::from(hunt.unclean.is_some());
        println!("{}", row(planted, &hunt));
        if let Some((seed, violation)) = &hunt.unclean {
            println!("    seed {seed} fails without the bug: {violation}");
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!("{caught} of {all} bugs caught, {unclean} false alarms, in {took:.0} s");
    Ok(if caught == all && unclean == 0 { Exit::Valid } else { Exit::HarnessFailure })
}

fn hunt(planted: &'static Planted, jobs: usize) -> Hunt {
    let began = Instant::now();
    let campaign = Campaign { planted: Some(planted), ..Campaign::default() };
    let sweep = campaign.sweep(0..planted.budget, jobs, |_| {});
    let took = began.elapsed();
    let tried = sweep.seeds;
    let caught = sweep
        .failed
        .and_then(|(case, outcome)| Some((case, outcome.violation?, outcome.traces.simulated)));
    let last = caught.as_ref().map_or(planted.budget, |(case, ..)| case.plan.seed + 1);
    let clean = |seed: u64| campaign.case(seed).without_bug().run(None).violation;
    let results = seeds::each(0..last, jobs, clean, |_, violation| violation.is_some());
    let unclean = results.into_iter().find_map(|(seed, violation)| Some((seed, violation?)));
    Hunt { caught, tried, took, unclean }
}

fn row(planted: &Planted, hunt: &Hunt) -> String {
    let (name, budget, about) = (planted.name, planted.budget, planted.about);
    let took = hunt.took.as_secs_f64();
    match &hunt.caught {
        Some((case, violation, simulated)) => format!(
            "{name:<28} {:>6} {budget:>7}  {:<22} {:>8.1} s {took:>6.1} s  {about}",
            case.plan.seed + 1,
            violation.oracle,
            simulated.as_secs_f64(),
        ),
        None => format!(
            "{name:<28} {:>6} {budget:>7}  {:<22} {:>10} {took:>6.1} s  {about}",
            hunt.tried, "NOT CAUGHT", "-"
        ),
    }
}
