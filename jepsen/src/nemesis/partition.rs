//! The shapes of partitions: which directed links each cuts.
//!
//! In go the nodes, a random source, and the leader where known; out comes a set of [`Link`]s, or
//! the reason why this shape makes no sense now.
//!
//! Invariants:
//! - a pure function of its arguments;
//! - no link leads from a node to itself;
//! - a result is never empty: a partition that cuts nothing is skipped, with a reason.

use std::collections::BTreeSet;
use std::fmt;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};

/// The traffic that one node starts towards another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Who dials.
    pub from: u64,
    /// Who is dialled.
    pub to: u64,
}

/// How the nodes are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One node alone.
    One,
    /// The smallest majority here, the others there.
    Majority,
    /// Every node sees a majority, but no two nodes see the same one.
    MajoritiesRing,
    /// Less than a third of the nodes apart from the others.
    MinorityThird,
    /// Two halves; with an odd number, one is larger.
    Halves,
    /// Two halves that both see one node, and each other not.
    Bridge,
    /// The leader alone.
    Primaries,
    /// One node that hears but is not heard, or is heard but does not hear.
    OneWay,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 8] = [
        Shape::One,
        Shape::Majority,
        Shape::MajoritiesRing,
        Shape::MinorityThird,
        Shape::Halves,
        Shape::Bridge,
        Shape::Primaries,
        Shape::OneWay,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Shape::One => "one",
            Shape::Majority => "majority",
            Shape::MajoritiesRing => "majorities-ring",
            Shape::MinorityThird => "minority-third",
            Shape::Halves => "halves",
            Shape::Bridge => "bridge",
            Shape::Primaries => "primaries",
            Shape::OneWay => "one-way",
        }
    }

    /// The links it cuts.
    pub fn links(
        self,
        nodes: &[u64],
        rng: &mut impl Rng,
        leader: Option<u64>,
    ) -> Result<BTreeSet<Link>, String> {
        let mut nodes = nodes.to_vec();
        nodes.shuffle(rng);
        let count = nodes.len();
        let links = match self {
            Shape::One => divide(&nodes, 1),
            Shape::Majority => divide(&nodes, count - (count / 2 + 1).min(count)),
            Shape::MajoritiesRing => majorities_ring(&nodes),
            Shape::MinorityThird => divide(&nodes, count.saturating_sub(1) / 3),
            Shape::Halves => divide(&nodes, count / 2),
            Shape::Bridge => {
                divide(nodes.get(1..).unwrap_or_default(), count.saturating_sub(1) / 2)
            }
            Shape::Primaries => match leader {
                Some(leader) if nodes.contains(&leader) => {
                    nodes.sort_by_key(|node| *node != leader);
                    divide(&nodes, 1)
                }
                _ => return Err("no leader is known".to_owned()),
            },
            Shape::OneWay => one_way(&nodes, rng, leader),
        };
        match links.is_empty() {
            true => Err(format!("{count} nodes are too few for the shape {self}")),
            false => Ok(links),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Cuts the first `count` nodes off from the others, both ways.
fn divide(nodes: &[u64], count: usize) -> BTreeSet<Link> {
    let (one, other) = nodes.split_at(count.min(nodes.len()));
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b)));
    pairs.flat_map(|(a, b)| [Link { from: a, to: b }, Link { from: b, to: a }]).collect()
}

/// Each node in the ring hears only those of the majority of which it is the middle.
fn majorities_ring(nodes: &[u64]) -> BTreeSet<Link> {
    let count = nodes.len();
    let majority = count / 2 + 1;
    let mut links = BTreeSet::new();
    for (at, &to) in nodes.iter().enumerate() {
        let first = at + count - majority / 2;
        let heard: Vec<u64> = (first..first + majority).map(|at| nodes[at % count]).collect();
        let deaf_to = nodes.iter().filter(|node| !heard.contains(node));
        links.extend(deaf_to.map(|&from| Link { from, to }));
    }
    links
}

