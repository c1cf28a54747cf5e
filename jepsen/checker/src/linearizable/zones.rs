//! Zones: registers whose written values are unique, in near-linear time.
//!
//! Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26(4), 1997, section 4.1, decide
//! this for reads and writes. Here with compare-and-sets and with calls that nobody knows about:
//!
//! 1. A value that is read, written by a call that happened, or consumed by a compare-and-set that
//!    is itself needed, is *required*: its one writer did happen. Crashed writers of all other
//!    values are dropped: an order with them is an order without. So they cost nothing.
//! 2. A *cluster* is a writer and the reads of its value. A required compare-and-set from `x` puts
//!    its cluster directly behind that of `x`; two of them from one `x` are a contradiction, and so
//!    is a cycle. The maximal chains are *blocks*: contiguous in every order, and in themselves
//!    ordered up to the reads of one cluster. Inside, no call may precede one of an earlier group.
//! 3. For a block let `f` be its first return and `s` its last invocation. Block `B` must come before
//!    `C` exactly if `f(B) < s(C)`. There is an order exactly if no two blocks must come before each
//!    other: in any longer cycle the block with the least `f` must come before all others, and so
//!    before its own predecessor.
//! 4. Call a block *forward* if `f < s`, else *backward*. Two conflict exactly if two forward intervals
//!    `[f, s]` overlap, or a backward `[s, f]` lies inside a forward one.
//! 5. By `min(f, s)`, backward first where equal, blocks stand in a valid order.
//!
//! `O(n log n)` for `n` calls, from sorting blocks; any concurrency, any number of crashed calls.
//!
//! Does not apply, and says so, if a value is written twice or the initial value is written.

use std::collections::{BTreeMap, BTreeSet};

use super::NEVER;
use super::scratch::Scratch;
use super::touch::{NOTHING, Touch};

/// What zones find. Calls by their position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Zones {
    /// This order explains all, and leaves out crashed calls that nobody observed.
    Order(Vec<u32>),
    /// These calls contradict each other, given who wrote the values.
    Contradiction(Vec<u32>),
    /// Values are not unique.
    NotApplicable,
}

const NONE: u32 = u32::MAX;

/// A writer and the reads of its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    writer: u32,
    /// The cluster whose compare-and-set consumes this value.
    next: u32,
    /// The cluster whose value this writer consumes.
    previous: u32,
    required: bool,
    /// The read that returned first, and the one that was invoked last.
    first: u32,
    last: u32,
}

/// A maximal chain of clusters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    head: u32,
    /// The first return and whose it is.
    f: u64,
    first: u32,
    /// The last invocation and whose it is.
    s: u64,
    last: u32,
}

impl Block {
    fn forward(&self) -> bool {
        self.f < self.s
    }
}

/// Decides whether `touches` have an order. `initial` is the value at the start.
pub(super) fn decide(touches: &[Touch], initial: u64, scratch: &mut Scratch) -> Zones {
    match find(touches, initial, scratch) {
        Ok(blocks) => Zones::Order(order(touches, &blocks, scratch)),
        Err(Zones::Contradiction(calls)) => {
            let calls = with_observers(touches, calls, scratch);
            Zones::Contradiction(evidence(touches, calls, scratch))
        }
        Err(other) => other,
    }
}

fn find(touches: &[Touch], initial: u64, scratch: &mut Scratch) -> Result<Vec<Block>, Zones> {
    name_clusters(touches, initial, scratch)?;
    gather(touches, scratch)?;
    close(touches, scratch)?;
    let mut blocks = measure(touches, scratch)?;
    blocks.sort_unstable_by_key(|block| (block.f.min(block.s), block.forward()));
    conflict(&blocks)?;
    Ok(blocks)
}

/// Gives each written value its cluster.
fn name_clusters(touches: &[Touch], initial: u64, scratch: &mut Scratch) -> Result<(), Zones> {
    let Scratch { clusters, values, owners, .. } = scratch;
    let cluster = |writer| Cluster {
        writer,
        next: NONE,
        previous: NONE,
        required: false,
        first: NONE,
        last: NONE,
    };
    clusters.clear();
    clusters.push(Cluster { required: true, ..cluster(NONE) });
    values.reset(touches.len() + 1);
    values.insert(initial, 0);
    owners.clear();
    owners.resize(touches.len(), NONE);
    for (at, touch) in (0_u32..).zip(touches) {
        if touch.writes != NOTHING {
            let number = index(clusters.len());
            if values.insert(touch.writes, number).is_some() {
                return Err(Zones::NotApplicable);
            }
            owners[at as usize] = number;
            clusters.push(cluster(at));
        }
    }
    Ok(())
}

