//! Simulation: a whole cluster in one thread, decided by one number.
//!
//! The nodes and clients are the real ones; what is simulated is the world around them, plugged into
//! the library's doors:
//!
//! - [`world`] is time, randomness and tasks, and [`runtime`] makes the library's runtime door of it;
//! - [`network`] delays, loses, repeats and reorders messages, and cuts links;
//! - [`disk`] keeps what was synced apart from what was only written, and [`log`] is a write-ahead
//!   log on it;
//! - [`observation`] is what all of these notice, and [`oracle`] judges it.
//!
//! Invariants:
//! - one seed, one run: every choice comes from the seed, every order from the choices; the trace hash
//!   is the same in any thread and any process of one build;
//! - a crash ends every task of a host at once, and keeps of its disk what was synced and a random
//!   part of the rest;
//! - nothing here waits for real time.

pub mod clock;
pub mod network;
pub mod observation;
pub mod oracle;
pub mod runtime;
mod tasks;
mod watch;
pub mod world;

pub use network::{Links, Mishap, SimNetwork};
pub use observation::{End, Host, Logged, Observation, Replica};
pub use runtime::SimRuntime;
