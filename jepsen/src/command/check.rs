//! `check`: judges recorded histories.
//!
//! In go files in Jepsen's EDN, its logs or our JSON lines, and the name of a model; out come a report
//! for each file and the worst of their exit codes. With `--json`, one object and nothing else; `--html`
//! and `--junit` write files beside. With `--follow`, the file is judged while it grows.
//!
//! Invariants:
//! - a file that cannot be read, or an operation the model does not know, is bad input with file,
//!   line and reason; no verdict is printed for any file then;
//! - each file has the whole budget to itself;
//! - unknown is a failure (exit code 2) unless `--allow-unknown` says otherwise.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use sixbells_jepsen::checker::budget::Budget;
use sixbells_jepsen::checker::stats::Stats;
use sixbells_jepsen::checker::{OpError, Verdict};
use sixbells_jepsen::faults;
use sixbells_jepsen::history::edn::EdnReader;
use sixbells_jepsen::history::{
    Clock, Event, Format, History, InputError, Operation, Operations, Skipped, Value,
};
use sixbells_jepsen::junit::{self, Undecided};
use sixbells_jepsen::page::Page;
use sixbells_jepsen::report::{self, Check, Exit, Report};
use sixbells_jepsen::terminal::Ink;

use super::BadArguments;
use super::follow::{Follow, Followed};
use super::judge::{Judge, Judged, Kind, ModelName};

/// Judge recorded histories.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The histories.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the history should look like.
    #[arg(long, value_enum)]
    model: ModelName,
    /// Values are [key value]: many objects of that kind, each judged apart.
    #[arg(long)]
    keyed: bool,
    /// What a register holds at first, as EDN.
    #[arg(long, value_name = "VALUE", default_value = "nil", value_parser = parse_edn)]
    initial: Value,
    /// How the files are written.
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatName,
    /// How long to search per file before the verdict is unknown.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// How much memory a search may take before the verdict is unknown.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: usize,
    /// Judge the file while it grows, and stop at the first violation. For one history.
    #[arg(long)]
    follow: bool,
    /// With `--follow`: the history is over once the file has not grown for so long.
    #[arg(long, value_name = "SECONDS", requires = "follow")]
    idle: Option<u64>,
    /// Say which algorithm decided, and for how many objects.
    #[arg(long)]
    explain: bool,
    /// Exit with 0, not 2, if nobody can say.
    #[arg(long)]
    allow_unknown: bool,
    /// Print one JSON object instead of words.
    #[arg(long)]
    json: bool,
    /// Also write a page that shows the history and what is wrong with it. For one history.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write JUnit's XML, with a suite for each history.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    /// Look at the contents.
    Auto,
    /// Jepsen's history.edn.
    Edn,
    /// One JSON object a line.
    Jsonl,
    /// The lines that jepsen.util logs.
    Log,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Auto => Format::Auto,
            FormatName::Edn => Format::Edn,
            FormatName::Jsonl => Format::Jsonl,
            FormatName::Log => Format::Log,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    if args.html.is_some() && args.files.len() > 1 {
        let count = args.files.len();
        let reason = format!("--html: a page shows one history, but {count} are given");
        return Err(BadArguments(reason).into());
    }
    args.refuse_overwriting()?;
    let judged: Vec<anyhow::Result<Shown>> = match (args.follow, args.files.as_slice()) {
        (true, [file]) => vec![args.follow(file)],
        (true, files) => {
            let reason =
                format!("--follow: one history is followed, but {} are given", files.len());
            return Err(BadArguments(reason).into());
        }
        (false, files) => files.iter().map(|file| args.judge(&Source::File(file))).collect(),
    };
    let (mut reports, mut page, mut unreadable) = (Vec::new(), None, None);
    for shown in judged {
        match shown {
            Ok(shown) => {
                reports.push(shown.report);
                page = page.or(shown.page);
            }
            // Of several, the others are told all the same.
            Err(error) if unreadable.is_some() => eprintln!("{error:#}"),
            Err(error) => unreadable = Some(error),
        }
    }
    if !reports.is_empty() {
        print(args, &reports)?;
    }
    if let Some(error) = unreadable {
        return Err(error);
    }
    // The verdict is told even if it cannot be written down.
    if let (Some(path), Some(html)) = (&args.html, page) {
        write(path, &html)?;
    }
    if let Some(path) = &args.junit {
        let undecided = if args.allow_unknown { Undecided::Skipped } else { Undecided::Error };
        write(path, &junit::xml(&reports, undecided))?;
    }
    Ok(match report::worst(&reports) {
        Exit::Unknown if args.allow_unknown => Exit::Valid,
        exit => exit,
    })
}

fn print(args: &CheckArgs, reports: &[Report]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report::summary(reports))?;
        return Ok(());
    }
    let ink = Ink::of_stdout();
    for report in reports {
        writeln!(out, "{}", report.words_in(ink))?;
    }
    // With several files the last line must speak for all of them.
    let worst = report::worst(reports);
    if let Some(report) = reports.iter().find(|report| report.exit() == worst)
        && reports.len() > 1
    {
        let count = reports.len();
        writeln!(out, "{count} histories, {}: {}", report.subject, report.verdict_in(ink))?;
    }
    Ok(())
}

/// A report, and the page if one is wanted.
struct Shown {
    report: Report,
    page: Option<String>,
}

