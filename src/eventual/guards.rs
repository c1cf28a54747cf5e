//! What a replica refuses. Each of these fails if the guard that it is about is taken away.

use super::{
    log::{Author, Operation},
    replica::{Limits, Replica},
    session::Token,
    stamp::Stamp,
    tail::{Base, State},
};
use crate::{
    applier::Applier,
    codec,
    error::Error,
    machine::Typed,
    proposal::{Origin, Proposal},
    sum::Sum,
};

/// All clocks begin here.
const NOW: u64 = 1_000_000;

const AHEAD_MAX_MS: u64 = 500;

fn empty() -> State {
    State { applier: Applier::new(Typed::<Sum>::boxed()), count: 0 }
}

/// One of so many members, on an empty disk.
fn fresh(me: Author, members: u64, tentative_max: usize) -> Replica {
    let limits = Limits { tentative_max, ahead_max_ms: 500, state_hash_entries: 0 };
    let (members, initial) = ((1..=members).collect(), (empty(), Base::default()));
    Replica::open(me, &members, limits, Stamp(0), initial, Vec::new()).unwrap()
}

/// Members that have heard of each other and may accept.
fn replicas<const N: usize>(tentative_max: usize) -> [Replica; N] {
    let mut node = 0;
    let mut all = [(); N].map(|()| {
        node += 1;
        fresh(Author { node, incarnation: 1 }, N as u64, tentative_max)
    });
    let digests = all.each_mut().map(|replica| replica.digest(NOW));
    for replica in &mut all {
        for digest in &digests {
            replica.hear(digest.clone(), NOW).unwrap();
        }
        replica.raise(Stamp::at(2 * NOW));
    }
    all
}

fn accept(replica: &mut Replica, wall_ms: u64) -> Result<Operation, Error> {
    let accepted = accept_unsynced(replica, wall_ms);
    replica.synced(replica.arrived());
    accepted
}

fn accept_unsynced(replica: &mut Replica, wall_ms: u64) -> Result<Operation, Error> {
    let key = replica.arrived().to_le_bytes();
    let origin = Origin::Once { key: &key, keys_max: 100 };
    replica.accept(Proposal::new(1, origin, &codec::encode(&1_u64)), wall_ms).unwrap()
}

/// What a session has seen at one node is waited for at another, all of it.
#[test]
fn a_token_is_answered_only_where_all_that_it_names_is() {
    let [mut here, mut there] = replicas(100);
    let mut token = Token::default();
    let first = accept(&mut here, NOW).unwrap();
    let second = accept(&mut here, NOW).unwrap();
    token.grow(&here);
    let missing = |there: &Replica| token.missing(there, NOW, AHEAD_MAX_MS);
    assert_eq!(missing(&here), None);
    assert!(missing(&there).unwrap().starts_with("operation 2 of node 1"));
    there.take(vec![first]).unwrap();
    assert!(missing(&there).unwrap().starts_with("operation 2 of node 1"));
    there.take(vec![second]).unwrap();
    assert_eq!(missing(&there), None);
}

/// A client comes from a node whose clock is an hour ahead, and would take that hour along to every node
/// that it asks. From other replicas, by way of operations, the hour has to be taken.
#[test]
fn a_token_does_not_carry_a_clock_that_is_far_ahead() {
    let [mut astray, mut here] = replicas(100);
    let hour = 3_600_000;
    astray.raise(Stamp::at(NOW + 2 * hour));
    let late = accept(&mut astray, NOW + hour).unwrap();
    let mut whole = Token::default();
    whole.grow(&astray);
    // A client that asks for no guarantee but its own order.
    let mut token = Token::default();
    token.follow(&whole);
    let missing = token.missing(&here, NOW, AHEAD_MAX_MS).unwrap();
    assert!(missing.contains("3600000 ms ahead"), "{missing}");
    assert_eq!(token.missing(&here, NOW + hour - AHEAD_MAX_MS, AHEAD_MAX_MS), None, "near enough");
    here.take(vec![late]).unwrap();
    assert_eq!(token.missing(&here, NOW, AHEAD_MAX_MS), None, "it is known here by now");
}

/// The clock of the second of three is ahead of most others', and no further than that it may be.
#[test]
fn a_node_whose_clock_is_ahead_accepts_up_to_a_limit() {
    let [_, mut ahead, _] = replicas(100);
    let [mut one, _, mut other] = replicas::<3>(100);
    let mut accepts = |by_ms: u64| {
        for peer in [&mut one, &mut other] {
            ahead.hear(peer.digest(NOW), NOW + by_ms).unwrap();
        }
        accept(&mut ahead, NOW + by_ms)
    };
    accepts(500).unwrap();
    let refused = accepts(501).unwrap_err();
    assert!(
        matches!(&refused, Error::Overloaded(why) if why.contains("501 ms ahead")),
        "{refused}"
    );
    accepts(499).unwrap();
}

/// Nothing becomes final while a member is away, and memory is not endless.
#[test]
fn what_is_not_final_has_a_limit() {
    let [mut here, mut away] = replicas(2);
    accept(&mut here, NOW).unwrap();
    accept(&mut here, NOW).unwrap();
    let refused = accept(&mut here, NOW).unwrap_err();
    assert!(refused.is_definite() && refused.to_string().contains("node 2"), "{refused}");
    assert_eq!(here.tail().len(), 2);
    here.hear(away.digest(NOW + 10), NOW + 10).unwrap();
    here.digest(NOW + 10);
    here.hear(away.digest(NOW + 11), NOW + 11).unwrap();
    accept(&mut here, NOW + 12).unwrap();
}

