//! Jepsen's form of a history, `history.edn`: one map per event.
//!
//! ```edn
//! {:index 0, :type :invoke, :process 4, :f :write, :value 17, :time 1200}
//! ```
//!
//! The maps stand one after the other or in one vector, bare or tagged (`#jepsen.history.Op{..}`).
//! Histories of independent keys have `[key value]` as their value, which is left as it is: the
//! model of many keys takes it apart. `:log-index` is our own key.
//!
//! Two readers, one meaning: [`read`] takes an event from a finished form, and words every error;
//! `EventReader` puts the fields of a map where they belong while it reads them, which is several
//! times as fast. Where the second finds anything amiss, it goes back and asks the first.
//!
//! Invariants:
//! - what is written reads back as the same event;
//! - keys that Jepsen or a test added are counted, not refused;
//! - events of processes that are neither whole numbers nor `:nemesis` are counted and left out;
//! - an index or a time of -1 is none: Jepsen's records cannot leave them out;
//! - a time before the test began (Jepsen's clients may start early) is read as 0, and counted: all
//!   of those become concurrent, so that no order is invented.

mod fields;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use smol_str::SmolStr;

use self::fields::Fields;
use super::batch::{Batch, Fault};
use super::edn::{DEPTH_MAX, EdnError, EdnReader};
use super::parallel::Piece;
use super::value::Value;
use super::{Details, Event, EventType, Process, Skipped};

/// The event as one line, without its line feed.
pub fn write(event: &Event) -> String {
    let process = match event.process {
        Process::Client(id) => id.to_string(),
        Process::Nemesis => ":nemesis".to_owned(),
    };
    let event_type = event.event_type.name();
    // A name with blanks is not a keyword, so it is written as a string.
    let plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "-_?!*+/.".contains(c));
    let f = match plain(&event.f) && !event.f.is_empty() {
        true => Value::Keyword(event.f.to_string()),
        false => Value::Text(event.f.to_string()),
    };
    let mut line = format!("{{:index {}, :type :{event_type}, :process {process}", event.index);
    line += &format!(", :f {f}, :value {}", event.value);
    if let Some(time) = event.time {
        line += &format!(", :time {time}");
    }
    if let Some(log_index) = event.log_index {
        line += &format!(", :log-index {log_index}");
    }
    let optional = [("node", event.node()), ("request", event.request()), ("error", event.error())];
    for (name, text) in optional {
        if let Some(text) = text {
            line += &format!(", :{name} {}", Value::Text(text.to_owned()));
        }
    }
    line.push('}');
    line
}

/// The event of one form; `None` if it is somebody's who is neither client nor nemesis. An event
/// without an index gets its position.
pub fn read(form: Value, position: u64, skipped: &mut Skipped) -> Result<Option<Event>, String> {
    let event = read_unnumbered(form, skipped)?;
    Ok(event.map(|(event, index)| Event { index: index.unwrap_or(position), ..event }))
}

/// What stands for an index or a time that nobody set.
const UNSET: i64 = -1;

/// An event, and the index that it names.
type Unnumbered = (Event, Option<u64>);

fn read_unnumbered(form: Value, skipped: &mut Skipped) -> Result<Option<Unnumbered>, String> {
    let mut fields = match form {
        Value::Map(fields) => fields,
        Value::Tagged(_, inner) => return read_unnumbered(*inner, skipped),
        other => return Err(format!("an event is a map, not {}", clip(&other))),
    };
    let process = match take(&mut fields, "process") {
        Some(Value::Int(id)) => match u64::try_from(id) {
            Ok(id) => Process::Client(id),
            Err(_) => return Err(format!("process {id} is negative")),
        },
        Some(Value::Keyword(name)) if name == "nemesis" => Process::Nemesis,
        Some(_) => {
            skipped.other_processes += 1;
            return Ok(None);
        }
        None => return Err("the event has no :process".to_owned()),
    };
    let type_name = take(&mut fields, "type").ok_or("the event has no :type")?;
    let event_type = EventType::from_name(&type_name.to_name())
        .ok_or_else(|| format!(":type {type_name} is none of :invoke, :ok, :fail, :info"))?;
    let index = number(take(&mut fields, "index").filter(known), ":index")?;
    let time = time(take(&mut fields, "time"), skipped)?;
    let log_index = number(take(&mut fields, "log-index"), ":log-index")?;
    let f = name(take(&mut fields, "f")).ok_or("the event has no :f")?;
    let value = take(&mut fields, "value").unwrap_or_default();
    let details = Details {
        node: name(take(&mut fields, "node")),
        request: name(take(&mut fields, "request")),
        error: name(take(&mut fields, "error")),
    };
    skipped.unknown_keys += fields.len() as u64;
    let details = details.boxed();
    let event = Event { index: 0, time, process, event_type, f, value, log_index, details };
    Ok(Some((event, index)))
}

