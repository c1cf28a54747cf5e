//! The world: time, randomness and tasks of one simulation.
//!
//! Owns the simulation that runs on this thread. The doors (network, disk, clocks) are functions of
//! it, because that is how the library reaches them: a runtime's methods have no `self`.
//!
//! In: a seed and a future, [`World::run`]. Out: what the future returned, or why it could not go on;
//! the trace hash, and how often each thing was reached.
//!
//! Invariants:
//! - one thread, one world; two worlds of one seed and one future are the same, instant by instant;
//! - global time only moves when nothing is ready, to the next timer; hosts see it through clocks of
//!   their own ([`Clock`]);
//! - each purpose draws from a random stream of its own, so that a change of the one (a fault fewer)
//!   does not shift all others;
//! - a host that ends takes its tasks and calls with it, in one step.
//!
//! Does not: know what a node, a message or a file is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sixbells::Mode;

pub use super::terms::{Observer, Settings, Stop, Stream, Traces};
use super::{
    Host, Observation,
    bug::Bug,
    clock::Clock,
    tasks::{Due, Id, Tasks, Work},
};

/// The host that the harness itself runs on. It is never killed.
pub const HARNESS: Host = 0;

/// More steps than anybody has to take within one instant.
const STEPS_MAX: u64 = 1_000_000;

/// The simulation of this thread.
#[derive(Debug)]
pub struct World {
    now: Duration,
    here: Host,
    steps: u64,
    /// Steps since time last went on.
    here_and_now: u64,
    shuffle: bool,
    streams: BTreeMap<Stream, SmallRng>,
    tasks: Tasks,
    clocks: BTreeMap<Host, Clock>,
    alive: BTreeSet<Host>,
    /// To be killed once the task that runs now has returned.
    doomed: Vec<Host>,
    disk_busy_until: BTreeMap<Host, Duration>,
    settings: Settings,
    halted: bool,
    hasher: DefaultHasher,
    reached: BTreeMap<&'static str, u64>,
    panics: Vec<(Host, String)>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Looks at this thread's world. `None` where there is none: when a simulation is over, what is
/// dropped last still asks.
fn with<T>(look: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.with(|world| world.try_borrow_mut().ok()?.as_mut().map(look))
}

/// Leaves the world behind when a panic does.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // Dropped outside of it: what is dropped may look where it is.
        drop(WORLD.with(|world| world.replace(None)));
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    fn new(settings: Settings) -> Self {
        let streams = [
            Stream::Schedule,
            Stream::Network,
            Stream::Disk,
            Stream::Program,
            Stream::Load,
            Stream::Nemesis,
        ];
        let mut seeds = SmallRng::seed_from_u64(settings.seed);
        let mut stream = |stream| (stream, SmallRng::seed_from_u64(seeds.random()));
        Self {
            now: Duration::ZERO,
            here: HARNESS,
            steps: 0,
            here_and_now: 0,
            shuffle: settings.shuffle,
            streams: streams.into_iter().map(&mut stream).collect(),
            tasks: Tasks::default(),
            clocks: BTreeMap::new(),
            alive: BTreeSet::from([HARNESS]),
            doomed: Vec::new(),
            disk_busy_until: BTreeMap::new(),
            settings,
            halted: false,
            hasher: DefaultHasher::new(),
            reached: BTreeMap::new(),
            panics: Vec::new(),
        }
    }

    /// Runs a future, as the harness, in a world of its own.
    ///
    /// # Panics
    /// If this thread is in a world already.
    pub fn run<T>(settings: Settings, main: impl Future<Output = T>) -> (Result<T, Stop>, Traces) {
        let outside = WORLD.with(|world| world.replace(Some(World::new(settings))));
        assert!(outside.is_none(), "a simulation inside a simulation");
        let _leave = Leave;
        let result = drive(main);
        // In order of hosts, each on its own: what is dropped may look where it is.
        let hosts = with(|world| world.tasks.hosts()).unwrap_or_default();
        hosts.into_iter().for_each(end_host);
        let world = WORLD.with(|world| world.replace(None));
        let traces = world.map(|mut world| {
            drop(world.tasks.clear());
            Traces {
                hash: world.hasher.finish(),
                simulated: world.now,
                steps: world.steps,
                reached: world.reached,
                panics: world.panics,
            }
        });
        (result, traces.unwrap_or_default())
    }

