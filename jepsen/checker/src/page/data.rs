//! The data of a page: the history in columns, as JSON within a `script` element.
//!
//! In goes a [`Page`], out comes the text between the tags. Operations are written column by column;
//! times as differences; texts, which repeat, as numbers of a dictionary. `history.js` reads it.
//!
//! Invariants:
//! - the text holds no `<`, `>`, `&` or letter that cannot be seen, so nothing in a history can end the element;
//! - times count from the first moment of the history, so that a browser's numbers hold them exactly;
//! - a text longer than [`TEXT_CHARS_MAX`] is cut and says so, and so is a list of more nodes than
//!   [`NODES_MAX`]. Everything else is whole.
//!
//! It is the one file here that knows the fields of an operation.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{Page, lanes};
use crate::faults::Band;
use crate::history::{Clock, Operation, Outcome, Value};
use crate::nodes::NodeLane;

/// How long one text may be. A set that is read with all its elements is long; nobody reads more.
const TEXT_CHARS_MAX: usize = 2000;

/// How many nodes have a row. Rows of nodes do not scroll, and a picture has a largest size.
const NODES_MAX: usize = 32;

/// What no operation has.
const NONE: i64 = -1;

#[derive(Serialize)]
struct Data<'a> {
    title: Cow<'a, str>,
    finding: &'static str,
    sentence: Cow<'a, str>,
    clock: &'static str,
    /// Where the clock stood at the page's moment 0.
    origin: u64,
    end: u64,
    texts: Vec<Cow<'a, str>>,
    operations: Columns,
    lanes: Vec<Vec<u64>>,
    bands: Vec<BandRow<'a>>,
    nodes: Vec<NodeRow<'a>>,
    culprits: Vec<usize>,
    order: Option<Order>,
    notes: Vec<Cow<'a, str>>,
}

/// One list a field, one member an operation; none at all if no operation has the field. Texts are
/// positions in the dictionary, or -1.
#[derive(Default, Serialize)]
struct Columns {
    /// How far from that of the operation before.
    index: Vec<i64>,
    process: Vec<u64>,
    lane: Vec<usize>,
    /// One letter each: o, f or i.
    outcome: String,
    /// The time since the invocation before.
    invoked: Vec<i64>,
    /// How long it took, or -1.
    took: Vec<i64>,
    f: Vec<i64>,
    key: Vec<i64>,
    input: Vec<i64>,
    value: Vec<i64>,
    node: Vec<i64>,
    request: Vec<i64>,
    error: Vec<i64>,
}

#[derive(Serialize)]
struct BandRow<'a> {
    name: Cow<'a, str>,
    detail: Cow<'a, str>,
    nodes: &'a [String],
    from: u64,
    to: Option<u64>,
}

#[derive(Serialize)]
struct NodeRow<'a> {
    name: Cow<'a, str>,
    /// Role, term, from, to.
    spans: Vec<(&'a str, Option<u64>, u64, Option<u64>)>,
    events: Vec<(u64, &'a str)>,
}

/// The order, column by column.
#[derive(Serialize)]
struct Order {
    operation: Vec<usize>,
    state: Vec<i64>,
}

/// Texts by number.
#[derive(Default)]
struct Dictionary(BTreeMap<String, i64>);

impl Dictionary {
    fn number(&mut self, text: &str) -> i64 {
        let next = self.0.len() as i64;
        match self.0.get(text) {
            Some(number) => *number,
            None => {
                self.0.insert(text.to_owned(), next);
                next
            }
        }
    }

    fn optional(&mut self, text: Option<&str>) -> i64 {
        text.map_or(NONE, |text| self.number(text))
    }

    /// `nil` says nothing that its absence does not.
    fn value(&mut self, value: &Value) -> i64 {
        match value {
            Value::Nil => NONE,
            value => self.number(&clip(&value.to_string())),
        }
    }

    fn texts(self) -> Vec<Cow<'static, str>> {
        let mut texts = vec![Cow::Borrowed(""); self.0.len()];
        for (text, number) in self.0 {
            let slot = usize::try_from(number).ok().and_then(|number| texts.get_mut(number));
            if let Some(slot) = slot {
                *slot = Cow::Owned(text);
            }
        }
        texts
    }
}

/// The JSON of a page.
pub(super) fn json(page: &Page<'_>) -> String {
    let operations = page.operations;
    let origin = origin(page);
    let end = end(page).saturating_sub(origin);
    let since = |time: u64| time.saturating_sub(origin);
    let slots: BTreeMap<usize, usize> =
        operations.iter().enumerate().map(|(slot, operation)| (operation.index, slot)).collect();
    let mut dictionary = Dictionary::default();
    let lanes = lanes::of(operations);
    let columns = columns(operations, origin, &lanes, &mut dictionary);
    let order = page.order.as_ref().map(|steps| {
        let known = steps.iter().filter_map(|step| Some((*slots.get(&step.operation)?, step)));
        let (operation, state) =
            known.map(|(slot, step)| (slot, dictionary.number(&clip(&step.state)))).unzip();
        Order { operation, state }
    });
    let hidden = page.nodes.len().checked_sub(NODES_MAX).filter(|hidden| *hidden > 0);
    let hidden = hidden.map(|hidden| format!("{hidden} more nodes have no row").into());
    let data = Data {
        title: clip(&page.title),
        finding: page.finding.word(),
        sentence: clip(&page.sentence),
        clock: match page.clock {
            Clock::Nanoseconds => "nanoseconds",
            Clock::Positions => "positions",
        },
        origin,
        end,
        texts: dictionary.texts(),
        operations: columns,
        lanes,
        bands: page.bands.iter().map(|band| band_row(band, since)).collect(),
        nodes: page.nodes.iter().take(NODES_MAX).map(|node| node_row(node, since)).collect(),
        culprits: page.culprits.iter().filter_map(|index| slots.get(index).copied()).collect(),
        order,
        notes: page.notes.iter().map(|note| clip(note)).chain(hidden).collect(),
    };
    // Every key is a string and every number finite, so there is nothing that could fail.
    inert(&serde_json::to_string(&data).unwrap_or_default())
}

