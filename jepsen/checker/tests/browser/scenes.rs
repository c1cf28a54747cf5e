//! Scenes: histories to look at, made by hand or from a seed.
//!
//! Each is a [`Scene`] with all that a page needs. `small` is a contradiction of three operations
//! under a partition; `long` is what a long run records, with crashed clients, all faults and changes
//! of leaders; `hostile` holds texts that want to be markup, script or something else than they are;
//! `crowd` has thousands of processes; `foreign` is whatever a text says.
//!
//! Times are in nanoseconds. The same call makes the same scene.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells_checker::history::{
    Clock, Event, EventType, Format, History, Operation, Value, pairing,
};
use sixbells_checker::nodes;
use sixbells_checker::page::{Page, Step};
use sixbells_checker::report::{Check, Report};
use sixbells_checker::stats::Stats;
use sixbells_checker::{Explanation, Verdict};

const MS: u64 = 1_000_000;

/// A history with its verdict.
pub(crate) struct Scene {
    events: Vec<Event>,
    operations: Vec<Operation>,
    clock: Clock,
    report: Report,
    order: Option<Vec<Step>>,
}

impl Scene {
    /// From a history in Jepsen's form, which stays when the fields of an event do not.
    fn new(name: &str, text: &str, verdict: impl Fn(&[Operation]) -> Verdict) -> Self {
        let history = History::parse(name, text, Format::Edn).expect("scenes are readable");
        let events = history.events;
        let (clock, operations) = pairing::pair(&events).expect("scenes are well formed");
        let check = Check {
            name: "linearizable (kv)".to_owned(),
            verdict: verdict(&operations),
            details: serde_json::Value::Null,
        };
        let report = Report {
            subject: name.to_owned(),
            checks: vec![check],
            stats: Stats::of(&operations, clock),
            notes: vec!["served through every node 1043 ms after healing".to_owned()],
            ..Report::default()
        };
        Self { events, operations, clock, report, order: None }
    }

    /// The file.
    pub(crate) fn html(&self) -> String {
        let page = Page::of(&self.report, &self.events, self.clock, &self.operations);
        Page { order: self.order.clone(), ..page }.html()
    }
}

/// The events of a scene in the making, each with its time.
#[derive(Default)]
struct Script {
    lines: Vec<(u64, String)>,
    known: String,
}

impl Script {
    fn event(&mut self, time: u64, process: &str, event_type: EventType, f: &str, value: &Value) {
        let (name, f) = (event_type.name(), Value::from(f));
        let known = match event_type {
            EventType::Invoke => String::new(),
            EventType::Ok | EventType::Fail | EventType::Info => std::mem::take(&mut self.known),
        };
        let line = format!(
            "{{:process {process} :type :{name} :f {f} :value {value} :time {time}{known}}}\n"
        );
        self.lines.push((time, line));
    }

    /// What the next completion says beside its value: `node` or `error`.
    fn knowing(&mut self, field: &str, text: &str) {
        self.known += &format!(" :{field} {}", Value::from(text));
    }

    /// All events by time.
    fn text(mut self) -> String {
        self.lines.sort_by_key(|(time, _)| *time);
        self.lines.into_iter().map(|(_, line)| line).collect()
    }

    fn nemesis(&mut self, time: u64, f: &str, value: &Value) {
        self.event(time, ":nemesis", EventType::Info, f, value);
    }

    /// A fault as our nemesis writes it down.
    fn fault(&mut self, from: u64, to: u64, f: &str, variant: &str, hit: &[i64]) {
        for (time, result) in [(from, "installed"), (to, "healed")] {
            let nodes = hit.iter().copied().map(Value::Int).collect();
            let fields = [
                ("variant", Value::from(variant)),
                ("result", Value::from(result)),
                ("nodes", Value::Vector(nodes)),
            ];
            let fields = fields.into_iter().map(|(name, value)| (Value::from(name), value));
            self.nemesis(time, f, &Value::Map(fields.collect()));
        }
    }

    fn role(&mut self, time: u64, node: u64, role: &str, term: u64) {
        self.nemesis(time, nodes::STATUS, &nodes::status(node, role, Some(term)));
    }

    fn operation(
        &mut self,
        process: u64,
        from: u64,
        end: Option<(u64, EventType)>,
        f: &str,
        io: &(Value, Value),
    ) {
        let process = process.to_string();
        self.event(from, &process, EventType::Invoke, f, &io.0);
        if let Some((to, event_type)) = end {
            self.event(to, &process, event_type, f, &io.1);
        }
    }
}

