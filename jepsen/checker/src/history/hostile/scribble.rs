//! Random histories, and random ways to write them down and to spoil them.
//!
//! In goes a random number generator, out come values, events and texts. The histories are well
//! formed; the texts are EDN as nobody would write it: blanks, comments and discards everywhere,
//! strings that hold brackets and line feeds, keys in any order and keys that mean nothing.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::history::value::{Float, Value};
use crate::history::{Details, Event, EventType, Process};

/// Texts that readers stumble over.
const TEXTS: [&str; 8] =
    ["", "}\n{", "a \"b\" \\", "[\n\n]", "; no comment\n", "é 😀\u{85}", "\u{0}\t\r\n", "#_ nil"];

pub(super) fn value(rng: &mut SmallRng, depth: usize) -> Value {
    let sorts = if depth == 0 { 9 } else { 14 };
    let items = |rng: &mut SmallRng| -> Vec<Value> {
        (0..rng.random_range(0..4)).map(|_| value(rng, depth - 1)).collect()
    };
    match rng.random_range(0..sorts) {
        0 => Value::Nil,
        1 => Value::Bool(rng.random()),
        2 => Value::Int(rng.random_range(-9..99)),
        3 => Value::Int([i64::MIN, i64::MAX, 0, 999_999_999_999_999_999][rng.random_range(0..4)]),
        4 => Value::Float(Float([0.5, -1e300, f64::NAN, f64::INFINITY][rng.random_range(0..4)])),
        5 => Value::Char(['a', '(', '\n', 'é', '"', '\\', ' '][rng.random_range(0..7)]),
        6 => Value::Keyword(["k", "ns/key", "type"][rng.random_range(0..3)].to_owned()),
        7 => Value::Symbol(["s", "-", "a.b/c"][rng.random_range(0..3)].to_owned()),
        8 => Value::Text(TEXTS[rng.random_range(0..TEXTS.len())].to_owned()),
        9 => Value::List(items(rng)),
        10 => Value::Vector(items(rng)),
        11 => Value::Set(items(rng).into_iter().collect::<BTreeSet<_>>()),
        12 => {
            let keys = items(rng).into_iter();
            Value::Map(keys.map(|key| (key, value(rng, 0))).collect::<BTreeMap<_, _>>())
        }
        _ => Value::Tagged("tag".to_owned(), Box::new(value(rng, depth - 1))),
    }
}

/// A well-formed history of some clients, with or without times.
pub(super) fn events(rng: &mut SmallRng, count: usize) -> Vec<Event> {
    let clients = rng.random_range(1..6);
    let timed = rng.random_bool(0.7);
    let mut open: BTreeMap<u64, Option<&str>> = (0..clients).map(|id| (id, None)).collect();
    let mut events: Vec<Event> = Vec::new();
    while events.len() < count {
        let place = rng.random_range(0..open.len());
        let (&process, &f) = open.iter().nth(place).expect("the place is one of them");
        let (event_type, f) = match f {
            _ if rng.random_ratio(1, 20) => (None, "kill the \"node\""),
            None => (Some(EventType::Invoke), ["read", "a b", "cas"][rng.random_range(0..3)]),
            Some(f) => {
                let ends = [EventType::Ok, EventType::Fail, EventType::Info];
                (Some(ends[rng.random_range(0..3)]), f)
            }
        };
        match event_type {
            Some(EventType::Invoke) => drop(open.insert(process, Some(f))),
            Some(EventType::Info) => {
                open.remove(&process);
                open.insert(process + clients, None);
            }
            Some(_) => drop(open.insert(process, None)),
            None => {}
        }
        let who = if event_type.is_some() { Process::Client(process) } else { Process::Nemesis };
        let event = Event::new(who, event_type.unwrap_or(EventType::Info), f, value(rng, 3));
        let index = events.len() as u64;
        let time = timed.then(|| index * 10 + rng.random_range(0..10));
        let log_index = rng.random_ratio(1, 4).then(|| rng.random_range(0..99));
        events.push(Event { index, time, log_index, details: details(rng), ..event });
    }
    events
}

fn details(rng: &mut SmallRng) -> Option<Box<Details>> {
    let mut text = || {
        let text = TEXTS[rng.random_range(0..TEXTS.len())];
        rng.random_ratio(1, 6).then(|| text.into())
    };
    Details { node: text(), request: text(), error: text() }.boxed()
}

/// The events as EDN that only a real reader can read.
pub(super) fn ugly_edn(rng: &mut SmallRng, events: &[Event]) -> String {
    let in_vector = rng.random_ratio(1, 4);
    let mut text = String::from(if in_vector { " [" } else { "" });
    for event in events {
        let number = |number: u64| i64::try_from(number).map(Value::Int).unwrap_or_default();
        let process = match event.process {
            Process::Client(id) => number(id),
            Process::Nemesis => Value::Keyword("nemesis".to_owned()),
        };
        let name = |name: &str| Value::Text(name.to_owned());
        let mut fields = vec![
            ("process", Some(process)),
            ("type", Some(Value::Keyword(event.event_type.name().to_owned()))),
            ("f", Some(name(&event.f))),
            ("value", Some(event.value.clone())),
            ("index", rng.random_bool(0.5).then(|| number(event.index))),
            ("time", event.time.map(number)),
            ("log-index", event.log_index.map(number)),
            ("node", event.node().map(name)),
            ("request", event.request().map(name)),
            ("error", event.error().map(name)),
            ("link", rng.random_ratio(1, 9).then(|| value(rng, 2))),
        ];
        let first = rng.random_range(0..fields.len());
        fields.rotate_left(first);
        if rng.random_ratio(1, 5) {
            text += "#jepsen.history.Op";
        }
        text.push('{');
        for (key, value) in fields.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            text += &format!("{}:{key}{}{value}{}", blank(rng), blank(rng), blank(rng));
        }
        text.push('}');
        text += blank(rng);
        if rng.random_bool(0.8) {
            text.push('\n');
        }
    }
    text += if in_vector { "] ; the end" } else { "" };
    text
}

fn blank(rng: &mut SmallRng) -> &'static str {
    let rare = ["\n", ",", " ; {\n", " #_{:a \"}\"} ", "\r\n", "\u{a0}", " #_ #_ 1 2 ", "\t"];
    if rng.random_bool(0.9) { " " } else { rare[rng.random_range(0..rare.len())] }
}

/// Spoils a text a little.
pub(super) fn spoil(rng: &mut SmallRng, text: &mut Vec<u8>) {
    let scraps: [&[u8]; 18] = [
        b"{",
        b"}",
        b"]",
        b"\"",
        b"\\",
        b"#",
        b"\n",
        b"[",
        b"\0",
        b"99999999999999999999",
        b"1/2",
        b"\\ud800",
        b"\xff",
        b":time -5 ",
        b"#_",
        b"nil",
        b" :index -1 ",
        b"\n]\n",
    ];
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=text.len());
        let end = (at + rng.random_range(0..8)).min(text.len());
        let scrap = scraps[rng.random_range(0..scraps.len())];
        match rng.random_range(0..4) {
            0 => drop(text.drain(at..end)),
            1 => drop(text.splice(at..at, scrap.iter().copied())),
            2 => drop(text.splice(at..end, scrap.iter().copied())),
            _ => text.truncate(at),
        }
    }
}
