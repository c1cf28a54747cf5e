//! Which model a name means, and what it says of a history.
//!
//! In go operations and the name of a model; out come the checks of a report, how they were decided, and
//! for a page the order that was found with the state after each step.

use clap::ValueEnum;
use sixbells_jepsen::checker::budget::Budget;
use sixbells_jepsen::checker::linearizable::{self, Verdict};
use sixbells_jepsen::checker::{OpError, set};
use sixbells_jepsen::faults::Band;
use sixbells_jepsen::history::{Clock, Operation, Value};
use sixbells_jepsen::model::{
    AppendList, FencedMutex, HistoryModel, Keyed, Mutex, Queue, Register, Set,
};
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
    /// A lock: acquire, release.
    Mutex,
    /// A lock whose acquires hand out rising tokens, and whose releases name them.
    FencedMutex,
}

/// Which model, in full.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) name: ModelName,
    /// Many of them, each under its key.
    pub(crate) keyed: bool,
    /// What a register begins with.
    pub(crate) initial: Value,
    /// Whether sets are read as a whole.
    pub(crate) whole: bool,
}

/// Something that is done with a model, whichever it is.
pub(crate) trait Use {
    type Result;
    fn with<M: HistoryModel + Clone + 'static>(self, model: M) -> Self::Result;
}

impl Kind {
    /// Does something with the model.
    pub(crate) fn used<U: Use>(&self, to: U) -> U::Result {
        let begun = |register: Register| register.beginning_with(&self.initial);
        match self.name {
            ModelName::Register => self.of(begun(Register::plain()), to),
            ModelName::CasRegister => self.of(begun(Register::with_cas()), to),
            ModelName::Kv => to.with(Keyed::of("kv", begun(Register::with_cas()))),
            ModelName::Set if self.whole => self.of(Set::whole(), to),
            ModelName::Set => self.of(Set::by_element(), to),
            ModelName::Queue => self.of(Queue::new(), to),
            ModelName::Append => self.of(AppendList::new(), to),
            ModelName::Mutex => self.of(Mutex::new(), to),
            ModelName::FencedMutex => self.of(FencedMutex::new(), to),
        }
    }

    fn of<M: HistoryModel + Clone + 'static, U: Use>(&self, model: M, to: U) -> U::Result {
        match self.keyed {
            true => {
                let name = format!("keyed {}", model.name());
                to.with(Keyed::of(&name, model))
            }
            false => to.with(model),
        }
    }
}

/// What to judge, and how.
pub(crate) struct Judge<'a> {
    pub(crate) kind: Kind,
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
    /// Judges the operations. A set of which nothing is removed is judged twice: what became of its
    /// elements, and whether one order explains all.
    pub(crate) fn judge(mut self, operations: &[Operation]) -> Result<Judged, OpError> {
        let set = self.kind.name == ModelName::Set && !self.kind.keyed;
        self.kind.whole = operations.iter().any(|operation| operation.f == "read");
        let only_adds = operations.iter().all(|o| matches!(&*o.f, "add" | "read"));
        let kept = match set && self.kind.whole && only_adds {
            true => {
                let report = set::check(operations)?;
                let details = serde_json::to_value(&report).unwrap_or_default();
                Some(Check { name: "set".to_owned(), verdict: report.verdict, details })
            }
            false => None,
        };
        let kind = self.kind.clone();
        let mut judged = kind.used(Judging { judge: self, operations })?;
        judged.checks.splice(0..0, kept);
        Ok(judged)
    }
}

/// A judge at work.
struct Judging<'a> {
    judge: Judge<'a>,
    operations: &'a [Operation],
}

impl Use for Judging<'_> {
    type Result = Result<Judged, OpError>;

    fn with<M: HistoryModel + Clone + 'static>(self, mut model: M) -> Self::Result {
        let Self { judge: Judge { clock, faults, mut budget, with_order, .. }, operations } = self;
        let verdict =
            linearizable::check_operations(&mut model, operations, clock, faults, &mut budget)?;
        let mut judged = Judged { methods: methods(&verdict), ..Judged::default() };
        if let (true, Verdict::Linearizable { witness }) = (with_order, &verdict) {
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
