//! Which model a name means, and what it says of a history.
//!
//! In go operations and the name of a model; out come the checks of a report, how they were decided, and
//! for a page the order that was found with the state after each step.

use clap::ValueEnum;
use sixbells_jepsen::checker::budget::Budget;
use sixbells_jepsen::checker::linearizable::{self, Verdict};
use sixbells_jepsen::checker::{OpError, set};
use sixbells_jepsen::faults::Band;
use sixbells_jepsen::history::edn::EdnReader;
use sixbells_jepsen::history::{Clock, Operation, Value};
use sixbells_jepsen::model::{AppendList, HistoryModel, Keyed, Queue, Register, Set};
use sixbells_jepsen::page::Step;
use sixbells_jepsen::report::Check;

/// A model's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelName {
    /// One register: read, write.
    Register,
    /// One register: read, write, cas.
    CasRegister,
    /// Many registers with cas; values are [key value].
    Kv,
    /// A set: add, remove, contains, read all. Of added elements, none may be lost.
    Set,
    /// A first-in, first-out queue: enqueue, dequeue.
    Queue,
    /// A list: append, read all; also Elle's transactions of one append or read.
    Append,
}

/// What to judge, and how.
pub(crate) struct Judge<'a> {
    pub(crate) model: ModelName,
    pub(crate) keyed: bool,
    pub(crate) initial: &'a str,
    pub(crate) clock: Clock,
    pub(crate) faults: &'a [Band],
    pub(crate) budget: Budget,
    /// Whether the order that was found is wanted.
    pub(crate) with_order: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) checks: Vec<Check>,
    /// Which algorithm decided, one a line.
    pub(crate) methods: Vec<String>,
    /// The steps of the order that was found.
    pub(crate) order: Option<Vec<Step>>,
}

impl Judge<'_> {
    /// Judges the operations.
    pub(crate) fn judge(self, operations: &[Operation]) -> Result<Judged, OpError> {
        let initial = self.initial()?;
        match self.model {
            ModelName::Register => {
                self.of_kind(Register::plain().beginning_with(&initial), operations)
            }
            ModelName::CasRegister => {
                self.of_kind(Register::with_cas().beginning_with(&initial), operations)
            }
            ModelName::Kv => {
                let register = Register::with_cas().beginning_with(&initial);
                self.with(Keyed::of("kv", register), operations)
            }
            ModelName::Queue => self.of_kind(Queue::new(), operations),
            ModelName::Append => self.of_kind(AppendList::new(), operations),
            ModelName::Set if self.keyed => self.of_kind(Set::whole(), operations),
            ModelName::Set => self.set(operations),
        }
    }

    fn initial(&self) -> Result<Value, OpError> {
        let wrong = |reason| OpError { index: 0, reason: format!("--initial: {reason}") };
        let form = EdnReader::new(self.initial).next_form();
        match form.map_err(|error| wrong(error.reason))? {
            Some((_, value)) => Ok(value),
            None => Err(wrong("no value is given".to_owned())),
        }
    }

    fn of_kind<M: HistoryModel>(
        self,
        model: M,
        operations: &[Operation],
    ) -> Result<Judged, OpError> {
        match self.keyed {
            true => {
                let name = format!("keyed {}", model.name());
                self.with(Keyed::of(&name, model), operations)
            }
            false => self.with(model, operations),
        }
    }

    /// A set is judged twice: what became of its elements, and whether one order explains all.
    fn set(self, operations: &[Operation]) -> Result<Judged, OpError> {
        let whole = operations.iter().any(|operation| operation.f == "read");
        let only_adds = operations.iter().all(|o| matches!(&*o.f, "add" | "read"));
        let kept = match whole && only_adds {
            true => {
                let report = set::check(operations)?;
                let details = serde_json::to_value(&report).unwrap_or_default();
                Some(Check { name: "set".to_owned(), verdict: report.verdict, details })
            }
            false => None,
        };
        let model = if whole { Set::whole() } else { Set::by_element() };
        let mut judged = self.with(model, operations)?;
        judged.checks.splice(0..0, kept);
        Ok(judged)
    }

    fn with<M: HistoryModel>(
        mut self,
        mut model: M,
        operations: &[Operation],
    ) -> Result<Judged, OpError> {
        let verdict = linearizable::check_operations(
            &mut model,
            operations,
            self.clock,
            self.faults,
            &mut self.budget,
        )?;
        let mut judged = Judged { methods: methods(&verdict), ..Judged::default() };
        if let (true, Verdict::Linearizable { witness }) = (self.with_order, &verdict) {
            judged.order = Some(steps(&mut model, witness, operations)?);
        }
        let name = format!("linearizable ({})", model.name());
        let details = serde_json::json!({ "methods": judged.methods });
        judged.checks.push(Check { name, verdict: verdict.into(), details });
        Ok(judged)
    }
}

fn methods(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Linearizable { witness } => {
            let methods = witness.methods();
            let line = |(method, (objects, calls)): (&linearizable::Method, &(usize, usize))| {
                let (name, how) = (method.name(), method.describe());
                format!("decided by {name}: {objects} objects, {calls} operations ({how})")
            };
            methods.iter().map(line).collect()
        }
        Verdict::Violation { method, .. } => {
            vec![format!("found by {} ({})", method.name(), method.describe())]
        }
        Verdict::Unknown { .. } => Vec::new(),
    }
}

/// The steps of the orders that were found, and the state of its object after each.
fn steps<M: HistoryModel>(
    model: &mut M,
    witness: &linearizable::Witness,
    operations: &[Operation],
) -> Result<Vec<Step>, OpError> {
    let (calls, sources) = model.calls(operations)?;
    // By operation: its call.
    let mut places = vec![None; operations.len()];
    for (call, source) in sources.iter().enumerate() {
        places[*source] = Some(call);
    }
    let mut steps = Vec::with_capacity(calls.len());
    for order in &witness.orders {
        let mut state = model.initial();
        for source in order.calls.iter().map(|source| *source as usize) {
            let Some(call) = places[source].map(|call| &calls[call]) else { continue };
            let Some(next) = model.step(&state, &call.input, call.answer()) else { break };
            state = next;
            let key = model.key_words(&model.key(&call.input));
            let key = key.map_or(String::new(), |key| format!("key {key}: "));
            let state = format!("{key}{}", model.state_words(&state));
            steps.push(Step { operation: operations[source].index, state });
        }
    }
    Ok(steps)
}
