//! Checkers: from operations to a verdict.
//!
//! What needs nothing of sixbells is a crate of its own, [`sixbells_checker`], and appears here under
//! the same names. [`replay`] is the one that needs a [`StateMachine`](sixbells::StateMachine): it
//! holds typed operations against the machine they ran on, along the log's order. [`eventual`] is about
//! what is promised where that order is agreed on late.

pub mod eventual;
pub mod replay;

pub use sixbells_checker::{
    Explanation, OpError, Verdict, budget, call, linearizable, moment, set, stats,
};
