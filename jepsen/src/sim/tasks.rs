//! Tasks and timers: what is ready to run, and what waits for which instant.
//!
//! Owns [`Tasks`], the executor's data without its loop, which is the [`world`](super::world)'s.
//!
//! Invariants:
//! - what runs next follows from the order of wakes and, if asked for, from a random number;
//! - timers of one instant fire in the order in which they were set;
//! - a task of a host that is paused keeps its wakes until the host goes on.
//!
//! Does not: poll, or drop a future while anybody looks at the tables. Dropping runs foreign code.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt, mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use super::Host;

/// A task without its result.
pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;
/// What a timer does.
pub(super) type Call = Box<dyn FnOnce() + Send>;

/// Names a task or a timer.
pub(super) type Id = u64;

/// The wakes that nobody has answered yet, oldest first.
#[derive(Debug, Default)]
struct Wakes(Mutex<Vec<Id>>);

impl Wakes {
    fn lock(&self) -> MutexGuard<'_, Vec<Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TaskWaker {
    id: Id,
    queued: AtomicBool,
    wakes: Arc<Wakes>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.wakes.lock().push(self.id);
        }
    }
}

struct Task {
    host: Host,
    /// `None` while it is being polled.
    work: Option<Work>,
    waker: Arc<TaskWaker>,
}

enum Timer {
    Wake(Waker),
    Call(Host, Call),
}

/// What fires next.
pub(super) enum Due {
    Wake(Waker),
    Call(Host, Call),
}

/// All tasks and timers of one simulation.
#[derive(Default)]
pub(super) struct Tasks {
    next: Id,
    tasks: BTreeMap<Id, Task>,
    wakes: Arc<Wakes>,
    paused: BTreeSet<Host>,
    /// Wakes for tasks of hosts that are paused.
    held: Vec<Id>,
    timers: BTreeMap<Id, Timer>,
    instants: BinaryHeap<Reverse<(Duration, Id)>>,
}

impl Tasks {
    fn id(&mut self) -> Id {
        self.next += 1;
        self.next
    }

    /// Takes a task in; it runs soon.
    pub(super) fn spawn(&mut self, host: Host, work: Work) {
        let id = self.id();
        let waker =
            Arc::new(TaskWaker { id, queued: AtomicBool::new(false), wakes: self.wakes.clone() });
        waker.wake_by_ref();
        self.tasks.insert(id, Task { host, work: Some(work), waker });
    }

    /// The task that runs now: `pick` chooses among so many that are ready.
    pub(super) fn take(
        &mut self,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Option<(Id, Host, Work, Waker)> {
        loop {
            let id = {
                let mut wakes = self.wakes.lock();
                if wakes.is_empty() {
                    return None;
                }
                let at = pick(wakes.len());
                wakes.remove(at)
            };
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            if self.paused.contains(&task.host) {
                self.held.push(id);
                continue;
            }
            task.waker.queued.store(false, Ordering::Relaxed);
            if let Some(work) = task.work.take() {
                return Some((id, task.host, work, Waker::from(task.waker.clone())));
            }
        }
    }

    /// Puts a task back that is not finished; returns it if it was killed meanwhile.
    pub(super) fn put(&mut self, id: Id, work: Work) -> Option<Work> {
        match self.tasks.get_mut(&id) {
            Some(task) => {
                task.work = Some(work);
                None
            }
            None => Some(work),
        }
    }

    /// Forgets a task that is finished.
    pub(super) fn finish(&mut self, id: Id) {
        self.tasks.remove(&id);
    }

    /// Takes every task and call of a host away, for the caller to drop.
    pub(super) fn kill(&mut self, host: Host) -> (Vec<Work>, Vec<Call>) {
        let (mut works, mut calls) = (Vec::new(), Vec::new());
        let of_host = |task: &Task| task.host == host;
        let ids: Vec<Id> =
            self.tasks.iter().filter(|(_, task)| of_host(task)).map(|(id, _)| *id).collect();
        for id in ids {
            works.extend(self.tasks.remove(&id).and_then(|task| task.work));
        }
        let ids: Vec<Id> = self
            .timers
            .iter()
            .filter(|(_, timer)| matches!(timer, Timer::Call(of, _) if *of == host))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(Timer::Call(_, call)) = self.timers.remove(&id) {
                calls.push(call);
            }
        }
        self.paused.remove(&host);
        (works, calls)
    }

    /// Every host that has tasks or calls.
    pub(super) fn hosts(&self) -> BTreeSet<Host> {
        let calls = self.timers.values().filter_map(|timer| match timer {
            Timer::Call(host, _) => Some(*host),
            Timer::Wake(_) => None,
        });
        self.tasks.values().map(|task| task.host).chain(calls).collect()
    }

    /// Holds a host's tasks back.
    pub(super) fn pause(&mut self, host: Host) {
        self.paused.insert(host);
    }

    /// Whether a host's tasks are held back.
    pub(super) fn is_paused(&self, host: Host) -> bool {
        self.paused.contains(&host)
    }

    /// Lets a host go on.
    pub(super) fn resume(&mut self, host: Host) {
        if self.paused.remove(&host) {
            self.wakes.lock().append(&mut self.held);
        }
    }

    /// Wakes somebody at an instant, unless cancelled before.
    pub(super) fn wake_at(&mut self, at: Duration, waker: Waker) -> Id {
        self.set(at, Timer::Wake(waker))
    }

    /// Calls something at an instant, unless its host ends before.
    pub(super) fn call_at(&mut self, at: Duration, host: Host, call: Call) {
        self.set(at, Timer::Call(host, call));
    }

    fn set(&mut self, at: Duration, timer: Timer) -> Id {
        let id = self.id();
        self.timers.insert(id, timer);
        self.instants.push(Reverse((at, id)));
        id
    }

    /// Another waker for a timer that is set. `false` if it has fired.
    pub(super) fn rearm(&mut self, id: Id, waker: &Waker) -> bool {
        match self.timers.get_mut(&id) {
            Some(Timer::Wake(old)) => {
                old.clone_from(waker);
                true
            }
            Some(Timer::Call(..)) | None => false,
        }
    }

    /// Takes a timer away, for the caller to drop.
    pub(super) fn cancel(&mut self, id: Id) -> Option<Waker> {
        match self.timers.remove(&id) {
            Some(Timer::Wake(waker)) => Some(waker),
            Some(Timer::Call(..)) | None => None,
        }
    }

    /// The timer that fires next, and when.
    pub(super) fn due(&mut self) -> Option<(Duration, Due)> {
        while let Some(Reverse((at, id))) = self.instants.pop() {
            match self.timers.remove(&id) {
                Some(Timer::Wake(waker)) => return Some((at, Due::Wake(waker))),
                Some(Timer::Call(host, call)) => return Some((at, Due::Call(host, call))),
                None => {}
            }
        }
        None
    }

    /// Takes everything away, for the caller to drop.
    pub(super) fn clear(&mut self) -> Self {
        mem::take(self)
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("tasks", &self.tasks.len())
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}
