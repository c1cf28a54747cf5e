//! Temporary operation reordering: an order that a client has seen, and that another one followed.
//!
//! In: typed operations on lists. Out: pairs of reads through one node, the second called after the first
//! had returned, where something had come in before an element that the first had shown.
//!
//! In an agreed order a list only grows at its end. Where the order is agreed on late, an append that
//! arrives late takes a place among those that were shown already.
//!
//! Does not: look at different nodes. That two of them disagree for a while is no surprise.

use std::collections::BTreeMap;

use crate::{
    checker::replay::{Act, Typed},
    machine::{Answer, Query, Workbench},
};

/// Two reads of one list through one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reordering {
    /// The earlier read's operation.
    pub before: usize,
    /// The later read's operation.
    pub after: usize,
    /// The element that came in.
    pub came: i64,
    /// The element that it came before, shown by the earlier read in its place.
    pub shown: i64,
}

/// Finds them: of each read, the first against the one before it through the same node.
pub fn reorderings(operations: &[Typed<Workbench>]) -> Vec<Reordering> {
    let mut reads: Vec<(usize, &Typed<Workbench>)> = operations.iter().enumerate().collect();
    reads.sort_by_key(|(_, read)| read.invoked);
    let mut last: BTreeMap<(i64, &str), (usize, u64, &[i64])> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, read) in reads {
        let Typed { node: Some(node), invoked, returned: Some(returned), act, .. } = read else {
            continue;
        };
        let Act::Read { query: Query::List(key), answer: Some(Answer::List(list)) } = act else {
            continue;
        };
        if let Some((before, until, earlier)) = last.get(&(*key, node.as_str()))
            && until < invoked
            && let Some((shown, came)) =
                earlier.iter().zip(list).find(|(shown, came)| shown != came)
        {
            let (before, shown, came) = (*before, *shown, *came);
            found.push(Reordering { before, after: at, came, shown });
        }
        last.insert((*key, node), (at, *returned, list));
    }
    found
}
