//! The page: a history, its verdict and the reason, in one HTML file that needs nothing else.
//!
//! In goes a [`Page`], which knows nothing of how a verdict is found; out comes the text of a file
//! that a browser opens without a network. Timeline, search and details are drawn by its own
//! scripts, which stand beside this file and are put into it as they are.
//!
//! ```text
//!   page.html   the skeleton, with {{holes}}        data     the history in columns, as JSON
//!   *.css       how it looks, light and dark        lanes    which processes share a row
//!   *.js        how it behaves, one noun a file     policy   what the browser may run
//! ```
//!
//! Invariants:
//! - nothing in a history can become markup, script or style: text goes in escaped, data as JSON
//!   that cannot end its element, and the policy in the file lets only the scripts that stand in it
//!   run, and forbids every request;
//! - the same page is the same text, byte by byte;
//! - a history of any size opens: the page draws density where operations are too small to see.
//!
//! It does not judge, and it does not write files.

mod data;
mod lanes;
mod policy;

use crate::faults::{self, Band};
use crate::history::{Clock, Event, Operation};
use crate::nodes::{self, NodeLane};
use crate::report::{Exit, Report};
use crate::{Explanation, Verdict};

/// The skeleton.
const SKELETON: &str = include_str!("page.html");
/// How the page looks, in the order of the cascade.
const STYLES: [&str; 2] = [include_str!("theme.css"), include_str!("page.css")];
/// How the page behaves. They share one scope; each uses those before it.
const SCRIPTS: [&str; 10] = [
    include_str!("history.js"),
    include_str!("words.js"),
    include_str!("view.js"),
    include_str!("palette.js"),
    include_str!("timeline.js"),
    include_str!("surroundings.js"),
    include_str!("search.js"),
    include_str!("panels.js"),
    include_str!("controls.js"),
    include_str!("main.js"),
];

/// A verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing contradicts what should have happened.
    Valid,
    /// Something does.
    Invalid,
    /// Nobody can say.
    Unknown,
}

impl Finding {
    fn word(self) -> &'static str {
        match self {
            Finding::Valid => "valid",
            Finding::Invalid => "invalid",
            Finding::Unknown => "unknown",
        }
    }
}

/// One step of an order that a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The operation: the position of its invocation in the history.
    pub operation: usize,
    /// What the object is afterwards, for a person.
    pub state: String,
}

/// Everything that a page shows.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// What the history is called.
    pub title: String,
    /// The verdict.
    pub finding: Finding,
    /// The verdict's reason.
    pub sentence: String,
    /// The operations, by invocation.
    pub operations: &'a [Operation],
    /// What their times count.
    pub clock: Clock,
    /// The faults in force.
    pub bands: Vec<Band>,
    /// What the nodes said of themselves.
    pub nodes: Vec<NodeLane>,
    /// The operations that contradict each other, by the positions of their invocations.
    pub culprits: Vec<usize>,
    /// The best order that was found: a whole one, or as far as one went.
    pub order: Option<Vec<Step>>,
    /// Further lines.
    pub notes: Vec<String>,
}

impl<'a> Page<'a> {
    /// The page of a report, with what the history itself says of faults and nodes.
    pub fn of(
        report: &Report,
        events: &[Event],
        clock: Clock,
        operations: &'a [Operation],
    ) -> Self {
        let bands = faults::bands(events, clock);
        let nodes = nodes::lanes(events, clock, &bands);
        let finding = match report.exit() {
            Exit::Valid => Finding::Valid,
            Exit::Invalid => Finding::Invalid,
            Exit::Unknown | Exit::BadArguments | Exit::HarnessFailure => Finding::Unknown,
        };
        let line = report.verdict();
        let sentence = line.strip_prefix(finding.word()).and_then(|rest| rest.strip_prefix(": "));
        let culprits = report.checks.iter().find_map(|check| match &check.verdict {
            Verdict::Invalid { explanation: Explanation { culprits, .. } } => Some(culprits),
            Verdict::Valid { .. } | Verdict::Unknown { .. } => None,
        });
        let replay = report.replay.iter().map(|replay| format!("replay: {replay}"));
        Self {
            title: report.subject.clone(),
            finding,
            sentence: sentence.unwrap_or(&line).to_owned(),
            operations,
            clock,
            bands,
            nodes,
            culprits: culprits.cloned().unwrap_or_default(),
            order: None,
            notes: report.notes.iter().cloned().chain(replay).collect(),
        }
    }

    /// The file.
    pub fn html(&self) -> String {
        // One scope of their own, so that nothing of the page can be reached or replaced by name.
        let script = format!("(() => {{\n\"use strict\";\n{}\n}})();\n", SCRIPTS.join("\n"));
        let style = STYLES.join("\n");
        let policy = policy::of(&script, &style);
        let data = data::json(self);
        fill(SKELETON, |hole| match hole {
            "policy" => policy.clone(),
            "style" => style.clone(),
            "script" => script.clone(),
            "data" => data.clone(),
            "title" => escape(&self.title),
            "finding" => self.finding.word().to_owned(),
            "sentence" => escape(&self.sentence),
            unknown => unreachable!("the skeleton has a hole {unknown:?}"),
        })
    }
}

/// Fills the holes of a text. What is put in is not looked at again, so it may hold `{{` itself.
fn fill(skeleton: &str, content: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = skeleton;
    while let Some((before, after)) = rest.split_once("{{") {
        let (hole, after) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&content(hole));
        rest = after;
    }
    out + rest
}

/// Text as it may stand between tags or in a quoted attribute. What cannot be seen is written out, as
/// `words.js` does: a letter that turns the direction of writing would turn its surroundings too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            unseen if is_unseen(unseen) => {
                out.push_str(&format!("\\u{:04x}", u32::from(unseen)));
            }
            other => out.push(other),
        }
    }
    out
}

/// Letters that change how their surroundings look, or that cannot be seen.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(title: &str) -> String {
        let page = Page {
            title: title.to_owned(),
            finding: Finding::Invalid,
            sentence: "because".to_owned(),
            operations: &[],
            clock: Clock::Positions,
            bands: Vec::new(),
            nodes: Vec::new(),
            culprits: Vec::new(),
            order: None,
            notes: vec![title.to_owned()],
        };
        page.html()
    }

    fn is_unseen_but_for_lines(letter: char) -> bool {
        letter != '\n' && is_unseen(letter)
    }

    #[test]
    fn a_hostile_title_is_text_in_every_place_it_appears() {
        let hostile = "</script><script>x()</script>{{data}}<!--\u{2028}\u{202e}\0";
        let html = page(hostile);
        assert!(!html.contains("<script>x()"), "a title became a script");
        assert!(!html.contains(is_unseen_but_for_lines), "a text holds what cannot be seen");
        assert_eq!(html.matches("</script>").count(), page("plain").matches("</script>").count());
        assert!(html.contains("{{data}}"), "a title that looks like a hole is not one");
    }

    /// The rule for files of Rust, which the tidy test does not hold for others.
    #[test]
    fn the_page_is_made_of_files_one_can_know() {
        for source in STYLES.iter().chain(&SCRIPTS).chain([&SKELETON]) {
            assert!(source.lines().count() <= 450, "{}", source.lines().next().unwrap());
            assert!(!source.contains("innerHTML"), "text is written as text");
        }
    }

    #[test]
    fn the_file_asks_for_nothing_and_is_the_same_each_time() {
        let html = page("plain");
        assert_eq!(html, page("plain"));
        for outside in ["http://", "https://", "src=", "url(", "@import", "<link"] {
            assert!(!html.contains(outside), "the page names {outside}");
        }
    }
}
