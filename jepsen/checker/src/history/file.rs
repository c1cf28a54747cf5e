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
//! - nothing is left out silently: nemesis events, foreign processes and unknown keys are counted;
//! - formats are told apart by contents, not by name: JSON lines begin with `{"`, EDN does not;
//! - an array of JSON objects is neither, and is refused as what it is.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::str;

use super::batch::{Batch, Fault, Lines};
use super::edn::EdnReader;
use super::jepsen::{EventReader, Piece};
use super::pairing::{Assembly, Clock, Operation, PairingError, pair, pair_owned};
use super::parallel::{self, Cut, Parser};
use super::{Event, Process, jepsen, jsonl};

/// How much of a text is looked at to find out its format.
const LOOK_BYTES: usize = 64 << 10;

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
    /// Times before the beginning of the test, which were read as its beginning.
    pub early_times: u64,
}

impl Skipped {
    fn add(&mut self, more: Skipped) {
        self.nemesis_events += more.nemesis_events;
        self.other_processes += more.other_processes;
        self.unknown_keys += more.unknown_keys;
        self.early_times += more.early_times;
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
    lines: Lines,
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
    lines: Lines,
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
    fn new(name: &str, fault: Fault) -> Self {
        Self { name: name.to_owned(), line: fault.line, reason: fault.reason }
    }
}

impl History {
    /// Reads a file.
    pub fn read(path: &Path, format: Format) -> Result<Self, InputError> {
        let (name, bytes) = contents(path)?;
        Source::new(&name, &bytes, format).history(Cut::default())
    }

    /// Reads a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str, format: Format) -> Result<Self, InputError> {
        Source::new(name, text.as_bytes(), format).history(Cut::default())
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
        let (name, bytes) = contents(path)?;
        Source::new(&name, &bytes, format).operations(Cut::default())
    }

    /// Reads a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str, format: Format) -> Result<Self, InputError> {
        Source::new(name, text.as_bytes(), format).operations(Cut::default())
    }

    /// An error about the event at a position, as when a model cannot read its value.
    pub fn error_at(&self, position: usize, reason: impl Into<String>) -> InputError {
        let line = self.lines.line(position);
        InputError { name: self.name.clone(), line, reason: reason.into() }
    }
}

fn contents(path: &Path) -> Result<(String, Vec<u8>), InputError> {
    let name = path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => Err(InputError { name, line: 0, reason: error.to_string() }),
    }
}

/// A text that is about to be read.
struct Source<'a> {
    name: &'a str,
    bytes: &'a [u8],
    parser: Parser,
    in_vector: bool,
}

impl<'a> Source<'a> {
    fn new(name: &'a str, bytes: &'a [u8], format: Format) -> Self {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let start = beginning(bytes);
        let parser: Parser = match format {
            Format::Jsonl => parse_jsonl,
            Format::Edn => parse_edn,
            Format::Auto if looks_like_json(start) => parse_jsonl,
            Format::Auto => parse_edn,
        };
        let in_vector = EdnReader::new(start).enter_vector() == Ok(true);
        Self { name, bytes, parser, in_vector }
    }

    fn history(&self, cut: Cut) -> Result<History, InputError> {
        let mut whole = Batch::default();
        let in_pieces = self.worth_cutting(cut)
            && self.in_pieces(cut, |batch, share| {
                // The pieces are much alike, so the first tells how much room all need.
                if whole.events.is_empty() {
                    whole.events.reserve(share.saturating_mul(batch.events.len()));
                }
                whole.events.append(&mut batch.events);
                whole.lines.append(std::mem::take(&mut batch.lines));
                whole.skipped.add(batch.skipped);
                true
            });
        if !in_pieces {
            whole = self.in_one()?;
        }
        let Batch { events, lines, mut skipped, .. } = whole;
        let nemesis = events.iter().filter(|event| event.process == Process::Nemesis);
        skipped.nemesis_events = nemesis.count() as u64;
        Ok(History { name: self.name.to_owned(), events, skipped, lines })
    }

    fn operations(&self, cut: Cut) -> Result<Operations, InputError> {
        let mut assembly = None;
        let mut lines = Lines::default();
        let mut skipped = Skipped::default();
        let in_pieces = self.worth_cutting(cut)
            && self.in_pieces(cut, |batch, share| {
                let assembly = assembly.get_or_insert_with(|| {
                    // If a later event says that this was the wrong clock, all begins anew.
                    let mut assembly = Assembly::new(Clock::of(&batch.events));
                    assembly.reserve(share.saturating_mul(batch.events.len().div_ceil(2)));
                    assembly
                });
                lines.append(std::mem::take(&mut batch.lines));
                skipped.add(batch.skipped);
                batch.events.drain(..).all(|event| assembly.push(event).is_ok())
            });
        match assembly {
            Some(assembly) if in_pieces => {
                skipped.nemesis_events = assembly.nemesis_events;
                let (clock, operations) = assembly.finish();
                let name = self.name.to_owned();
                Ok(Operations { name, clock, operations, skipped, lines })
            }
            _ => self.history(Cut { threads: 1, ..cut })?.into_operations(),
        }
    }

    /// Whether there is anything to gain from several pieces.
    fn worth_cutting(&self, cut: Cut) -> bool {
        cut.threads > 1 && self.bytes.len() > 2 * cut.piece_bytes
    }

    /// Reads all in parallel pieces; `take` gets each with the number of pieces there may be.
    fn in_pieces(&self, cut: Cut, mut take: impl FnMut(&mut Batch, usize) -> bool) -> bool {
        let share = self.bytes.len().div_ceil(cut.piece_bytes);
        let mut take = |batch: &mut Batch| take(batch, share);
        parallel::read(self.bytes, self.in_vector, self.parser, cut, &mut take)
    }

    /// Reads all in one piece, which finds the words for what is wrong.
    fn in_one(&self) -> Result<Batch, InputError> {
        let text = str::from_utf8(self.bytes).map_err(|error| {
            let good = &self.bytes[..error.valid_up_to()];
            let line = 1 + memchr::memchr_iter(b'\n', good).count();
            InputError::new(self.name, Fault { line, reason: "the text is not UTF-8".to_owned() })
        })?;
        let mut batch = Batch::default();
        (self.parser)(text, Piece::Whole, &mut batch)
            .map_err(|fault| InputError::new(self.name, fault))?;
        Ok(batch)
    }
}

fn parse_edn(text: &str, piece: Piece, batch: &mut Batch) -> Result<(), Fault> {
    EventReader::new(text).read_piece(piece, batch)
}

fn parse_jsonl(text: &str, piece: Piece, batch: &mut Batch) -> Result<(), Fault> {
    let start = text.trim_start();
    if start.starts_with('[') {
        let line = 1 + text[..text.len() - start.len()].matches('\n').count();
        let reason = "one JSON object a line is expected, not an array".to_owned();
        return Err(Fault { line, reason });
    }
    jsonl::read_piece(text, piece, batch)
}

/// The beginning of a text, as far as it is one.
fn beginning(bytes: &[u8]) -> &str {
    let start = &bytes[..bytes.len().min(LOOK_BYTES)];
    match str::from_utf8(start) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default(),
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
            ("INFO jepsen.util - 0 :ok :read 1", "h:1: an event is a map, not INFO"),
        ];
        for (text, expected) in cases {
            let history = History::parse("h", text, Format::Auto);
            let error = history.and_then(|history| history.operations()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
