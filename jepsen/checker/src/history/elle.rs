//! Histories for Elle: each operation as a transaction of its own.
//!
//! ```edn
//! {:index 0, :type :invoke, :process 4, :f :txn, :value [[:append 7 1]], :time 1200}
//! ```
//!
//! In go events of a workload of lists (`append`, `read`) or of registers (`write`, `read`, `cas`);
//! out comes EDN that Elle's `list-append` and `rw-register` checkers eat. A cas is a read and a
//! write: of one that may not have happened, the read saw nothing.
//!
//! Invariants:
//! - a history has keys, `[key value]`, in all of its operations or in none. Without them all
//!   operations are on one object, whose key is [`ONLY_KEY`];
//! - a completion says what its transaction did, also where the event left it out;
//! - transactions and the nemesis' events pass through; any other function is an error, because a
//!   history from which operations are missing looks like lost writes.
//!
//! Reading needs nothing of this: what is written is Jepsen's EDN.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::jepsen;
use super::value::Value;
use super::{Event, EventType, Process};

/// The key of the object in a history without keys.
pub const ONLY_KEY: i64 = 0;

/// Writes events as EDN for Elle, one a line.
pub fn write(out: &mut impl Write, events: &[Event]) -> io::Result<()> {
    let keyed = events.iter().filter(|event| is_call(event)).all(has_key);
    let mut calls: BTreeMap<Process, &Value> = BTreeMap::new();
    for (position, event) in events.iter().enumerate() {
        if event.process == Process::Nemesis || event.f == "txn" {
            writeln!(out, "{}", jepsen::write(event))?;
            continue;
        }
        let call = match event.event_type {
            EventType::Invoke => {
                calls.insert(event.process, &event.value);
                &event.value
            }
            EventType::Ok | EventType::Fail | EventType::Info => {
                calls.remove(&event.process).unwrap_or(&event.value)
            }
        };
        let value = transaction(event, call, keyed).ok_or_else(|| {
            let reason =
                format!("event {position}, {} {}, is none of Elle's", event.f, event.value);
            io::Error::new(io::ErrorKind::InvalidInput, reason)
        })?;
        let event = Event { f: "txn".into(), value, ..event.clone() };
        writeln!(out, "{}", jepsen::write(&event))?;
    }
    Ok(())
}

fn is_call(event: &Event) -> bool {
    let client = event.process != Process::Nemesis && event.f != "txn";
    client && event.event_type == EventType::Invoke
}

fn has_key(call: &Event) -> bool {
    match call.value.as_pair() {
        // What a cas expects and installs is a pair too.
        Some((_, change)) => call.f != "cas" || change.as_pair().is_some(),
        None => false,
    }
}

/// What an event's operation does, or did, as a transaction.
fn transaction(event: &Event, call: &Value, keyed: bool) -> Option<Value> {
    let only = Value::Int(ONLY_KEY);
    let split = |value: &Value| match keyed {
        true => value.as_pair().map(|(key, argument)| (key.clone(), argument.clone())),
        false => Some((only.clone(), value.clone())),
    };
    let (key, argument) = split(call)?;
    let happened = event.event_type == EventType::Ok;
    let step = |name: &str, value: Value| {
        Value::Vector(vec![Value::Keyword(name.to_owned()), key.clone(), value])
    };
    let steps = match event.f.as_str() {
        "append" => vec![step("append", argument)],
        "write" | "w" => vec![step("w", argument)],
        "read" | "r" => {
            let seen = if happened { split(&event.value)?.1 } else { Value::Nil };
            vec![step("r", seen)]
        }
        "cas" => {
            let (from, to) = argument.as_pair()?;
            let seen = if happened { from.clone() } else { Value::Nil };
            vec![step("r", seen), step("w", to.clone())]
        }
        _ => return None,
    };
    Some(Value::Vector(steps))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, History, file};
    use super::*;

    fn written(text: &str) -> io::Result<Vec<String>> {
        let history = History::parse("h", text, Format::Auto).unwrap();
        let mut out = Vec::new();
        file::write(&mut out, &history.events, Format::Elle)?;
        let out = String::from_utf8(out).unwrap();
        let again = History::parse("h", &out, Format::Auto).unwrap();
        assert_eq!(again.events.len(), history.events.len());
        Ok(again.events.iter().map(|event| format!("{} {}", event.f, event.value)).collect())
    }

    #[test]
    fn lists_become_appends_and_reads() {
        let text = "{:process 0, :type :invoke, :f :append, :value [7 1]}
            {:process :nemesis, :type :info, :f :kill, :value nil}
            {:process 0, :type :ok, :f :append, :value nil}
            {:process 1, :type :invoke, :f :read, :value [7 nil]}
            {:process 1, :type :ok, :f :read, :value [7 [1]]}";
        let expected = [
            "txn [[:append 7 1]]",
            "kill nil",
            "txn [[:append 7 1]]",
            "txn [[:r 7 nil]]",
            "txn [[:r 7 [1]]]",
        ];
        assert_eq!(written(text).unwrap(), expected);
    }

    #[test]
    fn registers_become_writes_and_reads() {
        let text = "{:process 0, :type :invoke, :f :write, :value 5}
            {:process 1, :type :invoke, :f :cas, :value [5 6]}
            {:process 0, :type :ok, :f :write, :value 5}
            {:process 1, :type :ok, :f :cas, :value [5 6]}
            {:process 2, :type :invoke, :f :txn, :value [[:r 0 nil]]}
            {:process 3, :type :invoke, :f :read, :value nil}
            {:process 3, :type :info, :f :read, :value nil, :error :timeout}";
        let expected = [
            "txn [[:w 0 5]]",
            "txn [[:r 0 nil] [:w 0 6]]",
            "txn [[:w 0 5]]",
            "txn [[:r 0 5] [:w 0 6]]",
            "txn [[:r 0 nil]]",
            "txn [[:r 0 nil]]",
            "txn [[:r 0 nil]]",
        ];
        assert_eq!(written(text).unwrap(), expected);
    }

    #[test]
    fn what_elle_does_not_know_is_refused() {
        let error = written("{:process 0, :type :invoke, :f :add, :value 5}").unwrap_err();
        assert_eq!(error.to_string(), "event 0, add 5, is none of Elle's");
    }
}
