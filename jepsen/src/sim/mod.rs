//! Simulation: a whole cluster in one thread, decided by one number.
//!
//! The nodes and clients are the real ones; what is simulated is the world around them, plugged into
//! the library's doors:
//!
//! - [`world`] is time, randomness and tasks, and [`runtime`] makes the library's runtime door of it;
//! - [`network`] delays, loses, repeats and reorders messages, and cuts links;
//! - [`plan`] is everything that decides a run, as data, drawn from a seed; [`fault`] is what can be in
//!   it, and [`shrink`] makes a failing one small; [`seeds`] runs many;
//! - [`cluster`] is the real nodes on it, each a [`process`] in one of the modes, `questions` what they
//!   are asked, `operator` what is asked of them, [`nemesis`] what befalls them, `clients` who use them;
//!   [`disk`] and [`log`] are what they write on;
//! - [`run`] is one plan, in `phases`, to its verdict; [`campaign`] is many, each with one of our
//!   [`workloads`](crate::workload) and, if need be, a planted [`bug`]; [`mod@test`] is the same for users,
//!   with a [`suite`](crate::suite) of their own;
//! - a [`record`] is kept of what clients do, and a [`witness`] sees what becomes of it;
//! - [`observation`] is what all of these notice, and [`oracle`] judges it.
//!
//! Invariants:
//! - one seed, one run: every choice comes from the seed, every order from the choices; the trace hash
//!   is the same in any thread and any process of one build;
//! - a crash ends every task of a host at once;
//! - nothing here waits for real time.

pub mod bug;
pub mod campaign;
mod clients;
pub mod clock;
pub mod cluster;
mod convergence;
pub mod disk;
pub mod fault;
pub mod log;
pub mod nemesis;
pub mod network;
pub mod observation;
mod operator;
pub mod oracle;
mod phases;
pub mod plan;
pub mod process;
mod questions;
pub mod record;
pub mod run;
pub mod runtime;
pub mod seeds;
pub mod shrink;
mod tasks;
mod terms;
pub mod test;
mod watch;
pub mod witness;
pub mod world;

pub use fault::{Fault, Kind};
pub use network::{Links, Mishap, SimNetwork};
pub use observation::{End, Host, Logged, Observation, Replica};
pub use plan::Plan;
pub use record::Entry;
pub use runtime::SimRuntime;
pub use test::Test;

pub use crate::suite::{Op, Told};
