//! JUnit: reports as the XML that build servers read.
//!
//! In go reports and what an undecided check counts as; out comes one document, with a suite for each
//! history and a case for each check:
//!
//! ```xml
//! <testsuite name="history.edn" tests="1" failures="1" errors="0" skipped="0" time="0.214">
//!   <testcase name="linearizable (kv)" classname="history.edn" file="history.edn" time="0.214">
//!     <failure type="invalid" message="process 4 read 17 ..., but ...">...</failure>
//! ```
//!
//! Invariants:
//! - a document is never greener than the exit code: what is invalid is a failure; what could not be
//!   decided is an error, unless the caller says otherwise; a harness that failed and a history that
//!   is no evidence are errors in cases of their own;
//! - it is well formed whatever a history holds: letters that XML does not have are written out;
//! - the same reports are the same text.
//!
//! It does not write files, and knows no more than a [`Report`] does.

use std::fmt::Write;
use std::time::Duration;

use crate::report::Report;
use crate::{Explanation, Verdict};

/// What a check that could not be decided counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undecided {
    /// An error: somebody has to look. Unknown is never green.
    #[default]
    Error,
    /// A failure, like an invalid history.
    Failure,
    /// Skipped, for those who run with a small budget and know it.
    Skipped,
}

/// One case.
struct Case {
    name: String,
    result: Outcome,
}

enum Outcome {
    Passed,
    Failed(Reason),
    Errored(Reason),
    Skipped(Reason),
}

/// Why a case did not pass.
struct Reason {
    /// In one word.
    sort: &'static str,
    sentence: String,
    lines: Vec<String>,
}

/// How many cases ended how.
#[derive(Default)]
struct Count {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
    time: Duration,
}

/// The document.
pub fn xml(reports: &[Report], undecided: Undecided) -> String {
    let suites: Vec<(&Report, Vec<Case>)> =
        reports.iter().map(|report| (report, cases(report, undecided))).collect();
    let mut all = Count::default();
    let mut inner = String::new();
    for (report, cases) in &suites {
        let count = count(report, cases);
        all.tests += count.tests;
        all.failures += count.failures;
        all.errors += count.errors;
        all.skipped += count.skipped;
        all.time += count.time;
        suite(&mut inner, report, cases, &count);
    }
    let attributes = counts(&all);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites{attributes}>\n{inner}</testsuites>\n"
    )
}

fn cases(report: &Report, undecided: Undecided) -> Vec<Case> {
    let reason = |sort, sentence: &str, lines: &[String]| Reason {
        sort,
        sentence: sentence.to_owned(),
        lines: lines.to_vec(),
    };
    let check = |name: &String, verdict: &Verdict| {
        let result = match verdict {
            Verdict::Valid { .. } => Outcome::Passed,
            Verdict::Invalid { explanation } => {
                let Explanation { operations, .. } = explanation;
                Outcome::Failed(reason("invalid", &explanation.to_string(), operations))
            }
            Verdict::Unknown { why } => {
                let reason = reason("unknown", why, &[]);
                match undecided {
                    Undecided::Error => Outcome::Errored(reason),
                    Undecided::Failure => Outcome::Failed(reason),
                    Undecided::Skipped => Outcome::Skipped(reason),
                }
            }
        };
        Case { name: name.clone(), result }
    };
    let mut cases: Vec<Case> =
        report.checks.iter().map(|one| check(&one.name, &one.verdict)).collect();
    let mut error = |name: &str, sort, all: &[String]| {
        if let Some((first, others)) = all.split_first() {
            let result = Outcome::Errored(reason(sort, first, others));
            cases.push(Case { name: name.to_owned(), result });
        }
    };
    error("harness", "harness failure", &report.failures);
    error("evidence", "not evidence", &report.gaps);
    if cases.is_empty() {
        let result = Outcome::Errored(reason("not evidence", "nothing was checked", &[]));
        cases.push(Case { name: "evidence".to_owned(), result });
    }
    cases
}

fn count(report: &Report, cases: &[Case]) -> Count {
    let of = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.result)).count();
    Count {
        tests: cases.len(),
        failures: of(|result| matches!(result, Outcome::Failed(_))),
        errors: of(|result| matches!(result, Outcome::Errored(_))),
        skipped: of(|result| matches!(result, Outcome::Skipped(_))),
        time: report.took.unwrap_or_default(),
    }
}

fn counts(count: &Count) -> String {
    let Count { tests, failures, errors, skipped, time } = count;
    let time = time.as_secs_f64();
    format!(
        " tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" \
         time=\"{time:.3}\""
    )
}

fn suite(out: &mut String, report: &Report, cases: &[Case], count: &Count) {
    let name = attribute(&report.subject);
    add(out, format_args!("  <testsuite name=\"{name}\"{}>\n    <properties>\n", counts(count)));
    let (ok, fail, info) = report.stats.totals();
    let counted = ok + fail + info > 0;
    let operations = counted.then(|| format!("{ok} ok, {fail} fail, {info} info"));
    let seed = report.seed.map(|seed| seed.to_string());
    let properties = [
        ("verdict", Some(report.verdict())),
        ("operations", operations),
        ("seed", seed),
        ("replay", report.replay.clone()),
    ];
    let notes = report.notes.iter().map(|note| ("note", Some(note.clone())));
    for (property, value) in properties.into_iter().chain(notes) {
        if let Some(value) = value {
            let value = attribute(&value);
            add(out, format_args!("      <property name=\"{property}\" value=\"{value}\"/>\n"));
        }
    }
    out.push_str("    </properties>\n");
    // Nobody measured each check, but one alone took all the time there was.
    let time = match (report.took, cases) {
        (Some(took), [_]) => format!(" time=\"{:.3}\"", took.as_secs_f64()),
        _ => String::new(),
    };
    for Case { name: case, result } in cases {
        let case = attribute(case);
        let open = format!("<testcase name=\"{case}\" classname=\"{name}\" file=\"{name}\"{time}");
        let (tag, reason) = match result {
            Outcome::Passed => {
                add(out, format_args!("    {open}/>\n"));
                continue;
            }
            Outcome::Failed(reason) => ("failure", reason),
            Outcome::Errored(reason) => ("error", reason),
            Outcome::Skipped(reason) => ("skipped", reason),
        };
        let Reason { sort, sentence, lines } = reason;
        let message = attribute(sentence);
        add(out, format_args!("    {open}>\n      <{tag} type=\"{sort}\" message=\"{message}\">"));
        let replay = report.replay.iter().map(|replay| format!("replay: {replay}"));
        let lines = std::iter::once(sentence.clone()).chain(lines.iter().cloned()).chain(replay);
        out.push_str(&text(&lines.collect::<Vec<_>>().join("\n")));
        add(out, format_args!("</{tag}>\n    </testcase>\n"));
    }
    out.push_str("  </testsuite>\n");
}

/// Appends a text. Writing to a string cannot fail, so there is no error to pass on.
fn add(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = out.write_fmt(text);
}

/// Text between tags.
fn text(text: &str) -> String {
    escape(text, false)
}

/// Text within a quoted attribute, where a parser would make blanks of line feeds and tabs.
fn attribute(text: &str) -> String {
    escape(text, true)
}

fn escape(text: &str, in_attribute: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            // Only `]]>` needs it, but it does no harm.
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' if !in_attribute => out.push(letter),
            '\n' | '\t' | '\r' => add(&mut out, format_args!("&#{};", u32::from(letter))),
            // XML has no control characters, not even as references, and lacks two more.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                add(&mut out, format_args!("\\u{:04x}", u32::from(letter)));
            }
            other => out.push(other),
        }
    }
    out
}
