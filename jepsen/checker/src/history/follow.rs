//! Reads a history while it is being written.
//!
//! A [`Follower`] is given bytes as they come, and gives back the events that they complete; it knows
//! no files. A [`Tail`] gives it those of a growing file. What comes out goes into a
//! [`Pairing`](super::pairing::Pairing).
//!
//! ```
//! use sixbells_checker::history::{Format, follow::Follower};
//!
//! let mut follower = Follower::new("history.edn", Format::Auto);
//! assert!(follower.push(b"{:process 0, :type :invoke, :f :re").unwrap().is_empty());
//! assert_eq!(follower.push(b"ad, :value nil}\n{:pro").unwrap().len(), 1);
//! ```
//!
//! Invariants:
//! - the events of all pushes together, and of [`Follower::finish`], are those that [`History`] reads
//!   from the whole text, however the bytes were cut; an error names the same line;
//! - memory: what belongs to no complete event yet, and no more than [`UNFINISHED_BYTES_MAX`] of it;
//! - an event counts once the line it ends on is complete: half a line may yet become another.
//!
//! One vector of events is not followed: it is written when a test is over.
//!
//! [`History`]: super::History

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str;

use super::batch::{Batch, Fault};
use super::file::{Format, InputError, Skipped};
use super::jepsen::EventReader;
use super::parallel::Piece;
use super::source::{self, BYTE_ORDER_MARK, Syntax};
use super::{Event, Process};

/// How many bytes may belong to one event. A read of a large list is a long line.
pub const UNFINISHED_BYTES_MAX: usize = 64 << 20;

/// How much of a file one look takes in, so that a large backlog does not come at once.
const NEWS_BYTES_MAX: usize = 1 << 20;

/// Turns bytes into events as they come.
#[derive(Debug)]
pub struct Follower {
    name: String,
    format: Format,
    /// Found out from the first lines.
    syntax: Option<Syntax>,
    /// What belongs to no complete event yet.
    unfinished: Vec<u8>,
    /// Events and line feeds so far.
    events: usize,
    line_feeds: usize,
    skipped: Skipped,
}

impl Follower {
    /// At the beginning of a text; `name` is what messages call it.
    pub fn new(name: &str, format: Format) -> Self {
        Self {
            name: name.to_owned(),
            format,
            syntax: None,
            unfinished: Vec::new(),
            events: 0,
            line_feeds: 0,
            skipped: Skipped::default(),
        }
    }

    /// What was left out so far.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// How many events there were so far.
    pub fn position(&self) -> usize {
        self.events
    }

