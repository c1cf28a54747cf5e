//! Whom to ask next.
//!
//! Owns [`Candidates`], what a client and its clones know of the cluster (who leads, who is who, who
//! cannot be reached), and [`Course`], the way of one request through it.
//!
//! In: how attempts ended. Out: an address, and how to go on ([`Next`]).
//!
//! Invariants
//! - There is always somebody to ask. Breakers only change the order; if all are open, the
//!   address that failed least recently is next.
//! - Within a round, nobody is asked twice, but the leader after a node has named it.
//! - A request follows at most [`REDIRECTS_MAX`] such hints: two nodes that name each other must not
//!   keep it going.
//! - Only configured addresses are named, so what is remembered is bounded.
//!
//! Does not: send, sleep or read a clock; or decide what the caller is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{attempt::Failure, breaker::Breakers};
use crate::{error::Error, transport::CallError};

/// Hints that one request follows at once and for free. One is usual, two after a failover.
const REDIRECTS_MAX: u32 = 4;

/// What is known of a cluster.
#[derive(Debug)]
pub(super) struct Candidates {
    /// As configured, in the user's order; not empty.
    addrs: Vec<String>,
    /// Which node listens at which of them, as far as learned. Members may know each other by
    /// addresses that cannot be reached from here.
    nodes: BTreeMap<u64, String>,
    /// Who leads; in eventual mode, who answered last.
    leader: Option<String>,
    breakers: Breakers,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The leader, or whoever may know it.
    Leader,
    /// The first address that can be reached.
    Nearest,
    /// Eventual mode: whoever answered last, or else anyone who can.
    Anyone,
}

/// The way of one request.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) aim: Aim,
    /// Asked in this round, in vain.
    asked: BTreeSet<String>,
    /// In the first round, an unreachable node costs no pause: the others were not asked yet.
    first_round: bool,
    redirects: u32,
    /// The leader's id and address as a node named them, if that address is not a configured one.
    foreign: Option<(u64, String)>,
}

/// How a request goes on after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It does not: asking again cannot help.
    Stop,
    /// A node has named the leader: ask it.
    Follow,
    /// Ask the next candidate, without a pause.
    AtOnce,
    /// Ask again after a pause.
    Pause,
    /// The leader was named, but by an address that cannot be reached: find out who listens at the
    /// configured ones, then ask.
    Identify(u64, String),
}

impl Course {
    pub(super) fn new(aim: Aim) -> Self {
        let asked = BTreeSet::new();
        Self { aim, asked, first_round: true, redirects: 0, foreign: None }
    }
}

impl Candidates {
    /// # Panics
    /// Without an address.
    pub(super) fn new(addrs: Vec<String>) -> Self {
        assert!(!addrs.is_empty(), "a client needs an address");
        Self { addrs, nodes: BTreeMap::new(), leader: None, breakers: Breakers::default() }
    }

    /// The address for a request's next attempt.
    pub(super) fn pick(&mut self, course: &mut Course, now: Duration) -> String {
        if self.unasked(course, now).is_none() {
            course.asked.clear();
            course.first_round = false;
        }
        let longest_ago = || self.breakers.least_recently_failed(self.order(course));
        let addr = self.unasked(course, now).or_else(longest_ago);
        let addr = addr.expect("invariant: there is an address").to_owned();
        self.breakers.dial(&addr, now);
        addr
    }

    /// Somebody to ask who was not asked in this round and whose breaker permits it.
    fn unasked(&self, course: &Course, now: Duration) -> Option<&str> {
        let mut order = self.order(course);
        order.find(|addr| !course.asked.contains(*addr) && self.breakers.permits(addr, now))
    }

    fn order(&self, course: &Course) -> impl Iterator<Item = &str> {
        let leader = self.leader.as_deref().filter(|_| course.aim != Aim::Nearest);
        leader.into_iter().chain(self.addrs.iter().map(String::as_str))
    }

    /// The node at `addr` carried a command out, so it leads; or, where anyone may, it is there.
    pub(super) fn preferred(&mut self, addr: &str) {
        if self.leader.as_deref() != Some(addr) {
            self.leader = Some(addr.to_owned());
        }
    }

    /// The node at `addr` replied, or may have received the request.
    pub(super) fn reached(&mut self, addr: &str) {
        self.breakers.worked(addr);
    }

    /// Learns who listens at an address; only configured ones are remembered.
    pub(super) fn identified(&mut self, addr: &str, node: u64) {
        if self.addrs.iter().any(|known| known == addr) {
            self.nodes.retain(|_, known| known != addr);
            self.nodes.insert(node, addr.to_owned());
        }
    }

