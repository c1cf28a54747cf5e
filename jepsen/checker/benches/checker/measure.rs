//! Measures checks: how long, how much memory, and what came out.
//!
//! In goes a function that judges; out comes a [`Measured`]: the times of several runs, the bytes that
//! were allocated at most beyond what there was before, and the verdict. Short checks run often, long
//! ones at least once.
//!
//! Invariants: what a verdict takes to be dropped is no part of its time; the first run is not counted
//! where there are others, because it warms caches.

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use sixbells_checker::linearizable::{Method, Verdict};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const RUNS_MAX: usize = 30;
/// What all runs of a check may take together.
const RUNS_TIME: Duration = Duration::from_secs(3);

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Linearizable,
    Violation,
    Undecided,
}

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) word: Word,
    pub(crate) methods: String,
    /// Ascending.
    pub(crate) times: Vec<Duration>,
    pub(crate) bytes: usize,
}

impl Measured {
    pub(crate) fn median(&self) -> Duration {
        self.times[self.times.len() / 2]
    }
}

/// Judges again and again.
pub(crate) fn measure(mut judge: impl FnMut() -> Verdict) -> Measured {
    measure_with(|| (judge(), ()))
}

/// The same, where a judge hands back what else it made: what that takes to be dropped does not count.
pub(crate) fn measure_with<T>(mut judge: impl FnMut() -> (Verdict, T)) -> Measured {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let (took, judged) = timed(&mut judge);
    let bytes = MEMORY.peak_usage().saturating_sub(before);
    let (word, methods) = said(&judged.0);
    drop(judged);
    let (mut times, began) = (Vec::new(), Instant::now());
    while times.len() < RUNS_MAX && began.elapsed() + took < RUNS_TIME {
        times.push(timed(&mut judge).0);
    }
    if times.is_empty() {
        times.push(took);
    }
    times.sort_unstable();
    Measured { word, methods, times, bytes }
}

fn timed<T>(judge: &mut impl FnMut() -> T) -> (Duration, T) {
    let began = Instant::now();
    let judged = judge();
    (began.elapsed(), judged)
}

fn said(verdict: &Verdict) -> (Word, String) {
    match verdict {
        Verdict::Linearizable { witness } => {
            let methods: Vec<&str> = witness.methods().into_keys().map(Method::name).collect();
            (Word::Linearizable, methods.join(", "))
        }
        Verdict::Violation { method, .. } => (Word::Violation, method.name().to_owned()),
        Verdict::Unknown { why } => (Word::Undecided, why.clone()),
    }
}

/// A duration with three figures that mean something.
pub(crate) fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds >= 1.0 => format!("{seconds:.2} s"),
        _ if seconds >= 0.01 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.3} ms", seconds * 1e3),
    }
}

/// Bytes for people.
pub(crate) fn shown_bytes(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 10 << 20 => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}