/// A command of a session that was opened at another node, a moment ago.
#[test]
fn the_session_of_a_command_has_to_be_known() {
    let [mut here, mut there] = replicas(100);
    let open = Proposal::new(77, Origin::Open { sessions_max: 9 }, &[]);
    let opened = here.accept(open, NOW).unwrap().unwrap();
    let origin = Origin::Session { session: 77, sequence: 0, floor: 0 };
    let command = Proposal::new(78, origin, &codec::encode(&1_u64));
    assert!(here.knows_session(&command) && !there.knows_session(&command));
    there.take(vec![opened]).unwrap();
    assert!(there.knows_session(&command));
}

/// A simulated cluster of one kept everything tentative, up to the limit.
#[test]
fn a_replica_without_peers_makes_final_what_is_durable() {
    let [mut alone] = replicas::<1>(10);
    accept_unsynced(&mut alone, NOW).unwrap();
    alone.settle_alone(NOW + 10).unwrap();
    assert_eq!(alone.tail().len(), 1, "what is not synced could still be lost");
    alone.synced(alone.arrived());
    alone.settle_alone(NOW + 10).unwrap();
    assert_eq!(alone.tail().len(), 0);
}

/// A peer whose clock is ahead promises more than the operation's stamp before that is synced.
#[test]
fn what_is_not_durable_is_not_final() {
    let [mut one, mut two] = replicas::<2>(10);
    accept_unsynced(&mut one, NOW).unwrap();
    let promised = two.digest(NOW + 400);
    one.digest(NOW + 400);
    one.hear(promised.clone(), NOW + 400).unwrap();
    assert_eq!(one.tail().len(), 1, "a stable read would show what a crash takes back");
    one.synced(one.arrived());
    one.hear(promised, NOW + 400).unwrap();
    assert_eq!(one.tail().len(), 0);
}

/// A node writes, its disk is lost, and it begins again on an empty one. What it wrote is at one other
/// member by then, whose disk has stalled: nobody claims to have it, but a third must not think that
/// nothing will come from before.
#[test]
fn what_is_on_its_way_to_a_disk_is_not_promised_away() {
    let [mut one, mut two, mut three] = replicas::<3>(10);
    let written = accept(&mut one, NOW).unwrap();
    two.take(vec![written.clone()]).unwrap();
    accept(&mut three, NOW + 5).unwrap();
    let mut again = fresh(Author { node: 1, incarnation: 9 }, 3, 10);
    for other in [&mut two, &mut three] {
        again.hear(other.digest(NOW + 10), NOW + 10).unwrap();
    }
    again.raise(Stamp::at(2 * NOW));
    for other in [&mut again, &mut two] {
        three.hear(other.digest(NOW + 20), NOW + 20).unwrap();
    }
    assert_eq!(three.tail().len(), 1, "the write of node 1 comes before it");
    two.synced(two.arrived());
    three.take(vec![written]).unwrap();
    three.synced(three.arrived());
    three.hear(two.digest(NOW + 30), NOW + 30).unwrap();
    assert_eq!(three.tail().len(), 0);
}

/// The clock reached what is durable of its ceiling, and the disk is slow: a write waits for it, and is not
/// refused for something that is over in a moment.
#[test]
fn a_stamp_beyond_the_ceiling_is_waited_for() {
    let [mut one, _] = replicas::<2>(10);
    assert!(!one.awaits_ceiling(NOW));
    assert!(one.awaits_ceiling(2 * NOW));
    assert!(accept(&mut one, 2 * NOW).unwrap_err().to_string().contains("ceiling"));
    one.raise(Stamp::at(2 * NOW + 1_000));
    assert!(!one.awaits_ceiling(2 * NOW));
    accept(&mut one, 2 * NOW).unwrap();
}

/// The `peers` of two nodes differ: one would make final what a member has a say in that it does not know.
#[test]
fn who_waits_for_other_members_is_not_listened_to() {
    let [mut one, _] = replicas::<2>(10);
    let [_, mut two, mut three] = replicas::<3>(10);
    let refused = one.same_members(&two.digest(NOW)).unwrap_err().to_string();
    assert!(refused.contains("node 2 are {1, 2, 3}, here they are {1, 2}"), "{refused}");
    assert!(one.same_members(&three.digest(NOW)).is_err(), "nobody here knows node 3");
    three.same_members(&two.digest(NOW)).unwrap();
    two.same_members(&one.digest(NOW)).unwrap_err();
}

/// A snapshot that calls final what is before an operation that is here, and not in it: somebody broke a promise.
#[test]
fn a_snapshot_that_leaves_out_what_comes_before_its_end_is_refused() {
    let [mut one, _] = replicas::<2>(10);
    let written = accept(&mut one, NOW).unwrap();
    let end = (Stamp::at(NOW + 100), Author { node: 2, incarnation: 1 });
    let base = Base { frontier: Some(end), covered: [(end.1, 1)].into() };
    let refused = one.install(State { count: 1, ..empty() }, base).unwrap_err().to_string();
    assert!(refused.contains(&written.stamp.to_string()), "{refused}");
    let base = Base { frontier: Some(end), covered: [(end.1, 1), (written.author, 1)].into() };
    one.install(State { count: 2, ..empty() }, base).unwrap();
}
