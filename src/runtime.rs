//! The runtime door: time, tasks and randomness.
//!
//! Owns [`Runtime`], openraft's `AsyncRuntime` and what we need beside it. Everything above is
//! generic over it, so the whole cluster runs on tokio in production and, from one seed, on
//! a simulated runtime in one thread.
//!
//! Invariants: no other module of the library reads a clock, sleeps, spawns or draws a random
//! number. Clippy's `disallowed-methods` holds it. Code that exists only in the real world (the TCP
//! transport, the log engines' threads) uses this door all the same.
//!
//! Does not: interpret time. Wall time is for people to read; nothing is decided by it.

use std::{
    fmt, io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use openraft::{
    OptionalSend, OptionalSync,
    async_runtime::{AsyncRuntime, Instant, Select3, watch},
};
use rand::RngExt;

/// Production: tokio.
pub type TokioRuntime = openraft::impls::TokioRuntime;

/// What the library needs of the world: openraft's runtime and, beside it, blocking work
/// and the wall clock.
pub trait Runtime:
    AsyncRuntime<Sleep: Send, Instant: Send + Sync, TimeoutError: Send> + Send + Sync
{
    /// Runs work that may block, such as reading a file, where it does not hold up other tasks.
    fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send;

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

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn wall() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// Runs a task nobody waits for: it ends by itself, or with the runtime.
pub(crate) fn spawn<R: Runtime>(task: impl Future<Output = ()> + OptionalSend + 'static) {
    drop(R::spawn(task));
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
