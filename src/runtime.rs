//! The runtime door: time, tasks and randomness.
//!
//! Owns [`Runtime`], openraft's `AsyncRuntime` and what we need beside it. Everything above is
//! generic over it, so the whole cluster runs on tokio in production and, from one seed, on
//! a simulated runtime in one thread.
//!
//! Invariants: no other module of the library reads a clock, sleeps, spawns or draws a random
//! number. Clippy's `disallowed-methods` holds it. Code that exists only in the real world (the TCP
//! transport, the log engines' threads) uses this door all the same; a thread's patience with its queue is its own.
//!
//! Does not: interpret time. Wall time is for people to read; nothing is decided by it.

use std::{
    fmt,
    future::poll_fn,
    io, mem,
    panic::resume_unwind,
    pin::pin,
    sync::OnceLock,
    task::Poll,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::{Either, select};
pub use openraft::async_runtime::{
    AsyncRuntime, Instant, Select2, Select3, Select4, mpsc, mutex, oneshot, watch,
};
pub use openraft::{OptionalSend, OptionalSync};
use rand::RngExt;

use crate::error::StartError;

/// How much the work on the side steps back: a tenth of the processor time of a thread that does not. So where all
/// processors are busy, a snapshot takes ten times as long.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The shortest sleep there is; the kernel makes some 60 microseconds of it.
const TURN: Duration = Duration::from_micros(1);

/// The longest rest after a piece of work on a disk: somebody waits for the whole.
pub(crate) const REST_MAX: Duration = Duration::from_millis(50);

/// Production: tokio.
pub type TokioRuntime = openraft::impls::TokioRuntime;

/// What the library needs of the world: openraft's runtime and, beside it, blocking work
/// and the wall clock.
///
/// To implement this elsewhere you need [`AsyncRuntime`] for the same type, and with it:
///
/// - an [`Instant`] of your clock, and futures for a task, a sleep and a timeout, all of them `Send`;
/// - a random number generator, `rand`'s trait `Rng` (one that follows from a seed, in a simulation);
/// - channels and a lock, the traits in [`mpsc`], [`oneshot`], [`watch`] and [`mutex`]. Those of
///   [`TokioRuntime`], such as `<TokioRuntime as AsyncRuntime>::Mpsc`, wake in order and run on any
///   executor, and so will do; but its `Watch` wakes in a random order, so a simulation brings its own.
///
/// Everything is an associated function, as there is no value of the runtime to be passed around: a
/// simulation finds its world through a thread-local, and runs [`blocking`](Runtime::blocking) work
/// at once, in the same thread. `tests/it/runtime.rs` is such a runtime in full.
pub trait Runtime:
    AsyncRuntime<Sleep: Send, Instant: Send + Sync, TimeoutError: Send> + Send + Sync
{
    /// Runs work that may block, such as reading a file, where it does not hold up other tasks.
    fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send;

    /// The same for work that takes the processor for long and that no request waits for: hashing a state, writing it
    /// down, or freeing it. Where others want the processor, they have it first.
    fn aside<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send {
        Self::blocking(work)
    }

    /// Time since 1970, for people to read; nothing is decided by it.
    fn wall() -> Duration;

    /// A number in `0..bound`; 0 if `bound` is 0.
    fn random_below(bound: u64) -> u64 {
        if bound == 0 { 0 } else { Self::thread_rng().random_range(0..bound) }
    }
}

impl Runtime for TokioRuntime {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }

    async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let nice = move || {
            // Of this thread. Elsewhere it would be of all, and where it is not allowed, it is as urgent as the rest.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::nice(NICE);
            work()
        };
        // On a thread that ends with it, for what has become nice stays so.
        let wait = move || {
            let thread = thread::Builder::new().name("sixbells-aside".into()).spawn(nice)?;
            Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        };
        Self::blocking(wait).await?
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn wall() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// Lets others have the processor: for work that takes long and that no request waits for. Of the real world, in a
/// simulation as well.
///
/// By itself a thread keeps the processor for some milliseconds, however nice it is. The kernel's own worker,
/// which begins a sync, waits as long, and one write waits for several syncs. To yield is not enough: where a
/// service has a control group of its own, its threads yield to each other alone.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn give_way() {
    #[cfg(test)]
    WAYS_GIVEN.set(WAYS_GIVEN.get() + 1);
    thread::sleep(TURN);
}