    fn draw(&mut self, stream: Stream) -> &mut SmallRng {
        self.streams.entry(stream).or_insert_with(|| SmallRng::seed_from_u64(0))
    }

    fn take(&mut self) -> Option<(Id, Host, Work, Waker)> {
        let shuffle = self.shuffle;
        let mut schedule = self.draw(Stream::Schedule).clone();
        let taken = self.tasks.take(|ready| match shuffle && ready > 1 {
            true => schedule.random_range(0..ready),
            false => 0,
        });
        *self.draw(Stream::Schedule) = schedule;
        if let Some((_, host, ..)) = taken {
            self.here = host;
            self.steps += 1;
        }
        taken
    }
}

/// Runs until `main` is done.
pub(super) fn drive<T>(main: impl Future<Output = T>) -> Result<T, Stop> {
    let mut main = pin!(main);
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        while let Some(host) = with(|world| world.doomed.pop()).flatten() {
            end_host(host);
        }
        if with(|world| world.halted).unwrap_or(true) {
            return Err(Stop::Halted);
        }
        let steps = with(|world| {
            world.here_and_now += 1;
            world.here_and_now
        });
        if steps.unwrap_or(0) > STEPS_MAX {
            return Err(Stop::Endless);
        }
        if flag.0.swap(false, Ordering::Relaxed) {
            with(|world| world.here = HARNESS);
            if let Poll::Ready(value) = main.as_mut().poll(&mut cx) {
                return Ok(value);
            }
        } else if let Some((id, _, work, waker)) = with(World::take).flatten() {
            poll(id, work, &waker);
        } else if !fire() {
            return Err(Stop::Stalled);
        }
    }
}

fn poll(id: Id, mut work: Work, waker: &Waker) {
    match work.as_mut().poll(&mut Context::from_waker(waker)) {
        Poll::Ready(()) => {
            drop(work);
            with(|world| world.tasks.finish(id));
        }
        Poll::Pending => {
            // Killed while it ran: dropped outside the world.
            drop(with(|world| world.tasks.put(id, work)));
        }
    }
}

/// Moves time to the next timer and fires it. `false` if there is none.
fn fire() -> bool {
    let due = with(|world| {
        let (at, due) = world.tasks.due()?;
        if at > world.now {
            (world.now, world.here_and_now) = (at, 0);
        }
        Some(due)
    });
    match due.flatten() {
        Some(Due::Wake(waker)) => waker.wake(),
        Some(Due::Call(host, call)) => {
            with(|world| world.here = host);
            call();
        }
        None => return false,
    }
    true
}

fn end_host(host: Host) {
    let gone = with(|world| {
        world.here = host;
        world.alive.remove(&host);
        world.tasks.kill(host)
    });
    drop(gone);
    with(|world| world.here = HARNESS);
}

/// Time since the simulation began, as nobody in it sees it.
pub fn now() -> Duration {
    with(|world| world.now).unwrap_or_default()
}

/// The host that runs at the moment.
pub fn here() -> Host {
    with(|world| world.here).unwrap_or(HARNESS)
}

/// Does something as another host.
pub fn on<T>(host: Host, work: impl FnOnce() -> T) -> T {
    let before = here();
    with(|world| world.here = host);
    let done = work();
    with(|world| world.here = before);
    done
}

/// Draws from a random stream.
pub fn draw<T>(stream: Stream, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
    let mut rng = with(|world| world.draw(stream).clone());
    let drawn = draw(rng.get_or_insert_with(|| SmallRng::seed_from_u64(0)));
    with(|world| {
        if let Some(rng) = rng {
            *world.draw(stream) = rng;
        }
    });
    drawn
}

/// A duration within bounds.
pub fn draw_duration(stream: Stream, range: std::ops::Range<Duration>) -> Duration {
    if range.is_empty() {
        return range.start;
    }
    draw(stream, |rng| rng.random_range(range))
}

/// Lets a host run. Its clock goes on where it was.
pub fn boot(host: Host) {
    with(|world| world.alive.insert(host));
}

/// Ends a host: every task and call of it is gone when this returns, or, if it runs at the moment,
/// as soon as its present step is over.
pub fn kill(host: Host) {
    if here() == host {
        with(|world| {
            world.alive.remove(&host);
            world.doomed.push(host);
        });
    } else {
        let before = here();
        end_host(host);
        with(|world| world.here = before);
    }
}

/// Whether a host runs.
pub fn is_alive(host: Host) -> bool {
    with(|world| world.alive.contains(&host)).unwrap_or(false)
}

