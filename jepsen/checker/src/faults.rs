//! Faults: what was broken, from when to when.
//!
//! In go the events of a history, out come the [`Band`]s that the nemesis' events add up to. Three
//! ways of speaking are understood:
//!
//! - ours: one event a step, whose `result` is `installed`, `healed`, `skipped` or `failed`;
//! - Jepsen's pairs: `:start-partition` and `:stop-partition`, `:kill` and `:start`, `:pause` and
//!   `:resume`, each written down twice, when it was asked for and when it was done;
//! - anything else: a moment that is named, since nobody knows what ends it.
//!
//! Invariants:
//! - a band is never too short: it begins when its fault was asked for, and ends when its end was
//!   done;
//! - a fault that nothing ended has no end;
//! - what nodes say of themselves ([`crate::nodes`]) is no fault.
//!
//! Bands are for people. No verdict depends on them.

use crate::history::{Clock, Event, Process, Value};
use crate::nodes;

/// How long the text about a band may be.
const DETAIL_CHARS_MAX: usize = 200;

/// Which word ends what another began, where the words do not say so themselves.
const PAIRS: [(&str, &str); 10] = [
    ("kill", "start"),
    ("kill", "restart"),
    ("crash", "restart"),
    ("pause", "resume"),
    ("freeze", "thaw"),
    ("bump-clock", "reset-clock"),
    ("strobe-clock", "reset-clock"),
    ("partition", "heal"),
    ("isolate", "heal"),
    ("start", "stop"),
];

/// A fault in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Band {
    /// What kind of fault, such as `partition`.
    pub name: String,
    /// What else the history says of it.
    pub detail: String,
    /// The nodes that it hit, where the history names them.
    pub nodes: Vec<String>,
    /// When it began, on the history's clock.
    pub from: u64,
    /// When it was over; `None` if nothing ended it. A moment ends when it begins.
    pub to: Option<u64>,
}

/// What an event of the nemesis does.
enum Step {
    Begins(String),
    /// Ends the newest open band of one of these names.
    Ends(Vec<String>),
    Moment,
    Nothing,
}

/// The bands of a history, by their beginning.
pub fn bands(events: &[Event], clock: Clock) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    // Jepsen says twice what it does, so the word that ended a band may come again.
    let mut ended: Option<(&str, usize)> = None;
    for (event, time) in nemesis(events, clock).filter(|(event, _)| event.f != nodes::STATUS) {
        let f = event.f.as_str();
        // Once, not for ever: the third time it is something new.
        if let Some((word, band)) = ended.take()
            && word == f
        {
            bands[band].to = Some(time);
            continue;
        }
        let step = step(f, &event.value, |name| open.iter().any(|at| bands[*at].name == name));
        match step {
            Step::Nothing => {}
            Step::Begins(name) => {
                let known = open.iter().copied().find(|at| bands[*at].name == name);
                let band = known.unwrap_or(bands.len());
                if known.is_none() {
                    bands.push(Band { name, from: time, ..Band::default() });
                    open.push(band);
                }
                describe(&mut bands[band], &event.value);
            }
            Step::Ends(names) => {
                if let Some(at) = open.iter().rposition(|at| names.contains(&bands[*at].name)) {
                    let band = open.remove(at);
                    bands[band].to = Some(time);
                    // Ours says it once, and may begin the same anew at once.
                    ended = field(&event.value, "result").is_none().then_some((f, band));
                }
            }
            Step::Moment => {
                let to = Some(time);
                bands.push(Band { name: f.to_owned(), from: time, to, ..Band::default() });
                let band = bands.len() - 1;
                describe(&mut bands[band], &event.value);
                ended = Some((f, band));
            }
        }
    }
    bands
}

/// The nemesis' events, each with its time. Foreign ones may have none, and then keep the last.
pub(crate) fn nemesis(
    events: &[Event],
    clock: Clock,
) -> impl Iterator<Item = (&Event, u64)> + use<'_> {
    let mut now = 0;
    let timed = events.iter().enumerate().map(move |(position, event)| {
        now = match clock {
            Clock::Nanoseconds => event.time.unwrap_or(now),
            Clock::Positions => position as u64,
        };
        (event, now)
    });
    timed.filter(|(event, _)| event.process == Process::Nemesis)
}

