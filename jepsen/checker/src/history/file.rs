//! Reads and writes history files, and says what is wrong with a bad one.
//!
//! In goes a path (or a text) and a [`Format`], out comes a [`History`]: its events, the line each
//! stood on, and counts of what was left out. [`History::operations`] pairs them.
//!
//! Invariants:
//! - every error about the contents carries file, line and reason ([`InputError`]), also those that
//!   are found only when events are paired or when a model reads their values;
//! - nothing is left out silently: nemesis events, foreign processes and unknown keys are counted;
//! - formats are told apart by contents, not by name: JSON lines begin with `{"`, EDN does not;
//! - an array of JSON objects is neither, and is refused as what it is.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::edn::{EdnError, EdnReader};
use super::pairing::{Clock, Operation, pair};
use super::{Event, Process, jepsen, jsonl};

/// How a history is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Find out from the contents.
    Auto,
    /// Jepsen's `history.edn`.
    Edn,
    /// One JSON object a line.
    Jsonl,
}

/// What a reader left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Events of the nemesis: kept in the history, no part of any verdict.
    pub nemesis_events: u64,
    /// Events of processes that are neither clients nor the nemesis.
    pub other_processes: u64,
    /// Keys that mean nothing to us.
    pub unknown_keys: u64,
}

/// A history that was read from a file.
#[derive(Clone, Debug)]
pub struct History {
    /// Where it came from, for messages.
    pub name: String,
    /// Its events in order.
    pub events: Vec<Event>,
    /// The line each event stood on, from 1.
    pub lines: Vec<usize>,
    /// What was left out.
    pub skipped: Skipped,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    /// The file.
    pub name: String,
    /// The line, from 1; 0 if the file could not be read at all.
    pub line: usize,
    /// The reason, in words.
    pub reason: String,
}

impl fmt::Display for InputError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.name, self.reason),
            line => write!(out, "{}:{line}: {}", self.name, self.reason),
        }
    }
}

impl std::error::Error for InputError {}

