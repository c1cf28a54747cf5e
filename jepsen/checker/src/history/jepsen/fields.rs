//! The fields of an event, put where they belong while its map is read.
//!
//! In goes a reader that stands at the map, out come [`Fields`], and from them an event. Nothing but
//! values is built: names of keys are compared where they stand in the text.
//!
//! Invariants:
//! - an event that comes out is the one that [`super::read`] would make of the whole form, and it
//!   leaves the same counts;
//! - whatever is amiss (bad EDN, a key that stands twice, a field that cannot be) gives `None`, after
//!   which nothing was counted. Finding the words for it is not the business of this file.

use smol_str::SmolStr;

use super::{UNSET, name};
use crate::history::batch::Batch;
use crate::history::edn::EdnReader;
use crate::history::{Details, Event, EventType, Process, Value};

/// What the map of an event says.
#[derive(Debug, Default)]
pub(super) struct Fields {
    process: Option<Who>,
    event_type: Option<EventType>,
    index: Number,
    time: Number,
    log_index: Number,
    f: Option<SmolStr>,
    value: Value,
    details: Details,
    /// The known keys seen, a bit each.
    seen: u16,
    /// The other keys.
    unknown: Vec<Value>,
}

#[derive(Debug)]
enum Who {
    Known(Process),
    Other,
}

/// A whole number that may be missing, or negative.
type Number = Option<i64>;

impl Fields {
    /// Reads the map that comes next.
    pub(super) fn read(&mut self, edn: &mut EdnReader<'_>, depth: usize) -> Option<()> {
        if !edn.take_if(b'{') {
            return None;
        }
        loop {
            edn.skip_blanks(depth + 1).ok()?;
            if edn.take_if(b'}') {
                return Some(());
            }
            match known_key(edn) {
                Some(key) if self.seen & (1 << key) == 0 => {
                    self.seen |= 1 << key;
                    edn.skip_blanks(depth + 1).ok()?;
                    self.field(edn, depth, key)?;
                }
                Some(_) => return None,
                None => {
                    let key = edn.form(depth + 1).ok()?;
                    // A known key may come here too, if something odd follows it.
                    if self.unknown.contains(&key) || is_known(&key) {
                        return None;
                    }
                    self.unknown.push(key);
                    edn.skip_blanks(depth + 1).ok()?;
                    edn.form(depth + 1).ok()?;
                }
            }
        }
    }

    /// Reads the value of a known key.
    fn field(&mut self, edn: &mut EdnReader<'_>, depth: usize, key: usize) -> Option<()> {
        match key {
            INDEX => self.index = number(edn, depth)?,
            TYPE => self.event_type = Some(event_type(edn, depth)?),
            PROCESS => self.process = Some(process(edn, depth)?),
            F => self.f = text(edn, depth)?,
            VALUE => self.value = edn.form(depth + 1).ok()?,
            TIME => self.time = number(edn, depth)?,
            LOG_INDEX => self.log_index = number(edn, depth)?,
            NODE => self.details.node = text(edn, depth)?,
            REQUEST => self.details.request = text(edn, depth)?,
            _ => self.details.error = text(edn, depth)?,
        }
        Some(())
    }

    /// Puts down the event, unless it is somebody's who is neither client nor nemesis.
    pub(super) fn put_down(self, line: usize, batch: &mut Batch) -> Option<()> {
        let process = match self.process? {
            Who::Known(process) => process,
            Who::Other => {
                batch.skipped.other_processes += 1;
                return Some(());
            }
        };
        let natural = |number: Number| match number {
            Some(number) => u64::try_from(number).ok().map(Some),
            None => Some(None),
        };
        let set = |number: &i64| *number != UNSET;
        let (index, time) = (self.index.filter(set), self.time.filter(set));
        let (index, log_index) = (natural(index)?, natural(self.log_index)?);
        let (event_type, f) = (self.event_type?, self.f?);
        let early = time.is_some_and(|time| time < 0);
        let time = time.map(|time| u64::try_from(time).unwrap_or(0));
        batch.skipped.early_times += u64::from(early);
        batch.skipped.unknown_keys += self.unknown.len() as u64;
        let (value, details) = (self.value, self.details.boxed());
        let event = Event { index: 0, time, process, event_type, f, value, log_index, details };
        batch.push(line, event, index);
        Some(())
    }
}

/// The keys that mean something, by number.
const KEYS: [&str; 10] =
    ["index", "type", "process", "f", "value", "time", "log-index", "node", "request", "error"];

const INDEX: usize = 0;
const TYPE: usize = 1;
const PROCESS: usize = 2;
const F: usize = 3;
const VALUE: usize = 4;
const TIME: usize = 5;
const LOG_INDEX: usize = 6;
const NODE: usize = 7;
const REQUEST: usize = 8;
const ERROR: usize = 9;

/// Takes a known key, if that is what comes next.
#[inline]
fn known_key(edn: &mut EdnReader<'_>) -> Option<usize> {
    // Each name stands here as it is, so that it is compared as a few words, not as a string.
    match edn.peek_second()? {
        b'i' => edn.take_token(":index").then_some(INDEX),
        b't' if edn.take_token(":type") => Some(TYPE),
        b't' => edn.take_token(":time").then_some(TIME),
        b'p' => edn.take_token(":process").then_some(PROCESS),
        b'f' => edn.take_token(":f").then_some(F),
        b'v' => edn.take_token(":value").then_some(VALUE),
        b'l' => edn.take_token(":log-index").then_some(LOG_INDEX),
        b'n' => edn.take_token(":node").then_some(NODE),
        b'r' => edn.take_token(":request").then_some(REQUEST),
        b'e' => edn.take_token(":error").then_some(ERROR),
        _ => None,
    }
}

fn is_known(key: &Value) -> bool {
    matches!(key, Value::Keyword(name) if KEYS.contains(&name.as_str()))
}

fn number(edn: &mut EdnReader<'_>, depth: usize) -> Option<Number> {
    if let Some(number) = edn.natural() {
        return Some(Some(number));
    }
    match edn.form(depth + 1).ok()? {
        Value::Int(number) => Some(Some(number)),
        Value::Nil => Some(None),
        _ => None,
    }
}

fn event_type(edn: &mut EdnReader<'_>, depth: usize) -> Option<EventType> {
    let plain = match edn.peek_second()? {
        b'o' => edn.take_token(":ok").then_some(EventType::Ok),
        b'f' => edn.take_token(":fail").then_some(EventType::Fail),
        _ if edn.take_token(":invoke") => Some(EventType::Invoke),
        _ => edn.take_token(":info").then_some(EventType::Info),
    };
    if plain.is_some() {
        return plain;
    }
    EventType::from_name(&edn.form(depth + 1).ok()?.to_name())
}

fn process(edn: &mut EdnReader<'_>, depth: usize) -> Option<Who> {
    if let Some(id) = edn.natural() {
        return Some(Who::Known(Process::Client(u64::try_from(id).ok()?)));
    }
    match edn.form(depth + 1).ok()? {
        Value::Int(id) => Some(Who::Known(Process::Client(u64::try_from(id).ok()?))),
        Value::Keyword(name) if name == "nemesis" => Some(Who::Known(Process::Nemesis)),
        _ => Some(Who::Other),
    }
}

fn text(edn: &mut EdnReader<'_>, depth: usize) -> Option<Option<SmolStr>> {
    if edn.peek() == Some(b':') {
        let token = edn.token();
        return (token.len() > 1).then(|| Some(SmolStr::new(&token[1..])));
    }
    Some(name(Some(edn.form(depth + 1).ok()?)))
}
