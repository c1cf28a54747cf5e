//! Gets at the text of a history, and chooses how to read it.
//!
//! In goes a text or a path, out comes what stands in it, as events or as operations. Formats are
//! told apart by contents, not by name: JSON lines begin with `{"`, EDN does not, and a log has lines
//! of `jepsen.util`. An array of JSON objects is none of these, and is refused as what it is.
//!
//! Invariants:
//! - a large text is read in parallel pieces; where that is in vain, it is read again in one piece,
//!   which words every error. The result is the same either way;
//! - a file is read in pieces only if it can be read again: a pipe is held in memory.
//!
//! It does not parse: that is what the formats do.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::take;
use std::path::Path;
use std::str;

use super::batch::{Batch, Fault, Lines};
use super::edn::EdnReader;
use super::file::{Format, History, InputError, Operations, Skipped};
use super::jepsen::EventReader;
use super::pairing::{Assembly, Clock};
use super::parallel::{self, Cut, Parser, Piece};
use super::{Process, jsonl, log};

/// How much of a text is looked at to find out its format. Logs are long before the first event.
pub(super) const LOOK_BYTES: usize = 1 << 20;

/// The bytes that some editors put in front of a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Where a text is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    Text(&'a [u8]),
    File(&'a Path),
}

/// Reads the events.
pub(super) fn history(
    name: &str,
    origin: Origin<'_>,
    format: Format,
    cut: Cut,
) -> Result<History, InputError> {
    with_source(name, origin, format, cut, |source| source.history(cut))
}

/// Reads the events, and pairs them at once.
pub(super) fn operations(
    name: &str,
    origin: Origin<'_>,
    format: Format,
    cut: Cut,
) -> Result<Operations, InputError> {
    with_source(name, origin, format, cut, |source| source.operations(cut))
}

