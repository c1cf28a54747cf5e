//! Nodes: what each said of its role and term while a history was recorded.
//!
//! A run writes down each change as an event of the nemesis with the function [`STATUS`] and the
//! value that [`status`] makes; [`lanes`] reads them back, and adds what faults did to each node.
//!
//! ```edn
//! {:process :nemesis, :type :info, :f :status, :value {"node" 1, "role" "leader", "term" 5}}
//! ```
//!
//! Invariants:
//! - the spans of a node follow each other and do not overlap;
//! - a role is what a node said of itself: two may call themselves leader at one time, and in
//!   different terms both may be right;
//! - it takes no part in any verdict, as nothing of the nemesis does.

use std::collections::BTreeMap;

use crate::faults::{self, Band};
use crate::history::{Clock, Event, Value};

/// The function of the events in which nodes speak of themselves.
pub const STATUS: &str = "status";
/// The role of a node that does not answer.
pub const SILENT: &str = "silent";

/// One node along the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLane {
    /// The node.
    pub name: String,
    /// What it was, and when.
    pub spans: Vec<Span>,
    /// What happened to it.
    pub events: Vec<NodeEvent>,
}

/// A time in which a node's role and term stayed the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its role, such as `leader`.
    pub role: String,
    /// Its term, where known.
    pub term: Option<u64>,
    /// From when, on the history's clock.
    pub from: u64,
    /// Until when; `None` if until the end.
    pub to: Option<u64>,
}

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// When, on the history's clock.
    pub at: u64,
    /// What, such as "became leader of term 5".
    pub text: String,
}

/// What a node says of itself, as the value of an event.
pub fn status(node: u64, role: &str, term: Option<u64>) -> Value {
    let number = |number: u64| i64::try_from(number).map_or(Value::Nil, Value::Int);
    let fields = [
        (Value::from("node"), number(node)),
        (Value::from("role"), Value::from(role)),
        (Value::from("term"), term.map_or(Value::Nil, number)),
    ];
    Value::Map(fields.into_iter().collect())
}

/// The nodes of a history that it says anything of, by name.
pub fn lanes(events: &[Event], clock: Clock, bands: &[Band]) -> Vec<NodeLane> {
    let mut lanes: BTreeMap<Name, NodeLane> = BTreeMap::new();
    for (event, time) in faults::nemesis(events, clock).filter(|(event, _)| event.f == STATUS) {
        let Some((node, role, term)) = read(&event.value) else { continue };
        let lane = lane(&mut lanes, node);
        // A leader that was silent for a while and comes back has not become one anew.
        let before = lane.spans.iter().rfind(|span| span.role != SILENT);
        let before = before.map(|span| (span.role.clone(), span.term));
        let term = term.or_else(|| lane.spans.last().and_then(|span| span.term));
        if let Some(last) = lane.spans.last_mut() {
            last.to = Some(time);
        }
        let led = before.as_ref().is_some_and(|(role, _)| role == "leader");
        if role == "leader" && before != Some((role.clone(), term)) {
            let of_term = term.map_or(String::new(), |term| format!(" of term {term}"));
            lane.events.push(NodeEvent { at: time, text: format!("became leader{of_term}") });
        } else if led && role != "leader" && role != SILENT {
            lane.events.push(NodeEvent { at: time, text: "no longer leads".to_owned() });
        }
        lane.spans.push(Span { role, term, from: time, to: None });
    }
    for band in bands {
        let (begins, ends, role) = match band.name.as_str() {
            "kill" | "crash" => ("killed", "restarted", "down"),
            "pause" | "freeze" => ("paused", "resumed", "paused"),
            _ => continue,
        };
        for node in &band.nodes {
            let lane = lane(&mut lanes, node.clone());
            let event = |at, text: &str| NodeEvent { at, text: text.to_owned() };
            lane.events.push(event(band.from, begins));
            lane.events.extend(band.to.map(|at| event(at, ends)));
            // Without a word from the node itself, at least the time in which it could not speak.
            if lane.spans.iter().all(|span| span.role == "down" || span.role == "paused") {
                let role = role.to_owned();
                lane.spans.push(Span { role, term: None, from: band.from, to: band.to });
            }
        }
    }
    let mut lanes: Vec<NodeLane> = lanes.into_values().collect();
    for lane in &mut lanes {
        lane.events.sort_by_key(|event| event.at);
    }
    lanes
}

/// Names by their length first, so that node 10 follows node 9.
type Name = (usize, String);

fn lane(lanes: &mut BTreeMap<Name, NodeLane>, name: String) -> &mut NodeLane {
    let key = (name.len(), name.clone());
    lanes.entry(key).or_insert_with(|| NodeLane { name, ..NodeLane::default() })
}

fn read(value: &Value) -> Option<(String, String, Option<u64>)> {
    let Value::Map(fields) = value.untagged() else { return None };
    let field = |name: &str| fields.iter().find(|(key, _)| key.to_name() == name);
    let term = field("term").and_then(|(_, term)| term.to_string().parse().ok());
    Some((field("node")?.1.to_name(), field("role")?.1.to_name(), term))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Recorder;

    #[test]
    fn what_nodes_say_becomes_spans_and_what_befalls_them_events() {
        let recorder = Recorder::new(1);
        recorder.nemesis(STATUS, status(10, "follower", Some(4)));
        recorder.nemesis(STATUS, status(2, "leader", Some(5)));
        recorder.nemesis(STATUS, status(2, SILENT, None));
        recorder.nemesis(STATUS, status(2, "leader", Some(5)));
        recorder.nemesis(STATUS, status(2, "follower", Some(6)));
        let bands = [Band {
            name: "kill".to_owned(),
            nodes: vec!["2".to_owned()],
            from: 1,
            ..Band::default()
        }];
        let lanes = lanes(&recorder.events(), Clock::Positions, &bands);
        let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names, ["2", "10"]);
        let spans: Vec<_> =
            lanes[0].spans.iter().map(|s| (s.role.as_str(), s.term, s.from, s.to)).collect();
        assert_eq!(spans[..2], [("leader", Some(5), 1, Some(2)), (SILENT, Some(5), 2, Some(3))]);
        assert_eq!(spans[3], ("follower", Some(6), 4, None));
        let texts: Vec<&str> = lanes[0].events.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(texts, ["became leader of term 5", "killed", "no longer leads"]);
    }

    #[test]
    fn a_foreign_history_shows_at_least_when_a_node_was_down() {
        let bands = [Band {
            name: "kill".to_owned(),
            nodes: vec!["n1".to_owned()],
            from: 3,
            to: Some(9),
            ..Band::default()
        }];
        let lanes = lanes(&[], Clock::Positions, &bands);
        let down = Span { role: "down".to_owned(), term: None, from: 3, to: Some(9) };
        assert_eq!(lanes[0].spans, [down]);
    }
}