/// Holds a host's tasks back, as SIGSTOP does; its timers and its disk go on.
pub fn pause(host: Host) {
    with(|world| world.tasks.pause(host));
}

/// Whether a host is paused.
pub fn is_paused(host: Host) -> bool {
    with(|world| world.tasks.is_paused(host)).unwrap_or(false)
}

/// Lets a paused host go on.
pub fn resume(host: Host) {
    with(|world| world.tasks.resume(host));
}

/// Runs a task on a host. On one that is not alive, it is dropped. It never leaves this thread.
pub fn spawn_on(host: Host, work: impl Future<Output = ()> + 'static) {
    let work: Work = Box::pin(work);
    let refused = with(|world| match world.alive.contains(&host) {
        true => {
            world.tasks.spawn(host, work);
            None
        }
        false => Some(work),
    });
    drop(refused);
}

/// Calls something on a host after a while, unless the host ends before.
pub fn call_after(host: Host, delay: Duration, call: impl FnOnce() + Send + 'static) {
    with(|world| {
        let at = world.now.saturating_add(delay);
        world.tasks.call_at(at, host, Box::new(call));
    });
}

/// Waits, in global time.
pub(super) fn wake_at(at: Duration, waker: Waker) -> Option<Id> {
    with(|world| world.tasks.wake_at(at, waker))
}

pub(super) fn rearm(id: Id, waker: &Waker) -> bool {
    with(|world| world.tasks.rearm(id, waker)).unwrap_or(false)
}

pub(super) fn cancel(id: Id) {
    drop(with(|world| world.tasks.cancel(id)));
}

/// A host's clock.
pub fn clock(host: Host) -> Clock {
    with(|world| world.clocks.get(&host).copied()).flatten().unwrap_or_default()
}

/// Makes a host's clock run at another rate from now on, without a jump.
pub fn set_clock_rate(host: Host, rate: f64) {
    let now = now();
    let clock = clock(host).at_rate(now, rate);
    with(|world| world.clocks.insert(host, clock));
}

/// Moves a host's clock forward.
pub fn bump_clock(host: Host, by: Duration) {
    let clock = clock(host).bumped(by);
    with(|world| world.clocks.insert(host, clock));
}

/// Until when a host's disk answers nobody.
pub fn disk_busy_until(host: Host) -> Duration {
    with(|world| world.disk_busy_until.get(&host).copied()).flatten().unwrap_or_default()
}

/// Lets a host's disk answer nobody for a while.
pub fn stall_disk(host: Host, lasting: Duration) {
    with(|world| {
        let until = world.now + lasting;
        world.disk_busy_until.insert(host, until);
    });
}

/// Adds to the trace: what kind of thing happened, a number that tells it from others of its kind,
/// and words, which are made only if somebody reads them.
pub fn trace(kind: &'static str, digest: u64, words: impl FnOnce() -> String) {
    let log = with(|world| {
        (world.now, world.here, kind, digest).hash(&mut world.hasher);
        world.settings.log.take().map(|log| (world.now, world.here, log))
    });
    if let Some((now, host, mut log)) = log.flatten() {
        log(format!("{:>12.6} {host:>3} {kind:<10} {}", now.as_secs_f64(), words()));
        with(|world| world.settings.log = Some(log));
    }
}

/// Tells the observer.
pub fn observe(seen: &Observation) {
    let observer = with(|world| {
        let now = world.now;
        world.settings.observer.take().map(|observer| (now, observer))
    });
    if let Some((now, mut observer)) = observer.flatten() {
        let enough = observer(now, seen);
        with(|world| {
            world.settings.observer = Some(observer);
            world.halted |= enough;
        });
    }
}

/// The bug that is planted in the simulation's own parts, if one is.
pub fn planted() -> Option<Bug> {
    with(|world| world.settings.planted).flatten()
}

/// Whether there is a log whose order the oracles see: not in eventual mode, nor outside of a world.
pub fn has_log_order() -> bool {
    with(|world| world.settings.mode == Mode::Strong).unwrap_or(false)
}

/// Counts that something was reached.
pub fn reach(what: &'static str) {
    with(|world| *world.reached.entry(what).or_default() += 1);
}

/// Notes that a task panicked.
pub(super) fn panicked(message: String) {
    with(|world| {
        let host = world.here;
        world.panics.push((host, message));
    });
}
