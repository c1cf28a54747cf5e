//! Suites: what is tested, and what clients do to test it, on simulated clusters and on real ones.
//!
//! Owns [`Suite`]: the operations of the clients on some machine ([`Op`], [`Told`]), and what must hold
//! beside linearizability, which needs no saying. In: a random source. Out: operations, and judgements.
//!
//! Invariant: a suite draws from the source that it is given and from nothing else, so that a seed says
//! what clients do.
//!
//! Does not: send anything, or know where.

mod op;

use std::{collections::BTreeSet, fmt, sync::Arc};

use rand::rngs::SmallRng;
use sixbells::StateMachine;

pub use self::op::{Op, Told};
use crate::checker::replay::Typed;

/// Decides what one client does.
pub trait Generator<S: StateMachine>: Send {
    /// The next operation.
    fn next(&mut self, rng: &mut SmallRng) -> Op<S>;

    /// Learns what the client was told.
    fn observe(&mut self, _op: &Op<S>, _told: &Told<S>) {}
}

impl<S: StateMachine, F: FnMut(&mut SmallRng) -> Op<S> + Send> Generator<S> for F {
    fn next(&mut self, rng: &mut SmallRng) -> Op<S> {
        self(rng)
    }
}

/// Makes the generator of a client.
pub type MakeGenerator<S> = Arc<dyn Fn() -> Box<dyn Generator<S>> + Send + Sync>;
/// What must hold of the machine after every command.
pub type Invariant<S> = Arc<dyn Fn(&S) -> Result<(), String> + Send + Sync>;

/// Judges a history by the final order and by which processes carried a token: says how much it looked
/// at, and what was broken.
pub type JudgeSessions<S> =
    Arc<dyn Fn(&[Typed<S>], &[u64], &BTreeSet<u64>) -> (u64, Option<String>) + Send + Sync>;

/// What is tested: what clients do, and how it is judged.
pub struct Suite<S: StateMachine> {
    /// What is done before anything breaks, in order.
    pub setup: Vec<S::Command>,
    /// What clients do.
    pub generator: MakeGenerator<S>,
    /// What must hold of the machine after every command.
    pub invariants: Vec<(String, Invariant<S>)>,
    /// What is asked once everything has come to rest.
    pub last: Vec<S::Query>,
    /// Judges what was promised to clients with a token, in eventual mode.
    pub guarantees: Option<JudgeSessions<S>>,
}

impl<S: StateMachine> Clone for Suite<S> {
    fn clone(&self) -> Self {
        Self {
            setup: self.setup.clone(),
            generator: self.generator.clone(),
            invariants: self.invariants.clone(),
            last: self.last.clone(),
            guarantees: self.guarantees.clone(),
        }
    }
}

impl<S: StateMachine> fmt::Debug for Suite<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invariants: Vec<&String> = self.invariants.iter().map(|(name, _)| name).collect();
        f.debug_struct("Suite").field("invariants", &invariants).finish_non_exhaustive()
    }
}
