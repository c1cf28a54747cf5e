//! Replicas without disk and network, under random loss, delay, crashes and clocks: they agree in the
//! end, and on what every order of arrival leads to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::log::{Author, Operation, Vector};
use super::replica::{Digest, Limits, Replica};
use super::stamp::Stamp;
use super::tail::State;
use crate::applier::{Applier, Outcome};
use crate::codec;
use crate::machine::{StateMachine, Typed};
use crate::proposal::{Origin, Proposal};

/// An account that refuses to be overdrawn: the order of withdrawals decides who gets the money.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Account {
    paid: Vec<u64>,
}

const FUNDS: usize = 40;

impl StateMachine for Account {
    type Command = u64;
    type Response = bool;
    type Query = ();
    type Answer = usize;

    fn apply(&mut self, payment: u64) -> bool {
        let granted = self.paid.len() < FUNDS;
        if granted {
            self.paid.push(payment);
        }
        granted
    }

    fn query(&self, (): ()) -> usize {
        self.paid.len()
    }
}

fn initial() -> State {
    State { applier: Applier::new(Typed::<Account>::boxed()), count: 0 }
}

fn payment(key: u64) -> Proposal {
    let name = key.to_le_bytes();
    let origin = Origin::Once { key: &name, keys_max: 1_000_000 };
    Proposal::new(u128::from(key), origin, &codec::encode(&key))
}

fn bytes(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.applier.save(&mut out).unwrap();
    out
}

const LIMITS: Limits = Limits { tentative_max: 100_000, ahead_max_ms: 500 };

/// What a node keeps over a crash.
#[derive(Default)]
struct Disk {
    incarnation: u64,
    ceiling: u64,
    synced: Vec<Operation>,
    unsynced: Vec<Operation>,
}

struct Node {
    replica: Replica,
    disk: Disk,
    skew_ms: i64,
}

/// What one node sends another.
type Parcel = (Digest, Vec<Operation>);

/// A cluster in which everything random comes from a seed.
struct World {
    rng: SmallRng,
    now_ms: i64,
    members: BTreeSet<u64>,
    nodes: BTreeMap<u64, Node>,
    /// From, to and what; it may be delayed and lost, not reordered.
    links: BTreeMap<(u64, u64), VecDeque<Parcel>>,
    cut: BTreeSet<u64>,
    payments: u64,
    /// What was acknowledged, and how.
    acknowledged: Vec<(Operation, bool)>,
}

impl World {
    fn new(seed: u64, size: u64) -> Self {
        let members: BTreeSet<u64> = (1..=size).collect();
        let mut world = Self {
            rng: SmallRng::seed_from_u64(seed),
            now_ms: 1_000_000,
            members: members.clone(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            payments: 0,
            acknowledged: Vec::new(),
        };
        for id in members {
            let skew_ms = world.rng.random_range(-200..200);
            world.start(id, Disk::default(), skew_ms);
        }
        world
    }

    fn start(&mut self, id: u64, mut disk: Disk, skew_ms: i64) {
        disk.incarnation += 1;
        let me = Author { node: id, incarnation: disk.incarnation };
        let (ceiling, operations) = (Stamp(disk.ceiling), disk.synced.clone());
        let replica =
            Replica::open(me, &self.members, LIMITS, ceiling, initial(), operations).unwrap();
        self.nodes.insert(id, Node { replica, disk, skew_ms });
    }

    fn wall(&self, id: u64) -> u64 {
        (self.now_ms + self.nodes[&id].skew_ms).cast_unsigned()
    }

    fn pay(&mut self, id: u64, key: u64) {
        let wall = self.wall(id);
        let node = self.nodes.get_mut(&id).unwrap();
        if let Ok(operation) = node.replica.accept(payment(key), wall).unwrap() {
            node.disk.unsynced.push(operation);
        }
    }

    /// Syncs the disk, and acknowledges what is durable by that.
    fn sync(&mut self, id: u64) {
        let wall = self.wall(id);
        let node = self.nodes.get_mut(&id).unwrap();
        if let Some(ceiling) = node.replica.ceiling_wanted(wall, 1_000) {
            node.disk.ceiling = ceiling.0;
            node.replica.raise(ceiling);
        }
        let me = Author { node: id, incarnation: node.disk.incarnation };
        for operation in std::mem::take(&mut node.disk.unsynced) {
            let outcome = node.replica.tail().outcome(operation.stamp, operation.author);
            if let (true, Some(Outcome::Response(response))) = (operation.author == me, outcome) {
                let granted = codec::decode(response).unwrap();
                self.acknowledged.push((operation.clone(), granted));
            }
            node.disk.synced.push(operation);
        }
        node.replica.synced(node.disk.synced.len());
    }

    fn crash(&mut self, id: u64) {
        let Node { mut disk, .. } = self.nodes.remove(&id).unwrap();
        disk.unsynced.clear();
        for ((from, to), parcels) in &mut self.links {
            if *from == id || *to == id {
                parcels.clear();
            }
        }
        let skew_ms = self.rng.random_range(-200..200);
        self.start(id, disk, skew_ms);
    }

    fn send(&mut self, from: u64, to: u64) {
        if from == to || self.cut.contains(&from) != self.cut.contains(&to) {
            return;
        }
        let wall = self.wall(from);
        let replica = &mut self.nodes.get_mut(&from).unwrap().replica;
        let operations = replica.lacking(to, 500);
        let digest = replica.digest(wall);
        self.links.entry((from, to)).or_default().push_back((digest, operations));
    }

    fn deliver(&mut self, from: u64, to: u64) {
        let Some((digest, operations)) =
            self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front)
        else {
            return;
        };
        let wall = self.wall(to);
        let node = self.nodes.get_mut(&to).unwrap();
        node.disk.unsynced.extend(node.replica.take(operations).unwrap());
        node.replica.hear(digest, wall).unwrap();
    }

