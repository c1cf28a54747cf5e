//! How many instructions the hot paths take, beside a recorded baseline: regressions, found without a clock.
//!
//! ```text
//! cargo bench -p sixbells-gauge --bench instructions                     counts, and exits with 1 if any path became dearer
//! cargo bench -p sixbells-gauge --bench instructions -- --only checker   scenarios whose name has that word
//! cargo bench -p sixbells-gauge --bench instructions -- --record         writes baseline.txt: say in the commit why
//! ```
//! Each scenario runs in a process of its own under valgrind, which counts the instructions below the function
//! [`measured`], in its thread; what comes before is free. Only the log on disk is counted as a whole process,
//! for its threads do the work. Two runs differ by less than 0.5 %, beside a compiler at work, too. Another compiler,
//! dependency or C library changes counts: whoever updates one of them records anew.
//!
//! The gate counts in the optimised build that it has anyway, where the known bugs are compiled in and not planted:
//! a count differs by one percent from that of the commands above.
//!
//! Where valgrind is missing, or the machine is no x86-64, it says so and succeeds. `--plant` counts six
//! percent more than there is, to show that it would be found.

mod calls;
mod nodes;
mod scenarios;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use sixbells_gauge::{Baseline, Count};

use crate::scenarios::{SCENARIOS, Scenario, Scope};

/// The symbol of [`measured`]; what it is called by has another name, or it would be switched off inside.
const TOGGLE: &str = "--toggle-collect=instructions::measured*";

/// Instructions of the hot paths, beside a baseline.
#[derive(Parser)]
struct Arguments {
    /// Scenarios whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes the baseline.
    #[arg(long, conflicts_with_all = ["only", "plant"])]
    record: bool,
    /// Counts six percent more than there is.
    #[arg(long, hide = true)]
    plant: bool,
    /// Runs a scenario in this process.
    #[arg(long, hide = true)]
    scenario: Option<String>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.scenario {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        (found.with_context(|| format!("no scenario {name:?}"))?.run)()?;
        return Ok(ExitCode::SUCCESS);
    }
    let valgrind = match valgrind() {
        Ok(version) => version,
        Err(reason) => {
            println!("skipped: {reason}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let chosen = SCENARIOS.iter().filter(|scenario| scenario.name.contains(&arguments.only));
    let mut counts = chosen.map(count).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!counts.is_empty(), "no scenario has {:?} in its name", arguments.only);
    if arguments.plant {
        counts.iter_mut().for_each(|count| count.total += count.total * 6 / 100);
    }
    compare(&arguments, &counts, &valgrind)
}

fn compare(arguments: &Arguments, counts: &[Count], valgrind: &str) -> anyhow::Result<ExitCode> {
    let file = baseline();
    if arguments.record {
        let comment = format!(
            "Instructions by scenario, counted by {valgrind}. Written by\n\
             cargo bench -p sixbells-gauge --bench instructions -- --record"
        );
        fs::write(&file, Baseline::text(&comment, counts))?;
    }
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let report = Baseline::parse(&text)?.compare(counts, arguments.only.is_empty());
    print!("{report}");
    Ok(if report.wrong() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs what is to be counted. A symbol of its own, which valgrind looks for.
#[inline(never)]
pub(crate) fn measured(work: &mut dyn FnMut()) {
    work();
    // Nothing else may take this call's place as the last one.
    std::hint::black_box(());
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../instructions/baseline.txt")
}

/// The version of valgrind, or why nothing can be counted here.
fn valgrind() -> Result<String, &'static str> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("the baseline is one of x86-64 Linux");
    }
    match Command::new("valgrind").arg("--version").output() {
        Ok(said) if said.status.success() => {
            Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
        }
        _ => Err("valgrind is not installed"),
    }
}

/// Runs a scenario under valgrind.
fn count(scenario: &Scenario) -> anyhow::Result<Count> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    if scenario.scope == Scope::Measured {
        valgrind.arg(TOGGLE);
    }
    let run = valgrind
        .arg(std::env::current_exe()?)
        .args(["--scenario", scenario.name])
        .stdin(Stdio::null())
        .output()
        .context("run valgrind")?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "{}: {}\n{said}", scenario.name, run.status);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let Some(Ok(total)) = collected.map(|(_, total)| total.trim().parse()) else {
        bail!("{}: valgrind counted nothing\n{said}", scenario.name);
    };
    // Zero would be a symbol that was not found.
    ensure!(total > scenario.operations, "{}: only {total} instructions", scenario.name);
    Ok(Count { name: scenario.name, operations: scenario.operations, total })
}
