//! Counts beside those recorded earlier: which work has become dearer.
//!
//! Owns [`Baseline`], what was recorded, and [`Report`], the table of what is found now. In: the text of the
//! recorded file and the counts of today. Out: a line for each count, and whether all are good.
//!
//! ```text
//! # a comment
//! 123456789  the name of what was counted
//! ```
//!
//! Invariants
//! - What has grown by more than `TOLERANCE_PERCENT`, has no recorded count, or was recorded and is not counted any
//!   more, is never good.
//! - What has shrunk by more is good, and the report says so: recorded anew, it cannot be lost again.
//!
//! Does not: count.

use std::{collections::BTreeMap, fmt};

use anyhow::Context;

/// How far a count may be from what was recorded, as a part of that.
const TOLERANCE_PERCENT: u64 = 5;

/// What was counted, and how many operations took that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// What was counted.
    pub name: &'static str,
    /// How many operations it was.
    pub operations: u64,
    /// All that they took.
    pub total: u64,
}

/// Recorded counts, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline(BTreeMap<String, u64>);

/// Today's counts beside the recorded ones. Its text is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    text: String,
    wrong: usize,
}

impl Baseline {
    /// Reads what [`Baseline::text`] wrote.
    ///
    /// # Errors
    /// A line that is no comment and has no count and name, or a name that comes twice.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut counts = BTreeMap::new();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || format!("not a count and a name: {line:?}");
            let (count, name) = line.split_once(' ').with_context(wrong)?;
            let count: u64 = count.parse().with_context(wrong)?;
            anyhow::ensure!(count > 0, "nothing was counted: {line:?}");
            let twice = counts.insert(name.trim().to_owned(), count);
            anyhow::ensure!(twice.is_none(), "recorded twice: {line:?}");
        }
        Ok(Self(counts))
    }

    /// These counts as a file, under a comment.
    pub fn text(comment: &str, counts: &[Count]) -> String {
        let comment = comment.lines().map(|line| format!("# {line}\n"));
        let lines = counts.iter().map(|count| format!("{:>12}  {}\n", count.total, count.name));
        comment.chain(lines).collect()
    }

    /// Compares. With `whole`, everything recorded is expected among the counts.
    pub fn compare(&self, counts: &[Count], whole: bool) -> Report {
        let mut report = Report::titled();
        for count in counts {
            report.line(count, self.0.get(count.name).copied());
        }
        let counted = |name: &str| counts.iter().any(|count| count.name == name);
        for name in self.0.keys().filter(|name| whole && !counted(name)) {
            report.wrong += 1;
            report.text += &format!("{name:<NAME_WIDTH$} recorded, but not counted: record anew\n");
        }
        report
    }
}

const NAME_WIDTH: usize = 48;

impl Report {
    fn titled() -> Self {
        let text = format!(
            "{:<NAME_WIDTH$} {:>13} {:>11} {:>13} {:>7}\n",
            "scenario", "instructions", "each", "baseline", "ratio"
        );
        Self { text, wrong: 0 }
    }

    fn line(&mut self, count: &Count, recorded: Option<u64>) {
        let Count { name, operations, total } = *count;
        let each = total / operations.max(1);
        self.text += &format!("{name:<NAME_WIDTH$} {total:>13} {each:>11} ");
        let Some(recorded) = recorded else {
            self.wrong += 1;
            self.text += &format!("{:>13}         not recorded\n", "-");
            return;
        };
        let ratio = total as f64 / recorded as f64;
        // In whole numbers, so that a count at the very edge is judged alike everywhere.
        let (percent, whole) = (total.saturating_mul(100), recorded.saturating_mul(100));
        let far = recorded.saturating_mul(TOLERANCE_PERCENT);
        let word = if percent > whole.saturating_add(far) {
            self.wrong += 1;
            "  DEARER: mend it, or record anew and say why"
        } else if percent < whole - far {
            "  cheaper: record anew"
        } else {
            ""
        };
        self.text += &format!("{recorded:>13} {ratio:>7.3}{word}\n");
    }

    /// How many lines are not good.
    pub fn wrong(&self) -> usize {
        self.wrong
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &'static str, total: u64) -> Count {
        Count { name, operations: 10, total }
    }

    fn compared(total: u64) -> Report {
        let recorded = Baseline::text("made\nup", &[count("a write", 1_000_000)]);
        Baseline::parse(&recorded).unwrap().compare(&[count("a write", total)], true)
    }

    /// A comparison that lets six per cent pass would let the next six pass as well.
    #[test]
    fn what_has_become_dearer_is_wrong() {
        let dearer = compared(1_060_000);
        assert_eq!(dearer.wrong(), 1);
        assert!(dearer.to_string().contains("1.060  DEARER"), "{dearer}");
        for total in [1_050_000, 1_000_000, 950_000] {
            assert_eq!(compared(total).wrong(), 0);
            assert!(!compared(total).to_string().contains("record anew"));
        }
    }

    #[test]
    fn what_has_become_cheaper_is_good_and_said() {
        let cheaper = compared(940_000);
        assert_eq!(cheaper.wrong(), 0);
        assert!(cheaper.to_string().contains("0.940  cheaper: record anew"), "{cheaper}");
    }

    /// A scenario that was renamed would be compared with nothing, and always be good.
    #[test]
    fn what_stands_on_one_side_alone_is_wrong() {
        let recorded = Baseline::parse("5  a\n7  b\n").unwrap();
        assert_eq!(recorded.compare(&[count("a", 5)], true).wrong(), 1);
        assert_eq!(recorded.compare(&[count("a", 5)], false).wrong(), 0);
        assert_eq!(recorded.compare(&[count("a", 5), count("c", 7)], false).wrong(), 1);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        for text in ["five  a", "5", "-5  a", "0  a", "5  a\n6  a"] {
            assert!(Baseline::parse(text).is_err(), "{text:?}");
        }
    }
}