/// How long to leave a disk to others after a piece of work on it that took so long: they have most of it. What takes very
/// long likely waits for something else.
pub(crate) fn rest_after(took: Duration) -> Duration {
    (2 * took).min(REST_MAX)
}

/// Does a piece of work on a disk, and rests. Of the real world, as well.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn and_rest<T>(work: impl FnOnce() -> T) -> T {
    let began = std::time::Instant::now();
    let done = work();
    thread::sleep(rest_after(began.elapsed()));
    done
}

#[cfg(test)]
thread_local! {
    /// How often this thread gave way.
    pub(crate) static WAYS_GIVEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Runs a task nobody waits for: it ends by itself, or with the runtime.
pub(crate) fn spawn<R: Runtime>(task: impl Future<Output = ()> + OptionalSend + 'static) {
    drop(R::spawn(task));
}

/// Threads on which a node lives, apart from those of the program that it is a part of: a task of the program
/// that blocks cannot make it miss a heartbeat. They end when this is dropped, and with them all that
/// they run.
pub(crate) struct Threads(Option<tokio::runtime::Runtime>);

impl Threads {
    fn start(count: usize) -> Result<Self, StartError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let built = builder.worker_threads(count).thread_name("sixbells").enable_all().build();
        Ok(Self(Some(built.map_err(|e| StartError::io("start threads", e))?)))
    }

    /// Has something started that lives on them, on a thread apart: whoever waits for that may wait on any executor. If
    /// nobody waits for it any more it is given up, or dropped when it has just been started.
    pub(crate) async fn begin<T: Send + 'static, W: Future<Output = Result<T, StartError>>>(
        count: usize,
        start: impl FnOnce() -> W + Send + 'static,
    ) -> Result<(T, Self), StartError> {
        let threads = Self::start(count)?;
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let span = tracing::Span::current();
        let (mut asked, started) = tokio::sync::oneshot::channel();
        let work = move || {
            let start = async {
                match select(pin!(start()), pin!(asked.closed())).await {
                    Either::Left((started, _)) => Some(started),
                    Either::Right(_) => None,
                }
            };
            let started = tracing::dispatcher::with_default(&dispatch, || {
                span.in_scope(|| threads.run(start))
            });
            if let Some(started) = started {
                drop(asked.send(started.map(|started| (started, threads))));
            }
        };
        let thread = thread::Builder::new().name("sixbells-start".into()).spawn(work);
        thread.map_err(|e| StartError::io("start threads", e))?;
        let panicked = |_| StartError::io("start", io::Error::other("it panicked"));
        started.await.map_err(panicked)?
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("invariant: it is there until it is dropped").block_on(work)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waits for nothing, for whoever drops a node may be a task.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Spawns tasks of which nobody waits for the end, all of them where the first one was.
#[derive(Debug, Default)]
pub(crate) struct Spawner(OnceLock<tokio::runtime::Handle>);

impl Spawner {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.get_or_init(tokio::runtime::Handle::current).spawn(task));
    }

    /// Whether this is where they are.
    pub(crate) fn is_here(&self) -> bool {
        let there = self.0.get().map(tokio::runtime::Handle::id);
        there == tokio::runtime::Handle::try_current().ok().map(|here| here.id())
    }
}

/// Lets the other tasks that are ready run first, on any executor. (tokio's own is for code that knows tokio.)
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Measures how long something took, on the real monotonic clock: for metrics of the real disk
/// and network, never for a decision.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

impl fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.seconds())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Hashes and snapshots of a large state would take the processor from requests for as long as they are made.
    #[tokio::test]
    async fn what_no_request_waits_for_steps_back() {
        let nice = || rustix::process::nice(0).unwrap();
        let before = nice();
        assert_eq!(TokioRuntime::aside(nice).await.unwrap(), (before + NICE).min(19));
        assert_eq!(TokioRuntime::blocking(nice).await.unwrap(), before, "and nobody else");
        assert_eq!(nice(), before);
    }
}