fn with_source<T>(
    name: &str,
    origin: Origin<'_>,
    format: Format,
    cut: Cut,
    read: impl Fn(&Source<'_>) -> Result<T, InputError>,
) -> Result<T, InputError> {
    let unreadable = |error: io::Error| {
        let fault = Fault { line: 0, reason: error.to_string() };
        InputError::new(name, fault)
    };
    let path = match origin {
        Origin::Text(text) => return read(&Source::new(name, origin, text, text.len(), format)),
        Origin::File(path) => path,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    let bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if metadata.is_file() && worth_cutting(bytes, cut) {
        let mut start = Vec::new();
        let limit = u64::try_from(LOOK_BYTES).unwrap_or(u64::MAX);
        let file = File::open(path).map_err(unreadable)?;
        file.take(limit).read_to_end(&mut start).map_err(unreadable)?;
        return read(&Source::new(name, origin, &start, bytes, format));
    }
    let text = fs::read(path).map_err(unreadable)?;
    read(&Source::new(name, Origin::Text(&text), &text, text.len(), format))
}

/// Whether there is anything to gain from several pieces.
fn worth_cutting(bytes: usize, cut: Cut) -> bool {
    cut.threads > 1 && bytes > 2 * cut.piece_bytes
}

/// A text that is about to be read.
struct Source<'a> {
    name: &'a str,
    origin: Origin<'a>,
    /// How large the text is, about: a file may grow.
    bytes: usize,
    syntax: Syntax,
    in_vector: bool,
    marked: bool,
}

impl<'a> Source<'a> {
    fn new(name: &'a str, origin: Origin<'a>, start: &[u8], bytes: usize, format: Format) -> Self {
        let marked = start.starts_with(BYTE_ORDER_MARK);
        let start = beginning(&start[if marked { BYTE_ORDER_MARK.len() } else { 0 }..]);
        let syntax = Syntax::of(start, format);
        let in_vector = syntax == Syntax::Edn && begins_vector(start);
        Self { name, origin, bytes, syntax, in_vector, marked }
    }

    fn history(&self, cut: Cut) -> Result<History, InputError> {
        let mut whole = Batch::default();
        let in_pieces = self.in_pieces(cut, |batch, share| {
            // The pieces are much alike, so the first tells how much room all need.
            if whole.events.is_empty() {
                whole.events.reserve(share.saturating_mul(batch.events.len()));
            }
            whole.events.append(&mut batch.events);
            whole.lines.append(take(&mut batch.lines));
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
        let in_pieces = self.in_pieces(cut, |batch, share| {
            let assembly = assembly.get_or_insert_with(|| {
                // If a later event says that this was the wrong clock, all begins anew.
                let mut assembly = Assembly::new(Clock::of(&batch.events));
                assembly.reserve(share.saturating_mul(batch.events.len().div_ceil(2)));
                assembly
            });
            lines.append(take(&mut batch.lines));
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

    /// Reads all in parallel pieces, if that is worth it; `take` gets each piece with the number of
    /// pieces there may be.
    fn in_pieces(&self, cut: Cut, mut take: impl FnMut(&mut Batch, usize) -> bool) -> bool {
        if !worth_cutting(self.bytes, cut) {
            return false;
        }
        let share = self.bytes.div_ceil(cut.piece_bytes);
        let mut take = |batch: &mut Batch| take(batch, share);
        let skip = if self.marked { BYTE_ORDER_MARK.len() } else { 0 };
        match self.origin {
            Origin::Text(text) => {
                parallel::read(&text[skip..], self.in_vector, self.syntax.parser(), cut, &mut take)
            }
            Origin::File(path) => {
                let opened = File::open(path).and_then(|mut file| {
                    file.seek(SeekFrom::Start(skip as u64))?;
                    Ok(file)
                });
                opened.is_ok_and(|file| {
                    parallel::read(file, self.in_vector, self.syntax.parser(), cut, &mut take)
                })
            }
        }
    }

    /// Reads all in one piece, which finds the words for what is wrong.
    fn in_one(&self) -> Result<Batch, InputError> {
        let held;
        let bytes = match self.origin {
            Origin::Text(text) => text,
            Origin::File(path) => {
                let read = fs::read(path);
                held = read.map_err(|error| self.error(0, &error.to_string()))?;
                &held
            }
        };
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let text = str::from_utf8(bytes).map_err(|error| {
            let good = &bytes[..error.valid_up_to()];
            let line = 1 + memchr::memchr_iter(b'\n', good).count();
            self.error(line, "the text is not UTF-8")
        })?;
        let mut batch = Batch::default();
        (self.syntax.parser())(text, Piece::Whole, &mut batch)
            .map_err(|Fault { line, reason }| self.error(line, &reason))?;
        Ok(batch)
    }

    fn error(&self, line: usize, reason: &str) -> InputError {
        InputError::new(self.name, Fault { line, reason: reason.to_owned() })
    }
}

/// How a text is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Edn,
    Jsonl,
    Log,
}

impl Syntax {
    /// The syntax of a format; [`Format::Auto`] is what the beginning of the text looks like.
    pub(super) fn of(start: &str, format: Format) -> Self {
        match format {
            Format::Edn | Format::Elle => Syntax::Edn,
            Format::Jsonl => Syntax::Jsonl,
            Format::Log => Syntax::Log,
            Format::Auto if looks_like_json(start) => Syntax::Jsonl,
            Format::Auto if log::looks_like_log(start) => Syntax::Log,
            Format::Auto => Syntax::Edn,
        }
    }

    pub(super) fn parser(self) -> Parser {
        match self {
            Syntax::Edn => |text, piece, batch| EventReader::new(text).read_piece(piece, batch),
            Syntax::Jsonl => parse_jsonl,
            Syntax::Log => log::read_piece,
        }
    }
}

/// Whether a text of EDN is one vector.
pub(super) fn begins_vector(start: &str) -> bool {
    EdnReader::new(start).enter_vector() == Ok(true)
}

fn parse_jsonl(text: &str, piece: Piece, batch: &mut Batch) -> Result<(), Fault> {
    let start = text.trim_start();
    let later = matches!(piece, Piece::Later { .. });
    if start.starts_with('[') && !later {
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
