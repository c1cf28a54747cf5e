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

use super::{Unnumbered, name};
use crate::history::edn::EdnReader;
use crate::history::{Details, Event, EventType, Process, Skipped, Value};

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
            let key = match edn.peek()? {
                b':' => edn.token(),
                _ => "",
            };
            // An unknown keyword is read again, as any other form that is a key.
            match self.field(edn, depth, key) {
                Some(Known::Yes) => {}
                Some(Known::No) => {
                    edn.rewind(edn.position() - key.len());
                    let key = edn.form(depth + 1).ok()?;
                    if self.unknown.contains(&key) {
                        return None;
                    }
                    self.unknown.push(key);
                    edn.skip_blanks(depth + 1).ok()?;
                    edn.form(depth + 1).ok()?;
                }
                None => return None,
            }
        }
    }

    /// Reads the value of a known key.
    fn field(&mut self, edn: &mut EdnReader<'_>, depth: usize, key: &str) -> Option<Known> {
        let bit = match key {
            ":index" => 0,
            ":type" => 1,
            ":process" => 2,
            ":f" => 3,
            ":value" => 4,
            ":time" => 5,
            ":log-index" => 6,
            ":node" => 7,
            ":request" => 8,
            ":error" => 9,
            _ => return Some(Known::No),
        };
        if self.seen & (1 << bit) != 0 {
            return None;
        }
        self.seen |= 1 << bit;
        edn.skip_blanks(depth + 1).ok()?;
        match bit {
            0 => self.index = number(edn, depth)?,
            1 => self.event_type = Some(event_type(edn, depth)?),
            2 => self.process = Some(process(edn, depth)?),
            3 => self.f = text(edn, depth)?,
            4 => self.value = edn.form(depth + 1).ok()?,
            5 => self.time = number(edn, depth)?,
            6 => self.log_index = number(edn, depth)?,
            7 => self.details.node = text(edn, depth)?,
            8 => self.details.request = text(edn, depth)?,
            _ => self.details.error = text(edn, depth)?,
        }
        Some(Known::Yes)
    }

    /// The event; within it nothing if it is somebody's who is neither client nor nemesis.
    pub(super) fn into_event(self, skipped: &mut Skipped) -> Option<Option<Unnumbered>> {
        let process = match self.process? {
            Who::Known(process) => process,
            Who::Other => {
                skipped.other_processes += 1;
                return Some(None);
            }
        };
        let natural = |number: Number| match number {
            Some(number) => u64::try_from(number).ok().map(Some),
            None => Some(None),
        };
        let (index, log_index) = (natural(self.index)?, natural(self.log_index)?);
        let (event_type, f) = (self.event_type?, self.f?);
        let early = self.time.is_some_and(|time| time < 0);
        let time = self.time.map(|time| u64::try_from(time).unwrap_or(0));
        skipped.early_times += u64::from(early);
        skipped.unknown_keys += self.unknown.len() as u64;
        let (value, details) = (self.value, self.details.boxed());
        let event = Event { index: 0, time, process, event_type, f, value, log_index, details };
        Some(Some((event, index)))
    }
}

/// Whether a key means something.
enum Known {
    Yes,
    No,
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
    if edn.peek() == Some(b':') {
        return EventType::from_name(&edn.token()[1..]);
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
