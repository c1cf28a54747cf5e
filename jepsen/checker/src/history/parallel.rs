//! Reads a large text in pieces, on all cores.
//!
//! In go the bytes of a text, a parser and somebody who takes [`Batch`]es; the batches arrive in the
//! order of the text, with absolute lines and positions. The text is cut behind line feeds.
//!
//! Why a cut cannot change what is read: a piece counts only if its parser reached its end cleanly,
//! outside of forms, strings and comments. The first piece begins where the text does; if all pieces
//! before one ended cleanly, the parser of the whole text would have stood at its beginning in the
//! same state. A line feed ends tokens and comments, so no token is cut either.
//!
//! Invariants:
//! - if any piece fails (a string that holds a line feed was cut, or the text is bad), or the taker
//!   has had enough, the whole attempt is worth nothing, and [`read`] says so: its caller reads the
//!   text again from the beginning, in one piece, and finds the words for what is wrong;
//! - memory: besides the text, a few pieces a thread, whose batches are used again.
//!
//! It does not know formats.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::batch::{Batch, Fault};
use super::jepsen::Piece;

/// How a text is cut up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// About how large a piece is. A batch of this many bytes of text fits into a core's cache.
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

/// Parses a piece of a text into a batch.
pub(super) type Parser = fn(&str, Piece, &mut Batch) -> Result<(), Fault>;

/// Takes a batch; false if it wants no more.
pub(super) type Take<'a> = dyn FnMut(&mut Batch) -> bool + 'a;

/// Reads a text in pieces; false if that was in vain.
pub(super) fn read(
    bytes: &[u8],
    in_vector: bool,
    parser: Parser,
    cut: Cut,
    take: &mut Take<'_>,
) -> bool {
    let work = Work {
        pieces: pieces(bytes, in_vector, cut.piece_bytes),
        parser,
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        spare: Mutex::default(),
    };
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(2 * cut.threads);
        for _ in 0..cut.threads {
            let sender = sender.clone();
            scope.spawn(|| work.parse(sender));
        }
        drop(sender);
        let done = work.collect(receiver, take);
        work.stopped.store(true, Ordering::Relaxed);
        done
    })
}

/// Cuts a text behind line feeds.
fn pieces(bytes: &[u8], in_vector: bool, piece_bytes: usize) -> Vec<(Piece, &[u8])> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let search = &rest[piece_bytes.min(rest.len())..];
        let end = memchr::memchr(b'\n', search).map_or(0, |at| search.len() - at - 1);
        let (piece, after) = rest.split_at(rest.len() - end);
        let sort = match (in_vector, pieces.is_empty(), after.is_empty()) {
            (_, true, true) => Piece::Whole,
            (false, ..) => Piece::Events,
            (true, true, false) => Piece::VectorStart,
            (true, false, false) => Piece::VectorMiddle,
            (true, false, true) => Piece::VectorEnd,
        };
        pieces.push((sort, piece));
        rest = after;
    }
    pieces
}

/// What the threads share.
struct Work<'a> {
    pieces: Vec<(Piece, &'a [u8])>,
    parser: Parser,
    next: AtomicUsize,
    stopped: AtomicBool,
    /// Batches to be used again.
    spare: Mutex<Vec<Batch>>,
}

/// A piece's number and batch; none if it failed.
type Parsed = (usize, Option<Batch>);

impl Work<'_> {
    /// One thread's part: parses pieces until none is left.
    fn parse(&self, sender: SyncSender<Parsed>) {
        while !self.stopped.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((piece, bytes)) = self.pieces.get(number) else { break };
            let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut batch = spare.unwrap_or_default();
            let parsed = std::str::from_utf8(bytes)
                .is_ok_and(|text| (self.parser)(text, *piece, &mut batch).is_ok());
            // Nobody listens any more once another piece has failed.
            if sender.send((number, parsed.then_some(batch))).is_err() {
                break;
            }
        }
    }

    /// Puts the batches in order and hands them on.
    fn collect(&self, receiver: Receiver<Parsed>, take: &mut Take<'_>) -> bool {
        let mut early = BTreeMap::new();
        let (mut expected, mut events, mut line_feeds) = (0, 0, 0);
        for (number, batch) in receiver {
            let Some(batch) = batch else { return false };
            early.insert(number, batch);
            while let Some(mut batch) = early.remove(&expected) {
                expected += 1;
                batch.follow(events, line_feeds);
                events += batch.events.len();
                line_feeds += batch.line_feeds;
                if !take(&mut batch) {
                    return false;
                }
                batch.clear();
                self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
            }
        }
        expected == self.pieces.len()
    }
}
