//! Our native form of a history: one JSON object a line, one event a line.
//!
//! ```json
//! {"index":0,"time":1200,"process":4,"type":"invoke","f":"write","value":17}
//! ```
//!
//! `log-index`, `node`, `request` and `error` appear where known; the nemesis has the process `"nemesis"`.
//!
//! Invariants:
//! - what is written reads back as the same event. JSON lacks some of EDN's data (keywords, sets,
//!   characters, lists, tags, maps with other keys than strings), so such a value is written as
//!   `{"edn": "#{1 2}"}`;
//! - a blank line is skipped; every other line is an event or an error with a reason;
//! - unknown fields are counted, not refused, so that others may add their own;
//! - nothing is silently rounded: an integer beyond 64 bits is an error;
//! - a time before the test began is read as 0, and counted.
//!
//! Two readers, one meaning: [`read`] words every error, `fields` is several times as fast, and
//! gives up where anything is amiss or rare.

mod fields;

use serde_json::{Map, Number, Value as Json};
use smol_str::SmolStr;

use super::batch::{Batch, Fault};
use super::edn::EdnReader;
use super::parallel::Piece;
use super::value::{Float, Value};
use super::{Details, Event, EventType, Process, Skipped};

/// The key under which data that JSON lacks is written as EDN text.
const EDN: &str = "edn";

/// 2^63. A float below it was none of the integers that do not fit in 64 bits.
const FLOAT_SURE: f64 = 9_223_372_036_854_775_808.0;

/// An event, and the index that it names.
type Unnumbered = (Event, Option<u64>);

/// The event as one line, without its line feed.
pub fn write(event: &Event) -> String {
    let mut fields = Map::new();
    fields.insert("index".into(), event.index.into());
    if let Some(time) = event.time {
        fields.insert("time".into(), time.into());
    }
    let process = match event.process {
        Process::Client(id) => id.into(),
        Process::Nemesis => "nemesis".into(),
    };
    fields.insert("process".into(), process);
    fields.insert("type".into(), event.event_type.name().into());
    fields.insert("f".into(), event.f.as_str().into());
    fields.insert("value".into(), to_json(&event.value));
    if let Some(log_index) = event.log_index {
        fields.insert("log-index".into(), log_index.into());
    }
    let optional = [("node", event.node()), ("request", event.request()), ("error", event.error())];
    for (name, text) in optional {
        if let Some(text) = text {
            fields.insert(name.into(), text.into());
        }
    }
    Json::Object(fields).to_string()
}

/// Reads the lines of a text, or of a piece of it.
pub(super) fn read_piece(text: &str, _piece: Piece, batch: &mut Batch) -> Result<(), Fault> {
    for (position, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let line_number = position + 1;
        let read = match fields::fast(line, &mut batch.skipped) {
            Some(event) => Some(event),
            None => read_unnumbered(line, &mut batch.skipped)
                .map_err(|reason| Fault { line: line_number, reason })?,
        };
        if let Some((event, index)) = read {
            batch.push(line_number, event, index);
        }
    }
    batch.line_feeds = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    Ok(())
}

/// The event of one line; `None` if the line is somebody's who is neither client nor nemesis. An
/// event without an index gets its position.
pub fn read(line: &str, position: u64, skipped: &mut Skipped) -> Result<Option<Event>, String> {
    let event = read_unnumbered(line, skipped)?;
    Ok(event.map(|(event, index)| Event { index: index.unwrap_or(position), ..event }))
}

fn read_unnumbered(line: &str, skipped: &mut Skipped) -> Result<Option<Unnumbered>, String> {
    let json: Json = serde_json::from_str(line).map_err(|error| {
        // A line is one document, so its own line number would only mislead.
        let text = error.to_string();
        let end = text.find(" at line").unwrap_or(text.len());
        format!("not JSON: {} (column {})", &text[..end], error.column())
    })?;
    let Json::Object(mut fields) = json else {
        return Err("an event is a JSON object".to_owned());
    };
    let process = match fields.remove("process") {
        Some(Json::Number(id)) => match id.as_u64() {
            Some(id) => Process::Client(id),
            None => return Err(format!("process {id} is not a whole number")),
        },
        Some(Json::String(name)) if name == "nemesis" => Process::Nemesis,
        Some(_) => {
            skipped.other_processes += 1;
            return Ok(None);
        }
        None => return Err("the event has no process".to_owned()),
    };
    let type_name = text_field(&mut fields, "type")?.ok_or("the event has no type")?;
    let event_type = EventType::from_name(&type_name)
        .ok_or_else(|| format!("type {type_name:?} is none of invoke, ok, fail, info"))?;
    let index = number_field(&mut fields, "index")?;
    let time = time_field(&mut fields, skipped)?;
    let log_index = number_field(&mut fields, "log-index")?;
    let f = text_field(&mut fields, "f")?.ok_or("the event has no f")?;
    let value = from_json(fields.remove("value").unwrap_or(Json::Null))?;
    if holds_large_float(&value)
        && let Some(number) = large_integer(line)
    {
        return Err(format!("{number} does not fit in 64 bits"));
    }
    let details = Details {
        node: text_field(&mut fields, "node")?,
        request: text_field(&mut fields, "request")?,
        error: text_field(&mut fields, "error")?,
    };
    skipped.unknown_keys += fields.len() as u64;
    let details = details.boxed();
    let event = Event { index: 0, time, process, event_type, f, value, log_index, details };
    Ok(Some((event, index)))
}

