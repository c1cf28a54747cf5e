//! What every model's story has in common: many small histories, then a few large ones.
//!
//! A small history is decided by the procedure and by the judge. The procedure's order must replay;
//! the calls of its contradiction must be impossible even if each of the others was free to happen
//! or not. Where it has no answer, the preconditions must be broken.

use std::time::Instant;

use rand::rngs::StdRng;
use sixbells_checker::linearizable::{Contradiction, Decision, Piece};
use sixbells_checker::model::Model;

use crate::history::{Made, object, random};
use crate::judge;

/// A history made up, and what is known of it.
pub(crate) struct Told<M: Model> {
    pub(crate) model: M,
    pub(crate) calls: Vec<Made<M::Input, M::Output>>,
    /// Whether the procedure must decide it.
    pub(crate) covered: bool,
}

/// How often the procedure said what.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) legal: usize,
    pub(crate) illegal: usize,
    pub(crate) undecided: usize,
    pub(crate) largest: usize,
}

impl Tally {
    /// Both verdicts must be frequent, and no verdict rare: a story that only passes proves nothing.
    pub(crate) fn says_much(&self) {
        let Self { legal, illegal, undecided, .. } = self;
        let all = legal + illegal + undecided;
        assert!(legal * 8 > all && illegal * 8 > all && undecided * 20 < all, "{self:?}");
    }
}

/// Tells this many small histories.
pub(crate) fn small<M: Model>(count: u64, tell: impl Fn(&mut StdRng) -> Told<M>) -> Tally {
    let first: u64 =
        std::env::var("SIXBELLS_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    let mut tally = Tally::default();
    for seed in first..first + count {
        let told = tell(&mut random(seed));
        if let Err(what) = judged(&told, &mut tally) {
            let calls = object(&told.calls).calls;
            let calls: Vec<String> = calls.iter().map(|call| format!("  {call:?}")).collect();
            panic!(
                "{what}\n{}\nreplay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker --test \
                 procedures",
                calls.join("\n")
            );
        }
    }
    tally
}

fn judged<M: Model>(told: &Told<M>, tally: &mut Tally) -> Result<(), String> {
    let object = object(&told.calls);
    let possible = judge::possible(&told.model, &object.calls);
    match told.model.decide(&object) {
        None if told.covered => Err("no decision, though the preconditions hold".to_owned()),
        None => {
            tally.undecided += 1;
            Ok(())
        }
        Some(Decision::Order(order)) => {
            tally.legal += 1;
            judge::replays(&told.model, &object.calls, &order)
        }
        Some(Decision::Contradiction(contradiction)) if possible => {
            Err(format!("possible, but the procedure says {contradiction:?}"))
        }
        Some(Decision::Contradiction(contradiction)) => {
            tally.illegal += 1;
            tally.largest = tally.largest.max(contradiction.calls.len());
            let Contradiction { calls, argument } = &contradiction;
            let spoken = argument.iter().flat_map(|piece| match piece {
                Piece::Text(_) => Vec::new(),
                Piece::Subject(call) | Piece::Noun(call) => vec![*call],
                Piece::Gap(one, other) => vec![*one, *other],
            });
            for call in spoken {
                if !calls.contains(&call) {
                    return Err(format!("speaks of a call that is not shown: {contradiction:?}"));
                }
            }
            let required = |call: usize| {
                object.calls[call].happened() && calls.iter().any(|shown| *shown as usize == call)
            };
            match judge::possible_with(&told.model, &object.calls, &required) {
                true => Err(format!("the others can make it possible: {contradiction:?}")),
                false => Ok(()),
            }
        }
    }
}

/// Decides a large history, and says how many milliseconds that took.
pub(crate) fn large<M: Model>(told: &Told<M>, legal: bool) -> u128 {
    let object = object(&told.calls);
    let begun = Instant::now();
    let decision = told.model.decide(&object).expect("the preconditions hold");
    let milliseconds = begun.elapsed().as_millis();
    match decision {
        Decision::Order(order) => {
            assert!(legal, "the violation was not found");
            judge::replays(&told.model, &object.calls, &order).expect("the order replays");
        }
        Decision::Contradiction(contradiction) => {
            assert!(!legal, "there is no violation, but {contradiction:?}");
        }
    }
    milliseconds
}

/// Fewer histories where the compiler did not optimise.
pub(crate) fn count() -> u64 {
    if cfg!(debug_assertions) { 4_000 } else { 120_000 }
}
