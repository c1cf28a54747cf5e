//! The journal: what clients did, in the machine's own types, beside the history's events.
//!
//! Owns [`Journal`]. In: invocations and ends as they happen. Out: the number under which each command
//! goes to the nodes, and [`Typed`] operations on the history's clock.
//!
//! Invariants:
//! - an operation is written down before it is sent, and its end after the answer came;
//! - numbers are unique in the run, and below [`PROBES`]: what the harness itself writes to see whether
//!   the cluster serves has numbers from there on, and is no operation;
//! - only what definitely failed is left out: without an answer, an operation may have happened.
//!
//! Does not: judge.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checker::replay::{Act, Typed};
use crate::history::Recorder;
use crate::machine::Workbench;
use crate::workload::{Reply, Request};

/// The first number of a command that is no client's.
pub const PROBES: u64 = 1 << 62;

/// All operations of a run.
#[derive(Debug)]
pub struct Journal {
    recorder: Arc<Recorder>,
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    operation: Typed<Workbench>,
    failed: bool,
}

impl Journal {
    /// An empty one, on the clock of a history.
    pub fn new(recorder: &Arc<Recorder>) -> Arc<Self> {
        Arc::new(Self { recorder: Arc::clone(recorder), entries: Mutex::default() })
    }

    /// The history that it stands beside.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// An operation begins, at a client that asks `node` first. Returns its number, counted from 1.
    pub fn invoke(&self, process: u64, node: u64, request: &Request) -> u64 {
        let act = Act::from(request.clone());
        let mut entries = self.lock();
        let number = entries.len() as u64 + 1;
        let (node, invoked) = (Some(node.to_string()), self.recorder.elapsed());
        let operation = Typed { process, number, node, invoked, returned: None, act };
        entries.push(Entry { operation, failed: false });
        number
    }

    /// It was answered.
    pub fn answered(&self, number: u64, reply: &Reply) {
        let at = self.recorder.elapsed();
        self.change(number, |Entry { operation, .. }| {
            if reply.clone().answers(&mut operation.act) {
                operation.returned = Some(at);
            }
        });
    }

    /// It definitely did not happen.
    pub fn failed(&self, number: u64) {
        self.change(number, |entry| entry.failed = true);
    }

    /// The operations that may have happened, so far.
    pub fn operations(&self) -> Vec<Typed<Workbench>> {
        let entries = self.lock();
        entries.iter().filter(|entry| !entry.failed).map(|entry| entry.operation.clone()).collect()
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Entry)) {
        let at = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(entry) = self.lock().get_mut(at) {
            change(entry);
        }
    }

    /// Whoever panicked while holding this left the list whole: each change is one step.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Answer, Command, Query, Response};

    /// A failure that is kept would be looked for in vain; an unknown one that is dropped is found to
    /// have happened though nobody did it.
    #[test]
    fn what_failed_is_left_out_and_what_is_unknown_stays() {
        let journal = Journal::new(&Recorder::new(2));
        let write = Request::Write(Command::Add(1));
        let numbers: Vec<u64> = (0..3).map(|process| journal.invoke(process, 2, &write)).collect();
        let read = journal.invoke(3, 1, &Request::Read(Query::Set));
        journal.failed(numbers[0]);
        journal.answered(numbers[1], &Reply::Response(Response::Done));
        journal.answered(read, &Reply::Response(Response::Done));
        let operations = journal.operations();
        let told: Vec<_> = operations.iter().map(|o| (o.number, o.returned.is_some())).collect();
        assert_eq!(told, [(2, true), (3, false), (4, false)]);
        journal.answered(read, &Reply::Answer(Answer::Set(vec![1])));
        assert!(journal.operations()[2].returned.is_some());
        assert_eq!(operations[0].node.as_deref(), Some("2"));
    }
}
