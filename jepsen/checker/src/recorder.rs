//! Records the calls of concurrent code while it runs, for a test of its own.
//!
//! One [`Recorder`] for a history, one [`Client`] for each thread or task. A client tells of a call
//! before it is made and of its answer after it came; out come [`Call`]s for
//! [`check`], with inputs and outputs of the test's own types.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use sixbells_checker::{model::Spec, recorder::Recorder};
//!
//! let (counter, recorder) = (AtomicU64::new(0), Recorder::new());
//! std::thread::scope(|threads| {
//!     for _ in 0..2 {
//!         threads.spawn(|| {
//!             let mut client = recorder.client();
//!             client.call((), || counter.fetch_add(1, Ordering::Relaxed))
//!         });
//!     }
//! });
//! recorder.assert_linearizable(&Spec::new(0, |count: &u64, _: &(), answer: Option<&u64>| {
//!     answer.is_none_or(|answer| answer == count).then_some(count + 1)
//! }));
//! ```
//!
//! Invariants:
//! - nothing is invented: calls that are recorded as one after the other were so. Events are ordered
//!   by one atomic counter that a return advances and an invocation reads, so the first call *happened
//!   before* the second as the memory model means it. A clock alone promises less: a store with
//!   `Release` may be seen by others only after its thread has read the time;
//! - something may be hidden: recorded intervals are some ten nanoseconds longer than true ones, and
//!   counting is itself a synchronisation, which can order what a missing fence would not;
//! - a call without an answer is unknown: one that was dropped, whose thread panicked, or that is
//!   still under way. Its client goes on as a fresh process.
//!
//! The threads of a test share that counter and nothing else. Writing histories of a test on a
//! cluster, with functions and values, is for [`history::Recorder`](crate::history::Recorder).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::budget::Budget;
use crate::call::Call;
use crate::linearizable::check;
use crate::model::Model;

/// What [`Recorder::assert_linearizable`] may spend, in time: a test should not take longer.
const ASSERT_TIME: Duration = Duration::from_secs(60);
/// And in memory.
const ASSERT_BYTES: usize = 1 << 30;

/// A history under construction. Clones record into the same one.
#[derive(Debug)]
pub struct Recorder<I, O> {
    shared: Arc<Shared<I, O>>,
}

#[derive(Debug)]
struct Shared<I, O> {
    clock: Line<AtomicU64>,
    start: Instant,
    processes: AtomicU64,
    journals: Mutex<Vec<Arc<Journal<I, O>>>>,
}

/// Has its cache lines to itself, so that nobody waits for a neighbour.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// The calls of one client. Nobody else wants the lock before the test ends.
type Journal<I, O> = Line<Mutex<Vec<Entry<I, O>>>>;

#[derive(Clone, Debug)]
struct Entry<I, O> {
    process: u64,
    input: I,
    invoked: Stamp,
    answer: Option<Answer<O>>,
}

#[derive(Clone, Debug)]
struct Answer<O> {
    output: O,
    returned: Stamp,
    log_index: Option<u64>,
}

/// When something happened.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    /// How many calls had returned by then. A call precedes those that began with a larger count.
    count: u64,
    /// Nanoseconds since the recorder was made, for people.
    time: u64,
}

