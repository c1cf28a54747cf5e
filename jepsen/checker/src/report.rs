//! Reports: the verdict in words, as JSON, and as an exit code.
//!
//! In go the verdicts of the checkers, the counts, and what went wrong with the harness itself; out
//! come the lines a person reads, one JSON object for a program, and the process' exit code.
//!
//! Invariants:
//! - the last line of the words is the verdict;
//! - exit codes are Jepsen's ([`Exit`]); unknown is never 0;
//! - a *failure* of the harness is no verdict: the history cannot be trusted, so it outranks all
//!   verdicts. A *gap*, such as a fault that never fired, only means that too little was tried: a
//!   valid or unknown history is then no evidence, while an invalid one stays invalid.
//!
//! It does not print: commands do.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::moment::duration;
use crate::stats::{FunctionStats, Stats};
use crate::terminal::{self, Ink, Tone};
use crate::{Explanation, Verdict};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything checked is valid: 0.
    Valid,
    /// Something is invalid: 1.
    Invalid,
    /// Nothing is invalid, but something could not be decided: 2.
    Unknown,
    /// Bad arguments or bad input: 254.
    BadArguments,
    /// The harness failed, or tried too little to be evidence: 255.
    HarnessFailure,
}

impl Exit {
    /// The number a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Valid => 0,
            Exit::Invalid => 1,
            Exit::Unknown => 2,
            Exit::BadArguments => 254,
            Exit::HarnessFailure => 255,
        }
    }

    /// The exit of several reports together: the one that asks for most attention.
    pub fn worst(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Valid => 0,
            Exit::Unknown => 1,
            Exit::Invalid => 2,
            Exit::HarnessFailure => 3,
            Exit::BadArguments => 4,
        };
        if rank(self) >= rank(other) { self } else { other }
    }

    fn word(self) -> &'static str {
        match self {
            Exit::Valid => "valid",
            Exit::Invalid => "invalid",
            Exit::Unknown => "unknown",
            Exit::BadArguments => "bad input",
            Exit::HarnessFailure => "not evidence",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// What one checker said.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name, such as `linearizable (kv)`.
    pub name: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its own figures, for the JSON.
    pub details: Json,
}

/// Everything there is to say about one history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file or the run.
    pub subject: String,
    /// What the checkers said. None at all is a gap, not a pass.
    pub checks: Vec<Check>,
    /// Counts and latencies.
    pub stats: Stats,
    /// Further lines for a person, such as what a reader skipped or which faults fired.
    pub notes: Vec<String>,
    /// What was not tried, though it was asked for.
    pub gaps: Vec<String>,
    /// What the harness itself could not do; the first one counts.
    pub failures: Vec<String>,
    /// The seed of a run.
    pub seed: Option<u64>,
    /// The command that repeats a run.
    pub replay: Option<String>,
    /// How long running and judging took, where somebody measured it.
    pub took: Option<Duration>,
}

impl Report {
    /// How a command with this report alone ends.
    pub fn exit(&self) -> Exit {
        let any = |word| self.checks.iter().any(|check| check.verdict.word() == word);
        if !self.failures.is_empty() {
            Exit::HarnessFailure
        } else if any("invalid") {
            Exit::Invalid
        } else if !self.gaps.is_empty() || self.checks.is_empty() {
            Exit::HarnessFailure
        } else if any("unknown") {
            Exit::Unknown
        } else {
            Exit::Valid
        }
    }

    /// The verdict in one line.
    pub fn verdict(&self) -> String {
        self.verdict_in(Ink::Plain)
    }

