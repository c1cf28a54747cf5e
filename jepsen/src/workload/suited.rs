//! Scripts made of a suite: bank, claim, counter, append, lock.
//!
//! Owns [`Suited`], which makes a [`Script`] of a [`Workload`]. In: its suite, a seed. Out: actions; and whether the history is linearizable, the machine itself being the
//! specification.
//!
//! Invariants:
//! - the history tells commands and replies in the words of their `Debug`, cut short: the judge looks at
//!   the typed operations instead;
//! - whoever looks for an order begins with those that are likely, and believes none that does not pass.
//!
//! Does not: say what eventual mode promises; see [`eventual`](crate::eventual).

use std::collections::BTreeSet;
use std::fmt::Debug;

use rand::rngs::SmallRng;

use super::{Action, Evidence, Generator, Reply, Request, Script, Workload, strange};
use crate::bank;
use crate::checker::budget::Budget;
use crate::checker::replay::{self, Typed, show};
use crate::checker::{OpError, Verdict};
use crate::generator::{Invocation, rng};
use crate::history::{Completion, Event, Value};
use crate::machine::{Command, Workbench};
use crate::report::Check;
use crate::suite;

/// A workload as its suite has it.
#[derive(Clone, Copy, Debug)]
pub struct Suited {
    /// Which.
    pub workload: Workload,
    /// The run's seed.
    pub seed: u64,
}

impl Script for Suited {
    fn setup(&self) -> Vec<Action> {
        self.workload
            .suite()
            .setup
            .into_iter()
            .map(|command| action(Request::Write(command)))
            .collect()
    }

    fn generator(&self, worker: u64) -> Box<dyn Generator> {
        let inner = (self.workload.suite().generator)();
        Box::new(SuitedWorker { inner, rng: rng(self.seed, worker) })
    }

    fn completion(&self, action: &Action, reply: &Reply) -> Completion {
        match (&action.request, reply) {
            (Request::Write(_), Reply::Response(_)) | (Request::Read(_), Reply::Answer(_)) => {
                let told = format!("{} -> {}", show(&action.request), show(reply));
                Completion::Ok(Value::Text(told))
            }
            _ => strange(reply),
        }
    }

    fn final_reads(&self, nodes: &[u64], _events: &[Event]) -> Vec<(u64, Action)> {
        let last = self.workload.suite().last;
        let of_node = |node: &u64| {
            let node = *node;
            let read = move |query| (node, action(Request::Read(query)));
            last.clone().into_iter().map(read).collect::<Vec<_>>()
        };
        nodes.iter().flat_map(of_node).collect()
    }

    fn check(&self, evidence: &Evidence<'_>, budget: &mut Budget) -> Result<Vec<Check>, OpError> {
        let verdict = linearizable(evidence, budget);
        let name = format!("linearizable ({})", self.workload);
        Ok(vec![Check { name, verdict, details: serde_json::Value::Null }])
    }
}

/// Whether some order explains what the clients saw: that of the nodes, that in which the commands were
/// called, or any other.
fn linearizable(evidence: &Evidence<'_>, budget: &mut Budget) -> Verdict {
    let Evidence { clock, typed, order, .. } = *evidence;
    // Where commands commute, as those of a counter do, an order that was agreed on late need not be the
    // one of real time; this one shows without a search that there is one.
    let called = by_call(typed, order);
    let likely =
        [order, &called].into_iter().find(|order| replay::follow(typed, order, clock).is_ok());
    replay::check(typed, likely.unwrap_or(order), clock, budget).verdict
}

/// The commands that the nodes applied, in the order in which clients called them.
fn by_call(typed: &[Typed<Workbench>], order: &[u64]) -> Vec<u64> {
    let applied: BTreeSet<u64> = order.iter().copied().collect();
    let mut called: Vec<_> = typed.iter().filter(|write| applied.contains(&write.number)).collect();
    called.sort_by_key(|write| write.invoked);
    called.into_iter().map(|write| write.number).collect()
}

/// One worker of a [`Suited`].
struct SuitedWorker {
    inner: Box<dyn suite::Generator<Workbench>>,
    rng: SmallRng,
}

impl Debug for SuitedWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SuitedWorker").finish_non_exhaustive()
    }
}

impl Generator for SuitedWorker {
    fn next_operation(&mut self) -> Action {
        action(self.inner.next(&mut self.rng))
    }

    fn observe(&mut self, action: &Action, reply: &Reply) {
        self.inner.observe(&action.request, reply);
    }
}

/// How the history tells an operation.
fn action(request: Request) -> Action {
    let f = match &request {
        Request::Read(_) => "read",
        Request::Write(command) => verb(command),
    };
    Action {
        invocation: Invocation { f, key: None, argument: Value::Text(show(&request)) },
        request,
    }
}

fn verb(command: &Command) -> &'static str {
    match command {
        Command::Nothing => "nothing",
        Command::Write { .. } => "write",
        Command::Cas { .. } => "cas",
        Command::Add(_) => "add",
        Command::Increment { .. } => "increment",
        Command::Append { .. } => "append",
        Command::Acquire { .. } => "acquire",
        Command::Release { .. } => "release",
        Command::Bank(bank::Command::Open { .. }) => "open",
        Command::Bank(bank::Command::Pay { .. }) => "pay",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checker::replay::Act;
    use crate::history::Clock;
    use crate::machine::{Answer, Query, Response};

    fn typed(number: u64, act: Act<Workbench>) -> Typed<Workbench> {
        let (invoked, returned) = (number * 10, Some(number * 10 + 5));
        Typed { process: number, number, node: None, invoked, returned, act }
    }

    fn word(writes: [Command; 2], query: Query, answer: Answer) -> &'static str {
        let [first, second] = writes;
        let write = |command| Act::Write { command, response: Some(Response::Done) };
        let read = Act::Read { query, answer: Some(answer) };
        let typed = [typed(1, write(first)), typed(2, write(second)), typed(3, read)];
        let evidence =
            Evidence { clock: Clock::Nanoseconds, operations: &[], typed: &typed, order: &[2, 1] };
        let mut budget = Budget::new(Duration::from_secs(60), usize::MAX);
        linearizable(&evidence, &mut budget).word()
    }

    /// The nodes agreed on an order that is not the one of real time.
    #[test]
    fn a_late_order_is_found_out_only_where_somebody_can_tell() {
        let add = |by| Command::Increment { key: 1, by };
        assert_eq!(word([add(1), add(2)], Query::Count(1), Answer::Count(3)), "valid");
        assert_eq!(word([add(1), add(2)], Query::Count(1), Answer::Count(2)), "invalid");
        let append = |value| Command::Append { key: 1, value };
        let list = Answer::List(vec![2, 1]);
        assert_eq!(word([append(1), append(2)], Query::List(1), list), "invalid");
    }

    #[test]
    fn a_worker_repeats_itself_and_the_history_tells_commands_by_their_verbs() {
        let operations = |seed| {
            let mut worker = Suited { workload: Workload::Bank, seed }.generator(1);
            let mut told = Vec::new();
            for _ in 0..50 {
                let Action { invocation, request } = worker.next_operation();
                assert_eq!(invocation.f == "pay", matches!(request, Request::Write(_)));
                told.push(invocation.value());
            }
            told
        };
        assert_eq!(operations(7), operations(7));
        assert_ne!(operations(7), operations(8));
    }
}
