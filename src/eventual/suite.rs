//! Replicas without disk and network, under random loss, delay, crashes and clocks: they agree in the
//! end, and on what every order of arrival leads to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::log::{Author, Operation, Vector};
use super::replica::{Limits, Replica};
use super::stamp::Stamp;
use super::tail::{Base, State};
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

pub(super) fn initial() -> (State, Base) {
    (State { applier: Applier::new(Typed::<Account>::boxed()), count: 0 }, Base::default())
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

const LIMITS: Limits = Limits { tentative_max: 100_000, ahead_max_ms: 500, state_hash_entries: 64 };

/// What a node keeps over a crash.
#[derive(Default)]
pub(super) struct Disk {
    incarnation: u64,
    ceiling: u64,
    pub(super) synced: Vec<Operation>,
    pub(super) unsynced: Vec<Operation>,
}

pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) disk: Disk,
    skew_ms: i64,
}

/// What one node sends another.
type Parcel = (Digest, Vec<Operation>);

/// A cluster in which everything random comes from a seed.
pub(super) struct World {
    pub(super) rng: SmallRng,
    now_ms: i64,
    members: BTreeSet<u64>,
    pub(super) nodes: BTreeMap<u64, Node>,
    /// From, to and what; it may be delayed and lost, not reordered.
    links: BTreeMap<(u64, u64), VecDeque<Parcel>>,
    cut: BTreeSet<u64>,
    message_bytes: usize,
    payments: u64,
    /// What was acknowledged, and how.
    acknowledged: Vec<(Operation, bool)>,
}

