//! A reader of EDN, the notation Jepsen writes its histories in.
//!
//! In goes text, out come [`Value`]s, one top-level form at a time, each with the line it began on.
//! A real reader, because scrapers of single fields break on nested maps and on strings that hold
//! brackets. Values are written back by their `Display`.
//!
//! It reads maps, vectors, lists, sets, keywords, symbols, strings with their escapes, characters,
//! integers (with `N`), floats (with `M`, `##Inf`, `##NaN`), `nil`, booleans, tagged values,
//! comments, `#_` discards, and commas as blanks.
//!
//! Invariants:
//! - bad input gives the line and the reason, never a panic;
//! - nesting is bounded by [`DEPTH_MAX`], so hostile input cannot exhaust the stack;
//! - nothing is silently rounded: an integer beyond 64 bits or a ratio is an error;
//! - it works on bytes, and never stops within a character: every byte it stops at is ASCII, or was
//!   looked at as a character. Lines are counted only when somebody asks for one.
//!
//! It does not interpret tags, and it knows nothing of operations: that is `jepsen`.

mod atom;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use self::atom::Starts;
use super::value::Value;

/// How deep forms may nest. Histories need about four levels.
pub const DEPTH_MAX: usize = 128;

/// What is wrong with the text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdnError {
    /// The line, from 1.
    pub line: usize,
    /// The reason, in words.
    pub reason: String,
    /// Whether the text ended where it had to go on: more of it may help.
    pub unfinished: bool,
}

impl fmt::Display for EdnError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for EdnError {}

/// Reads top-level forms from a text.
#[derive(Clone, Debug)]
pub struct EdnReader<'a> {
    text: &'a str,
    /// The next byte.
    at: usize,
    /// A position whose line is known, so that lines are counted once.
    counted: usize,
    counted_line: usize,
    first_line: usize,
}