/// Puts each read into its cluster, and marks the values that must have been there.
fn gather(touches: &[Touch], scratch: &mut Scratch) -> Result<(), Zones> {
    let Scratch { clusters, values, owners, work, .. } = scratch;
    work.clear();
    for (at, touch) in (0_u32..).zip(touches) {
        if !touch.is_read() {
            if touch.happened() {
                work.push(owners[at as usize]);
            }
            continue;
        }
        if !touch.happened() {
            continue;
        }
        let Some(number) = values.find(touch.observes) else {
            return Err(Zones::Contradiction(vec![at]));
        };
        owners[at as usize] = number;
        let cluster = &mut clusters[number as usize];
        if cluster.first == NONE || touch.returned < touches[cluster.first as usize].returned {
            cluster.first = at;
        }
        if cluster.last == NONE || touch.invoked > touches[cluster.last as usize].invoked {
            cluster.last = at;
        }
        if !cluster.required {
            work.push(number);
        }
    }
    Ok(())
}

/// Follows compare-and-sets to what they consume, and links the chains.
fn close(touches: &[Touch], scratch: &mut Scratch) -> Result<(), Zones> {
    let Scratch { clusters, values, work, .. } = scratch;
    while let Some(number) = work.pop() {
        let cluster = &mut clusters[number as usize];
        if std::mem::replace(&mut cluster.required, true) {
            continue;
        }
        let writer = cluster.writer;
        let observed = touches[writer as usize].observes;
        if observed == NOTHING {
            continue;
        }
        let Some(previous) = values.find(observed) else {
            return Err(Zones::Contradiction(vec![writer]));
        };
        cluster.previous = previous;
        let rival = clusters[previous as usize].next;
        if rival != NONE {
            return Err(Zones::Contradiction(vec![clusters[rival as usize].writer, writer]));
        }
        clusters[previous as usize].next = number;
        work.push(previous);
    }
    Ok(())
}

/// Walks each chain, checks its inner order, and takes its measures.
fn measure(touches: &[Touch], scratch: &mut Scratch) -> Result<Vec<Block>, Zones> {
    let Scratch { clusters, .. } = scratch;
    let mut blocks = Vec::with_capacity(clusters.len());
    let (mut seen, mut required) = (0_usize, 0_usize);
    for head in 0..clusters.len() {
        required += usize::from(clusters[head].required);
        if !clusters[head].required || clusters[head].previous != NONE {
            continue;
        }
        let mut block = Block { head: index(head), f: NEVER, first: NONE, s: 0, last: NONE };
        let mut number = index(head);
        while number != NONE {
            seen += 1;
            let Cluster { writer, next, first, last, .. } = clusters[number as usize];
            if writer == NONE {
                block.f = 0;
            }
            for (returns, calls) in [(writer, writer), (first, last)] {
                if returns == NONE {
                    continue;
                }
                let (returned, invoked) =
                    (touches[returns as usize].returned, touches[calls as usize].invoked);
                if returned < block.s {
                    return Err(Zones::Contradiction(vec![returns, block.last]));
                }
                if returned < block.f {
                    (block.f, block.first) = (returned, returns);
                }
                if invoked > block.s {
                    (block.s, block.last) = (invoked, calls);
                }
            }
            number = next;
        }
        blocks.push(block);
    }
    if seen < required {
        return Err(Zones::Contradiction(cycle(clusters)));
    }
    Ok(blocks)
}

/// A chain that bites its tail: no cluster of it is reached from a head.
fn cycle(clusters: &[Cluster]) -> Vec<u32> {
    let mut reached = vec![false; clusters.len()];
    for head in 0..clusters.len() {
        let mut at = head;
        while clusters[head].previous == NONE && !std::mem::replace(&mut reached[at], true) {
            match clusters[at].next {
                NONE => break,
                next => at = next as usize,
            }
        }
    }
    let lost = |at: &usize| clusters[*at].required && !reached[*at];
    let Some(start) = (0..clusters.len()).find(lost) else {
        return Vec::new();
    };
    let mut members = vec![clusters[start].writer];
    let mut at = clusters[start].previous as usize;
    while at != start {
        members.push(clusters[at].writer);
        at = clusters[at].previous as usize;
    }
    members
}

