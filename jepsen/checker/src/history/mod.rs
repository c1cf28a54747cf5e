//! Histories: what was asked, what was answered, and when.
//!
//! A history is a list of [`Event`]s in the order they happened: a process *invokes* an operation
//! and later *completes* it with `ok`, `fail` (it definitely did not happen) or `info` (nobody
//! knows). [`pairing`] turns events into [`Operation`]s, which is what the checkers eat.
//!
//! - [`recorder`] writes one down while a test runs;
//! - [`file`](mod@file) reads one back, whatever its format, and names file, line and reason when it
//!   cannot; large ones in pieces, in parallel; [`follow`] reads one that is still being written;
//! - [`jsonl`] is our native form, [`jepsen`] is Jepsen's, read by the real EDN reader in [`edn`];
//!   Jepsen's logs are read too, and [`elle`] writes for Elle.
//!
//! Invariants:
//! - the events of one process alternate: invoke, completion, invoke, completion;
//! - after `info` a process is never heard of again: its worker goes on under a fresh id;
//! - the nemesis speaks only in `info` events, and never takes part in a verdict.
//!
//! Nothing here knows what an operation means: that is the model's part.

mod batch;
pub mod edn;
pub mod elle;
mod event;
pub mod file;
pub mod follow;
#[cfg(test)]
mod hostile;
pub mod jepsen;
pub mod jsonl;
mod log;
pub mod pairing;
mod parallel;
pub mod recorder;
mod source;
pub mod value;

pub use event::{Details, Event, EventType, Process};
pub use file::{Format, History, InputError, Operations, Skipped};
pub use pairing::{Clock, Operation, Outcome};
pub use recorder::{Completion, Recorder, Worker};
pub use smol_str::SmolStr;
pub use value::Value;