impl<I, O> Clone for Recorder<I, O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<I, O> Default for Recorder<I, O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, O> Recorder<I, O> {
    /// An empty history that begins now.
    pub fn new() -> Self {
        let shared = Shared {
            clock: Line::default(),
            start: Instant::now(),
            processes: AtomicU64::new(0),
            journals: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A client, for one thread or task.
    pub fn client(&self) -> Client<I, O> {
        let journal = Arc::new(Line(Mutex::default()));
        lock(&self.shared.journals).push(Arc::clone(&journal));
        let process = self.shared.fresh_process();
        Client { shared: Arc::clone(&self.shared), journal, process }
    }
}

impl<I: Clone, O: Clone> Recorder<I, O> {
    /// The calls so far, by invocation. While clients are still at work, this is the history as it
    /// stood at one instant: calls under way are unknown, and later ones are not there.
    pub fn calls(&self) -> Vec<Call<I, O>> {
        // Who looks at the counter after this belongs to the future. It is advanced before any
        // journal is read, so a journal that was read holds all that began before.
        let now = self.shared.clock.0.fetch_add(1, Ordering::AcqRel);
        let mut entries = Vec::new();
        for journal in lock(&self.shared.journals).iter() {
            let journal = lock(&journal.0);
            entries.extend(journal.iter().filter(|entry| entry.invoked.count <= now).cloned());
        }
        for entry in &mut entries {
            entry.answer.take_if(|answer| answer.returned.count > now);
        }
        timed(entries)
    }

    /// Fails the test unless the calls so far are linearizable.
    ///
    /// # Panics
    ///
    /// If they are not: with the reason and the calls that contradict each other. If that could not
    /// be decided within a minute and a gigabyte; for another budget, [`check`] the
    /// [`calls`](Self::calls).
    #[track_caller]
    pub fn assert_linearizable<M: Model<Input = I, Output = O>>(&self, model: &M) {
        check(&self.calls(), model, &mut Budget::new(ASSERT_TIME, ASSERT_BYTES)).unwrap();
    }
}

impl<I, O> Shared<I, O> {
    fn time(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn fresh_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// To be taken as late as possible before a call. `Acquire`: nothing of the call moves up.
    fn before(&self) -> Stamp {
        let time = self.time();
        Stamp { count: self.clock.0.load(Ordering::Acquire), time }
    }

    /// To be taken as early as possible after a call. `Release`: nothing of the call moves down.
    fn after(&self) -> Stamp {
        let count = self.clock.0.fetch_add(1, Ordering::AcqRel);
        Stamp { count, time: self.time() }
    }
}

/// A thread that panicked while it held a lock left the list whole: pushing is the only step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls in the order of the counter, with times that people can read and that say the same.
fn timed<I, O>(entries: Vec<Entry<I, O>>) -> Vec<Call<I, O>> {
    // Of one count, the calls that began saw a counter that the one which returned then advanced.
    let mut events: Vec<(u64, bool, u64, usize)> = Vec::with_capacity(2 * entries.len());
    for (at, entry) in entries.iter().enumerate() {
        events.push((entry.invoked.count, false, entry.invoked.time, at));
        let returned = entry.answer.as_ref().map(|answer| answer.returned);
        events.extend(returned.map(|stamp| (stamp.count, true, stamp.time, at)));
    }
    events.sort_unstable();
    // The time was read before the counter of an invocation, and after that of a return: a thread
    // that was paused in between is early in the one case, and late in the other.
    let mut soonest = u64::MAX;
    for (_, returns, time, _) in events.iter_mut().rev() {
        soonest = if *returns { soonest.min(*time) } else { soonest };
        *time = soonest.min(*time);
    }
    let mut last = 0;
    let mut calls: Vec<Call<I, O>> = entries.into_iter().map(Call::from).collect();
    for (_, returns, time, at) in events {
        last = time.max(last + 1);
        match returns {
            true => calls[at].returned = Some(last),
            false => calls[at].invoked = last,
        }
    }
    calls.sort_unstable_by_key(|call| call.invoked);
    calls
}

impl<I, O> From<Entry<I, O>> for Call<I, O> {
    fn from(entry: Entry<I, O>) -> Self {
        let Entry { process, input, invoked, answer } = entry;
        let returned = answer.as_ref().map(|answer| answer.returned.time);
        let log_index = answer.as_ref().and_then(|answer| answer.log_index);
        let output = answer.map(|answer| answer.output);
        Call { process, input, output, invoked: invoked.time, returned, log_index }
    }
}

/// Records the calls of one thread or task, one after the other.
#[derive(Debug)]
pub struct Client<I, O> {
    shared: Arc<Shared<I, O>>,
    journal: Arc<Journal<I, O>>,
    process: u64,
}

impl<I, O> Client<I, O> {
    /// Says that a call is about to be made: before its request leaves.
    pub fn invoke(&mut self, input: I) -> Invocation<'_, I, O> {
        let mut journal = lock(&self.journal.0);
        if journal.last().is_some_and(|last| last.process == self.process && last.answer.is_none())
        {
            // The last call may be under way still, and a process does one thing at a time.
            self.process = self.shared.fresh_process();
        }
        journal.reserve(1);
        let process = self.process;
        let invoked = self.shared.before();
        journal.push(Entry { process, input, invoked, answer: None });
        drop(journal);
        Invocation { client: self }
    }

    /// Makes a call that always answers. If it panics, nobody knows whether it happened.
    pub fn call(&mut self, input: I, call: impl FnOnce() -> O) -> O
    where
        O: Clone,
    {
        let invocation = self.invoke(input);
        let output = call();
        invocation.ok(output.clone());
        output
    }

    /// Makes a call that may fail; `definite` says of an error whether the call certainly did not
    /// happen. When in doubt it did: an error such as a timeout is not definite.
    ///
    /// # Errors
    /// That of the call.
    pub fn try_call<E>(
        &mut self,
        input: I,
        call: impl FnOnce() -> Result<O, E>,
        definite: impl FnOnce(&E) -> bool,
    ) -> Result<O, E>
    where
        O: Clone,
    {
        let invocation = self.invoke(input);
        let result = call();
        match &result {
            Ok(output) => invocation.ok(output.clone()),
            Err(error) if definite(error) => invocation.fail(),
            Err(_) => invocation.info(),
        }
        result
    }
}

/// A call under way. If it is dropped, nobody knows whether it happened.
#[derive(Debug)]
#[must_use = "a call that is never completed counts as unknown"]
pub struct Invocation<'a, I, O> {
    client: &'a mut Client<I, O>,
}

impl<I, O> Invocation<'_, I, O> {
    /// It happened, and answered this.
    pub fn ok(self, output: O) {
        self.answer(output, None);
    }

    /// It happened, and took effect (or read) at this index of a replicated log. That makes checking
    /// faster; it is verified, never trusted.
    pub fn ok_at(self, output: O, log_index: u64) {
        self.answer(output, Some(log_index));
    }

    /// It definitely did not happen, and never will.
    pub fn fail(self) {
        lock(&self.client.journal.0).pop();
    }

    /// It may have happened, or may yet happen.
    pub fn info(self) {}

    fn answer(self, output: O, log_index: Option<u64>) {
        let returned = self.client.shared.after();
        // It is the last entry: this invocation borrows the only client that could add another.
        if let Some(entry) = lock(&self.client.journal.0).last_mut() {
            entry.answer = Some(Answer { output, returned, log_index });
        }
    }
}

#[cfg(test)]
mod tests;
