//! What Jepsen's histories may hold, oddity by oddity.
//!
//! Who acts, what is missing, what is too early, what is too large, and what no reader should
//! swallow.

use super::super::{Clock, Event, EventType, Format, History, Operations, Process};
use crate::history::Value;

fn read(text: &str) -> Result<History, String> {
    History::parse("h", text, Format::Auto).map_err(|error| error.to_string())
}

#[test]
fn records_without_index_or_time_are_read_by_position() {
    let history = read(
        "[#jepsen.history.Op{:process 0, :type :invoke, :f \"read\", :value nil, :time -1, :index -1}
          #jepsen.history.Op{:process 0, :type :ok, :f read, :value [[:r 1 [2]]], :index -1}
          #jepsen.history.Op{:process \"setup\", :type :info, :f :start, :value nil}
          #jepsen.history.Op{:process :nemesis, :type :info, :f :start, :value {:a 1}, :time -1}]",
    )
    .unwrap();
    let indices: Vec<u64> = history.events.iter().map(|event| event.index).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert_eq!((history.skipped.other_processes, history.skipped.nemesis_events), (1, 1));
    assert_eq!(history.skipped.early_times, 0);
    let (clock, operations) = history.operations().unwrap();
    assert_eq!((clock, operations[0].returned), (Clock::Positions, Some(1)));
    assert_eq!(operations[0].value.to_string(), "[[:r 1 [2]]]");
}

#[test]
fn times_before_the_beginning_make_operations_concurrent() {
    let history = read(
        "{:process 0, :type :invoke, :f :write, :value 1, :time -900}
         {:process 0, :type :ok, :f :write, :value 1, :time -800}
         {:process 1, :type :invoke, :f :read, :value nil, :time -700}
         {:process 1, :type :ok, :f :read, :value nil, :time 100}",
    )
    .unwrap();
    assert_eq!(history.skipped.early_times, 3);
    let (clock, operations) = history.operations().unwrap();
    assert_eq!(clock, Clock::Nanoseconds);
    assert_eq!((operations[0].returned, operations[1].invoked), (Some(0), 0));
}

#[test]
fn the_index_in_the_log_is_read_and_belongs_to_the_operation() {
    for text in [
        "{:process 0, :type :invoke, :f :write, :value 1}
         {:process 0, :type :ok, :f :write, :value 1, :log-index 42}",
        r#"{"process": 0, "type": "invoke", "f": "write", "value": 1}
           {"process": 0, "type": "ok", "f": "write", "value": 1, "log-index": 42}"#,
    ] {
        let read = Operations::parse("h", text, Format::Auto).unwrap();
        assert_eq!(read.operations[0].log_index, Some(42));
        assert_eq!(read.skipped.unknown_keys, 0);
    }
}

#[test]
fn an_index_that_stands_twice_changes_nothing() {
    let twice = read(
        "{:process 0, :type :invoke, :f :read, :value nil, :index 7}
         {:process 0, :type :ok, :f :read, :value 5, :index 7}",
    );
    let (_, operations) = twice.unwrap().operations().unwrap();
    assert_eq!((operations[0].index, &operations[0].value), (0, &Value::Int(5)));
}

#[test]
fn odd_bytes_are_data_or_errors() {
    let event = |f: &str, value: Value| Event::new(Process::Client(0), EventType::Invoke, f, value);
    let text = "\u{feff}{:process 0, :type :invoke, :f :r, :value \"a\0b\"}\r\n";
    assert_eq!(read(text).unwrap().events, [event("r", "a\0b".into())]);
    let lone = r#"{"process": 0, "type": "invoke", "f": "r", "value": "\ud800"}"#;
    assert!(read(lone).unwrap_err().starts_with("h:1: not JSON"));
    for empty in ["", "\u{feff}", "\n\n", "; nothing", "[]"] {
        assert_eq!(read(empty).unwrap().events, [], "{empty:?}");
    }
    let cases = [
        ("{:process 0, :type :invoke, :f :r, :value \"\\ud800\"}", "h:1: half of a surrogate"),
        (
            "\n{:process 0, :type :ok, :f :r, :value 9223372036854775808}",
            "h:2: 9223372036854775808",
        ),
        ("{:process 0, :type :ok, :f :r, :value 1/3}", "h:1: `1/3` is not a number"),
        ("{:process -2, :type :ok, :f :r}", "h:1: process -2 is negative"),
        ("{:process 0, :type :ok, :f :r, :index -2}", "h:1: :index -2 is negative"),
        ("{:process 0, :process 0, :type :ok, :f :r}", "h:1: a map has the key :process twice"),
        ("{:process 0, :type :ok, :f :r, :x 1, :x 1}", "h:1: a map has the key :x twice"),
        (
            "{\"process\":0,\"type\":\"ok\",\"f\":\"r\",\"value\":[\"1e30 5\",99999999999999999999]}",
            "h:1: 99999999999999999999 does not fit",
        ),
    ];
    for (text, expected) in cases {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let deep = format!("{{:process 0, :type :ok, :f :r, :value {}", "[".repeat(1 << 20));
    assert!(read(&deep).unwrap_err().contains("deeper"));
    let float = "{\"process\":0,\"type\":\"ok\",\"f\":\"r\",\"value\":1e30}";
    assert_eq!(read(float).unwrap().events[0].value.to_string(), "1e30");
}
