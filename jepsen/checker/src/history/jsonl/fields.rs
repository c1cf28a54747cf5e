//! The fields of an event, put where they belong while its line of JSON is read.
//!
//! In goes a line, out comes an event; nothing but its value is built on the way.
//!
//! Invariants:
//! - an event that comes out is the one that [`super::read`] would make of the finished object, and
//!   it leaves the same counts;
//! - whatever is amiss or rare (bad JSON, a key that stands twice, a number that hardly fits, EDN
//!   within JSON) gives `None`, after which nothing was counted. Finding the words for what is wrong
//!   is not the business of this file.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use smol_str::SmolStr;

use super::{EDN, FLOAT_SURE, Unnumbered};
use crate::history::value::{Float, Value};
use crate::history::{Details, Event, EventType, Process, Skipped};

/// The event of one line, if it is in order.
pub(super) fn fast(line: &str, skipped: &mut Skipped) -> Option<Unnumbered> {
    let Fields { process, event_type, index, time, log_index, f, value, details, unknown, .. } =
        serde_json::from_str(line).ok()?;
    let natural = |number: Option<i64>| match number {
        Some(number) => u64::try_from(number).ok().map(Some),
        None => Some(None),
    };
    let (index, log_index) = (natural(index)?, natural(log_index)?);
    let early = time.is_some_and(|time| time < 0);
    let event = Event {
        index: 0,
        time: time.map(|time| u64::try_from(time).unwrap_or(0)),
        process: process?,
        event_type: event_type?,
        f: f?,
        value,
        log_index,
        details: details.boxed(),
    };
    skipped.early_times += u64::from(early);
    skipped.unknown_keys += unknown.len() as u64;
    Some((event, index))
}

/// What the object of an event says.
#[derive(Default)]
struct Fields {
    process: Option<Process>,
    event_type: Option<EventType>,
    index: Option<i64>,
    time: Option<i64>,
    log_index: Option<i64>,
    f: Option<SmolStr>,
    value: Value,
    details: Details,
    /// The known keys seen, a bit each.
    seen: u16,
    /// The other keys.
    unknown: Vec<String>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key()? {
            let key = match key {
                Key::Known(key) => key,
                Key::Unknown(key) if fields.unknown.contains(&key) => return Err(amiss()),
                Key::Unknown(key) => {
                    fields.unknown.push(key);
                    map.next_value::<Data>()?;
                    continue;
                }
            };
            if fields.seen & (1 << key) != 0 {
                return Err(amiss());
            }
            fields.seen |= 1 << key;
            match key {
                0 => fields.index = map.next_value()?,
                1 => fields.time = map.next_value()?,
                2 => fields.process = Some(map.next_value::<Who>()?.0),
                3 => fields.event_type = Some(map.next_value::<Type>()?.0),
                4 => fields.f = Some(map.next_value::<Name>()?.0),
                5 => fields.value = map.next_value::<Data>()?.0,
                6 => fields.log_index = map.next_value()?,
                7 => fields.details.node = map.next_value::<Option<Name>>()?.map(|name| name.0),
                8 => fields.details.request = map.next_value::<Option<Name>>()?.map(|name| name.0),
                _ => fields.details.error = map.next_value::<Option<Name>>()?.map(|name| name.0),
            }
        }
        Ok(fields)
    }
}

/// Any error will do: nobody reads it.
fn amiss<E: Error>() -> E {
    E::custom("amiss")
}

/// The keys that mean something, by number.
enum Key {
    Known(u8),
    Unknown(String),
}

/// Something that is read from a string or a number.
macro_rules! from_text {
    ($type:ty, $from:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        out.write_str("a name")
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        let from: fn(&str) -> Option<$type> = $from;
                        from(text).ok_or_else(amiss)
                    }
                }
                json.deserialize_str(Text)
            }
        }
    };
}

from_text!(Key, |text| Some(match text {
    "index" => Key::Known(0),
    "time" => Key::Known(1),
    "process" => Key::Known(2),
    "type" => Key::Known(3),
    "f" => Key::Known(4),
    "value" => Key::Known(5),
    "log-index" => Key::Known(6),
    "node" => Key::Known(7),
    "request" => Key::Known(8),
    "error" => Key::Known(9),
    other => Key::Unknown(other.to_owned()),
}));

struct Type(EventType);
from_text!(Type, |text| EventType::from_name(text).map(Type));

struct Name(SmolStr);
from_text!(Name, |text| Some(Name(SmolStr::new(text))));

struct Who(Process);

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct WhoVisitor;
        impl Visitor<'_> for WhoVisitor {
            type Value = Who;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a process")
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<Who, E> {
                Ok(Who(Process::Client(id)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Who, E> {
                (text == "nemesis").then_some(Who(Process::Nemesis)).ok_or_else(amiss)
            }
        }
        json.deserialize_any(WhoVisitor)
    }
}

/// A value, by the rule in the header of [`super`].
struct Data(Value);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Data, E> {
        Ok(Data(Value::Nil))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Data, E> {
        Ok(Data(Value::Bool(flag)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Data, E> {
        Ok(Data(Value::Int(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Data, E> {
        i64::try_from(number).map(|number| Data(Value::Int(number))).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Data, E> {
        match number.abs() < FLOAT_SURE {
            true => Ok(Data(Value::Float(Float(number)))),
            false => Err(amiss()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Data, E> {
        Ok(Data(Value::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Data, A::Error> {
        let mut items = Vec::new();
        while let Some(Data(item)) = sequence.next_element()? {
            if items.is_empty() {
                // A pair is by far the commonest sequence: a key and its value.
                items.reserve_exact(2);
            }
            items.push(item);
        }
        Ok(Data(Value::Vector(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, Data(value))) = map.next_entry::<String, Data>()? {
            if key == EDN {
                return Err(amiss());
            }
            entries.insert(Value::Text(key), value);
        }
        Ok(Data(Value::Map(entries)))
    }
}