/// One node that is not heard, or that does not hear. Where a leader is known, the leader is not heard
/// or a follower does not hear: a leader dials, so these cut what flows; the other two cut nothing.
fn one_way(nodes: &[u64], rng: &mut impl Rng, leader: Option<u64>) -> BTreeSet<Link> {
    let Some(any) = nodes.choose(rng).copied() else {
        return BTreeSet::new();
    };
    let (node, deaf) = match leader.filter(|leader| nodes.contains(leader)) {
        Some(leader) => (any, any != leader),
        None => (any, rng.random_bool(0.5)),
    };
    let others = nodes.iter().filter(|other| **other != node);
    let link = |other: &u64| match deaf {
        true => Link { from: *other, to: node },
        false => Link { from: node, to: *other },
    };
    others.map(link).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn links(shape: Shape, count: u64, seed: u64) -> Result<BTreeSet<Link>, String> {
        let nodes: Vec<u64> = (1..=count).collect();
        shape.links(&nodes, &mut SmallRng::seed_from_u64(seed), Some(2))
    }

    /// The nodes that `to` hears, itself included.
    fn heard(links: &BTreeSet<Link>, count: u64, to: u64) -> BTreeSet<u64> {
        (1..=count).filter(|&from| !links.contains(&Link { from, to })).collect()
    }

    /// The sizes of the sets of nodes that hear exactly each other.
    fn islands(links: &BTreeSet<Link>, count: u64) -> Vec<usize> {
        let sets: BTreeSet<_> = (1..=count).map(|node| heard(links, count, node)).collect();
        let mut sizes: Vec<_> = sets.iter().map(BTreeSet::len).collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn dividing_shapes_leave_islands_of_the_right_size() {
        for seed in 0..50 {
            assert_eq!(islands(&links(Shape::One, 5, seed).unwrap(), 5), [1, 4]);
            assert_eq!(islands(&links(Shape::Majority, 5, seed).unwrap(), 5), [2, 3]);
            assert_eq!(islands(&links(Shape::Majority, 4, seed).unwrap(), 4), [1, 3]);
            assert_eq!(islands(&links(Shape::Halves, 4, seed).unwrap(), 4), [2, 2]);
            assert_eq!(islands(&links(Shape::MinorityThird, 7, seed).unwrap(), 7), [2, 5]);
            let primaries = links(Shape::Primaries, 5, seed).unwrap();
            assert_eq!(heard(&primaries, 5, 2), BTreeSet::from([2]));
            assert_eq!(islands(&primaries, 5), [1, 4]);
        }
    }

    #[test]
    fn in_a_ring_everybody_hears_a_majority_and_no_two_the_same() {
        for (count, majority) in [(3, 2), (4, 3), (5, 3), (7, 4)] {
            for seed in 0..20 {
                let links = links(Shape::MajoritiesRing, count, seed).unwrap();
                let sets: Vec<_> = (1..=count).map(|node| heard(&links, count, node)).collect();
                for (at, set) in sets.iter().enumerate() {
                    assert_eq!(set.len(), majority);
                    assert!(set.contains(&(at as u64 + 1)), "a node must hear itself");
                }
                let distinct: BTreeSet<_> = sets.iter().collect();
                assert_eq!(distinct.len(), sets.len());
            }
        }
    }

    #[test]
    fn the_bridge_is_heard_by_all_and_joins_two_halves() {
        for seed in 0..20 {
            let links = links(Shape::Bridge, 5, seed).unwrap();
            let sizes: Vec<_> = (1..=5).map(|node| heard(&links, 5, node).len()).collect();
            assert_eq!(sizes.iter().filter(|size| **size == 5).count(), 1);
            assert_eq!(sizes.iter().filter(|size| **size == 3).count(), 4);
        }
    }

    #[test]
    fn a_one_way_cut_never_cuts_both_ways() {
        for seed in 0..50 {
            let links = links(Shape::OneWay, 3, seed).unwrap();
            assert_eq!(links.len(), 2);
            assert!(links.iter().all(|l| !links.contains(&Link { from: l.to, to: l.from })));
            assert!(links.iter().any(|l| l.from == 2), "cuts what the leader, node 2, sends");
        }
    }

    #[test]
    fn a_shape_that_makes_no_sense_is_skipped_with_a_reason() {
        for (shape, count) in [(Shape::MinorityThird, 3), (Shape::Majority, 2), (Shape::Bridge, 2)]
        {
            assert!(links(shape, count, 1).unwrap_err().contains("too few"), "{shape}");
        }
        for shape in Shape::ALL {
            assert!(links(shape, 1, 1).is_err() && links(shape, 0, 1).is_err(), "{shape}");
        }
        let mut rng = SmallRng::seed_from_u64(1);
        let unled = Shape::Primaries.links(&[1, 2, 3], &mut rng, None);
        assert!(unled.unwrap_err().contains("no leader"));
    }
}