fn culprits(operations: &[Operation], picked: &[usize], sentence: &str) -> Verdict {
    let picked = picked.iter().filter_map(|at| operations.get(*at));
    let culprits = picked.map(|operation| operation.index).collect();
    let explanation =
        Explanation { sentence: sentence.to_owned(), culprits, ..Explanation::default() };
    Verdict::Invalid { explanation }
}

/// A read that is stale behind a partition.
pub(crate) fn small() -> Scene {
    let mut script = Script::default();
    for (node, role) in [(1, "leader"), (2, "follower"), (3, "follower")] {
        script.role(0, node, role, 4);
    }
    let at = |ms: u64| ms * MS;
    let ok = |ms: u64| Some((at(ms), EventType::Ok));
    let write = |value: i64| (Value::Int(value), Value::Int(value));
    script.operation(0, at(2), ok(14), "write", &write(16));
    script.operation(1, at(6), ok(9), "read", &(Value::Nil, Value::Nil));
    script.knowing("node", "1");
    script.operation(2, at(18), ok(33), "write", &write(17));
    script.operation(1, at(20), ok(30), "read", &(Value::Nil, Value::Int(16)));
    script.operation(
        3,
        at(25),
        Some((at(41), EventType::Fail)),
        "cas",
        &(Value::pair(11, 12), Value::pair(11, 12)),
    );
    script.fault(at(38), at(104), "partition", "majorities-ring", &[]);
    script.role(at(58), 2, "candidate", 5);
    script.role(at(63), 2, "leader", 5);
    script.role(at(64), 3, "follower", 5);
    script.operation(0, at(36), Some((at(70), EventType::Info)), "write", &write(99));
    script.knowing("node", "2");
    script.operation(2, at(66), ok(78), "write", &write(18));
    script.knowing("node", "1");
    script.operation(4, at(90), ok(93), "read", &(Value::Nil, Value::Int(17)));
    script.operation(3, at(95), ok(101), "read", &(Value::Nil, Value::Int(18)));
    script.role(at(110), 1, "follower", 5);
    script.operation(1, at(112), ok(121), "cas", &(Value::pair(18, 19), Value::pair(18, 19)));
    let sentence = "process 4 read 17 (node 1, 90 ms to 93 ms), but process 2's write of 18 had \
                    finished 12 ms before that read began, and process 2's write of 17 had \
                    finished 33 ms before that write began";
    let mut scene =
        Scene::new("store/register-strong/20261123T201500.250Z", &script.text(), |operations| {
            culprits(operations, &[2, 6, 7], sentence)
        });
    let step = |(slot, state): (usize, &str)| Step {
        operation: scene.operations[slot].index,
        state: state.to_owned(),
    };
    let order = [(1, "nil"), (0, "16"), (3, "16"), (2, "17"), (6, "18"), (8, "18"), (9, "19")];
    scene.order = Some(order.into_iter().map(step).collect());
    scene
}

/// Ten clients on twenty registers for a minute or more, with faults of all kinds, and one stale read.
pub(crate) fn long(length: usize) -> Scene {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut script = Script::default();
    let mut clocks: Vec<(u64, u64)> = (0..10).map(|process| (process * MS, process)).collect();
    let (mut count, mut end) = (0, 0);
    while count < length {
        let (now, process) = &mut clocks[count % 10];
        let (key, value) = (rng.random_range(0..20), i64::try_from(count).unwrap_or(0));
        let f = ["read", "read", "write", "cas"][rng.random_range(0..4)];
        let input = match f {
            "read" => Value::Nil,
            "write" => Value::Int(value),
            _ => Value::pair(value - 30, value),
        };
        let result = if f == "read" { Value::Int(value - 12) } else { input.clone() };
        let returned = *now + rng.random_range(MS / 2..8 * MS);
        let event_type = match rng.random_range(0..400) {
            0 => EventType::Info,
            1..40 if f == "cas" => EventType::Fail,
            _ => EventType::Ok,
        };
        let io = (Value::pair(key, input), Value::pair(key, result));
        script.operation(*process, *now, Some((returned, event_type)), f, &io);
        *now = returned + rng.random_range(MS / 4..3 * MS);
        if event_type == EventType::Info {
            *process += 10;
        }
        end = end.max(*now);
        count += 1;
    }
    surroundings(&mut script, end);
    let name = "store/register-strong/20261123T201500.250Z/history.jsonl";
    let sentence = "key 7: process 4 read 17 (node 2, 12.204 s to 12.206 s), but process 2's write \
                    of 18 had finished 12 ms before that read began";
    let mut scene = Scene::new(name, &script.text(), |operations| {
        let near = operations.len() / 3;
        culprits(operations, &[near, near + 4, near + 11], sentence)
    });
    let steps = scene.operations.iter().filter(|operation| operation.returned.is_some());
    let step = |operation: &Operation| Step {
        operation: operation.index,
        state: format!("{{{}}}", operation.value),
    };
    scene.order = Some(steps.take(length / 2).map(step).collect());
    scene
}

