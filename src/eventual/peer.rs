//! What a replica knows of another one.
//!
//! Owns [`Peer`]: as whom it writes, what it holds, and what it promised.
//!
//! In: its [`Digest`]s, in any order. Out: the promise that counts.
//!
//! Invariants
//! - A promise counts only once everything is here that its replica had by then.
//! - Of one author's replica, neither what it holds nor its promise ever becomes less.
//!
//! Does not: compare one peer with another.

use std::collections::VecDeque;

use super::digest::Digest;
use super::log::{Author, Vector};
use super::stamp::Stamp;
use crate::plant::{Bug, planted};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// As whom it wrote when it was last heard of.
    pub(super) author: Author,
    pub(super) have: Vector,
    /// No operation will come from there with a stamp up to this one.
    pub(super) promise: Stamp,
    /// What it promised, and what has to be here for it to count. The first is waited for, or a
    /// replica that is always a little behind would wait for ever; the last comes next.
    waited_for: VecDeque<Digest>,
    /// How far its clock is ahead of this one.
    pub(super) ahead_ms: i64,
    /// The first arrival that it may lack.
    pub(super) cursor: u64,
    /// Whether everything came here that it had when it was heard of.
    pub(super) heard: bool,
}

impl Peer {
    /// Takes note of what it says of itself.
    pub(super) fn hear(&mut self, digest: Digest, wall_ms: u64) {
        if self.author != digest.own.0 {
            // It was started again, and perhaps on an empty disk. What it had not synced when it
            // crashed will never come.
            self.author = digest.own.0;
            self.have.clear();
            self.cursor = 0;
            self.waited_for.clear();
        }
        self.ahead_ms = digest.wall_ms.cast_signed().saturating_sub(wall_ms.cast_signed());
        // What it said on its way may overtake what it said before: it never holds less.
        for (author, sequence) in &digest.have {
            let held = self.have.entry(*author).or_default();
            *held = (*held).max(*sequence);
        }
        self.waited_for.truncate(1);
        self.waited_for.push_back(digest);
    }

    /// Counts the promises that count, where this is here.
    pub(super) fn count(&mut self, here: &Vector) {
        let early = planted(Bug::PromiseTooEarly);
        let counts = |digest: &mut Digest| early || digest.covered_by(here);
        while let Some(digest) = self.waited_for.pop_front_if(counts) {
            self.promise = self.promise.max(digest.promise);
            self.heard = true;
        }
    }
}
