//! Reads a large text in pieces, on all cores.
//!
//! In go bytes from wherever they come, a parser and somebody who takes [`Batch`]es; the batches
//! arrive in the order of the text, with absolute lines and positions. The text is cut behind line
//! feeds, while it is read: nobody holds all of it.
//!
//! Why a cut cannot change what is read: a piece counts only if its parser reached its end cleanly,
//! outside of forms, strings and comments. The first piece begins where the text does; if all pieces
//! before one ended cleanly, the parser of the whole text would have stood at its beginning in the
//! same state. A line feed ends tokens and comments, so no token is cut either. Whether a text is one
//! vector of events is known beforehand, and checked against what the pieces found.
//!
//! Invariants:
//! - if any piece fails (a string that holds a line feed was cut, or the text is bad), or the taker
//!   has had enough, the whole attempt is worth nothing, and [`read`] says so: its caller reads the
//!   text again from the beginning, in one piece, and finds the words for what is wrong;
//! - memory: a few pieces a thread, whose batches and bytes are used again.
//!
//! It does not know formats.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{str, thread};

use super::batch::{Batch, Fault};

/// How a text is cut up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// About how large a piece is. What is made of this many bytes fits into a core's cache.
    pub(super) piece_bytes: usize,
    /// How many threads parse.
    pub(super) threads: usize,
}

impl Default for Cut {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self { piece_bytes: 256 << 10, threads }
    }
}

/// Which part of a text a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// All of it.
    Whole,
    /// Its beginning.
    First,
    /// What follows another piece; within a vector of events or not.
    Later {
        /// Whether the text is one vector.
        in_vector: bool,
    },
}

/// Parses a piece of a text into a batch.
pub(super) type Parser = fn(&str, Piece, &mut Batch) -> Result<(), Fault>;

/// Takes a batch; false if it wants no more.
pub(super) type Take<'a> = dyn FnMut(&mut Batch) -> bool + 'a;

/// Reads a text in pieces; false if that was in vain.
pub(super) fn read(
    text: impl Read + Send,
    in_vector: bool,
    parser: Parser,
    cut: Cut,
    take: &mut Take<'_>,
) -> bool {
    // Makes allocators that watch what is given back keep more at hand.
    make_room(4 * cut.piece_bytes);
    let rest =
        Rest { text, next: 0, carried: Vec::new(), over: false, piece_bytes: cut.piece_bytes };
    let work = Work { rest: Mutex::new(rest), in_vector, parser, spare: Mutex::default() };
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(2 * cut.threads);
        for _ in 0..cut.threads {
            let sender = sender.clone();
            let work = &work;
            scope.spawn(move || work.parse(&sender));
        }
        drop(sender);
        work.collect(receiver, take)
    })
}

/// The part of a text that nobody has read yet.
struct Rest<R> {
    text: R,
    /// The number of the next piece.
    next: usize,
    /// What was read, but belongs to the next piece.
    carried: Vec<u8>,
    over: bool,
    piece_bytes: usize,
}

impl<R: Read> Rest<R> {
    /// Puts the next piece into a buffer, and tells its number; nothing at the end of the text.
    fn next(&mut self, piece: &mut Vec<u8>) -> Option<usize> {
        piece.clear();
        piece.append(&mut self.carried);
        while !self.over {
            let before = piece.len();
            piece.resize(before + self.piece_bytes, 0);
            // An error ends the text for now; reading it in one piece will find it again.
            let read = fill(&mut self.text, &mut piece[before..]).ok()?;
            piece.truncate(before + read);
            self.over = read < self.piece_bytes;
            if let Some(end) = memchr::memrchr(b'\n', &piece[before..]) {
                self.carried.extend_from_slice(&piece[before + end + 1..]);
                piece.truncate(before + end + 1);
                break;
            }
        }
        if piece.is_empty() {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Reads as much as fits, or all there is.
fn fill(text: &mut impl Read, mut room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while !room.is_empty() {
        match text.read(room) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                room = &mut room[read..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What the threads share.
struct Work<R> {
    rest: Mutex<Rest<R>>,
    in_vector: bool,
    parser: Parser,
    /// Batches to be used again.
    spare: Mutex<Vec<Batch>>,
}

/// A piece's number and batch; none if it failed.
type Parsed = (usize, Option<Batch>);

impl<R: Read + Send> Work<R> {
    /// One thread's part: parses pieces until none is left.
    fn parse(&self, sender: &SyncSender<Parsed>) {
        let mut bytes = Vec::new();
        loop {
            let next = lock(&self.rest).next(&mut bytes);
            let Some(number) = next else { break };
            let piece = match number {
                0 => Piece::First,
                _ => Piece::Later { in_vector: self.in_vector },
            };
            make_room(bytes.len());
            let mut batch = lock(&self.spare).pop().unwrap_or_default();
            let parsed = str::from_utf8(&bytes)
                .is_ok_and(|text| (self.parser)(text, piece, &mut batch).is_ok());
            // Nobody listens any more once another piece has failed.
            if sender.send((number, parsed.then_some(batch))).is_err() {
                break;
            }
        }
    }

    /// Puts the batches in order and hands them on.
    fn collect(&self, receiver: Receiver<Parsed>, take: &mut Take<'_>) -> bool {
        let mut early = BTreeMap::new();
        let mut closed = false;
        let (mut expected, mut events, mut line_feeds) = (0, 0, 0);
        for (number, batch) in receiver {
            let Some(batch) = batch else { return false };
            early.insert(number, batch);
            while let Some(mut batch) = early.remove(&expected) {
                // Behind the end of the vector stand only blanks.
                let more = closed && (batch.forms > 0 || batch.closed);
                if more || expected == 0 && batch.entered != self.in_vector {
                    return false;
                }
                closed |= batch.closed;
                expected += 1;
                batch.follow(events, line_feeds);
                events += batch.events.len();
                line_feeds += batch.line_feeds;
                if !take(&mut batch) {
                    return false;
                }
                batch.clear();
                lock(&self.spare).push(batch);
            }
        }
        // A thread that panicked sent nothing, so count what there was.
        early.is_empty() && closed == self.in_vector && lock(&self.rest).ended_after(expected)
    }
}

impl<R> Rest<R> {
    /// Whether the text was read to its end, in so many pieces.
    fn ended_after(&self, pieces: usize) -> bool {
        self.over && self.carried.is_empty() && self.next == pieces
    }
}

/// Has the allocator fetch memory for what a piece will become, about as much as the piece itself.
/// Some give a thread that keeps what it allocates one page at a time, with a system call for each
/// that holds up all other threads; what was asked for at once and given back, they keep at hand.
fn make_room(bytes: usize) {
    drop(black_box(Vec::<u8>::with_capacity(bytes)));
}

/// What another thread's panic left behind is not used: its piece is missing.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