fn take(fields: &mut BTreeMap<Value, Value>, name: &str) -> Option<Value> {
    fields.remove(&Value::Keyword(name.to_owned()))
}

fn name(value: Option<Value>) -> Option<SmolStr> {
    value.filter(|value| *value != Value::Nil).map(|value| SmolStr::from(value.to_name()))
}

fn number(value: Option<Value>, name: &str) -> Result<Option<u64>, String> {
    match value {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Int(number)) => match u64::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{name} {number} is negative")),
        },
        Some(other) => Err(format!("{name} {} is not a whole number", clip(&other))),
    }
}

fn time(value: Option<Value>, skipped: &mut Skipped) -> Result<Option<u64>, String> {
    match value.filter(known) {
        Some(Value::Int(early)) if early < 0 => {
            skipped.early_times += 1;
            Ok(Some(0))
        }
        other => number(other, ":time"),
    }
}

/// Jepsen's records hold an index and a time even where nobody set them.
fn known(number: &Value) -> bool {
    *number != Value::Int(UNSET)
}

/// A value short enough for an error message.
fn clip(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Reads the events of a text, or of a piece of it.
#[derive(Debug)]
pub(super) struct EventReader<'a> {
    edn: EdnReader<'a>,
    /// How deep the events stand: within a vector, 1.
    depth: usize,
}

impl<'a> EventReader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self::within(text, 1)
    }

    /// For a part of a text, which begins on this line.
    pub(super) fn within(text: &'a str, first_line: usize) -> Self {
        Self { edn: EdnReader::within(text, first_line), depth: 0 }
    }

    /// Reads a piece to its end into a batch.
    pub(super) fn read_piece(&mut self, piece: Piece, batch: &mut Batch) -> Result<(), Fault> {
        let in_vector = match piece {
            Piece::Whole | Piece::First => self.edn.enter_vector()?,
            Piece::Later { in_vector } => in_vector,
        };
        self.depth = usize::from(in_vector);
        while self.read_event(batch)? {}
        batch.entered = in_vector;
        batch.closed = in_vector && self.edn.take_if(b']');
        if in_vector && !batch.closed && piece == Piece::Whole {
            // At the end of the text this is an error, and has the words for it.
            self.edn.form(self.depth)?;
        }
        if batch.closed {
            self.edn.skip_blanks(0)?;
            if self.edn.peek().is_some() {
                // What follows may be no form at all, which is the graver fault.
                let line = self.edn.line();
                self.edn.form(0)?;
                let reason = "something follows the vector of events".to_owned();
                return Err(Fault { line, reason });
            }
        }
        batch.line_feeds = self.edn.line() - 1;
        Ok(())
    }

    /// Reads events as long as they are complete, and tells how far it came. What is not complete is
    /// an error only if nothing more will come.
    pub(super) fn read_available(&mut self, last: bool, batch: &mut Batch) -> Result<usize, Fault> {
        loop {
            let start = self.edn.position();
            match self.read_event(batch) {
                Ok(true) => {}
                Ok(false) => return Ok(self.edn.position()),
                Err(error) if error.unfinished && !last => return Ok(start),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads one event, if one comes before the end.
    fn read_event(&mut self, batch: &mut Batch) -> Result<bool, EdnError> {
        self.edn.skip_blanks(self.depth)?;
        match self.edn.peek() {
            None => return Ok(false),
            Some(b']') if self.depth > 0 => return Ok(false),
            Some(_) => {}
        }
        let line = self.edn.line();
        let start = self.edn.position();
        batch.forms += 1;
        if self.fast(line, batch).is_none() {
            self.edn.rewind(start);
            let form = self.edn.form(self.depth)?;
            let read = read_unnumbered(form, &mut batch.skipped);
            let read = read.map_err(|reason| EdnError { line, reason, unfinished: false })?;
            if let Some((event, index)) = read {
                batch.push(line, event, index);
            }
        }
        Ok(true)
    }

    /// Reads the event that comes next, if it is in order.
    fn fast(&mut self, line: usize, batch: &mut Batch) -> Option<()> {
        let mut depth = self.depth;
        while self.edn.peek() == Some(b'#') {
            self.edn.tag()?;
            depth += 1;
            if depth > DEPTH_MAX {
                return None;
            }
            self.edn.skip_blanks(depth).ok()?;
        }
        let mut fields = Fields::default();
        fields.read(&mut self.edn, depth)?;
        fields.put_down(line, batch)
    }
}

impl From<EdnError> for Fault {
    fn from(EdnError { line, reason, .. }: EdnError) -> Self {
        Self { line, reason }
    }
}