/// Finds two blocks that must come before each other. The blocks are in their order.
fn conflict(blocks: &[Block]) -> Result<(), Zones> {
    let mut open: Option<&Block> = None;
    for block in blocks {
        // A later block begins no earlier, so it conflicts exactly if the open one is not over.
        let inside = |open: &&Block| match block.forward() {
            true => block.f < open.s,
            false => open.f < block.s && block.f < open.s,
        };
        if let Some(open) = open.filter(inside) {
            let calls = [open.first, open.last, block.first, block.last];
            let calls = calls.into_iter().filter(|call| *call != NONE).collect();
            return Err(Zones::Contradiction(calls));
        }
        if block.forward() {
            open = Some(block);
        }
    }
    Ok(())
}

/// The calls, and for those that nobody knows about what shows that they happened: a read of their
/// value, or a compare-and-set that consumed it and is itself known or shown to have happened.
fn with_observers(touches: &[Touch], mut calls: Vec<u32>, scratch: &Scratch) -> Vec<u32> {
    let Scratch { clusters, owners, .. } = scratch;
    let mut known: BTreeSet<u32> = calls.iter().copied().collect();
    let mut at = 0;
    while let Some(&call) = calls.get(at) {
        at += 1;
        if touches[call as usize].happened() {
            continue;
        }
        let Cluster { first, next, .. } = clusters[owners[call as usize] as usize];
        let observer = match (first, next) {
            (NONE, NONE) => continue,
            (NONE, next) => clusters[next as usize].writer,
            (read, _) => read,
        };
        if known.insert(observer) {
            calls.push(observer);
        }
    }
    calls
}

/// The calls, the writers of what they observe, and the chain between calls of one block.
fn evidence(touches: &[Touch], calls: Vec<u32>, scratch: &Scratch) -> Vec<u32> {
    let mut met: BTreeMap<u32, u32> = calls.iter().map(|call| (*call, 1)).collect();
    // Follow what is observed back to a plain write, or to one of the calls; what several paths share
    // is the chain between.
    let path_of = |call: &u32| {
        let mut path = Vec::new();
        let mut observed = touches[*call as usize].observes;
        while let Some(number) = scratch.values.find(observed)
            && path.len() < scratch.clusters.len()
        {
            let writer = scratch.clusters[number as usize].writer;
            if writer == NONE {
                break;
            }
            path.push(writer);
            if met.contains_key(&writer) {
                break;
            }
            observed = touches[writer as usize].observes;
        }
        path
    };
    let paths: Vec<Vec<u32>> = calls.iter().map(path_of).collect();
    for call in paths.iter().flatten() {
        *met.entry(*call).or_insert(0) += 1;
    }
    let mut members = calls;
    for path in paths {
        // Up to the first shared call, or only the direct writer where nothing is shared.
        let shared = path.iter().position(|call| met[call] > 1);
        let end = shared.map_or(path.len().min(1), |position| position + 1);
        members.extend(&path[..end]);
    }
    members.sort_unstable();
    members.dedup();
    members
}

/// The calls in the order of their blocks: each writer before its reads, reads by invocation.
fn order(touches: &[Touch], blocks: &[Block], scratch: &mut Scratch) -> Vec<u32> {
    let Scratch { clusters, owners, work, .. } = scratch;
    // Where each cluster begins in the order.
    work.clear();
    work.resize(clusters.len(), NONE);
    let mut sizes = vec![0_u32; clusters.len()];
    let read = |touch: &Touch| touch.is_read() && touch.happened();
    for (touch, owner) in touches.iter().zip(owners.iter()) {
        if read(touch) {
            sizes[*owner as usize] += 1;
        }
    }
    let mut begin = 0;
    for block in blocks {
        let mut number = block.head;
        while number != NONE {
            work[number as usize] = begin;
            let cluster = &clusters[number as usize];
            begin += sizes[number as usize] + u32::from(cluster.writer != NONE);
            number = cluster.next;
        }
    }
    let mut order = vec![0; begin as usize];
    for cluster in clusters.iter().zip(work.iter_mut()).filter(|(cluster, _)| cluster.required) {
        let (Cluster { writer, .. }, begin) = cluster;
        if *writer != NONE {
            order[*begin as usize] = *writer;
            *begin += 1;
        }
    }
    for (at, (touch, owner)) in (0_u32..).zip(touches.iter().zip(owners.iter())) {
        if read(touch) {
            let place = &mut work[*owner as usize];
            order[*place as usize] = at;
            *place += 1;
        }
    }
    order
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("a history has fewer than 2^32 calls")
}