impl<'a> EdnReader<'a> {
    /// A reader at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self::within(text, 1)
    }

    /// A reader at the start of a part of a text, which begins on this line.
    pub(super) fn within(text: &'a str, first_line: usize) -> Self {
        Self { text, at: 0, counted: 0, counted_line: first_line, first_line }
    }

    /// The next top-level form with the line it begins on; `None` at the end of the text.
    pub fn next_form(&mut self) -> Result<Option<(usize, Value)>, EdnError> {
        self.skip_blanks(0)?;
        if self.peek().is_none() {
            return Ok(None);
        }
        let line = self.line();
        Ok(Some((line, self.form(0)?)))
    }

    /// If the next thing is a `[`, steps into it, so that a caller can read a vector that is larger
    /// than one would want to hold twice. [`Self::next_item`] then gives the members.
    pub fn enter_vector(&mut self) -> Result<bool, EdnError> {
        self.skip_blanks(0)?;
        Ok(self.take_if(b'['))
    }

    /// The next member of the vector entered, or `None` at its end.
    pub fn next_item(&mut self) -> Result<Option<(usize, Value)>, EdnError> {
        self.skip_blanks(1)?;
        if self.take_if(b']') {
            return Ok(None);
        }
        let line = self.line();
        Ok(Some((line, self.form(1)?)))
    }

    /// The byte that comes next.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Where the reader stands, in bytes.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes back, or on, to a position it stood at before.
    pub(super) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// The line of the next byte, from 1.
    pub(super) fn line(&mut self) -> usize {
        if self.at < self.counted {
            self.counted = 0;
            self.counted_line = self.first_line;
        }
        // In most histories exactly one line feed stands here, right before the next event: looking
        // for it is cheaper than counting.
        let bytes = &self.text.as_bytes()[..self.at];
        while let Some(end) = memchr::memchr(b'\n', &bytes[self.counted..]) {
            self.counted += end + 1;
            self.counted_line += 1;
        }
        self.counted = self.at;
        self.counted_line
    }

    #[inline]
    pub(super) fn take_if(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn line_of(&self, at: usize) -> usize {
        let (from, line) = if at < self.counted {
            (0, self.first_line)
        } else {
            (self.counted, self.counted_line)
        };
        line + memchr::memchr_iter(b'\n', &self.text.as_bytes()[from..at]).count()
    }

    #[cold]
    fn error<T>(&self, reason: impl Into<String>) -> Result<T, EdnError> {
        let line = self.line_of(self.at);
        Err(EdnError { line, reason: reason.into(), unfinished: false })
    }

    #[cold]
    fn end<T>(&self, reason: impl Into<String>) -> Result<T, EdnError> {
        let line = self.line_of(self.at);
        Err(EdnError { line, reason: reason.into(), unfinished: true })
    }

    /// The character that comes next.
    fn letter(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Takes the character that comes next.
    fn next(&mut self) -> Option<char> {
        let letter = self.letter();
        self.at += letter.map_or(0, char::len_utf8);
        letter
    }

    /// Skips blanks, commas, comments and discarded forms.
    #[inline]
    pub(super) fn skip_blanks(&mut self, depth: usize) -> Result<(), EdnError> {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        let rare = loop {
            match bytes.get(at).map(|byte| atom::starts(*byte)) {
                Some(Starts::Blank) => at += 1,
                Some(Starts::Form) | None => break false,
                Some(Starts::Perhaps) => break true,
            }
        };
        self.at = at;
        match rare {
            true => self.skip_rare_blanks(depth),
            false if depth > DEPTH_MAX => self.too_deep(),
            false => Ok(()),
        }
    }

    fn skip_rare_blanks(&mut self, depth: usize) -> Result<(), EdnError> {
        if depth > DEPTH_MAX {
            return self.too_deep();
        }
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b',' | b'\n' | b'\r' | b'\t' | 0xb | 0xc => self.at += 1,
                b';' => {
                    let rest = &self.text.as_bytes()[self.at..];
                    self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                }
                b'#' if self.text.as_bytes().get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.skip_blanks(depth + 1)?;
                    self.form(depth + 1)?;
                }
                0x80.. if self.letter().is_some_and(char::is_whitespace) => {
                    self.next();
                }
                _ => break,
            }
        }
        Ok(())
    }

    #[cold]
    fn too_deep<T>(&self) -> Result<T, EdnError> {
        self.error(format!("forms nest deeper than {DEPTH_MAX}"))
    }

    pub(super) fn form(&mut self, depth: usize) -> Result<Value, EdnError> {
        if depth > DEPTH_MAX {
            return self.too_deep();
        }
        let Some(byte) = self.peek() else {
            return self.end("the text ends where a form was expected");
        };
        match byte {
            b'0'..=b'9' => match self.natural() {
                Some(number) => Ok(Value::Int(number)),
                None => self.atom(),
            },
            b'[' => Ok(Value::Vector(self.sequence(b']', depth)?)),
            b'(' => Ok(Value::List(self.sequence(b')', depth)?)),
            b'{' => self.map(depth),
            b'"' => self.string(),
            b'\\' => self.character(),
            b'#' => self.dispatch(depth),
            b']' | b')' | b'}' => self.error(format!("`{}` closes nothing", char::from(byte))),
            _ => self.atom(),
        }
    }

    /// The members up to the closing bracket; the opening one is the next character.
    fn sequence(&mut self, close: u8, depth: usize) -> Result<Vec<Value>, EdnError> {
        let opened = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_blanks(depth + 1)?;
            let number = match self.peek() {
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(items);
                }
                Some(b'0'..=b'9') => self.natural(),
                Some(_) => None,
                None => return self.unclosed(close, opened),
            };
            let item = match number {
                Some(number) => Value::Int(number),
                None => self.form(depth + 1)?,
            };
            if items.capacity() == 0 {
                // A pair is by far the commonest sequence: a key and its value.
                items = Vec::with_capacity(2);
            }
            items.push(item);
        }
    }

    pub(super) fn unclosed<T>(&self, close: u8, opened: usize) -> Result<T, EdnError> {
        let (close, opened) = (char::from(close), self.line_of(opened));
        self.end(format!("the text ends before the `{close}` that closes line {opened}"))
    }

    fn map(&mut self, depth: usize) -> Result<Value, EdnError> {
        let items = self.sequence(b'}', depth)?;
        if items.len() % 2 == 1 {
            return self.error("a map has a key without a value");
        }
        let mut entries = BTreeMap::new();
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            if entries.contains_key(&key) {
                return self.error(format!("a map has the key {key} twice"));
            }
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }

    /// What follows a `#`: a set, a symbolic number, or a tag and its value.
    fn dispatch(&mut self, depth: usize) -> Result<Value, EdnError> {
        if let Some(tag) = self.tag() {
            self.skip_blanks(depth + 1)?;
            return Ok(Value::Tagged(tag.to_owned(), Box::new(self.form(depth + 1)?)));
        }
        self.at += 1;
        match self.letter() {
            Some('{') => {
                let mut items = BTreeSet::new();
                for item in self.sequence(b'}', depth)? {
                    if let Some(twice) = items.replace(item) {
                        return self.error(format!("a set has the member {twice} twice"));
                    }
                }
                Ok(Value::Set(items))
            }
            Some('#') => {
                self.at += 1;
                self.symbolic()
            }
            Some(letter) => self.error(format!("`#{letter}` is not EDN")),
            None => self.end("the text ends after a `#`"),
        }
    }

    /// Takes a tag, `#name`, if one comes next.
    pub(super) fn tag(&mut self) -> Option<&'a str> {
        let rest = self.text[self.at..].strip_prefix('#')?;
        rest.starts_with(|letter: char| letter.is_alphabetic() || letter == ':').then(|| {
            self.at += 1;
            self.token()
        })
    }
}