fn step(f: &str, value: &Value, is_open: impl Fn(&str) -> bool) -> Step {
    match field(value, "result").map(Value::to_name).as_deref() {
        Some("installed") => return Step::Begins(f.to_owned()),
        Some("healed") => return Step::Ends(vec![f.to_owned()]),
        Some("skipped") => return Step::Nothing,
        Some("failed") => return Step::Moment,
        _ => {}
    }
    let affixed = |start: &str, end: &str| {
        f.strip_prefix(start).or_else(|| f.strip_suffix(end)).map(str::to_owned)
    };
    if let Some(name) = affixed("start-", "-start") {
        return Step::Begins(name);
    }
    if let Some(name) = affixed("stop-", "-stop") {
        return Step::Ends(vec![name]);
    }
    let ended = PAIRS.iter().filter(|(_, end)| *end == f).map(|(begin, _)| (*begin).to_owned());
    let ended: Vec<String> = ended.collect();
    // `:start` is the end of `:kill` for some, and the beginning of what `:stop` ends for others.
    let begins = PAIRS.iter().any(|(begin, _)| *begin == f);
    if begins && !ended.iter().any(|name| is_open(name)) {
        return Step::Begins(f.to_owned());
    }
    match ended.is_empty() {
        true => Step::Moment,
        false => Step::Ends(ended),
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(fields) = value.untagged() else { return None };
    fields.iter().find(|(key, _)| key.to_name() == name).map(|(_, value)| value)
}

/// Takes over what an event says. The second event of two knows more, so the last one counts.
fn describe(band: &mut Band, value: &Value) {
    let nodes: Vec<String> = match (field(value, "nodes"), value.untagged()) {
        (Some(nodes), _) => names(nodes),
        (None, Value::Map(fields)) if field(value, "result").is_none() => {
            fields.keys().map(Value::to_name).collect()
        }
        (None, Value::Vector(_) | Value::List(_) | Value::Set(_)) => names(value),
        _ => Vec::new(),
    };
    if !nodes.is_empty() {
        band.nodes = nodes;
    }
    let detail = match (field(value, "variant"), field(value, "why")) {
        (_, Some(why)) => why.to_name(),
        (Some(variant), None) => variant.to_name(),
        (None, None) if *value == Value::Nil => return,
        (None, None) => value.to_name(),
    };
    band.detail = detail.chars().take(DETAIL_CHARS_MAX).collect();
}

/// Names of nodes, or nothing if that is not what the value holds.
fn names(value: &Value) -> Vec<String> {
    let plain = |item: &Value| {
        matches!(item, Value::Int(_) | Value::Text(_) | Value::Symbol(_)).then(|| item.to_name())
    };
    let items = value.items().unwrap_or_default();
    items.into_iter().map(plain).collect::<Option<Vec<_>>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Format, History};

    fn of(text: &str) -> Vec<(String, u64, Option<u64>)> {
        let history = History::parse("test", text, Format::Edn).unwrap();
        let bands = bands(&history.events, Clock::Nanoseconds);
        bands.into_iter().map(|band| (band.name, band.from, band.to)).collect()
    }

    fn event(f: &str, time: u64, value: &str) -> String {
        format!("{{:process :nemesis :type :info :f :{f} :time {time} :value {value}}}\n")
    }

    fn band(name: &str, from: u64, to: impl Into<Option<u64>>) -> (String, u64, Option<u64>) {
        (name.to_owned(), from, to.into())
    }

    #[test]
    fn our_own_steps_are_bands_and_what_was_skipped_is_none() {
        let text = event("kill", 1, r#"{"variant" "one" "result" "installed" "nodes" [2]}"#)
            + &event("kill", 5, r#"{"variant" "one" "result" "healed" "nodes" [2]}"#)
            + &event("partition", 7, r#"{"variant" "third" "result" "skipped" "why" "few"}"#)
            + &event("status", 8, r#"{"node" 1 "role" "leader" "term" 3}"#)
            + &event("pause", 9, r#"{"variant" "all" "result" "installed" "nodes" [1 2]}"#);
        assert_eq!(of(&text), [band("kill", 1, 5), band("pause", 9, None)]);
        let history = History::parse("test", &text, Format::Edn).unwrap();
        let bands = bands(&history.events, Clock::Nanoseconds);
        assert_eq!(
            (bands[0].detail.as_str(), &bands[1].nodes),
            ("one", &vec!["1".into(), "2".into()])
        );
    }

    /// Jepsen writes each step down twice; the band must hold all that lies between.
    #[test]
    fn a_foreign_pair_runs_from_the_first_word_to_the_last() {
        let text = event("start-partition", 10, ":majority")
            + &event("start-partition", 12, r#"[:isolated {"n1" #{"n2"}}]"#)
            + &event("kill", 14, ":one")
            + &event("kill", 15, r#"{"n3" :killed}"#)
            + &event("stop-partition", 20, "nil")
            + &event("stop-partition", 23, ":network-healed")
            + &event("start", 30, ":all")
            + &event("start", 31, r#"{"n3" :started}"#);
        assert_eq!(of(&text), [band("partition", 10, 23), band("kill", 14, 31)]);
    }

    #[test]
    fn the_same_word_can_begin_one_fault_and_end_another() {
        let text = event("stop", 1, "nil")
            + &event("start", 2, "nil")
            + &event("start", 3, "nil")
            + &event("stop", 4, "nil")
            + &event("stop", 5, "nil")
            + &event("bump-clock", 6, "{}")
            + &event("reset-clock", 8, "nil")
            + &event("shake", 9, "nil")
            + &event("shake", 10, "nil")
            + &event("shake", 30, "nil");
        let expected = [
            band("start", 2, 5),
            band("bump-clock", 6, 8),
            band("shake", 9, 10),
            band("shake", 30, 30),
        ];
        assert_eq!(of(&text), expected);
    }
}