impl World {
    pub(super) fn new(seed: u64, size: u64) -> Self {
        let members: BTreeSet<u64> = (1..=size).collect();
        let mut world = Self {
            rng: SmallRng::seed_from_u64(seed),
            now_ms: 1_000_000,
            members: members.clone(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            message_bytes: 500,
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

    pub(super) fn wall(&self, id: u64) -> u64 {
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
        node.replica.synced(node.disk.synced.len() as u64);
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
        let operations = replica.lacking(to, self.message_bytes);
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
        hash(&mut node.replica);
    }

    pub(super) fn step(&mut self) {
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
    pub(super) fn heal(&mut self) {
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
        let (mut state, _) = initial();
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

/// Runs one seed; the command that runs it alone is `SEED=n cargo test -p sixbells --lib eventual`.
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
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    let mut revoked = 0;
    for seed in only.map_or(0..60, |seed: u64| seed..seed + 1) {
        println!("SEED={seed} cargo test -p sixbells --lib replicas_agree");
        revoked += run(seed, 2 + seed % 4, 1_500).0;
    }
    assert!(revoked > 0 || only.is_some(), "no run was hard enough to revoke an answer");
}

/// A clock that is far ahead would drag all stamps along. Its node accepts nothing; what it accepted
/// before, when nobody could tell, is taken like any other, or the replicas would never agree.
#[test]
fn a_node_whose_clock_is_far_ahead_accepts_nothing() {
    let mut world = World::new(1, 3);
    world.heal();
    world.pay(2, 1);
    world.nodes.get_mut(&2).unwrap().skew_ms = 3_600_000;
    world.sync(2);
    world.pay(2, 2);
    world.heal();
    let wall = world.wall(2);
    let refused = world.nodes.get_mut(&2).unwrap().replica.accept(payment(3), wall).unwrap();
    let refused = refused.unwrap_err();
    assert!(refused.is_definite() && refused.to_string().contains("ahead"), "{refused}");
    for id in [1, 3] {
        let wall = world.wall(id);
        world.nodes.get_mut(&id).unwrap().replica.accept(payment(10 + id), wall).unwrap().unwrap();
    }
    let held = world.nodes[&1].replica.have().values().sum::<u64>();
    assert_eq!(held, 3, "both payments of node 2, and one of its own");
}

/// What a late operation costs: those after it are applied again. One payment each millisecond, at any
/// of five replicas that speak to each other every 10 ms.
#[test]
fn an_operation_is_applied_a_few_times_only() {
    let mut world = World::new(5, 5);
    world.message_bytes = 1 << 20;
    for node in world.nodes.values_mut() {
        node.skew_ms = 0;
    }
    world.heal();
    for ms in 1..3_000_u64 {
        world.now_ms += 1;
        let payer = world.rng.random_range(1..=5);
        world.pay(payer, ms);
        for id in 1..=5 {
            world.sync(id);
            let (sends, arrives) = ((ms + id).is_multiple_of(10), (ms + id) % 10 == 2);
            for other in 1..=5 {
                if sends {
                    world.send(id, other);
                }
                while arrives && !world.links.entry((id, other)).or_default().is_empty() {
                    world.deliver(id, other);
                }
            }
        }
    }
    for (id, node) in &world.nodes {
        let applies = node.replica.tail().work.applies;
        println!("node {id}: {:.1} applies for each", applies as f64 / 3_000.0);
        assert!(applies <= 12 * 3_000, "node {id}");
    }
}

/// A machine whose state depends on who applies, not on what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Fickle(u64);

static APPLIED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl StateMachine for Fickle {
    type Command = u64;
    type Response = ();
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _command: u64) {
        self.0 ^= APPLIED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

fn hash(replica: &mut Replica) {
    if let Some(state) = replica.due() {
        replica.tail().hashes().hash_here(state.count, &state.applier);
    }
}

/// All answers are equal, and nobody would notice that the states are not.
#[test]
fn a_machine_that_is_not_deterministic_is_named() {
    let members: BTreeSet<u64> = [1, 2].into();
    let mut replicas = [1, 2].map(|node| {
        let me = Author { node, incarnation: 1 };
        let state = State { applier: Applier::new(Typed::<Fickle>::boxed()), count: 0 };
        Replica::open(me, &members, LIMITS, Stamp(0), (state, Base::default()), Vec::new()).unwrap()
    });
    let mut fault = None;
    for round in 0..20 {
        let wall = 1_000 + round;
        for at in 0..2 {
            let digest = replicas[1 - at].digest(wall);
            fault = fault.or(replicas[at].hear(digest, wall).err());
            hash(&mut replicas[at]);
            replicas[at].raise(Stamp::at(2_000));
            for n in 0..100 {
                if let Ok(operation) =
                    replicas[at].accept(payment(round * 1_000 + n), wall).unwrap()
                {
                    let arrived = replicas[at].arrived();
                    replicas[at].synced(arrived);
                    let other = &mut replicas[1 - at];
                    fault = fault.or(other.take(vec![operation]).err());
                    let arrived = other.arrived();
                    other.synced(arrived);
                }
            }
        }
    }
    let fault = fault.expect("the states differ").to_string();
    assert!(fault.contains("differs from that of node"), "{fault}");
}

/// A member is away while a snapshot is taken here: when it comes back, it is sent what it lacks.
#[test]
fn what_a_member_lacks_is_not_forgotten() {
    let members: BTreeSet<u64> = [1, 2].into();
    let [mut here, mut there] = [1, 2].map(|node| {
        let me = Author { node, incarnation: 1 };
        Replica::open(me, &members, LIMITS, Stamp(0), initial(), Vec::new()).unwrap()
    });
    here.hear(there.digest(1_000), 1_000).unwrap();
    here.raise(Stamp::at(2_000));
    let operation = here.accept(payment(1), 1_000).unwrap().unwrap();
    here.synced(1);
    let snapshot = Vector::from([(operation.author, 1)]);
    assert_eq!(here.forget(&snapshot), Vector::new());
    there.take(here.lacking(2, 1_000)).unwrap();
    there.synced(1);
    here.hear(there.digest(1_001), 1_001).unwrap();
    assert_eq!(here.forget(&snapshot), snapshot);
}
