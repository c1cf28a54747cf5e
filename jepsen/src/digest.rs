//! Digests: a number in place of something large.
//!
//! In: anything that can be hashed. Out: a hash.
//!
//! Invariant: the same in every process of one build, so that nodes and runs can be compared. Not
//! `RandomState`, therefore.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A hash that is the same in every process of one build.
pub(crate) fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
