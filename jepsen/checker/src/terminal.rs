//! The terminal: words in colour where a person reads them, and letters that cannot harm one.
//!
//! In go words and what they mean, out come the same words, with the codes of ECMA-48 around them if
//! [`Ink::Colour`] was chosen. [`Ink::of_stdout`] chooses it if standard output is a terminal that
//! knows colours and nobody said `NO_COLOR` (<https://no-color.org>).
//!
//! Invariants:
//! - without colour a text is what it was, byte by byte: programs read it;
//! - colour says nothing that the words do not;
//! - a history cannot speak to the terminal: its control characters are written out.
//!
//! Seven codes need no crate.

use std::ffi::OsStr;
use std::io::IsTerminal;

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// For a file, a pipe, or someone who wants it so.
    #[default]
    Plain,
    /// For a terminal.
    Colour,
}

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing is wrong.
    Good,
    /// Something is.
    Bad,
    /// Nobody knows.
    Doubtful,
    /// A heading.
    Strong,
    /// What one may skip.
    Faint,
}

impl Ink {
    /// What standard output deserves.
    pub fn of_stdout() -> Self {
        let said = |name: &str| std::env::var_os(name);
        Self::choose(
            std::io::stdout().is_terminal(),
            said("NO_COLOR").as_deref(),
            said("TERM").as_deref(),
        )
    }

    fn choose(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        let able = term.is_some_and(|term| term != "dumb");
        if terminal && able && !refused { Ink::Colour } else { Ink::Plain }
    }

    /// The text, coloured by what it means.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Doubtful => "1;33",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        match self {
            Ink::Plain => text.to_owned(),
            Ink::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    /// A verdict's word, such as "valid" or "not evidence", coloured.
    pub fn verdict(self, word: &str) -> String {
        let tone = match word {
            "valid" => Tone::Good,
            "invalid" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        self.paint(tone, word)
    }
}

/// One line of text, its control characters written out.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => out.extend(letter.escape_default()),
            false => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_whose_owner_did_not_refuse_it() {
        let choose = |terminal, no_color: Option<&str>, term: Option<&str>| {
            Ink::choose(terminal, no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert_eq!(choose(true, None, Some("xterm")), Ink::Colour);
        assert_eq!(choose(true, Some(""), Some("xterm")), Ink::Colour);
        assert_eq!(choose(true, Some("1"), Some("xterm")), Ink::Plain);
        assert_eq!(choose(true, None, Some("dumb")), Ink::Plain);
        assert_eq!(choose(true, None, None), Ink::Plain);
        assert_eq!(choose(false, None, Some("xterm")), Ink::Plain);
    }

    #[test]
    fn a_text_stays_one_line_and_holds_no_codes() {
        assert_eq!(line("plain → text"), "plain → text");
        assert_eq!(line("\x1b[2J\nvalid: yes"), "\\u{1b}[2J\\nvalid: yes");
    }
}