/// Where a history comes from.
enum Source<'a> {
    File(&'a Path),
    /// Its name and its text.
    Text(&'a str, &'a str),
}

impl Source<'_> {
    fn operations(&self, format: Format) -> Result<Operations, InputError> {
        match self {
            Source::File(path) => Operations::read(path, format),
            Source::Text(name, text) => Operations::parse(name, text, format),
        }
    }

    fn history(&self, format: Format) -> Result<History, InputError> {
        match self {
            Source::File(path) => History::read(path, format),
            Source::Text(name, text) => History::parse(name, text, format),
        }
    }
}

impl CheckArgs {
    /// Refuses to write where a history stands, or two things in one place.
    fn refuse_overwriting(&self) -> Result<(), BadArguments> {
        let place = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let written: Vec<PathBuf> = self.html.iter().chain(&self.junit).map(place).collect();
        let mut taken: Vec<PathBuf> = self.files.iter().map(place).collect();
        for path in written {
            if taken.contains(&path) {
                let reason = format!("{} would be overwritten", path.display());
                return Err(BadArguments(reason));
            }
            taken.push(path);
        }
        Ok(())
    }

    fn follow(&self, file: &Path) -> anyhow::Result<Shown> {
        if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
            let reason = format!(
                "--follow: {} is no regular file; without --follow it is read to its end",
                file.display()
            );
            return Err(BadArguments(reason).into());
        }
        let follow = Follow {
            file,
            format: self.format.into(),
            kind: self.kind(),
            idle: self.idle.map(Duration::from_secs),
            memory: self.memory.saturating_mul(1 << 20),
        };
        let began = Instant::now();
        match follow.run()? {
            // A page shows all of it.
            Followed::Over { .. } if self.html.is_some() => self.judge(&Source::File(file)),
            Followed::Over { check, skipped } => {
                let report = Report {
                    subject: file.display().to_string(),
                    checks: vec![check],
                    notes: tell(&skipped),
                    took: Some(began.elapsed()),
                    ..Report::default()
                };
                Ok(Shown { report, page: None })
            }
            Followed::Suspect { process } => {
                // The last line may be half written.
                let text = fs::read_to_string(file)?;
                let whole = text.rfind('\n').map_or(0, |end| end + 1);
                let name = file.display().to_string();
                let mut shown = self.judge(&Source::Text(&name, &text[..whole]))?;
                if shown.report.exit() == Exit::Valid {
                    let why = format!(
                        "an operation of process {process} could not be followed; as a whole, what is \
                         there so far is linearizable"
                    );
                    let (name, details) = ("followed".to_owned(), serde_json::Value::Null);
                    let verdict = Verdict::Unknown { why };
                    shown.report.checks.push(Check { name, verdict, details });
                }
                Ok(shown)
            }
        }
    }

    fn judge(&self, source: &Source<'_>) -> anyhow::Result<Shown> {
        let began = Instant::now();
        // The events are kept only if somebody wants to see them.
        let (report, page) = match &self.html {
            None => {
                let history = source.operations(self.format.into())?;
                let Operations { clock, operations, .. } = &history;
                let judged = self
                    .decide(*clock, operations, &[])
                    .map_err(|OpError { index, reason }| history.error_at(index, reason))?;
                (self.report(&history.name, *clock, operations, &history.skipped, judged), None)
            }
            Some(_) => {
                let history = source.history(self.format.into())?;
                let (clock, operations) = history.operations()?;
                let mut judged = self
                    .decide(clock, &operations, &history.events)
                    .map_err(|OpError { index, reason }| history.error_at(index, reason))?;
                let order = judged.order.take();
                let report =
                    self.report(&history.name, clock, &operations, &history.skipped, judged);
                let page = Page::of(&report, &history.events, clock, &operations);
                (report, Some(Page { order, ..page }.html()))
            }
        };
        Ok(Shown { report: Report { took: Some(began.elapsed()), ..report }, page })
    }

    fn decide(
        &self,
        clock: Clock,
        operations: &[Operation],
        events: &[Event],
    ) -> Result<Judged, OpError> {
        Judge {
            kind: self.kind(),
            clock,
            faults: &faults::bands(events, clock),
            budget: self.budget(),
            with_order: self.html.is_some(),
        }
        .judge(operations)
    }

    fn kind(&self) -> Kind {
        let Self { model: name, keyed, initial, .. } = self;
        Kind { name: *name, keyed: *keyed, initial: initial.clone(), whole: true }
    }

    fn budget(&self) -> Budget {
        let bytes = self.memory.saturating_mul(1 << 20);
        Budget::new(Duration::from_secs(self.timeout), bytes)
    }

    fn report(
        &self,
        name: &str,
        clock: Clock,
        operations: &[Operation],
        skipped: &Skipped,
        judged: Judged,
    ) -> Report {
        let mut notes = tell(skipped);
        if self.explain {
            notes.extend(judged.methods);
        }
        Report {
            subject: name.to_owned(),
            checks: judged.checks,
            stats: Stats::of(operations, clock),
            notes,
            ..Report::default()
        }
    }
}

fn parse_edn(text: &str) -> Result<Value, String> {
    match EdnReader::new(text).next_form() {
        Ok(Some((_, value))) => Ok(value),
        Ok(None) => Err("no value is given".to_owned()),
        Err(error) => Err(error.reason),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// What a reader left out, in words.
fn tell(skipped: &Skipped) -> Vec<String> {
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
