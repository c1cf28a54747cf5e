//! Writes a history down while a test runs.
//!
//! Any number of tasks record through one [`Recorder`]; each client task owns a [`Worker`], which
//! knows its process id and whether an operation is in flight.
//!
//! Invariants:
//! - the time of an event is taken under the lock that orders events, so times never fall along the
//!   history, whatever the threads do. An invocation is recorded before the request leaves and a
//!   completion after the answer came, so the recorded interval holds the true one: recording can
//!   hide a violation of a few microseconds, but never invent one;
//! - after `info` a worker continues as a fresh process (its old id plus the concurrency, Jepsen's
//!   rule), because the old one may still be executing;
//! - a worker dropped with an operation in flight leaves it unknown, which pairing understands.
//!
//! It holds the history in memory; writing it to disk is the run folder's part.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use smol_str::SmolStr;

use super::{Details, Event, EventType, Process, Value};

/// A history under construction, shared by all tasks of a test.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    concurrency: u64,
    events: Mutex<Vec<Event>>,
}

/// How an operation ended, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It happened, with this result.
    Ok(Value),
    /// It definitely did not happen, for this reason.
    Fail(String),
    /// It may have happened; this is why nobody knows.
    Info(String),
}

impl Recorder {
    /// An empty history that begins now, for a fixed number of concurrent workers.
    pub fn new(concurrency: u64) -> Arc<Self> {
        assert!(concurrency > 0, "a test without workers records nothing");
        Arc::new(Self { start: Instant::now(), concurrency, events: Mutex::default() })
    }

    /// The worker of one client task. `number` counts from 0 and stays below the concurrency.
    pub fn worker(self: &Arc<Self>, number: u64) -> Worker {
        assert!(number < self.concurrency, "worker {number} of {}", self.concurrency);
        Worker { recorder: Arc::clone(self), process: number, in_flight: None }
    }

    /// Records what the nemesis did.
    pub fn nemesis(&self, f: &str, value: Value) {
        self.push(Process::Nemesis, EventType::Info, Entry::new(f, value));
    }

    /// Nanoseconds since the history began.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A copy of what was recorded so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    fn push(&self, process: Process, event_type: EventType, entry: Entry) {
        let mut events = self.lock();
        let time = Some(self.elapsed());
        let index = events.len() as u64;
        let Entry { f, value, log_index, details } = entry;
        let details = details.boxed();
        events.push(Event { index, time, process, event_type, f, value, log_index, details });
    }

    /// A task that panicked while it recorded left the list whole: pushing is its only step.
    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of an event that its recorder does not know.
#[derive(Clone, Debug)]
struct Entry {
    f: SmolStr,
    value: Value,
    log_index: Option<u64>,
    details: Details,
}

impl Entry {
    fn new(f: &str, value: Value) -> Self {
        Self { f: SmolStr::new(f), value, log_index: None, details: Details::default() }
    }
}

/// Records the operations of one client task.
#[derive(Debug)]
pub struct Worker {
    recorder: Arc<Recorder>,
    process: u64,
    in_flight: Option<Entry>,
}

impl Worker {
    /// The process that this worker acts as at the moment.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// Records the start of an operation: call it before the request leaves.
    ///
    /// # Panics
    ///
    /// If the worker's previous operation was not completed.
    pub fn invoke(&mut self, f: &str, value: Value) {
        assert!(self.in_flight.is_none(), "process {} invokes twice", self.process);
        let entry = Entry::new(f, value);
        self.in_flight = Some(entry.clone());
        self.recorder.push(Process::Client(self.process), EventType::Invoke, entry);
    }

    /// Records the end of the operation in flight: call it after the answer came. `node` is the one
    /// that answered and `request` the id it logged, where known.
    ///
    /// # Panics
    ///
    /// If no operation is in flight.
    pub fn complete(&mut self, end: Completion, node: Option<String>, request: Option<String>) {
        self.finish(end, node, request, None);
    }

    /// [`Self::complete`] for an operation whose place in the replicated log is known: the index at
    /// which it took effect, or at which a read was answered.
    ///
    /// # Panics
    ///
    /// If no operation is in flight.
    pub fn complete_at(
        &mut self,
        log_index: u64,
        end: Completion,
        node: Option<String>,
        request: Option<String>,
    ) {
        self.finish(end, node, request, Some(log_index));
    }

    fn finish(
        &mut self,
        end: Completion,
        node: Option<String>,
        request: Option<String>,
        log_index: Option<u64>,
    ) {
        let in_flight = self.in_flight.take();
        assert!(in_flight.is_some(), "process {} completes nothing", self.process);
        let Some(mut entry) = in_flight else { return };
        entry.log_index = log_index;
        entry.details.node = node.map(SmolStr::from);
        entry.details.request = request.map(SmolStr::from);
        let event_type = match end {
            Completion::Ok(value) => {
                entry.value = value;
                EventType::Ok
            }
            Completion::Fail(why) => {
                entry.details.error = Some(why.into());
                EventType::Fail
            }
            Completion::Info(why) => {
                entry.details.error = Some(why.into());
                EventType::Info
            }
        };
        self.recorder.push(Process::Client(self.process), event_type, entry);
        if event_type == EventType::Info {
            self.process += self.recorder.concurrency;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pairing::{Outcome, pair};
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn concurrent_workers_leave_one_well_formed_history() {
        let recorder = Recorder::new(4);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..4 {
            let mut worker = recorder.worker(number);
            tasks.spawn(async move {
                for round in 0..50 {
                    worker.invoke("write", Value::Int(round));
                    tokio::task::yield_now().await;
                    let end = match round % 10 {
                        0 => Completion::Info("timed out".to_owned()),
                        5 => Completion::Fail("no leader".to_owned()),
                        _ => Completion::Ok(Value::Int(round)),
                    };
                    worker.complete(end, Some("1".to_owned()), None);
                }
            });
        }
        tasks.join_all().await;
        let events = recorder.events();
        assert_eq!(events.len(), 400);
        assert!(events.iter().zip(events.iter().skip(1)).all(|(a, b)| a.time <= b.time));
        assert!(events.iter().enumerate().all(|(position, e)| e.index == position as u64));
        let (_, operations) = pair(&events).unwrap();
        let count = |outcome| operations.iter().filter(|o| o.outcome == outcome).count();
        assert_eq!((count(Outcome::Info), count(Outcome::Fail)), (20, 20));
    }

    #[test]
    fn a_worker_that_does_not_know_goes_on_under_a_fresh_id() {
        let recorder = Recorder::new(3);
        let mut worker = recorder.worker(1);
        for expected in [1, 4, 7] {
            assert_eq!(worker.process(), expected);
            worker.invoke("read", Value::Nil);
            worker.complete(Completion::Info("crashed".to_owned()), None, None);
        }
    }
}