/// Faults and changes of leaders, one after the other until the end.
fn surroundings(script: &mut Script, end: u64) {
    let step = end / 24;
    let leader = |round: u64| 1 + round % 5;
    for node in 1..=5 {
        script.role(0, node, if node == 1 { "leader" } else { "follower" }, 1);
    }
    for round in 1..12 {
        let (from, to) = (round * 2 * step, round * 2 * step + step);
        let (kind, variant, hit) = [
            ("partition", "majority", &[][..]),
            ("kill", "leader", &[2][..]),
            ("pause", "minority", &[1, 4][..]),
        ][usize::try_from(round % 3).unwrap_or(0)];
        script.fault(from, to, kind, variant, hit);
        script.role(from + step / 9, leader(round), "candidate", round + 1);
        script.role(from + step / 6, leader(round), "leader", round + 1);
        script.role(from + step / 5, leader(round - 1), "follower", round + 1);
    }
}

/// Texts that are not what they look like.
pub(crate) fn hostile() -> Scene {
    let mut script = Script::default();
    let long = "very long ".repeat(2000);
    let texts = [
        "</script><script>globalThis.owned = 1</script>",
        "<img src=x onerror=\"globalThis.owned = 1\">",
        "\"'`;globalThis.owned=1//",
        "\u{2028}\u{2029}\u{0}\u{7}\u{1b}[31m",
        "\u{202e}drawkcab\u{202c} \u{2066}isolated",
        "{{data}} ${globalThis.owned = 1} <!--",
        "javascript:globalThis.owned=1",
        &long,
    ];
    for (number, text) in texts.iter().enumerate() {
        let (process, from) = (number as u64, 1000 * number as u64);
        let value = || Value::Text((*text).to_owned());
        script.knowing("node", text);
        script.knowing("error", text);
        script.operation(
            process,
            from,
            Some((from + 900, EventType::Ok)),
            text,
            &(value(), value()),
        );
        script.fault(from, from + 500, text, text, &[1]);
        script.nemesis(
            from,
            nodes::STATUS,
            &Value::Map(
                [
                    (Value::from("node"), value()),
                    (Value::from("role"), value()),
                    (Value::from("term"), Value::Int(1)),
                ]
                .into_iter()
                .collect(),
            ),
        );
    }
    let mut scene = Scene::new(&texts[..6].join(" "), &script.text(), |operations| {
        culprits(operations, &[0, 1, 2, 3, 4, 5, 6, 7], &texts[..6].join(" "))
    });
    scene.report.notes.extend(texts.iter().map(|text| (*text).to_owned()));
    let step = |operation: &Operation| Step {
        operation: operation.index,
        state: operation.value.to_string(),
    };
    scene.order = Some(scene.operations.iter().map(step).collect());
    scene
}

/// A foreign history without times, as Jepsen writes one; with no text, one without anything.
pub(crate) fn foreign(text: &str) -> Scene {
    let why = "the history has no operation that could be judged".to_owned();
    Scene::new("history.edn", text, |_| Verdict::Unknown { why: why.clone() })
}

/// Thousands of processes that have one operation each, and follow no rule.
pub(crate) fn crowd(processes: u64) -> Scene {
    let mut script = Script::default();
    for process in 0..processes {
        let from = process * 10;
        let value = Value::Int(i64::try_from(process).unwrap_or(0));
        let io = (value.clone(), value);
        script.operation(process, from, Some((from + 500, EventType::Ok)), "write", &io);
    }
    Scene::new("crowd", &script.text(), |operations| {
        culprits(operations, &[3, operations.len() - 1], "the first and the last disagree")
    })
}
