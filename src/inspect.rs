//! What a log record says, for tools and tests that read logs and are no part of a node.
//!
//! Owns [`Content`]. In: a [`Record`], as a [`LogStore`](crate::storage::LogStore) keeps it. Out: its
//! kind, and the little of it that means something outside.
//!
//! Invariant: understands every record that a node of this release writes, and calls anything else
//! an error.
//!
//! Does not: decode the user's commands. Their bytes belong to the machine.

use std::{collections::BTreeSet, io};

use crate::{
    batch::Batch,
    proposal::{Origin, Proposal},
    runtime::TokioRuntime,
    storage::Record,
    strong::types,
};

/// What a log record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Nothing: a leader's first entry, with which it commits those before.
    Blank,
    /// Who the members are from this entry on.
    Membership {
        /// Those who vote. Two sets while a change is half done: a majority of each has to agree.
        voters: Vec<BTreeSet<u64>>,
    },
    /// Opens a session.
    Open,
    /// A user's command.
    Command {
        /// Names the request; every copy of it has the same.
        request: u128,
    },
    /// What was proposed together, in its order: sessions opened, and commands.
    Batch(Vec<Content>),
}

/// Reads a record.
///
/// # Errors
/// `InvalidData` if it is damaged, or written by a release with another format.
pub fn content(record: &Record) -> io::Result<Content> {
    types::content::<TokioRuntime>(record)
}

impl From<&Batch> for Content {
    fn from(batch: &Batch) -> Self {
        let mut contents: Vec<_> = batch.proposals().map(|proposal| of(&proposal)).collect();
        match contents.len() {
            1 => contents.remove(0),
            _ => Content::Batch(contents),
        }
    }
}

fn of(proposal: &Proposal) -> Content {
    match proposal.origin() {
        Origin::Open { .. } => Content::Open,
        Origin::Session { .. } | Origin::Once { .. } => {
            Content::Command { request: proposal.request() }
        }
    }
}
