//! A queue: what was enqueued first is dequeued first.
//!
//! Operations: `enqueue` (`enq`, `offer`, `push`, `send`) with an element, and `dequeue` (`deq`,
//! `poll`, `pop`, `take`, `receive`) whose completion is the element. One that is `ok` with nil or
//! `:empty` *saw* an empty queue, and that is held against the order; one that is `fail` says nothing.
//! A dequeue that crashed may have taken any element, or none. Jepsen's `drain` is many dequeues at
//! once and no call on a queue: write each of them down.
//!
//! With no element enqueued twice, [`aspects`] decides it in O(n log n), however many calls overlap
//! or crashed.
//!
//! Invariants:
//! - nil and `:empty` are no elements.

mod aspects;
mod line;
mod witness;

use super::{Action, HistoryModel, Model, Read, Words};
use crate::datum::{Datum, Dictionary};
use crate::history::{Outcome, Value};
use crate::linearizable::{Decision, Object};

pub use line::Line;

/// One queue, empty at first.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    dictionary: Dictionary,
}

/// What a [`Queue`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueInput {
    /// Put this at the end.
    Enqueue(Datum),
    /// Take what is at the front.
    Dequeue,
}

/// What a dequeue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueOutput {
    /// This was at the front.
    Element(Datum),
    /// Nothing was.
    Empty,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    fn shown(&self, element: Datum) -> String {
        self.dictionary.value(element).to_string()
    }
}

/// Whether a completion says that there was nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Nil => true,
        Value::Keyword(name) => matches!(name.as_str(), "empty" | "exhausted" | "none"),
        _ => false,
    }
}

impl Model for Queue {
    type Input = QueueInput;
    type Output = QueueOutput;
    type State = Line;
    type Key = ();

    fn name(&self) -> &'static str {
        "queue"
    }

    fn initial(&self) -> Line {
        Line::default()
    }

    fn step(&self, state: &Line, input: &QueueInput, output: Option<&QueueOutput>) -> Option<Line> {
        match (input, output) {
            (QueueInput::Enqueue(element), _) => Some(state.with(*element)),
            (QueueInput::Dequeue, None) => Some(state.without_first()),
            (QueueInput::Dequeue, Some(QueueOutput::Empty)) => {
                (state.len() == 0).then(|| state.clone())
            }
            (QueueInput::Dequeue, Some(QueueOutput::Element(element))) => {
                (state.first() == Some(*element)).then(|| state.without_first())
            }
        }
    }

    fn key(&self, _input: &QueueInput) {}

    fn decide(&self, object: &Object<'_, QueueInput, QueueOutput>) -> Option<Decision> {
        aspects::decide(object)
    }

    fn state_bytes(&self, state: &Line) -> usize {
        size_of::<Line>() + state.len() * size_of::<Datum>()
    }

    fn words(&self, input: &QueueInput, output: Option<&QueueOutput>) -> Words {
        let (verb, noun) = match (input, output) {
            (QueueInput::Enqueue(element), _) => {
                let element = self.shown(*element);
                (format!("enqueued {element}"), format!("enqueue of {element}"))
            }
            (QueueInput::Dequeue, Some(QueueOutput::Element(element))) => {
                let element = self.shown(*element);
                (format!("dequeued {element}"), format!("dequeue of {element}"))
            }
            (QueueInput::Dequeue, Some(QueueOutput::Empty)) => {
                ("found the queue empty".to_owned(), "dequeue of nothing".to_owned())
            }
            (QueueInput::Dequeue, None) => {
                ("may have dequeued something".to_owned(), "dequeue".to_owned())
            }
        };
        Words { verb, noun }
    }
}

impl HistoryModel for Queue {
    fn read(&mut self, action: &Action<'_>) -> Result<Read<Self>, String> {
        match action.f {
            "enqueue" | "enq" | "offer" | "push" | "send" => {
                let element = action.argument()?.untagged();
                if is_nothing(element) {
                    return Err(format!("{element} means an empty queue, and cannot wait in one"));
                }
                Ok((QueueInput::Enqueue(self.dictionary.datum(element)), None))
            }
            "dequeue" | "deq" | "poll" | "pop" | "take" | "receive" => {
                let value = action.value.untagged();
                let output = (action.outcome == Outcome::Ok).then(|| match is_nothing(value) {
                    true => QueueOutput::Empty,
                    false => QueueOutput::Element(self.dictionary.datum(value)),
                });
                Ok((QueueInput::Dequeue, output))
            }
            "drain" => {
                let reason = "a drain is many dequeues, not one; write each of them down";
                Err(reason.to_owned())
            }
            other => Err(format!("the model `queue` has no operation `{other}`")),
        }
    }
}