impl History {
    /// Reads a file.
    pub fn read(path: &Path, format: Format) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let unreadable = |reason| InputError { name: name.clone(), line: 0, reason };
        let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&name, &text, format),
            Err(error) => {
                let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
                Err(InputError { name, line, reason: "the text is not UTF-8".to_owned() })
            }
        }
    }

    /// Reads a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str, format: Format) -> Result<Self, InputError> {
        let mut history = History {
            name: name.to_owned(),
            events: Vec::new(),
            lines: Vec::new(),
            skipped: Skipped::default(),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match format {
            Format::Jsonl => history.parse_jsonl(text)?,
            Format::Edn => history.parse_edn(text)?,
            Format::Auto if looks_like_json(text) => history.parse_jsonl(text)?,
            Format::Auto => history.parse_edn(text)?,
        }
        let nemesis = history.events.iter().filter(|event| event.process == Process::Nemesis);
        history.skipped.nemesis_events = nemesis.count() as u64;
        Ok(history)
    }

    /// The clients' operations, paired.
    pub fn operations(&self) -> Result<(Clock, Vec<Operation>), InputError> {
        pair(&self.events).map_err(|error| self.error_at(error.position, error.reason))
    }

    /// An error about the event at a position, as when a model cannot read its value.
    pub fn error_at(&self, position: usize, reason: impl Into<String>) -> InputError {
        let line = self.lines.get(position).copied().unwrap_or(0);
        InputError { name: self.name.clone(), line, reason: reason.into() }
    }

    fn parse_jsonl(&mut self, text: &str) -> Result<(), InputError> {
        let start = text.trim_start();
        if start.starts_with('[') {
            let line = 1 + text[..text.len() - start.len()].matches('\n').count();
            let reason = "one JSON object a line is expected, not an array".to_owned();
            return Err(InputError { name: self.name.clone(), line, reason });
        }
        for (position, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let event = jsonl::read(line, self.events.len() as u64, &mut self.skipped);
            self.push(position + 1, event)?;
        }
        Ok(())
    }

    fn parse_edn(&mut self, text: &str) -> Result<(), InputError> {
        let mut reader = EdnReader::new(text);
        let in_vector = reader.enter_vector().map_err(|error| self.edn_error(error))?;
        loop {
            let form = match in_vector {
                true => reader.next_item(),
                false => reader.next_form(),
            };
            let Some((line, form)) = form.map_err(|error| self.edn_error(error))? else { break };
            let event = jepsen::read(form, self.events.len() as u64, &mut self.skipped);
            self.push(line, event)?;
        }
        if in_vector {
            let rest = reader.next_form().map_err(|error| self.edn_error(error))?;
            if let Some((line, _)) = rest {
                let reason = "something follows the vector of events".to_owned();
                return Err(InputError { name: self.name.clone(), line, reason });
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        line: usize,
        event: Result<Option<Event>, String>,
    ) -> Result<(), InputError> {
        match event {
            Ok(Some(event)) => {
                self.events.push(event);
                self.lines.push(line);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(reason) => Err(InputError { name: self.name.clone(), line, reason }),
        }
    }

    fn edn_error(&self, error: EdnError) -> InputError {
        InputError { name: self.name.clone(), line: error.line, reason: error.reason }
    }
}

/// EDN maps of events begin with a keyword, JSON objects with a string, also within an array.
fn looks_like_json(text: &str) -> bool {
    let start = text.trim_start();
    let start = start.strip_prefix('[').unwrap_or(start).trim_start();
    start.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// Writes events as JSON lines or as Jepsen's EDN, one a line.
pub fn write(out: &mut impl Write, events: &[Event], format: Format) -> io::Result<()> {
    for event in events {
        let line = match format {
            Format::Edn => jepsen::write(event),
            Format::Jsonl | Format::Auto => jsonl::write(event),
        };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Value;

    const EDN: &str = "; a test\n\
        {:type :invoke, :f :write, :value [1 17], :process 0, :time 10, :index 0}\n\
        {:type :info, :f :kill, :value {:node \"n1\"}, :process :nemesis, :time 11, :index 1}\n\
        #jepsen.history.Op{:type :ok, :f :write, :value [1 17], :process 0, :time 12, :index 2,\n\
         :link :x}\n";

    #[test]
    fn one_map_a_line_and_one_vector_read_alike() {
        let lines = History::parse("h", EDN, Format::Auto).unwrap();
        let vector = format!("[{EDN}]");
        let vector = History::parse("h", &vector, Format::Auto).unwrap();
        assert_eq!(lines.events, vector.events);
        assert_eq!(lines.lines, [2, 3, 4]);
        assert_eq!((lines.skipped.nemesis_events, lines.skipped.unknown_keys), (1, 1));
        let (clock, operations) = lines.operations().unwrap();
        assert_eq!((clock, operations.len()), (Clock::Nanoseconds, 1));
        assert_eq!(operations[0].value, Value::pair(1, 17));
    }

    #[test]
    fn both_formats_write_what_they_read() {
        let history = History::parse("h", EDN, Format::Edn).unwrap();
        for format in [Format::Edn, Format::Jsonl] {
            let mut text = Vec::new();
            write(&mut text, &history.events, format).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(History::parse("h", &text, Format::Auto).unwrap().events, history.events);
        }
    }

    #[test]
    fn bad_input_names_file_line_and_reason() {
        let cases = [
            ("\n{\"process\":0}", "h:2: the event has no type"),
            ("{:type :ok, :f :read, :process 0}", "h:1: process 0 completes an operation"),
            ("\n[\n {\"process\": 0}]", "h:2: one JSON object a line is expected, not an array"),
            ("[{\"process\":0}]", "h:1: one JSON object a line is expected, not an array"),
            ("{:type :ok, :f :read}", "h:1: the event has no :process"),
            ("{:type :maybe, :f :read, :process 0}", "h:1: :type :maybe is none of"),
            ("[{:a 1", "h:1: the text ends before"),
            ("[] 1", "h:1: something follows"),
            ("INFO jepsen.util - 0 :ok :read 1", "h:1: an event is a map, not INFO"),
        ];
        for (text, expected) in cases {
            let history = History::parse("h", text, Format::Auto);
            let error = history.and_then(|history| history.operations()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
