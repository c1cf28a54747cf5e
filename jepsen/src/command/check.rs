//! `check`: judges recorded histories.
//!
//! In go files in Jepsen's EDN, its logs or our JSON lines, and the name of a model; out come a report
//! for each file and the worst of their exit codes. With `--json`, one object and nothing else.
//!
//! Invariants:
//! - a file that cannot be read, or an operation the model does not know, is bad input with file,
//!   line and reason; no verdict is printed for any file then;
//! - each file has the whole budget to itself. The model `set` is judged in one pass and needs none.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use sixbells_jepsen::checker::budget::Budget;
use sixbells_jepsen::checker::stats::Stats;
use sixbells_jepsen::checker::{OpError, linearizable, set, set_order};
use sixbells_jepsen::history::{Clock, Format, Operation, Operations, Skipped};
use sixbells_jepsen::model::{Independent, Model, Register};
use sixbells_jepsen::report::{self, Check, Exit, Report};

/// Judge recorded histories.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The histories.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the history should look like.
    #[arg(long, value_enum)]
    model: ModelName,
    /// How the files are written.
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatName,
    /// How long to search per file before the verdict is unknown; `--model set` needs no search.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// How much memory a search may take before the verdict is unknown; `--model set` needs none.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: usize,
    /// Print one JSON object instead of words.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModelName {
    /// One register: read, write.
    Register,
    /// One register: read, write, cas.
    CasRegister,
    /// Many registers with cas; values are [key value].
    Kv,
    /// A set workload: add unique elements, read all; nothing may be lost, and one order explains all.
    Set,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    /// Look at the contents.
    Auto,
    /// Jepsen's history.edn.
    Edn,
    /// One JSON object a line.
    Jsonl,
    /// Jepsen's log: the lines of jepsen.util.
    Log,
}

/// Runs the command.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let reports: Vec<Report> =
        args.files.iter().map(|file| judge(args, file)).collect::<anyhow::Result<_>>()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report::summary(&reports))?;
        return Ok(report::worst(&reports));
    }
    for report in &reports {
        writeln!(out, "{}", report.words())?;
    }
    // With several files the last line must speak for all of them.
    let worst = report::worst(&reports);
    if let Some(report) = reports.iter().find(|report| report.exit() == worst)
        && reports.len() > 1
    {
        let count = reports.len();
        writeln!(out, "{count} histories, {}: {}", report.subject, report.verdict())?;
    }
    Ok(worst)
}

fn judge(args: &CheckArgs, file: &Path) -> anyhow::Result<Report> {
    let format = match args.format {
        FormatName::Auto => Format::Auto,
        FormatName::Edn => Format::Edn,
        FormatName::Jsonl => Format::Jsonl,
        FormatName::Log => Format::Log,
    };
    let history = Operations::read(file, format)?;
    let Operations { clock, operations, .. } = &history;
    let checks = check(args, *clock, operations)
        .map_err(|OpError { index, reason }| history.error_at(index, reason))?;
    Ok(Report {
        subject: history.name.clone(),
        checks,
        stats: Stats::of(operations, *clock),
        notes: skipped(&history.skipped),
        ..Report::default()
    })
}

fn check(args: &CheckArgs, clock: Clock, operations: &[Operation]) -> Result<Vec<Check>, OpError> {
    let check = match args.model {
        ModelName::Register => search(args, &Register::plain(), clock, operations)?,
        ModelName::CasRegister => search(args, &Register::with_cas(), clock, operations)?,
        ModelName::Kv => search(args, &Independent::kv(), clock, operations)?,
        ModelName::Set => {
            let report = set::check(operations)?;
            let details = serde_json::to_value(&report).unwrap_or_default();
            let kept = Check { name: "set".to_owned(), verdict: report.verdict, details };
            let verdict = set_order::check(operations, clock);
            let name = "linearizable (set)".to_owned();
            return Ok(vec![kept, Check { name, verdict, details: serde_json::Value::Null }]);
        }
    };
    Ok(vec![check])
}

fn search(
    args: &CheckArgs,
    model: &impl Model,
    clock: Clock,
    operations: &[Operation],
) -> Result<Check, OpError> {
    let bytes = args.memory.saturating_mul(1 << 20);
    let mut budget = Budget::new(Duration::from_secs(args.timeout), bytes);
    let verdict = linearizable::check(model, operations, clock, &mut budget)?;
    let name = format!("linearizable ({})", model.name());
    Ok(Check { name, verdict, details: serde_json::Value::Null })
}

fn skipped(skipped: &Skipped) -> Vec<String> {
    let Skipped { nemesis_events, other_processes, unknown_keys, early_times, other_lines } =
        skipped;
    let counts = [
        (nemesis_events, "nemesis events, which are no part of the verdict"),
        (other_processes, "events of processes that are no clients"),
        (unknown_keys, "fields that mean nothing here"),
        (other_lines, "lines that are no events"),
    ];
    let some = counts.into_iter().filter(|(count, _)| **count > 0);
    let mut notes: Vec<_> = some.map(|(count, what)| format!("skipped {count} {what}")).collect();
    if *early_times > 0 {
        notes.push(format!("read {early_times} times before the test began as its beginning"));
    }
    notes
}
