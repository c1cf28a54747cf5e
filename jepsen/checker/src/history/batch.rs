//! What a parser puts down: the events of one piece of a text.
//!
//! In go events with the line each begins on, out comes a [`Batch`] that joins onto the batches of
//! the pieces before it. [`Lines`] remembers which line an event stood on, at next to no cost: in a
//! history of one event a line it is one pair of numbers.
//!
//! Invariants:
//! - lines and positions within a batch are relative to its piece; [`Batch::follow`] makes them
//!   absolute, once;
//! - an event without an index of its own has its position as index, counted from the start of the
//!   whole text.
//!
//! It does not parse.

use std::mem::take;

use super::event::Event;
use super::file::Skipped;

/// What is wrong with a text, and where: [`super::InputError`] without the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// The events of one piece of a text.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) lines: Lines,
    pub(super) skipped: Skipped,
    /// The line feeds of the piece.
    pub(super) line_feeds: usize,
    /// How many forms there were, events or not.
    pub(super) forms: usize,
    /// Whether the piece is the beginning of a vector of events.
    pub(super) entered: bool,
    /// Whether that vector ends in this piece.
    pub(super) closed: bool,
    /// Events whose index is their position.
    unnumbered: Vec<usize>,
}

impl Batch {
    /// The position of the next event.
    pub(super) fn position(&self) -> usize {
        self.events.len()
    }

    /// Appends an event; without an index it gets its position.
    pub(super) fn push(&mut self, line: usize, mut event: Event, index: Option<u64>) {
        let position = self.position();
        event.index = index.unwrap_or(position as u64);
        if index.is_none() {
            self.unnumbered.push(position);
        }
        self.lines.push(position, line);
        self.events.push(event);
    }

    /// Moves the batch behind so many events and line feeds.
    pub(super) fn follow(&mut self, events: usize, line_feeds: usize) {
        for position in self.unnumbered.drain(..) {
            self.events[position].index += events as u64;
        }
        self.lines.shift(events, line_feeds);
    }

    /// Makes it as good as new, but keeps its memory.
    pub(super) fn clear(&mut self) {
        let (mut events, mut unnumbered) = (take(&mut self.events), take(&mut self.unnumbered));
        events.clear();
        unnumbered.clear();
        *self = Self { events, unnumbered, ..Self::default() };
    }
}

/// The line of every event, as runs of one event a line: where a run starts, and on which line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines(Vec<(usize, usize)>);

impl Lines {
    /// The line of the event at a position; 0 if there is none.
    pub(super) fn line(&self, position: usize) -> usize {
        let after = self.0.partition_point(|(start, _)| *start <= position);
        match after.checked_sub(1).map(|run| self.0[run]) {
            Some((start, line)) => line + (position - start),
            None => 0,
        }
    }

    fn push(&mut self, position: usize, line: usize) {
        let expected = self.0.last().map(|(start, first)| first + (position - start));
        if expected != Some(line) {
            self.0.push((position, line));
        }
    }

    fn shift(&mut self, positions: usize, lines: usize) {
        for (start, line) in &mut self.0 {
            *start += positions;
            *line += lines;
        }
    }

    /// Appends the lines of the positions that follow.
    pub(super) fn append(&mut self, mut later: Lines) {
        let mut runs = later.0.drain(..);
        if let Some((position, line)) = runs.next() {
            self.push(position, line);
        }
        self.0.extend(runs);
    }
}