    /// The configured addresses of which it is not known who listens there.
    pub(super) fn unidentified(&self) -> Vec<String> {
        let known: BTreeSet<_> = self.nodes.values().collect();
        self.addrs.iter().filter(|addr| !known.contains(addr)).cloned().collect()
    }

    /// Learns from a failed attempt at `addr`, and decides how its request goes on.
    pub(super) fn next(
        &mut self,
        course: &mut Course,
        addr: &str,
        failure: &Failure,
        now: Duration,
    ) -> Next {
        course.asked.insert(addr.to_owned());
        let error = match failure {
            Failure::Call(CallError::NotSent { .. }) => {
                self.breakers.failed(addr, now);
                self.no_leader(addr);
                return match course.foreign.take() {
                    Some((node, hint)) if hint == addr => Next::Identify(node, hint),
                    _ => self.others_first(course, now),
                };
            }
            Failure::Call(CallError::Lost { .. }) => {
                self.reached(addr);
                self.no_leader(addr);
                return Next::Pause;
            }
            Failure::Answer(error) => error,
        };
        self.reached(addr);
        match error {
            Error::TooLarge(_) | Error::Refused(_) => Next::Stop,
            Error::SessionExpired if course.aim != Aim::Anyone => Next::Stop,
            _ if course.aim == Aim::Nearest => Next::Stop,
            Error::NotLeader { leader: Some((node, hint)) } => {
                if self.follow(course, addr, *node, hint, now) {
                    return Next::Follow;
                }
                self.no_leader(addr);
                Next::Pause
            }
            Error::NotLeader { leader: None } | Error::Unknown(_) | Error::Stopped(_) => {
                self.no_leader(addr);
                Next::Pause
            }
            Error::Overloaded(_)
            | Error::Unavailable(_)
            | Error::NotYet(_)
            | Error::SessionExpired => {
                if course.aim == Aim::Anyone {
                    // The others may accept what this one cannot now.
                    return self.others_first(course, now);
                }
                // A busy leader still leads: the others would only send the request back to it.
                if self.leader.as_deref() == Some(addr) {
                    course.asked.remove(addr);
                }
                Next::Pause
            }
        }
    }

    /// In the first round, the next is asked at once.
    fn others_first(&self, course: &Course, now: Duration) -> Next {
        match course.first_round && self.unasked(course, now).is_some() {
            true => Next::AtOnce,
            false => Next::Pause,
        }
    }

    /// Takes up the word of the node at `from` that `node` leads, which it knows by the address `hint`.
    /// `false` if that leads nowhere.
    pub(super) fn follow(
        &mut self,
        course: &mut Course,
        from: &str,
        node: u64,
        hint: &str,
        now: Duration,
    ) -> bool {
        // A node that names another at its own address has moved: what was learned is out of date.
        if self.nodes.get(&node).is_some_and(|known| known == from) {
            self.nodes.remove(&node);
        }
        let configured = self.addrs.iter().any(|known| known == hint);
        let addr = match self.nodes.get(&node) {
            Some(known) if !configured => known,
            _ => hint,
        };
        if course.redirects == REDIRECTS_MAX || addr == from || !self.breakers.permits(addr, now) {
            return false;
        }
        let addr = addr.to_owned();
        course.redirects += 1;
        course.asked.remove(&addr);
        course.foreign = (addr == hint && !configured).then(|| (node, addr.clone()));
        self.leader = Some(addr);
        true
    }

