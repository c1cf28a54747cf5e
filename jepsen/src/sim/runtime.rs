//! The library's runtime door, made of the [`world`].
//!
//! Owns [`SimRuntime`]: tasks belong to the host that spawned them, time is the host's own clock,
//! and randomness comes from the seed.
//!
//! Invariants
//! - nothing here is chosen by anybody but the world: no tokio scheduler, no thread, no real clock;
//! - a task that panics is noted, and whoever waits for it is told;
//! - blocking work takes time, and waits while the host's disk is stalled.
//!
//! Does not: run outside of a world. There, tasks are dropped and time stands still.

use std::{
    fmt, io,
    ops::{Add, AddAssign, Sub, SubAssign},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sixbells::runtime::{AsyncRuntime, Instant, OptionalSend, Runtime, TokioRuntime};

use super::{
    watch::Watch,
    world::{self, Stream},
};

/// A runtime that is this thread's world.
#[derive(Debug)]
pub struct SimRuntime;

/// An instant on a host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimInstant(Duration);

/// What clocks show when a simulation begins. Not zero: programs subtract.
const EPOCH: Duration = Duration::from_secs(1_000);
/// How long blocking work takes beside what the disk itself does.
const BLOCKING_MAX: Duration = Duration::from_millis(2);

impl Instant for SimInstant {
    fn now() -> Self {
        Self(EPOCH + world::clock(world::here()).local(world::now()))
    }
}

impl Add<Duration> for SimInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl Sub for SimInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

/// Waits until a global instant.
#[derive(Debug)]
pub struct Sleep {
    until: Duration,
    timer: Option<u64>,
}

impl Sleep {
    /// For so long on this host's clock.
    fn local(duration: Duration) -> Self {
        let (clock, now) = (world::clock(world::here()), world::now());
        Self { until: clock.when(now, clock.local(now).saturating_add(duration)), timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if world::now() >= self.until {
            return Poll::Ready(());
        }
        let armed = self.timer.is_some_and(|timer| world::rearm(timer, cx.waker()));
        if !armed {
            self.timer = world::wake_at(self.until, cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            world::cancel(timer);
        }
    }
}

/// A future with a limit.
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

/// The limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("sleep", &self.sleep).finish_non_exhaustive()
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// Its host ended.
    Killed,
    /// It panicked, saying this.
    Panicked(String),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Killed => f.write_str("the task was killed"),
            JoinError::Panicked(said) => write!(f, "the task panicked: {said}"),
        }
    }
}

/// Waits for a task.
pub struct JoinHandle<T>(Arc<Mutex<Joined<T>>>);

struct Joined<T> {
    result: Option<Result<T, JoinError>>,
    waiting: Option<Waker>,
}

/// A task's end of its handle. Dropped without a result, it says that the task was killed.
struct Finish<T>(Arc<Mutex<Joined<T>>>);

fn lock<T>(joined: &Mutex<Joined<T>>) -> MutexGuard<'_, Joined<T>> {
    joined.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Finish<T> {
    fn set(&self, result: Result<T, JoinError>) {
        let waiting = {
            let mut joined = lock(&self.0);
            joined.result.get_or_insert(result);
            joined.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<T> Drop for Finish<T> {
    fn drop(&mut self) {
        self.set(Err(JoinError::Killed));
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut joined = lock(&self.0);
        match joined.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                joined.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinHandle")
    }
}

pub(super) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

impl AsyncRuntime for SimRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = SimInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = SmallRng;
    // These three wake in the order of waiting, and are bound to no scheduler.
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;
    type Watch = Watch;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let joined = Arc::new(Mutex::new(Joined { result: None, waiting: None }));
        let finish = Finish(Arc::clone(&joined));
        world::spawn_on(world::here(), async move {
            let result = AssertUnwindSafe(future).catch_unwind().await;
            finish.set(result.map_err(|panic| {
                let said = said(&*panic);
                world::panicked(said.clone());
                JoinError::Panicked(said)
            }));
        });
        JoinHandle(joined)
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep::local(duration)
    }

    fn sleep_until(deadline: SimInstant) -> Sleep {
        Sleep::local(deadline - SimInstant::now())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Sleep::local(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: SimInstant,
        future: F,
    ) -> Timeout<F> {
        Self::timeout(deadline - SimInstant::now(), future)
    }

    fn is_panic(error: &JoinError) -> bool {
        matches!(error, JoinError::Panicked(_))
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(world::draw(Stream::Program, |rng| rng.random()))
    }

    fn new(_threads: usize) -> Self {
        Self
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        let (result, _) = world::World::run(world::Settings::default(), future);
        result.unwrap_or_else(|stop| panic!("the simulation ended before its future: {stop}"))
    }
}

impl Runtime for SimRuntime {
    async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let pause = world::draw_duration(Stream::Disk, Duration::ZERO..BLOCKING_MAX);
        let free = world::disk_busy_until(world::here()).max(world::now());
        Sleep { until: free + pause, timer: None }.await;
        Ok(work())
    }

    fn wall() -> Duration {
        EPOCH + world::clock(world::here()).local(world::now())
    }
}
