//! Checkers of recorded histories: from operations to a verdict.
//!
//! Usable without sixbells: nothing here knows what was tested, or how. The parts, in the order data
//! flows through them:
//!
//! - [`recorder`] writes down what concurrent code does, in a test of its own;
//! - [`history`] records what a system does, and reads what others recorded;
//! - [`model`] says what a correct object would have answered;
//! - [`linearizable`] looks for an order that a model accepts;
//! - [`set`] looks for acknowledged elements that are missing from the final read;
//! - [`stats`] counts, and refuses to call an empty history evidence;
//! - [`report`] puts it all into words, [`page`] into one file to look at, and [`junit`] into one for
//!   build servers; [`terminal`] gives its words colour;
//! - [`faults`] and [`nodes`] say what was broken and who led meanwhile: for people, for no verdict.
//!
//! Invariants:
//! - a [`Verdict`] is one of three, and unknown is never green;
//! - every checker takes a [`Budget`](budget::Budget) or runs in one pass;
//! - bad input is an [`OpError`] with the position of the operation, never a verdict.

mod assertion;
pub mod budget;
pub mod call;
pub mod datum;
pub mod faults;
pub mod generate;
pub mod history;
pub mod junit;
pub mod linearizable;
pub mod model;
pub mod moment;
pub mod nodes;
pub mod page;
pub mod recorder;
pub mod report;
pub mod set;
pub mod stats;
pub mod terminal;
mod verdict;

pub use verdict::{Explanation, OpError, Verdict};

/// The program in the README is compiled and run like every other example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
