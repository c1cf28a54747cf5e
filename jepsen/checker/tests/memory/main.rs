//! The memory budget against what an allocator counts.
//!
//! A binary of its own, with one test: the allocator counts everything that happens in it.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use sixbells_checker::budget::Budget;
use sixbells_checker::call::Call;
use sixbells_checker::generate::Shape;
use sixbells_checker::history::pairing::pair_owned;
use sixbells_checker::linearizable::{Verdict, check};
use sixbells_checker::model::{HistoryModel, Model, Register, Spec};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const BUDGET: usize = 4 << 20;

/// What was taken beyond what there was before, and the verdict.
fn taken<M: Model>(calls: &[Call<M::Input, M::Output>], model: &M) -> (usize, Verdict) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let verdict = check(calls, model, &mut Budget::new(Duration::from_secs(600), BUDGET));
    (MEMORY.peak_usage() - before, verdict)
}

/// Judges cases of which some need more than there is; none may take more.
fn assert_within<M: Model>(
    story: &str,
    model: &M,
    cases: impl Iterator<Item = Vec<Call<M::Input, M::Output>>>,
) {
    let mut most = 0;
    let mut exhausted = 0;
    for (case, calls) in cases.enumerate() {
        let (bytes, verdict) = taken(&calls, model);
        assert!(bytes < BUDGET, "{story} {case}: took {} KiB of {}", bytes >> 10, BUDGET >> 10);
        most = most.max(bytes);
        exhausted += usize::from(matches!(verdict, Verdict::Unknown { .. }));
    }
    assert!(exhausted > 0, "{story}: nothing needed as much as that");
    assert!(most > BUDGET / 4, "{story}: gave up with {} KiB", most >> 10);
}

/// Registers with many crashed calls.
fn crashed_compare_and_sets(
    seed: u64,
) -> Vec<Call<<Register as Model>::Input, <Register as Model>::Output>> {
    let shape = Shape {
        operations: 1000,
        clients: 40,
        values: Some(80),
        mix: [20, 40, 40],
        crash: 0.3,
        stale: true,
        seed,
        ..Shape::default()
    };
    let (_, operations) =
        pair_owned(shape.events().expect("a shape that makes sense")).expect("pairs");
    Register::with_cas().calls(&operations).expect("a register").0
}

/// All at once, none like another.
fn all_at_once<S>(size: u64) -> Vec<Call<u64, S>> {
    let call = |process| Call {
        process,
        input: process,
        output: None,
        invoked: process,
        returned: Some(1000 + process),
        log_index: None,
    };
    (0..size).map(call).collect()
}

#[test]
fn a_search_takes_no_more_memory_than_it_may() {
    type Log = Vec<u64>;
    assert_within("registers", &Register::with_cas(), (1..4).map(crashed_compare_and_sets));
    let logs = Spec::new(Log::new(), |log: &Log, input: &u64, output: Option<&Log>| {
        let next: Log = log.iter().chain([input]).copied().collect();
        (next.len() < 24 && output.is_none_or(|output| *output == next)).then_some(next)
    });
    let logs = logs.sized(|log| size_of::<Log>() + 16 + log.capacity() * 8);
    assert_within("logs", &logs, std::iter::once(all_at_once(24)));
    let bags = Spec::new(0_u64, |bag: &u64, input: &u64, _output: Option<&()>| {
        let next = bag | (1 << input);
        (next.count_ones() < 24).then_some(next)
    });
    assert_within("bags", &bags, std::iter::once(all_at_once(24)));
}
