//! Finds the bug in a lock-free counter by recording real threads.
//!
//! ```text
//! cargo run --release -p sixbells-checker --example counter
//! ```
//! A test of a concurrent object in four steps:
//! 1. say what it is asked, and what a sequential one would answer: a [`Spec`];
//! 2. give each thread a client of one [`Recorder`], and make every call through it;
//! 3. let the threads run at the same time, on few operations, many times over: each round is a
//!    history of its own, which is quickly checked and short to read;
//! 4. look at the verdict: linearizable, a violation with the reason, or undecided, which is no pass.
//!
//! Whether a race is lost in one round is up to the machine, so rounds are repeated until one is, up
//! to a limit. In a `#[test]`, step 4 is `recorder.assert_linearizable(&model)`.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sixbells_checker::budget::Budget;
use sixbells_checker::linearizable::{Verdict, check};
use sixbells_checker::model::{Model, Spec};
use sixbells_checker::recorder::Recorder;

const THREADS: usize = 3;
const INCREMENTS: usize = 20;
/// A wrong counter that survives this many rounds was lucky beyond belief.
const ROUNDS_MAX: usize = 1000;

/// What a counter is asked; both answer with a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Op {
    Increment,
    Get,
}

/// Reads, adds and writes: another thread may have counted in between.
fn torn_increment(counter: &AtomicU64) -> u64 {
    let next = counter.load(Ordering::SeqCst) + 1;
    // The window is there without this, too: it lets a machine with one core find it as well.
    std::thread::yield_now();
    counter.store(next, Ordering::SeqCst);
    next
}

/// Counts in one step. No order is too relaxed for a single location.
fn whole_increment(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

/// What one thread alone would see. Without an answer, any is possible.
fn model() -> impl Model<Input = Op, Output = u64> {
    Spec::new(0_u64, |count: &u64, op: &Op, answer: Option<&u64>| {
        let next = if *op == Op::Increment { count + 1 } else { *count };
        answer.is_none_or(|answer| *answer == next).then_some(next)
    })
    .reading(|op| *op == Op::Get)
    .named("counter")
}

fn round(increment: fn(&AtomicU64) -> u64) -> Verdict {
    let (counter, recorder, start) = (AtomicU64::new(0), Recorder::new(), Barrier::new(THREADS));
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                let mut client = recorder.client();
                start.wait();
                for _ in 0..INCREMENTS {
                    client.call(Op::Increment, || increment(&counter));
                    client.call(Op::Get, || counter.load(Ordering::Relaxed));
                }
            });
        }
    });
    let mut budget = Budget::new(Duration::from_secs(10), 256 << 20);
    check(&recorder.calls(), &model(), &mut budget)
}

/// The first round that is not linearizable, by number, and what it was.
fn hunt(rounds: usize, increment: fn(&AtomicU64) -> u64) -> Option<(usize, Verdict)> {
    let mut verdicts = (1..=rounds).map(|number| (number, round(increment)));
    verdicts.find(|(_, verdict)| !matches!(verdict, Verdict::Linearizable { .. }))
}

fn main() {
    match hunt(ROUNDS_MAX, torn_increment) {
        Some((round, verdict)) => println!("load, then store: round {round} is {verdict}"),
        None => println!("load, then store: {ROUNDS_MAX} rounds were linearizable by luck"),
    }
    match hunt(100, whole_increment) {
        Some((round, verdict)) => println!("fetch_add: round {round} is {verdict}"),
        None => println!("fetch_add: 100 rounds are linearizable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_torn_counter_is_caught_and_the_whole_one_is_not() {
        let (_, verdict) = hunt(ROUNDS_MAX, torn_increment).unwrap();
        assert!(matches!(verdict, Verdict::Violation { .. }), "{verdict}");
        assert_eq!(hunt(20, whole_increment), None);
    }
}
