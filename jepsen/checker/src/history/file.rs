//! Reads and writes history files, and says what is wrong with a bad one.
//!
//! In goes a path (or a text) and a [`Format`], out comes a [`History`]: its events, the line each
//! stood on, and counts of what was left out. [`History::operations`] pairs them. Who needs no events
//! reads [`Operations`] instead, which pairs while it reads, and holds each event for a moment only.
//!
//! Invariants:
//! - every error about the contents carries file, line and reason ([`InputError`]), also those that
//!   are found only when events are paired or when a model reads their values;
//! - a large text is read in parallel pieces, with the same result and the same errors as otherwise;
//! - nothing is left out silently: nemesis events, foreign processes and unknown keys are counted.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use super::batch::{Fault, Lines};
use super::pairing::{Clock, Operation, PairingError, pair, pair_owned};
use super::parallel::Cut;
use super::source::{self, Origin};
use super::{Event, elle, jepsen, jsonl};

/// How a history is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Find out from the contents.
    Auto,
    /// Jepsen's `history.edn`.
    Edn,
    /// One JSON object a line.
    Jsonl,
    /// Lines of Jepsen's log in which `jepsen.util` tells of events; read only.
    Log,
    /// Jepsen's EDN with each operation as a transaction, for Elle; read like any EDN.
    Elle,
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
    /// Times before the beginning of the test, which were read as its beginning.
    pub early_times: u64,
    /// Lines of a log that are no events.
    pub other_lines: u64,
}

impl Skipped {
    pub(super) fn add(&mut self, more: Skipped) {
        self.nemesis_events += more.nemesis_events;
        self.other_processes += more.other_processes;
        self.unknown_keys += more.unknown_keys;
        self.early_times += more.early_times;
        self.other_lines += more.other_lines;
    }
}

/// A history that was read from a file.
#[derive(Clone, Debug)]
pub struct History {
    /// Where it came from, for messages.
    pub name: String,
    /// Its events in order.
    pub events: Vec<Event>,
    /// What was left out.
    pub skipped: Skipped,
    pub(super) lines: Lines,
}

/// The operations of a history that was read from a file, without its events.
#[derive(Clone, Debug)]
pub struct Operations {
    /// Where they came from, for messages.
    pub name: String,
    /// The clock of their times.
    pub clock: Clock,
    /// The clients' operations, by invocation.
    pub operations: Vec<Operation>,
    /// What was left out.
    pub skipped: Skipped,
    pub(super) lines: Lines,
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

impl InputError {
    pub(super) fn new(name: &str, fault: Fault) -> Self {
        Self { name: name.to_owned(), line: fault.line, reason: fault.reason }
    }
}

impl History {
    /// Reads a file.
    pub fn read(path: &Path, format: Format) -> Result<Self, InputError> {
        source::history(&path.display().to_string(), Origin::File(path), format, Cut::default())
    }

    /// Reads a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str, format: Format) -> Result<Self, InputError> {
        source::history(name, Origin::Text(text.as_bytes()), format, Cut::default())
    }

    /// The clients' operations, paired; the events stay.
    pub fn operations(&self) -> Result<(Clock, Vec<Operation>), InputError> {
        pair(&self.events).map_err(|error| self.error_at(error.position, error.reason))
    }

    /// The clients' operations, paired; the events become them.
    pub fn into_operations(self) -> Result<Operations, InputError> {
        let Self { name, events, lines, skipped } = self;
        match pair_owned(events) {
            Ok((clock, operations)) => Ok(Operations { name, clock, operations, skipped, lines }),
            Err(PairingError { position, reason }) => {
                Err(InputError { name, line: lines.line(position), reason })
            }
        }
    }

    /// The line that the event at a position began on, from 1; 0 if there is no such event.
    pub fn line(&self, position: usize) -> usize {
        self.lines.line(position)
    }

    /// An error about the event at a position, as when a model cannot read its value.
    pub fn error_at(&self, position: usize, reason: impl Into<String>) -> InputError {
        let line = self.line(position);
        InputError { name: self.name.clone(), line, reason: reason.into() }
    }
}

impl Operations {
    /// Reads a file.
    pub fn read(path: &Path, format: Format) -> Result<Self, InputError> {
        source::operations(&path.display().to_string(), Origin::File(path), format, Cut::default())
    }

    /// Reads a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str, format: Format) -> Result<Self, InputError> {
        source::operations(name, Origin::Text(text.as_bytes()), format, Cut::default())
    }

    /// An error about the event at a position, as when a model cannot read its value.
    pub fn error_at(&self, position: usize, reason: impl Into<String>) -> InputError {
        let line = self.lines.line(position);
        InputError { name: self.name.clone(), line, reason: reason.into() }
    }
}

/// Writes events, one a line: as JSON lines unless another form is asked for.
pub fn write(out: &mut impl Write, events: &[Event], format: Format) -> io::Result<()> {
    let line = match format {
        Format::Edn => jepsen::write,
        Format::Jsonl | Format::Auto => jsonl::write,
        Format::Elle => return elle::write(out, events),
        Format::Log => {
            let reason = "a log says too little to be written as a history";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
    };
    for event in events {
        writeln!(out, "{}", line(event))?;
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
        assert_eq!([0, 1, 2].map(|position| lines.line(position)), [2, 3, 4]);
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
            ("INFO jepsen.core - 0 :ok :read 1", "h:1: an event is a map, not INFO"),
        ];
        for (text, expected) in cases {
            let history = History::parse("h", text, Format::Auto);
            let error = history.and_then(|history| history.operations()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