    /// The events that these bytes complete. After an error the text is worth nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, InputError> {
        self.unfinished.extend_from_slice(bytes);
        // An event of many lines is tried again only when a line of it has come.
        let Some(end) = memchr::memrchr(b'\n', bytes) else { return self.none_yet() };
        let end = self.unfinished.len() - bytes.len() + end + 1;
        self.take(end, false)
    }

    /// The events of a last line without a line feed, since nothing more will come; and what was left
    /// out of the whole text.
    pub fn finish(mut self) -> Result<(Vec<Event>, Skipped), InputError> {
        let events = self.take(self.unfinished.len(), true)?;
        Ok((events, self.skipped))
    }

    fn none_yet(&self) -> Result<Vec<Event>, InputError> {
        if self.unfinished.len() > UNFINISHED_BYTES_MAX {
            let reason = format!("an event takes more than {UNFINISHED_BYTES_MAX} bytes");
            return Err(self.error(Fault { line: 1, reason }));
        }
        Ok(Vec::new())
    }

    /// Takes the events of the first bytes; whatever is complete among them is forgotten.
    fn take(&mut self, end: usize, last: bool) -> Result<Vec<Event>, InputError> {
        let marked = self.line_feeds == 0 && self.unfinished.starts_with(BYTE_ORDER_MARK);
        let start = if marked { BYTE_ORDER_MARK.len() } else { 0 };
        let lines = &self.unfinished[start..end];
        let text = str::from_utf8(lines).map_err(|error| {
            let good = &lines[..error.valid_up_to()];
            let line = 1 + memchr::memchr_iter(b'\n', good).count();
            self.error(Fault { line, reason: "the text is not UTF-8".to_owned() })
        })?;
        let piece = match self.syntax {
            Some(_) => Piece::Later { in_vector: false },
            None => Piece::First,
        };
        let Some(syntax) = self.syntax.or_else(|| self.recognize(text, last)) else {
            return self.none_yet();
        };
        let mut batch = Batch::default();
        let taken = match syntax {
            Syntax::Edn if piece == Piece::First && source::begins_vector(text) => {
                let reason = "one vector of events cannot be followed".to_owned();
                Err(Fault { line: 1, reason })
            }
            // Words about EDN name other lines too, so its reader knows where it is.
            Syntax::Edn => EventReader::within(text, 1 + self.line_feeds)
                .read_available(last, &mut batch)
                .map_err(|Fault { line, reason }| Fault { line: line - self.line_feeds, reason }),
            Syntax::Jsonl | Syntax::Log => {
                (syntax.parser())(text, piece, &mut batch).map(|()| text.len())
            }
        };
        let taken = taken.map_err(|fault| self.error(fault))?;
        self.syntax = Some(syntax);
        // Lines are for messages, which are written by then.
        batch.follow(self.events, 0);
        self.events += batch.events.len();
        self.line_feeds += memchr::memchr_iter(b'\n', &text.as_bytes()[..taken]).count();
        let nemesis = batch.events.iter().filter(|event| event.process == Process::Nemesis);
        batch.skipped.nemesis_events = nemesis.count() as u64;
        self.skipped.add(batch.skipped);
        self.unfinished.drain(..start + taken);
        self.none_yet()?;
        Ok(batch.events)
    }

    /// What the first lines look like, if that is certain.
    fn recognize(&self, text: &str, last: bool) -> Option<Syntax> {
        let syntax = Syntax::of(text, self.format);
        let certain = self.format != Format::Auto
            || syntax != Syntax::Edn
            || text.trim_start().starts_with(['{', '#', ';'])
            || text.len() > source::LOOK_BYTES;
        (certain || last).then_some(syntax)
    }

    fn error(&self, Fault { line, reason }: Fault) -> InputError {
        InputError::new(&self.name, Fault { line: line + self.line_feeds, reason })
    }
}

/// What a look at a growing file found.
#[derive(Debug, Default)]
pub struct News {
    /// The events that were completed.
    pub events: Vec<Event>,
    /// The file is shorter than it was, so somebody writes a new history: these events are its
    /// first, and all before them are void.
    pub restarted: bool,
    /// There is more to read already.
    pub more: bool,
}

/// Follows a growing file. It waits for nothing: its caller looks as often as it likes.
///
/// A file that does not exist, or no longer, has no news. One that was replaced by a longer one between two
/// looks is not noticed: append to histories, or write each to a name of its own.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    format: Format,
    follower: Follower,
    /// How much of the file was read.
    offset: u64,
}

impl Tail {
    /// Follows the file of this name from its beginning.
    pub fn new(path: &Path, format: Format) -> Self {
        let follower = Follower::new(&path.display().to_string(), format);
        Self { path: path.to_owned(), format, follower, offset: 0 }
    }

    /// What was left out so far.
    pub fn skipped(&self) -> Skipped {
        self.follower.skipped()
    }

    /// Takes in what was appended since the last look.
    pub fn look(&mut self) -> Result<News, InputError> {
        let mut news = News::default();
        let mut bytes = Vec::new();
        let read = self.read(&mut bytes, &mut news);
        if let Err(error) = read {
            let reason = error.to_string();
            return Err(InputError { name: self.follower.name.clone(), line: 0, reason });
        }
        news.events = self.follower.push(&bytes)?;
        Ok(news)
    }

