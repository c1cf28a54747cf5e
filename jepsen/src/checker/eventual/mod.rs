//! Checkers for eventual consistency: what it promises, and what it costs.
//!
//! In go the operations of the clients, as for [`replay`](super::replay), and the order of the commands on
//! which the replicas agreed in the end. What is promised must hold:
//!
//! - [`settled()`]: each acknowledged command is in the order, each once (durability, exactly once);
//! - [`guarantees()`]: a client that carries a token reads its own writes, and never less than before.
//!
//! What is not promised is measured, so that it can be weighed:
//!
//! - [`revocations()`]: commands whose answer turned out untrue;
//! - [`staleness()`]: how often a read missed a write that had been acknowledged for some time, and how
//!   many it missed (Bailis et al., "Probabilistically Bounded Staleness", VLDB 2012);
//! - [`reorderings()`]: answers of one replica in which the order of two writes changed (Kokocinski, Kobus
//!   and Wojciechowski, "On Mixing Eventual and Strong Consistency: Acute Cloud Types", 2019: *temporary
//!   operation reordering*).
//!
//! The last three, and guarantees, look at reads that say which writes they saw: those of the
//! [`Workbench`](crate::machine::Workbench), by [`Sight`].
//!
//! Invariant: nothing here needs a simulation; a history of real processes is judged by the same code.
//!
//! Does not: decide convergence. That is a matter of replicas, not of histories.

mod guarantees;
mod reordering;
mod revocation;
mod settled;
mod sight;
mod staleness;
#[cfg(test)]
mod tests;

pub use guarantees::{Guarantees, Lapse, guarantees};
pub use reordering::{Reordering, reorderings};
pub use revocation::{Revocation, revocations};
pub use settled::{CONVERGENCE, DURABILITY, EXACTLY_ONCE, settled};
pub use sight::Sight;
pub use staleness::{Age, Staleness, staleness};
