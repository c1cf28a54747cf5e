//! The procedures that models have of their own, against a judge that tries every order.
//!
//! One story a file. Random histories come from a seed, and a failure prints it with the command that
//! replays it; `SIXBELLS_SEED=7 cargo test -p sixbells-checker --test procedures` begins elsewhere. In
//! release the stories tell a hundred thousand histories for each model, in debug fewer.

mod append;
mod history;
mod judge;
mod mutex;
mod queue;
mod set;
mod story;
