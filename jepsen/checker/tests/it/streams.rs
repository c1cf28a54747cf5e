//! Histories that are judged while they grow, against the same histories judged as a whole.
//!
//! `SIXBELLS_SEED=7 cargo test -p sixbells-checker --test it streams` replays one seed.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sixbells_checker::call::Call;
use sixbells_checker::datum::Datum;
use sixbells_checker::generate::Shape;
use sixbells_checker::history::pairing::pair;
use sixbells_checker::linearizable::{NEVER, Stream, Verdict, check};
use sixbells_checker::model::{HistoryModel, Keyed, KeyedInput, Register, RegisterInput};

use crate::budget;

const HISTORIES: u64 = if cfg!(debug_assertions) { 2_000 } else { 20_000 };

type Calls = Vec<Call<KeyedInput<RegisterInput>, Datum>>;

/// A history of a map that works, or in which one read saw what another one did.
fn history(rng: &mut SmallRng, seed: u64) -> (Keyed<Register>, Calls) {
    let shape = Shape {
        operations: rng.random_range(5..80),
        clients: rng.random_range(2..7),
        keys: 2,
        values: if rng.random_bool(0.5) { Some(3) } else { None },
        mix: [40, 40, 20],
        crash: [0.0, 0.1, 0.3][rng.random_range(0..3)],
        stale: false,
        seed,
    };
    let (_, operations) = pair(&shape.events().unwrap()).unwrap();
    let mut model = Keyed::kv();
    let (mut calls, _) = model.calls(&operations).unwrap();
    let reads: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].answer().is_some()).collect();
    if rng.random_bool(0.6) && !reads.is_empty() {
        let (one, other) =
            (reads[rng.random_range(0..reads.len())], reads[rng.random_range(0..reads.len())]);
        calls[one].output = calls[other].output;
    }
    (model, calls)
}

/// Feeds the calls in the order in which it is known how they ended; whether all had an order.
fn follow(model: Keyed<Register>, calls: &Calls, batch: usize) -> bool {
    let mut stream = Stream::new(model).in_batches_of(batch);
    let mut by_end = calls.clone();
    // Those that crash are told a while after they began.
    by_end.sort_by_key(|call| call.returned.unwrap_or(call.invoked + 2_000_000));
    for at in 0..by_end.len() {
        stream.push(by_end[at].clone());
        let horizon = by_end[at + 1..].iter().map(|call| call.invoked).min().unwrap_or(NEVER);
        if stream.advance(horizon, &mut budget()).unwrap().is_some() {
            return false;
        }
    }
    assert!(stream.is_exact());
    stream.advance(NEVER, &mut budget()).unwrap().is_none()
}

#[test]
fn what_is_judged_while_it_grows_gets_the_verdict_of_the_whole() {
    let seeds = match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..HISTORIES,
    };
    let mut invalid = 0;
    for seed in seeds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (model, calls) = history(&mut rng, seed);
        let replay = format!(
            "replay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker --test it streams\n{calls:#?}"
        );
        let expected = match check(&calls, &model, &mut budget()) {
            Verdict::Linearizable { .. } => true,
            Verdict::Violation { .. } => false,
            Verdict::Unknown { .. } => continue,
        };
        invalid += u64::from(!expected);
        for batch in [1, 5, 1000] {
            let found = follow(model.clone(), &calls, batch);
            assert_eq!(found, expected, "in batches of {batch}; {replay}");
        }
    }
    println!("{invalid} invalid");
    assert!(std::env::var("SIXBELLS_SEED").is_ok() || invalid > HISTORIES / 8);
}

/// A million operations are followed with what a few hundred take.
/// A long history is looked at for the first time when it is complete: nothing crashed, so everything
/// was counted.
#[test]
fn a_backlog_is_no_crash() {
    let shape = Shape { operations: 2_000, clients: 1, ..Shape::default() };
    let (_, operations) = pair(&shape.events().unwrap()).unwrap();
    let mut model = Register::plain();
    let (calls, _) = model.calls(&operations).unwrap();
    let mut stream = Stream::new(model);
    calls.into_iter().for_each(|call| stream.push(call));
    assert!(stream.advance(NEVER, &mut budget()).unwrap().is_none());
    assert!(stream.is_exact());
    assert_eq!(stream.judged(), 2_000);
}

#[test]
fn what_is_followed_is_not_kept() {
    let operations = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    let shape = Shape { operations, clients: 8, keys: 4, values: Some(50), ..Shape::default() };
    let (_, operations) = pair(&shape.events().unwrap()).unwrap();
    let mut model = Keyed::kv();
    let (mut calls, _) = model.calls(&operations).unwrap();
    calls.sort_by_key(|call| call.returned);
    let mut stream = Stream::new(model);
    let mut budget =
        sixbells_checker::budget::Budget::new(std::time::Duration::from_secs(600), 4 << 20);
    let count = calls.len() as u64;
    let mut ends = calls.iter().rev().map(|call| call.invoked);
    let mut horizons: Vec<u64> = Vec::new();
    let mut least = NEVER;
    for _ in 0..calls.len() {
        horizons.push(least);
        least = least.min(ends.next().unwrap());
    }
    horizons.reverse();
    for (call, horizon) in calls.into_iter().zip(horizons) {
        stream.push(call);
        assert!(stream.advance(horizon, &mut budget).unwrap().is_none());
    }
    assert!(stream.advance(NEVER, &mut budget).unwrap().is_none());
    assert_eq!(stream.judged(), count);
}

fn call(process: u64, input: RegisterInput, saw: i32, from: u64, to: Option<u64>) -> Calls {
    let input = KeyedInput { key: Datum::from(1), input };
    let output = Some(Datum::from(saw));
    vec![Call { process, input, output, invoked: from, returned: to, log_index: None }]
}

/// A write that began in the instant in which a read of its value ended is concurrent with it, also if
/// nobody knew of it yet.
#[test]
fn what_ends_at_the_horizon_waits_for_what_begins_there() {
    let mut stream = Stream::new(Keyed::kv()).in_batches_of(1);
    for calls in [
        call(1, RegisterInput::Read, 7, 0, Some(5)),
        call(2, RegisterInput::Write(Datum::from(7)), 0, 5, Some(9)),
    ] {
        calls.into_iter().for_each(|call| stream.push(call));
        assert_eq!(stream.advance(5, &mut budget()).unwrap(), None);
    }
    assert_eq!(stream.advance(NEVER, &mut budget()).unwrap(), None);
}

/// More calls crashed than are counted.
#[test]
fn what_is_not_counted_is_not_called_exact() {
    let mut stream = Stream::new(Keyed::kv()).in_batches_of(1);
    for at in 0..600 {
        call(at, RegisterInput::Write(Datum::from(7)), 0, at, None)
            .into_iter()
            .for_each(|call| stream.push(call));
    }
    assert!(stream.is_exact());
    assert_eq!(stream.advance(NEVER, &mut budget()).unwrap(), None);
    assert!(!stream.is_exact());
}