    fn no_leader(&mut self, addr: &str) {
        if self.leader.as_deref() == Some(addr) {
            self.leader = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn three() -> Candidates {
        Candidates::new(["a", "b", "c"].map(str::to_owned).to_vec())
    }

    fn not_sent() -> Failure {
        Failure::Call(CallError::NotSent { to: String::new(), reason: String::new() })
    }

    fn hint(node: u64, addr: &str) -> Failure {
        Failure::Answer(Error::NotLeader { leader: Some((node, addr.to_owned())) })
    }

    /// Two nodes that name each other, as after a partition, must not keep a request busy for free.
    #[test]
    fn hints_are_followed_a_bounded_number_of_times() {
        let (mut all, mut course) = (three(), Course::new(Aim::Leader));
        let mut next = Vec::new();
        for _ in 0..6 {
            let addr = all.pick(&mut course, ms(0));
            let other = if addr == "a" { hint(2, "b") } else { hint(1, "a") };
            next.push(all.next(&mut course, &addr, &other, ms(0)));
        }
        assert_eq!(next[..4], [Next::Follow, Next::Follow, Next::Follow, Next::Follow]);
        assert_eq!(next[4..], [Next::Pause, Next::Pause]);
    }

    /// Eventual mode: a node that cannot accept now says nothing about the others, and whoever could is
    /// asked first from then on. Only when all were asked there is a reason to wait.
    #[test]
    fn where_anyone_may_answer_the_others_are_asked_at_once() {
        let (mut all, mut course) = (three(), Course::new(Aim::Anyone));
        let later = |reason: fn(String) -> Error| Failure::Answer(reason(String::new()));
        assert_eq!(all.pick(&mut course, ms(0)), "a");
        assert_eq!(all.next(&mut course, "a", &later(Error::Overloaded), ms(0)), Next::AtOnce);
        assert_eq!(all.pick(&mut course, ms(0)), "b");
        assert_eq!(all.next(&mut course, "b", &later(Error::NotYet), ms(0)), Next::AtOnce);
        assert_eq!(all.pick(&mut course, ms(0)), "c");
        let expired = Failure::Answer(Error::SessionExpired);
        assert_eq!(all.next(&mut course, "c", &expired, ms(0)), Next::Pause);
        all.preferred("b");
        assert_eq!(all.pick(&mut Course::new(Aim::Anyone), ms(0)), "b");
        assert_eq!(all.pick(&mut Course::new(Aim::Nearest), ms(0)), "a");
    }

    /// The members know each other by names that do not resolve here; the configured address of
    /// the same node is asked instead, and an outdated one is forgotten.
    #[test]
    fn a_configured_address_is_preferred_to_the_advertised_one() {
        let (mut all, mut course) = (three(), Course::new(Aim::Leader));
        assert_eq!(all.pick(&mut course, ms(0)), "a");
        assert_eq!(all.next(&mut course, "a", &hint(2, "inner-2"), ms(0)), Next::Follow);
        assert_eq!(all.pick(&mut course, ms(0)), "inner-2");
        let next = all.next(&mut course, "inner-2", &not_sent(), ms(0));
        assert_eq!(next, Next::Identify(2, "inner-2".into()));
        assert_eq!(all.unidentified(), ["a", "b", "c"]);
        all.identified("b", 2);
        all.identified("inner-9", 9);
        assert!(all.follow(&mut course, "inner-2", 2, "inner-2", ms(0)));
        assert_eq!(all.pick(&mut course, ms(0)), "b");
        assert_eq!(all.unidentified(), ["a", "c"]);
        assert_eq!(all.next(&mut course, "b", &hint(2, "inner-2"), ms(0)), Next::Follow);
        assert_eq!(all.pick(&mut course, ms(0)), "inner-2", "b is somebody else now");
    }

    /// A dead node listed first must not cost every request a failed call.
    #[test]
    fn a_node_that_cannot_be_reached_is_passed_over() {
        let mut all = three();
        for _ in 0..3 {
            let mut course = Course::new(Aim::Nearest);
            assert_eq!(all.pick(&mut course, ms(0)), "a");
            assert_eq!(all.next(&mut course, "a", &not_sent(), ms(0)), Next::AtOnce);
            assert_eq!(all.pick(&mut course, ms(0)), "b");
        }
        assert_eq!(all.pick(&mut Course::new(Aim::Nearest), ms(99)), "b");
        assert_eq!(all.pick(&mut Course::new(Aim::Nearest), ms(100)), "a", "one probes");
        assert_eq!(all.pick(&mut Course::new(Aim::Nearest), ms(100)), "b", "the others do not");
    }

    /// Whatever happened before, there is somebody to ask; a breaker is passed over only while
    /// somebody better is left, and if nobody is, the choice is whose failure is longest ago.
    #[test]
    fn the_last_candidate_is_never_removed() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut all, mut now) = (three(), ms(0));
            let mut failed_at = BTreeMap::from(["a", "b", "c"].map(|addr| (addr.to_owned(), None)));
            let outage = rng.random_range(50..100);
            for _ in 0..200 {
                let mut course = Course::new(Aim::Nearest);
                for _ in 0..rng.random_range(1..6) {
                    now += ms(rng.random_range(0..300));
                    let permitted = |addr: &String| all.breakers.permits(addr, now);
                    let some = failed_at.keys().any(permitted);
                    let oldest = failed_at.values().min().copied().flatten();
                    let before: BTreeMap<_, _> =
                        failed_at.keys().map(|addr| (addr.clone(), permitted(addr))).collect();
                    let addr = all.pick(&mut course, now);
                    if some {
                        assert!(before[&addr], "seed {seed}: {addr} is open, others are not");
                    } else {
                        assert_eq!(failed_at[&addr], oldest, "seed {seed}: all are open");
                    }
                    if rng.random_range(0..100) < outage {
                        failed_at.insert(addr.clone(), Some(now));
                        all.next(&mut course, &addr, &not_sent(), now);
                    } else {
                        failed_at.insert(addr.clone(), None);
                        all.reached(&addr);
                        break;
                    }
                }
            }
        }
    }
}
