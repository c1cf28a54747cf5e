//! Temporary operation reordering: an order that a client has seen, and that another order followed.
//!
//! In: typed operations on lists. Out: pairs of reads through one node, the second called after the first
//! had returned, that show two elements in opposite orders.
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
    /// Two elements: the earlier read shows them in this order, the later one in the other.
    pub elements: (i64, i64),
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
            && let Some(elements) = swapped(earlier, list)
        {
            found.push(Reordering { before: *before, after: at, elements });
        }
        last.insert((*key, node), (at, *returned, list));
    }
    found
}

/// The first two neighbours of the earlier list that stand the other way round in the later one.
fn swapped(earlier: &[i64], later: &[i64]) -> Option<(i64, i64)> {
    let places: BTreeMap<i64, usize> = later.iter().enumerate().map(|(at, e)| (*e, at)).collect();
    let common: Vec<i64> = earlier.iter().copied().filter(|e| places.contains_key(e)).collect();
    let pair = common.windows(2).find(|pair| places[&pair[0]] > places[&pair[1]])?;
    Some((pair[0], pair[1]))
}