    fn step(&mut self) {
        let size = self.members.len() as u64;
        let (one, other) = (self.rng.random_range(1..=size), self.rng.random_range(1..=size));
        self.now_ms += self.rng.random_range(0..3);
        match self.rng.random_range(0..100) {
            0..20 => {
                self.payments += 1;
                self.pay(one, self.payments);
                if self.rng.random_range(0..10) == 0 {
                    // The client heard nothing, and asks another one, too.
                    self.pay(other, self.payments);
                }
            }
            20..45 => self.sync(one),
            45..70 => self.send(one, other),
            70..96 => self.deliver(one, other),
            96 => drop(self.links.remove(&(one, other))),
            97 => self.crash(one),
            98 => drop(self.cut.insert(one)),
            _ => self.cut.clear(),
        }
    }

    /// Everybody reaches everybody, long enough.
    fn heal(&mut self) {
        self.cut.clear();
        let members = self.members.clone();
        for _ in 0..200 {
            self.now_ms += 10;
            for from in &members {
                self.sync(*from);
                for to in &members {
                    self.send(*from, *to);
                    self.deliver(*from, *to);
                }
            }
        }
    }

    /// The union of all operations in their order, applied once.
    fn replayed(&self) -> (State, BTreeMap<(Stamp, Author), bool>) {
        let mut union = BTreeMap::new();
        for node in self.nodes.values() {
            let operations = node.disk.synced.iter().cloned();
            union.extend(
                operations.map(|operation| ((operation.stamp, operation.author), operation)),
            );
        }
        let mut state = initial();
        let mut granted = BTreeMap::new();
        for (place, operation) in union {
            state.count += 1;
            let proposal = Proposal::from_bytes(operation.payload).unwrap();
            let outcome = state.applier.apply_opening(state.count, 0, &proposal).unwrap();
            let Outcome::Response(response) = outcome else { panic!("{outcome:?}") };
            granted.insert(place, codec::decode(&response).unwrap());
        }
        (state, granted)
    }

    fn check(&self) -> usize {
        let (replayed, granted) = self.replayed();
        let expected = bytes(&replayed);
        let have: Vec<&Vector> = self.nodes.values().map(|node| node.replica.have()).collect();
        assert!(have.windows(2).all(|pair| pair[0] == pair[1]), "{have:?}");
        for (id, node) in &self.nodes {
            let tail = node.replica.tail();
            assert_eq!(tail.len(), 0, "node {id}: not all is final");
            assert_eq!(bytes(tail.current()), expected, "node {id}: current");
            assert_eq!(bytes(tail.folded().0), expected, "node {id}: final");
        }
        let answer = replayed.applier.query(&codec::encode(&())).unwrap();
        assert!(codec::decode::<usize>(&answer).unwrap() <= FUNDS);
        let place = |operation: &Operation| (operation.stamp, operation.author);
        let lost = self
            .acknowledged
            .iter()
            .find(|(operation, _)| !granted.contains_key(&place(operation)));
        assert_eq!(lost, None, "acknowledged and lost");
        let revoked = |(operation, said): &&(Operation, bool)| *said && !granted[&place(operation)];
        self.acknowledged.iter().filter(revoked).count()
    }
}

fn run(seed: u64, size: u64, steps: usize) -> (usize, World) {
    let mut world = World::new(seed, size);
    for _ in 0..steps {
        world.step();
    }
    world.heal();
    (world.check(), world)
}

#[test]
fn replicas_agree_whatever_happens_on_the_way() {
    let mut revoked = 0;
    for seed in 0..60 {
        println!("seed {seed}");
        revoked += run(seed, 2 + seed % 4, 1_500).0;
    }
    assert!(revoked > 0, "no run was hard enough for an answer to turn out untrue");
}
