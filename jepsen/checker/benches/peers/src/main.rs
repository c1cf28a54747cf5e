//! Asks a published checker about a history that is made here.
//!
//! ```text
//! peers stateright register OPS CLIENTS KEYS unique|VALUES READS WRITES CASES CRASH STALE SEED
//! peers todc-utils bank OPS CLIENTS STALE SEED
//! ```
//! Out comes one line: `linearizable` or `violation`, and the seconds that checking alone took; or why
//! the checker cannot be asked. Both are given our models as their specification, which they step
//! through in their own way, and each key apart.
//!
//! It has no time limit: whoever starts it does.

#[path = "../../checker/bank.rs"]
mod bank;
#[path = "../../checker/simulation.rs"]
mod simulation;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use sixbells_checker::call::Call;
use sixbells_checker::generate::Shape;
use sixbells_checker::history::pairing::pair;
use sixbells_checker::model::{HistoryModel, Keyed, Model, Register};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// stateright recurses once per call.
const STACK_BYTES: usize = 1 << 30;

type Failure = Box<dyn Error + Send + Sync>;

/// A model that is always the same.
trait Fresh: Model<Key = ()> + Clone {
    fn fresh() -> Self;
}

impl Fresh for Register {
    fn fresh() -> Self {
        Register::with_cas()
    }
}

impl Fresh for bank::Bank {
    fn fresh() -> Self {
        bank::Bank
    }
}

fn main() -> Result<(), Failure> {
    let run = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run)?;
    let line = run.join().map_err(|_panic| "the checker panicked")??;
    println!("{line}");
    Ok(())
}

fn run() -> Result<String, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [peer, "bank", operations, clients, stale, seed] => {
            let (operations, clients) = (operations.parse()?, clients.parse()?);
            let size = simulation::Size { operations, clients, seed: seed.parse()? };
            judge::<bank::Bank>(peer, &[bank::calls(size, stale == "1")])
        }
        [peer, "register", ref shape @ ..] => judge::<Register>(peer, &registers(shape)?),
        _ => Err("a peer and a history are expected".into()),
    }
}

type Calls<M> = Vec<Call<<M as Model>::Input, <M as Model>::Output>>;

/// The calls of registers, each register's apart.
fn registers(shape: &[&str]) -> Result<Vec<Calls<Register>>, Failure> {
    let [operations, clients, keys, values, reads, writes, swaps, crash, stale, seed] = *shape
    else {
        return Err("ten words say what a history of registers is like".into());
    };
    let shape = Shape {
        operations: operations.parse()?,
        clients: clients.parse()?,
        keys: keys.parse()?,
        values: if values == "unique" { None } else { Some(values.parse()?) },
        mix: [reads.parse()?, writes.parse()?, swaps.parse()?],
        crash: crash.parse()?,
        stale: stale == "1",
        seed: seed.parse()?,
    };
    let (_, operations) = pair(&shape.events()?).map_err(|error| error.reason)?;
    if shape.keys == 1 {
        return Ok(vec![Register::with_cas().calls(&operations)?.0]);
    }
    let mut by_key: BTreeMap<_, Calls<Register>> = BTreeMap::new();
    for call in Keyed::kv().calls(&operations)?.0 {
        let Call { process, input, output, invoked, returned, log_index } = call;
        let calls = by_key.entry(input.key).or_default();
        calls.push(Call { process, input: input.input, output, invoked, returned, log_index });
    }
    Ok(by_key.into_values().collect())
}

fn judge<M: Fresh>(peer: &str, objects: &[Calls<M>]) -> Result<String, Failure> {
    let crashed = objects.iter().flatten().any(|call| call.returned.is_none());
    let mut took = 0.0;
    let mut linearizable = true;
    for calls in objects {
        let (verdict, seconds) = match peer {
            "stateright" => stateright::<M>(calls)?,
            "todc-utils" if crashed => return Ok("no crashes".to_owned()),
            "todc-utils" => todc::<M>(calls),
            other => return Err(format!("there is no peer {other}").into()),
        };
        took += seconds;
        linearizable &= verdict;
    }
    Ok(format!("{} {took}", if linearizable { "linearizable" } else { "violation" }))
}

/// The begins and ends of calls in order: which call, and whether it ends.
fn events<I, O>(calls: &[Call<I, O>]) -> Vec<(usize, bool)> {
    let mut events = Vec::with_capacity(2 * calls.len());
    for (at, call) in calls.iter().enumerate() {
        // At one instant calls overlap, so begins come before ends.
        events.push((call.invoked, false, at));
        events.extend(call.returned.map(|returned| (returned, true, at)));
    }
    events.sort_unstable();
    events.into_iter().map(|(_, ends, at)| (at, ends)).collect()
}

/// A model and its state, as stateright steps.
#[derive(Clone)]
struct Stepped<M: Model> {
    model: M,
    state: M::State,
}

impl<M: Model> SequentialSpec for Stepped<M> {
    type Op = M::Input;
    type Ret = Option<M::Output>;

    /// Calls in flight alone: nobody knows their answer, and a compare-and-set may find another value.
    fn invoke(&mut self, input: &M::Input) -> Option<M::Output> {
        if let Some(next) = self.model.step(&self.state, input, None) {
            self.state = next;
        }
        None
    }

    fn is_valid_step(&mut self, input: &M::Input, output: &Option<M::Output>) -> bool {
        let next = self.model.step(&self.state, input, output.as_ref());
        let valid = next.is_some();
        if let Some(next) = next {
            self.state = next;
        }
        valid
    }
}

fn stateright<M: Fresh>(calls: &Calls<M>) -> Result<(bool, f64), Failure> {
    let model = M::fresh();
    let state = model.initial();
    let mut tester = LinearizabilityTester::new(Stepped { model, state });
    for (at, ends) in events(calls) {
        let Call { process, input, output, .. } = &calls[at];
        match ends {
            false => tester.on_invoke(*process, input.clone())?,
            true => tester.on_return(*process, output.clone())?,
        };
    }
    let began = Instant::now();
    let verdict = tester.is_consistent();
    Ok((verdict, began.elapsed().as_secs_f64()))
}

/// A model as todc-utils knows one.
struct Known<M>(std::marker::PhantomData<M>);

impl<M: Fresh> Specification for Known<M> {
    type State = M::State;
    type Operation = (M::Input, Option<M::Output>);

    fn init() -> M::State {
        M::fresh().initial()
    }

    fn apply((input, output): &Self::Operation, state: &M::State) -> (bool, M::State) {
        match M::fresh().step(state, input, output.as_ref()) {
            Some(next) => (true, next),
            None => (false, state.clone()),
        }
    }
}

fn todc<M: Fresh>(calls: &Calls<M>) -> (bool, f64) {
    let actions = events(calls).into_iter().map(|(at, ends)| {
        let Call { process, input, output, .. } = &calls[at];
        let operation = (input.clone(), output.clone());
        let process = usize::try_from(*process).expect("a process is a small number");
        (process, if ends { Action::Response(operation) } else { Action::Call(operation) })
    });
    let history = History::from_actions(actions.collect());
    let began = Instant::now();
    let verdict = WGLChecker::<Known<M>>::is_linearizable(history);
    (verdict, began.elapsed().as_secs_f64())
}
