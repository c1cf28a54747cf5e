//! What reads of a list returned, as a tree of beginnings.
//!
//! Reads of a list that only grows repeat each other: ten thousand reads of up to ten thousand
//! elements say hardly more than the longest of them. So a read is kept as the node of a tree, to
//! which the elements lead from the root, and a history of any number of reads takes as much room as
//! the beginnings in which they differ.
//!
//! Invariants:
//! - two reads are one node exactly if they saw the same;
//! - a node's ancestors are the beginnings of its list, by depth;
//! - nodes are never removed, and a parent has a lower number than its children.

use std::collections::BTreeMap;

use crate::datum::Datum;

/// A list that was read, or the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u32);

impl Prefix {
    /// The list without elements.
    pub const EMPTY: Prefix = Prefix(0);
}

#[derive(Clone, Debug)]
struct Node {
    parent: Prefix,
    letter: Datum,
    depth: u32,
    /// The child that came first, which in a legal history is the only one.
    first: Option<Prefix>,
}

/// The lists that were read.
#[derive(Clone, Debug)]
pub(super) struct Prefixes {
    nodes: Vec<Node>,
    /// The children that did not come first.
    others: BTreeMap<(Prefix, Datum), Prefix>,
}

impl Default for Prefixes {
    fn default() -> Self {
        let root = Node { parent: Prefix::EMPTY, letter: Datum::NIL, depth: 0, first: None };
        Self { nodes: vec![root], others: BTreeMap::new() }
    }
}

impl Prefixes {
    fn node(&self, prefix: Prefix) -> &Node {
        &self.nodes[prefix.0 as usize]
    }

    /// How many elements it has.
    pub(super) fn depth(&self, prefix: Prefix) -> u32 {
        self.node(prefix).depth
    }

    /// The list with one element more, if somebody read that.
    pub(super) fn longer(&self, prefix: Prefix, letter: Datum) -> Option<Prefix> {
        let first = self.node(prefix).first?;
        match self.node(first).letter == letter {
            true => Some(first),
            false => self.others.get(&(prefix, letter)).copied(),
        }
    }

    /// The list of these elements, from now on one that somebody read.
    pub(super) fn insert(&mut self, letters: impl Iterator<Item = Datum>) -> Prefix {
        letters.fold(Prefix::EMPTY, |prefix, letter| {
            self.longer(prefix, letter).unwrap_or_else(|| self.grow(prefix, letter))
        })
    }

    fn grow(&mut self, parent: Prefix, letter: Datum) -> Prefix {
        let next = u32::try_from(self.nodes.len()).expect("reads differ in fewer than 2^32 places");
        let depth = self.node(parent).depth + 1;
        self.nodes.push(Node { parent, letter, depth, first: None });
        match &mut self.nodes[parent.0 as usize].first {
            first @ None => *first = Some(Prefix(next)),
            Some(_) => {
                self.others.insert((parent, letter), Prefix(next));
            }
        }
        Prefix(next)
    }

    /// The beginnings of a list, by length: the first is empty, the last the list itself.
    pub(super) fn beginnings(&self, prefix: Prefix) -> Vec<Prefix> {
        let mut at = prefix;
        let mut found = vec![at];
        while at != Prefix::EMPTY {
            at = self.node(at).parent;
            found.push(at);
        }
        found.reverse();
        found
    }

    /// The last elements of a list, at most this many.
    pub(super) fn last(&self, prefix: Prefix, count: usize) -> Vec<Datum> {
        let mut at = prefix;
        let mut letters = Vec::new();
        while at != Prefix::EMPTY && letters.len() < count {
            letters.push(self.node(at).letter);
            at = self.node(at).parent;
        }
        letters.reverse();
        letters
    }
}