/// The first moment that the page shows.
fn origin(page: &Page<'_>) -> u64 {
    let operations = page.operations.iter().map(|operation| operation.invoked);
    let bands = page.bands.iter().map(|band| band.from);
    let spans = page.nodes.iter().flat_map(|node| &node.spans).map(|span| span.from);
    operations.chain(bands).chain(spans).min().unwrap_or(0)
}

/// The last moment that the page shows.
fn end(page: &Page<'_>) -> u64 {
    let last = |from: u64, to: Option<u64>| to.unwrap_or(from).max(from);
    let operations = page.operations.iter().map(|one| last(one.invoked, one.returned));
    let bands = page.bands.iter().map(|band| last(band.from, band.to));
    let spans = page.nodes.iter().flat_map(|node| &node.spans);
    let spans = spans.map(|span| last(span.from, span.to));
    operations.chain(bands).chain(spans).max().unwrap_or(0)
}

fn columns(
    operations: &[Operation],
    origin: u64,
    lanes: &[Vec<u64>],
    dictionary: &mut Dictionary,
) -> Columns {
    let of_lane = |(lane, processes): (usize, &Vec<u64>)| {
        processes.iter().map(move |process| (*process, lane)).collect::<Vec<_>>()
    };
    let lanes: BTreeMap<u64, usize> = lanes.iter().enumerate().flat_map(of_lane).collect();
    let keyed = keyed(operations);
    let mut columns = Columns::default();
    let (mut before, mut place) = (origin, 0);
    for operation in operations {
        columns.index.push(difference(place, operation.index as u64));
        place = operation.index as u64;
        columns.process.push(operation.process);
        columns.lane.push(lanes.get(&operation.process).copied().unwrap_or(0));
        columns.outcome.push(match operation.outcome {
            Outcome::Ok => 'o',
            Outcome::Fail => 'f',
            Outcome::Info => 'i',
        });
        columns.invoked.push(difference(before, operation.invoked));
        before = operation.invoked;
        let took = operation.returned.map(|returned| difference(operation.invoked, returned));
        columns.took.push(took.unwrap_or(NONE));
        columns.f.push(dictionary.number(&clip(operation.f.as_str())));
        let (key, input) = split(&operation.input, keyed);
        let (_, value) = split(&operation.value, keyed);
        columns.key.push(key.map_or(NONE, |key| dictionary.value(key)));
        columns.input.push(dictionary.value(input));
        columns.value.push(dictionary.value(value));
        columns.node.push(dictionary.optional(operation.node()));
        columns.request.push(dictionary.optional(operation.request()));
        let error = operation.error().map(clip);
        columns.error.push(dictionary.optional(error.as_deref()));
    }
    let Columns { key, node, request, error, .. } = &mut columns;
    for column in [key, node, request, error] {
        if column.iter().all(|number| *number == NONE) {
            column.clear();
        }
    }
    columns
}

/// Whether every call carries a key and a value, as in Jepsen's independent workloads.
fn keyed(operations: &[Operation]) -> bool {
    operations.iter().all(|operation| operation.input.as_pair().is_some())
}

fn split(value: &Value, keyed: bool) -> (Option<&Value>, &Value) {
    match value.as_pair() {
        Some((key, value)) if keyed => (Some(key), value),
        _ => (None, value),
    }
}

fn band_row<'a>(band: &'a Band, since: impl Fn(u64) -> u64) -> BandRow<'a> {
    BandRow {
        name: clip(&band.name),
        detail: clip(&band.detail),
        nodes: &band.nodes,
        from: since(band.from),
        to: band.to.map(since),
    }
}

fn node_row<'a>(node: &'a NodeLane, since: impl Fn(u64) -> u64) -> NodeRow<'a> {
    let spans = node.spans.iter();
    let spans = spans.map(|s| (s.role.as_str(), s.term, since(s.from), s.to.map(&since)));
    let events = node.events.iter().map(|event| (since(event.at), event.text.as_str()));
    NodeRow { name: clip(&node.name), spans: spans.collect(), events: events.collect() }
}

fn difference(from: u64, to: u64) -> i64 {
    let size = i64::try_from(from.abs_diff(to)).unwrap_or(i64::MAX);
    if to >= from { size } else { -size }
}

/// The text, or its beginning and how long it was.
fn clip(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => Cow::Borrowed(text),
        Some((end, _)) => {
            let all = text.chars().count();
            Cow::Owned(format!("{} … ({all} characters in all)", &text[..end]))
        }
    }
}

/// JSON that is inert within HTML. These characters occur within strings only, where an escape is
/// the same data.
fn inert(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            unseen if super::is_unseen(unseen) => {
                out.push_str(&format!("\\u{:04x}", u32::from(unseen)));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_end_its_element_and_stays_the_same_data() {
        let text = "</script><!-- & \u{2028}\u{2029} \" \\ \u{202e}";
        let json = inert(&serde_json::to_string(text).unwrap());
        assert!(!json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let long = "ä".repeat(TEXT_CHARS_MAX + 1);
        assert!(clip(&long).ends_with("ä … (2001 characters in all)"));
        assert_eq!(clip("short"), "short");
    }
}