    fn read(&mut self, bytes: &mut Vec<u8>, news: &mut News) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let length = file.metadata()?.len();
        if length < self.offset {
            self.follower = Follower::new(&self.follower.name, self.format);
            self.offset = 0;
            news.restarted = true;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.take(NEWS_BYTES_MAX as u64).read_to_end(bytes)?;
        self.offset += read as u64;
        news.more = self.offset < length;
        Ok(())
    }

    /// The events of a last line without a line feed, since nothing more will be written; and what was
    /// left out of the whole file.
    pub fn finish(self) -> Result<(Vec<Event>, Skipped), InputError> {
        self.follower.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const READ: &str = "{:process 0, :type :invoke, :f :read, :value nil}\n";

    #[test]
    fn a_log_is_recognized_by_its_first_event() {
        let mut follower = Follower::new("log", Format::Auto);
        for line in ["INFO jepsen.core - nodes are up\n", "[main] INFO jepsen.db - ready\n", "\n"] {
            assert!(follower.push(line.as_bytes()).unwrap().is_empty());
        }
        let event = "INFO jepsen.util - 0\t:invoke\t:read\tnil\n";
        assert_eq!(follower.push(event.as_bytes()).unwrap().len(), 1);
        assert_eq!(follower.finish().unwrap().1.other_lines, 2);
    }

    #[test]
    fn an_error_names_the_line_of_the_whole_text() {
        let mut follower = Follower::new("h", Format::Auto);
        follower.push(READ.repeat(3).as_bytes()).unwrap();
        follower.push(b"\n{:process 0\n").unwrap();
        let error = follower.push(b" :type }\n").unwrap_err();
        assert_eq!(error.to_string(), "h:6: a map has a key without a value");
        let vector = Follower::new("h", Format::Edn).push(b"[{:a 1}\n").unwrap_err();
        assert_eq!(vector.to_string(), "h:1: one vector of events cannot be followed");
        let mut unfinished = Follower::new("h", Format::Edn);
        unfinished.push(b"\n{:process 0\n").unwrap();
        assert_eq!(
            unfinished.finish().unwrap_err().to_string(),
            "h:3: the text ends before the `}` that closes line 2"
        );
    }

    #[test]
    fn what_never_ends_is_refused() {
        let mut follower = Follower::new("h", Format::Edn);
        let block = vec![b' '; UNFINISHED_BYTES_MAX / 4];
        follower.push(b"{:f \"").unwrap();
        let pushed = (0..5).try_for_each(|_| follower.push(&block).map(drop));
        assert!(pushed.unwrap_err().reason.contains("takes more than"));
    }

    #[test]
    fn a_file_is_followed_from_before_it_exists_until_it_is_begun_anew() {
        let path = std::env::temp_dir().join(format!("sixbells-tail-{}.edn", std::process::id()));
        let mut tail = Tail::new(&path, Format::Auto);
        let mut look = |contents: Option<&str>| {
            if let Some(contents) = contents {
                fs::write(&path, contents).unwrap();
            }
            let News { events, restarted, more } = tail.look().unwrap();
            (events.len(), restarted, more)
        };
        assert_eq!(look(None), (0, false, false));
        let (half, rest) = READ.split_at(20);
        assert_eq!(look(Some(half)), (0, false, false));
        assert_eq!(look(Some(&format!("{half}{rest}{half}"))), (1, false, false));
        assert_eq!(look(None), (0, false, false));
        // Shorter than before: another history.
        assert_eq!(look(Some(READ)), (1, true, false));
        let count = 2 * NEWS_BYTES_MAX / READ.len();
        let (first, restarted, more) = look(Some(&READ.repeat(count)));
        assert!(first > 0 && first < count && !restarted && more);
        fs::remove_file(&path).unwrap();
        assert_eq!(look(None), (0, false, false));
    }
}