/// Whether a value may hold an integer that JSON's reader took for a float, and rounded.
fn holds_large_float(value: &Value) -> bool {
    match value {
        Value::Float(Float(number)) => number.abs() >= FLOAT_SURE,
        Value::Vector(items) => items.iter().any(holds_large_float),
        Value::Map(entries) => entries.values().any(holds_large_float),
        _ => false,
    }
}

/// An integer of JSON, outside of strings, that does not fit in 64 bits.
fn large_integer(line: &str) -> Option<&str> {
    // Between quotes, once what is escaped is out of the way, stand strings.
    let outside = line.replace("\\\\", "  ").replace("\\\"", "  ");
    let mut start = 0;
    for (number, part) in outside.split('"').enumerate() {
        let part = &line[start..start + part.len()];
        start += part.len() + 1;
        let mut words = part.split(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
        let large = |word: &&str| {
            let digits = word.strip_prefix('-').unwrap_or(word);
            !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && word.parse::<i64>().is_err()
        };
        if number % 2 == 0
            && let Some(word) = words.find(large)
        {
            return Some(word);
        }
    }
    None
}

fn time_field(
    fields: &mut Map<String, Json>,
    skipped: &mut Skipped,
) -> Result<Option<u64>, String> {
    if fields.get("time").and_then(Json::as_i64).is_some_and(|time| time < 0) {
        fields.remove("time");
        skipped.early_times += 1;
        return Ok(Some(0));
    }
    number_field(fields, "time")
}

fn number_field(fields: &mut Map<String, Json>, name: &str) -> Result<Option<u64>, String> {
    match fields.remove(name) {
        None | Some(Json::Null) => Ok(None),
        Some(json) => match json.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{name} {json} is not a whole number")),
        },
    }
}

fn text_field(fields: &mut Map<String, Json>, name: &str) -> Result<Option<SmolStr>, String> {
    match fields.remove(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.into())),
        Some(Json::Number(number)) => Ok(Some(number.to_string().into())),
        Some(other) => Err(format!("{name} {other} is not text")),
    }
}

/// A value as JSON, by the rule in the header.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(Float(number)) => {
            Number::from_f64(*number).map_or_else(|| as_edn(value), Json::Number)
        }
        Value::Text(text) => text.clone().into(),
        Value::Vector(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            let mut fields = Map::new();
            for (key, entry) in entries {
                match key {
                    Value::Text(key) if key != EDN => fields.insert(key.clone(), to_json(entry)),
                    _ => return as_edn(value),
                };
            }
            Json::Object(fields)
        }
        Value::Char(_)
        | Value::Keyword(_)
        | Value::Symbol(_)
        | Value::List(_)
        | Value::Set(_)
        | Value::Tagged(..) => as_edn(value),
    }
}

fn as_edn(value: &Value) -> Json {
    Json::Object(Map::from_iter([(EDN.to_owned(), value.to_string().into())]))
}

/// The value that JSON stands for, by the rule in the header.
pub fn from_json(json: Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(float)) if !number.is_u64() => Value::Float(Float(float)),
            _ => return Err(format!("{number} does not fit in 64 bits")),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(items) => {
            Value::Vector(items.into_iter().map(from_json).collect::<Result<_, _>>()?)
        }
        Json::Object(fields) => {
            if let (1, Some(Json::String(text))) = (fields.len(), fields.get(EDN)) {
                return one_form(text);
            }
            let entry = |(key, value)| Ok((Value::Text(key), from_json(value)?));
            Value::Map(fields.into_iter().map(entry).collect::<Result<_, String>>()?)
        }
    })
}

/// The one form that a text of EDN is.
fn one_form(text: &str) -> Result<Value, String> {
    let mut reader = EdnReader::new(text);
    let form = reader.next_form().map_err(|error| error.reason)?;
    let (_, form) = form.ok_or("the EDN is empty")?;
    match reader.next_form() {
        Ok(None) => Ok(form),
        Ok(Some(_)) | Err(_) => {
            Err(format!("something follows the first form of the EDN {text:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_the_round_trip() {
        let text = r#"[nil true -3 1.5 ##Inf "text" :key sym \a (1) #{1 2} {"a" [1]} {:a 1}
                      {"edn" "x"} #tag 1]"#;
        let (_, value) = EdnReader::new(text).next_form().unwrap().unwrap();
        assert_eq!(from_json(to_json(&value)).unwrap(), value);
    }

    #[test]
    fn edn_within_json_is_one_form_and_nothing_else() {
        let read = |text: &str| from_json(serde_json::json!({ "edn": text }));
        assert_eq!(read(" 1 ; a comment"), Ok(Value::Int(1)));
        for text in ["1 ] garbage", "1 2", "1 ]", "(1) #"] {
            assert!(read(text).unwrap_err().contains("something follows"), "{text}");
        }
        assert_eq!(read(" "), Err("the EDN is empty".to_owned()));
    }

    #[test]
    fn an_event_survives_the_round_trip_and_unknown_fields_are_counted() {
        let details = Details {
            node: Some("2".into()),
            request: Some("9:4".into()),
            error: Some("timed out".into()),
        };
        let event = Event {
            index: 7,
            time: Some(12),
            log_index: Some(4),
            details: details.boxed(),
            ..Event::new(Process::Client(3), EventType::Info, "cas", Value::pair(1, 2))
        };
        let mut skipped = Skipped::default();
        assert_eq!(read(&write(&event), 0, &mut skipped), Ok(Some(event)));
        let line = r#"{"process":0,"type":"ok","f":"read","value":1,"thread":4,"zone":"a"}"#;
        assert_eq!(read(line, 5, &mut skipped).unwrap().unwrap().index, 5);
        assert_eq!(skipped.unknown_keys, 2);
    }
}
