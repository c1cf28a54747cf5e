//! Oracles: what must be true of a Raft cluster at every instant, one file each.
//!
//! In go [`Observation`]s as they are made, and the [`Replica`]s at the end; out comes the first
//! violation, in a sentence. The names and definitions are those of the Raft paper (Ongaro and
//! Ousterhout, "In Search of an Understandable Consensus Algorithm", figure 3), where it has them.
//!
//! - [`Ledger`] keeps what all logs hold, for the oracles that compare logs;
//! - [`Panel`] is all oracles together, which is what a run asks.
//!
//! Invariants:
//! - an oracle looks at what happened, never at what a node believes;
//! - an oracle that is silent has seen what it judges: [`Oracle::looked`] counts, and a run in which
//!   an oracle never looked is no evidence for it;
//! - observing costs logarithmic time per entry: oracles run on every seed, to the end.
//!
//! Does not: know about seeds, faults or how the run goes on after a violation.