    fn reason(&self, exit: Exit) -> String {
        let checks = || self.checks.iter().map(|check| (&check.name, &check.verdict));
        match exit {
            Exit::HarnessFailure | Exit::BadArguments => {
                let first = self.failures.first().or(self.gaps.first());
                first.map_or("nothing was checked", String::as_str).to_owned()
            }
            Exit::Invalid => checks()
                .find_map(|(_, verdict)| match verdict {
                    Verdict::Invalid { explanation } => Some(explanation.to_string()),
                    Verdict::Valid { .. } | Verdict::Unknown { .. } => None,
                })
                .unwrap_or_default(),
            Exit::Unknown => checks()
                .find_map(|(name, verdict)| match verdict {
                    Verdict::Unknown { why } => Some(format!("{name}: {why}")),
                    Verdict::Valid { .. } | Verdict::Invalid { .. } => None,
                })
                .unwrap_or_default(),
            Exit::Valid => {
                let passed = checks().map(|(name, verdict)| passed(name, verdict));
                passed.collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// The report for a person. The last line is the verdict.
    pub fn words(&self) -> String {
        self.words_in(Ink::Plain)
    }

    /// The same, in colour where the ink has any.
    pub fn words_in(&self, ink: Ink) -> String {
        let mut out = String::new();
        let mut line = |text: String| out += &(text + "\n");
        let (ok, fail, info) = self.stats.totals();
        let count = ok + fail + info;
        line(ink.paint(Tone::Strong, &terminal::line(&self.subject)));
        // What was followed while it grew was not kept, and not counted.
        if count > 0 {
            line(format!("  {count} operations: {ok} ok, {fail} fail, {info} info"));
        }
        for (f, stats) in &self.stats.functions {
            line(format!("    {}", terminal::line(&function(f, stats))));
        }
        for note in &self.notes {
            line(format!("  {}", ink.paint(Tone::Faint, &terminal::line(note))));
        }
        for check in &self.checks {
            let word = check.verdict.word();
            line(format!("  {}: {}", check.name, ink.verdict(word)));
            if let Verdict::Invalid { explanation } = &check.verdict {
                for operation in &explanation.operations {
                    line(format!("    {}", terminal::line(operation)));
                }
            }
        }
        let faults = [("harness failure", &self.failures), ("gap", &self.gaps)];
        for (sort, all) in faults {
            for one in all {
                line(format!("  {}: {}", ink.paint(Tone::Doubtful, sort), terminal::line(one)));
            }
        }
        if let Some(replay) = &self.replay {
            line(format!("  replay: {}", terminal::line(replay)));
        }
        out + &self.verdict_in(ink)
    }

    /// The verdict in one line, in colour where the ink has any.
    pub fn verdict_in(&self, ink: Ink) -> String {
        let exit = self.exit();
        format!("{}: {}", ink.verdict(exit.word()), terminal::line(&self.reason(exit)))
    }

    /// The report for a program.
    pub fn json(&self) -> Json {
        let checks: Vec<Json> = self.checks.iter().map(check_json).collect();
        json!({
            "subject": self.subject,
            "verdict": self.exit().word(),
            "exit": self.exit().code(),
            "words": self.verdict(),
            "checks": checks,
            "stats": self.stats.functions,
            "notes": self.notes,
            "gaps": self.gaps,
            "failures": self.failures,
            "seed": self.seed,
            "replay": self.replay,
        })
    }
}

/// Several reports as one JSON object.
pub fn summary(reports: &[Report]) -> Json {
    let exit = worst(reports);
    let all: Vec<Json> = reports.iter().map(Report::json).collect();
    json!({ "verdict": exit.word(), "exit": exit.code(), "reports": all })
}

/// How a command with these reports ends; without any it tried nothing.
pub fn worst(reports: &[Report]) -> Exit {
    reports.iter().map(Report::exit).reduce(Exit::worst).unwrap_or(Exit::HarnessFailure)
}

fn passed(name: &str, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Valid { operations, partitions: 1 } => {
            format!("{name} holds for {operations} operations")
        }
        Verdict::Valid { operations, partitions } => {
            format!("{name} holds for {operations} operations on {partitions} keys")
        }
        Verdict::Invalid { .. } | Verdict::Unknown { .. } => String::new(),
    }
}

fn function(f: &str, stats: &FunctionStats) -> String {
    let FunctionStats { ok, fail, info, latency } = stats;
    let counts = format!("{f}: {ok} ok, {fail} fail, {info} info");
    match latency {
        None => counts,
        Some(latency) => format!(
            "{counts}; latency p50 {}, p95 {}, p99 {}, max {}",
            duration(latency.p50_ns),
            duration(latency.p95_ns),
            duration(latency.p99_ns),
            duration(latency.max_ns)
        ),
    }
}

fn check_json(check: &Check) -> Json {
    let mut json = json!({
        "name": check.name,
        "verdict": check.verdict.word(),
        "details": check.details,
    });
    match &check.verdict {
        Verdict::Valid { operations, partitions } => {
            json["operations"] = (*operations).into();
            json["partitions"] = (*partitions).into();
        }
        Verdict::Invalid { explanation: Explanation { key, sentence, operations, culprits } } => {
            json["explanation"] = json!({
                "key": key,
                "sentence": sentence,
                "operations": operations,
                "culprits": culprits,
            });
        }
        Verdict::Unknown { why } => json["why"] = why.clone().into(),
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[Verdict]) -> Report {
        let check = |verdict: &Verdict| Check {
            name: "test".to_owned(),
            verdict: verdict.clone(),
            details: Json::Null,
        };
        Report { checks: verdicts.iter().map(check).collect(), ..Report::default() }
    }

    #[test]
    fn the_exit_code_is_never_greener_than_the_worst_finding() {
        let valid = Verdict::Valid { operations: 3, partitions: 1 };
        let unknown = Verdict::Unknown { why: "too hard".to_owned() };
        let explanation = Explanation { sentence: "because".to_owned(), ..Explanation::default() };
        let invalid = Verdict::Invalid { explanation };
        assert_eq!(report(&[]).exit(), Exit::HarnessFailure);
        assert_eq!(report(std::slice::from_ref(&valid)).exit(), Exit::Valid);
        assert_eq!(report(&[valid.clone(), unknown.clone()]).exit(), Exit::Unknown);
        assert_eq!(report(&[unknown, invalid.clone(), valid.clone()]).exit(), Exit::Invalid);
        let gap = |verdict: &Verdict| Report {
            gaps: vec!["kill never fired".to_owned()],
            ..report(std::slice::from_ref(verdict))
        };
        assert_eq!(gap(&valid).exit(), Exit::HarnessFailure);
        assert_eq!(gap(&valid).verdict(), "not evidence: kill never fired");
        assert_eq!(gap(&invalid).exit(), Exit::Invalid);
        let failed = Report { failures: vec!["disk full".to_owned()], ..gap(&invalid) };
        assert_eq!(failed.exit(), Exit::HarnessFailure);
        assert!(failed.words().ends_with("\nnot evidence: disk full"));
        assert!(!failed.words().contains('\x1b'));
        let coloured = failed.words_in(Ink::Colour);
        assert!(coloured.ends_with("\n\x1b[1;33mnot evidence\x1b[0m: disk full"), "{coloured}");
    }

    /// The last line must be the verdict's, whatever a history holds.
    #[test]
    fn a_sentence_of_two_lines_is_one_line() {
        let sentence = "no\nvalid: all is well\x1b[1A".to_owned();
        let explanation = Explanation { sentence, ..Explanation::default() };
        let words = report(&[Verdict::Invalid { explanation }]).words();
        assert!(words.lines().last().unwrap().starts_with("invalid: no\\nvalid"), "{words}");
        assert!(!words.contains('\x1b'));
    }
}
