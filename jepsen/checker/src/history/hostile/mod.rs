//! Every reader of histories against random texts, good ones and broken ones.
//!
//! Stories: what is written comes back, in every form; a text read in pieces, read whole, and read
//! as it grows is the same history, or the same error; broken texts are errors with a line and a
//! reason, never a panic.
//!
//! `SIXBELLS_SEED=7 cargo test -p sixbells-checker --lib hostile` replays one seed.

mod scribble;
mod stories;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::parallel::Cut;
use super::source::{self, Origin};
use super::{Event, Format, History, InputError, Operations};

/// Runs a story with many seeds, or with the one from the environment.
fn each_seed(count: u64, story: impl Fn(&mut SmallRng)) {
    let seeds = match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIXBELLS_SEED is a number")],
        Err(_) => (0..count).collect(),
    };
    for seed in seeds {
        // Only a failing test shows what it printed, so the last line is the seed that failed.
        println!("replay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker --lib hostile");
        story(&mut SmallRng::seed_from_u64(seed));
    }
}

fn cut(piece_bytes: usize) -> Cut {
    Cut { piece_bytes, threads: 3 }
}

const IN_ONE: Cut = Cut { piece_bytes: 1, threads: 1 };

fn history(text: &[u8], format: Format, cut: Cut) -> Result<History, InputError> {
    source::history("h", Origin::Text(text), format, cut)
}

fn operations(text: &[u8], format: Format, cut: Cut) -> Result<Operations, InputError> {
    source::operations("h", Origin::Text(text), format, cut)
}

/// What one can know of a history that was read.
fn known(history: History) -> (Vec<Event>, Vec<usize>, super::Skipped) {
    let lines = (0..history.events.len()).map(|position| history.line(position)).collect();
    (history.events, lines, history.skipped)
}
