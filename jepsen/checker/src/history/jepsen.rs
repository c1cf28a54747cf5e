//! Jepsen's form of a history, `history.edn`: one map per event.
//!
//! ```edn
//! {:index 0, :type :invoke, :process 4, :f :write, :value 17, :time 1200}
//! ```
//!
//! The maps stand one after the other or in one vector, bare or tagged (`#jepsen.history.Op{..}`).
//! Histories of independent keys have `[key value]` as their value, which is left as it is: the
//! model of many keys takes it apart.
//!
//! Invariants:
//! - what is written reads back as the same event;
//! - keys that Jepsen or a test added are counted, not refused;
//! - events of processes that are neither whole numbers nor `:nemesis` are counted and left out.

use std::collections::BTreeMap;

use super::value::Value;
use super::{Event, EventType, Process, Skipped};

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
        true => Value::Keyword(event.f.clone()),
        false => Value::Text(event.f.clone()),
    };
    let mut line = format!("{{:index {}, :type :{event_type}, :process {process}", event.index);
    line += &format!(", :f {f}, :value {}", event.value);
    if let Some(time) = event.time {
        line += &format!(", :time {time}");
    }
    let optional = [("node", &event.node), ("request", &event.request), ("error", &event.error)];
    for (name, text) in optional {
        if let Some(text) = text {
            line += &format!(", :{name} {}", Value::Text(text.clone()));
        }
    }
    line.push('}');
    line
}

/// The event of one form; `None` if it is somebody's who is neither client nor nemesis.
pub fn read(form: Value, position: u64, skipped: &mut Skipped) -> Result<Option<Event>, String> {
    let mut fields = match form {
        Value::Map(fields) => fields,
        Value::Tagged(_, inner) => return read(*inner, position, skipped),
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
    let text = |value: Option<Value>| value.filter(|v| *v != Value::Nil).map(|v| v.to_name());
    let event = Event {
        index: number(take(&mut fields, "index"), ":index")?.unwrap_or(position),
        time: number(take(&mut fields, "time"), ":time")?,
        process,
        event_type,
        f: text(take(&mut fields, "f")).ok_or("the event has no :f")?,
        value: take(&mut fields, "value").unwrap_or_default(),
        node: text(take(&mut fields, "node")),
        request: text(take(&mut fields, "request")),
        error: text(take(&mut fields, "error")),
    };
    skipped.unknown_keys += fields.len() as u64;
    Ok(Some(event))
}

fn take(fields: &mut BTreeMap<Value, Value>, name: &str) -> Option<Value> {
    fields.remove(&Value::Keyword(name.to_owned()))
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

/// A value short enough for an error message.
fn clip(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
