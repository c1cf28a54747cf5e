//! Sessions: why a retry is never a second effect.
//!
//! Owns [`Sessions`], the replicated table of what recent commands answered, so that a duplicate gets
//! the recorded response. The sender's half is in `sequencer`. After Ongaro's dissertation, section
//! 6.3, with a window of sequences instead of one, for a client has many commands under way.
//!
//! In: (session, sequence, floor) or an idempotency key, in log order. Out: apply it, or the recorded
//! response, or [`Verdict::Expired`].
//!
//! Invariants
//! - A function of the log alone: no clock; limits come with the entries.
//! - Bounded: the session unused for longest is dropped beyond `sessions_max`, or a little beyond if a thousand are
//!   in use that were opened earlier; the oldest key beyond `keys_max`. A session holds at most [`WINDOW`] responses.
//! - A command of a session is applied only while the session is remembered and its sequence is at
//!   or above the session's floor: once forgotten, never applied again.
//! - Cloning is O(1), for snapshots are captured while commands wait.
//!
//! Does not: time out. An idle session lives until others crowd it out.

use std::collections::VecDeque;

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    plant::{Bug, planted},
    proposal::Origin,
};

/// Commands from the oldest under way to the newest in one session. A sender beyond it opens another
/// session.
pub(crate) const WINDOW: u64 = 1_024;

/// Sessions that are looked at for the one to expire, while other commands wait.
const LOOKED_AT_MAX: usize = 1_000;

/// If all of them are in use, none expires yet: there may be a part of the limit, of this size, more. Beyond that one
/// of them does.
const OVER: usize = 64;

/// What the session table says of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not seen before: apply it and [`Sessions::record`] the response.
    Apply,
    /// Seen before; this is what it answered.
    Duplicate(Bytes),
    /// The session is not remembered, or its sender said that it would not ask again.
    Expired,
    /// The sender has more than [`WINDOW`] commands under way.
    WindowFull,
}

/// The replicated table of what recent commands answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sessions {
    open: OrdMap<u64, Session>,
    /// Each session by a time no later than its last use. It is brought up to date when somebody looks for
    /// the one unused for longest, and not with each command.
    by_use: OrdMap<u64, u64>,
    keys: OrdMap<Bytes, (u64, Bytes)>,
    keys_by_age: OrdMap<u64, Bytes>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Session {
    used: u64,
    floor: u64,
    responses: Responses,
}

/// By sequence, in ascending order. A map would take ten times the memory for the one response that an idle
/// session has; and nearly all that is added is added at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Responses(VecDeque<(u64, Bytes)>);

impl Sessions {
    /// Opens session `id` at position `at` of the order. A second time, it is the same session.
    pub(crate) fn open(&mut self, at: u64, id: u64, sessions_max: u64) -> u64 {
        if let Some(session) = self.open.get_mut(&id) {
            session.used = at;
        } else {
            self.open.insert(id, Session { used: at, ..Session::default() });
            self.by_use.insert(at, id);
        }
        let max = usize::try_from(sessions_max.max(1)).unwrap_or(usize::MAX);
        while self.open.len() > max && self.expire_one(max) {}
        id
    }

    /// Expires the session unused for longest, if it is found.
    fn expire_one(&mut self, max: usize) -> bool {
        let mut idlest = None::<(u64, u64)>;
        for _ in 0..LOOKED_AT_MAX {
            let Some((known, id)) = self.by_use.get_min().copied() else { return false };
            let used = self.open.get(&id).map_or(known, |session| session.used);
            self.by_use.remove(&known);
            if used == known {
                self.open.remove(&id);
                return true;
            }
            self.by_use.insert(used, id);
            idlest = idlest.into_iter().chain([(used, id)]).min();
        }
        let crowded = self.open.len() > max + max / OVER;
        if let Some((used, id)) = idlest.filter(|_| crowded) {
            self.by_use.remove(&used);
            self.open.remove(&id);
        }
        crowded
    }

    /// Whether the command at log position `at` is to be applied.
    pub(crate) fn check(&mut self, at: u64, origin: Origin<'_>) -> Verdict {
        match origin {
            Origin::Open { .. } => Verdict::Apply,
            Origin::Session { session: id, sequence, floor } => {
                let Some(session) = self.open.get_mut(&id) else {
                    return match planted(Bug::ExpiredSessionApplies) {
                        true => Verdict::Apply,
                        false => Verdict::Expired,
                    };
                };
                session.used = at;
                session.check(sequence, floor)
            }
            Origin::Once { key, .. } => match self.keys.get(key) {
                Some((_, response)) => Verdict::Duplicate(response.clone()),
                None => Verdict::Apply,
            },
        }
    }

    /// Remembers what the command at log position `at` answered, after [`Verdict::Apply`].
    pub(crate) fn record(&mut self, at: u64, origin: Origin<'_>, response: Bytes) {
        match origin {
            Origin::Open { .. } => {}
            Origin::Session { session, sequence, .. } => {
                if let Some(session) = self.open.get_mut(&session) {
                    session.responses.insert(sequence, response);
                }
            }
            Origin::Once { key, keys_max } => {
                let key = Bytes::copy_from_slice(key);
                self.keys_by_age.insert(at, key.clone());
                self.keys.insert(key, (at, response));
                while self.keys.len() as u64 > keys_max.max(1) {
                    let Some((age, oldest)) = self.keys_by_age.get_min().cloned() else { break };
                    self.keys_by_age.remove(&age);
                    self.keys.remove(&oldest);
                }
            }
        }
    }

    /// Whether this session is remembered.
    pub(crate) fn knows(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// Sessions remembered.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Idempotency keys remembered.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }
}

impl Session {
    fn check(&mut self, sequence: u64, floor: u64) -> Verdict {
        if floor > self.floor {
            self.floor = floor;
            self.responses.forget_below(floor);
        }
        if sequence < self.floor && !planted(Bug::FloorIgnored) {
            return Verdict::Expired;
        }
        match self.responses.get(sequence) {
            Some(response) => Verdict::Duplicate(response.clone()),
            None if self.responses.0.len() as u64 >= WINDOW => Verdict::WindowFull,
            None => Verdict::Apply,
        }
    }
}

impl Responses {
    fn get(&self, sequence: u64) -> Option<&Bytes> {
        let at = self.place(sequence).ok()?;
        Some(&self.0[at].1)
    }

    fn insert(&mut self, sequence: u64, response: Bytes) {
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        match self.place(sequence) {
            Ok(at) => self.0[at].1 = response,
            Err(at) => self.0.insert(at, (sequence, response)),
        }
    }

    fn forget_below(&mut self, floor: u64) {
        while self.0.pop_front_if(|(sequence, _)| *sequence < floor).is_some() {}
        // A session may have been busy once, and idle ever since.
        if self.0.capacity() > 8 && self.0.capacity() / 4 > self.0.len() {
            self.0.shrink_to(2 * self.0.len());
        }
    }

    fn place(&self, sequence: u64) -> Result<usize, usize> {
        match self.0.back() {
            Some((last, _)) if *last < sequence => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&sequence, |(sequence, _)| *sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn command(session: u64, sequence: u64, floor: u64) -> Origin<'static> {
        Origin::Session { session, sequence, floor }
    }

    fn apply(table: &mut Sessions, at: u64, origin: Origin<'_>, response: &'static str) {
        assert_eq!(table.check(at, origin), Verdict::Apply);
        table.record(at, origin, response.into());
    }

    /// A reply is lost and the command sent again: the second copy gets the first one's response.
    #[test]
    fn a_retry_gets_the_recorded_response() {
        let mut table = Sessions::default();
        let id = table.open(5, 5, 10);
        apply(&mut table, 6, command(id, 0, 0), "paid");
        assert_eq!(table.check(7, command(id, 0, 0)), Verdict::Duplicate("paid".into()));
    }

    /// Commands under way together arrive in any order; each is applied once.
    #[test]
    fn sequences_may_arrive_out_of_order() {
        let mut table = Sessions::default();
        let id = table.open(1, 1, 10);
        for (at, sequence) in [(2, 3), (3, 0), (4, 2), (5, 1)] {
            apply(&mut table, at, command(id, sequence, 0), "ok");
        }
        assert_eq!(table.check(9, command(id, 2, 0)), Verdict::Duplicate("ok".into()));
    }

    /// Snapshots of earlier releases have a map there, and their bytes are read and compared.
    #[test]
    fn responses_are_encoded_as_a_map_is() {
        let mut responses = Responses::default();
        let map: std::collections::BTreeMap<u64, Bytes> =
            [(3, "c"), (1, "a"), (2, "b")].map(|(n, text)| (n, text.into())).into();
        for n in [3, 1, 2] {
            responses.insert(n, map[&n].clone());
        }
        assert_eq!(codec::encode(&responses), codec::encode(&map));
    }

    #[test]
    fn a_session_that_was_busy_once_gives_its_memory_back() {
        let mut responses = Responses::default();
        (0..WINDOW).for_each(|n| responses.insert(n, "ok".into()));
        responses.forget_below(WINDOW - 1);
        assert_eq!((responses.0.len(), responses.get(WINDOW - 1).is_some()), (1, true));
        assert!(responses.0.capacity() <= 8, "{}", responses.0.capacity());
    }

    /// A copy that the network held back arrives after its sender moved on: it must not be applied.
    #[test]
    fn below_the_floor_nothing_is_applied() {
        let mut table = Sessions::default();
        let id = table.open(1, 1, 10);
        apply(&mut table, 2, command(id, 1, 1), "ok");
        assert_eq!(table.check(3, command(id, 0, 0)), Verdict::Expired);
    }

    /// In eventual mode two replicas may be asked to open one session.
    #[test]
    fn a_session_that_is_opened_twice_is_one() {
        let mut table = Sessions::default();
        let id = table.open(1, 77, 10);
        apply(&mut table, 2, command(id, 0, 0), "ok");
        assert_eq!(table.open(3, 77, 10), 77);
        assert_eq!(table.check(4, command(id, 0, 0)), Verdict::Duplicate("ok".into()));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_session_idle_for_longest_goes_first() {
        let mut table = Sessions::default();
        let (a, b) = (table.open(1, 1, 2), table.open(2, 2, 2));
        apply(&mut table, 3, command(a, 0, 0), "ok");
        let c = table.open(4, 4, 2);
        assert_eq!(table.check(5, command(b, 0, 0)), Verdict::Expired);
        apply(&mut table, 6, command(a, 1, 1), "ok");
        apply(&mut table, 7, command(c, 0, 0), "ok");
        assert_eq!(table.len(), 2);
    }

    /// Many were opened early and are used. The commands behind one that opens another do not wait until all were
    /// looked at, and none in use expires while others are idle.
    #[test]
    fn sessions_in_use_do_not_expire_before_idle_ones() {
        let mut table = Sessions::default();
        let (busy, count) = (3 * LOOKED_AT_MAX as u64, 5 * LOOKED_AT_MAX as u64);
        for n in 0..count {
            table.open(n, n, count);
        }
        for n in 0..busy {
            table.check(count + n, command(n, 0, 0));
        }
        for n in 0..3 {
            table.open(2 * count + n, count + n, count);
            assert_eq!(table.len() as u64, count + 1 + n, "a thousand were looked at");
        }
        table.open(3 * count, 2 * count, count);
        assert_eq!((table.len(), table.by_use.len()), (5 * LOOKED_AT_MAX, 5 * LOOKED_AT_MAX));
        let gone = (0..count).filter(|id| !table.open.contains_key(id));
        assert!(gone.eq(busy..busy + 4), "those unused for longest");
    }

    #[test]
    fn sessions_are_bounded_though_all_are_in_use() {
        let mut table = Sessions::default();
        let (count, mut at) = (2 * LOOKED_AT_MAX as u64, 0);
        for id in 0..2 * count {
            table.open(at, id, count);
            let open: Vec<u64> = table.open.keys().copied().collect();
            assert!(open.len() as u64 <= count + count / OVER as u64 && open.contains(&id));
            for id in open.into_iter().filter(|_| id >= count) {
                at += 1;
                table.check(at, command(id, 0, 0));
            }
            at += 1;
        }
    }

    #[test]
    fn keys_are_remembered_in_a_bounded_window() {
        let mut table = Sessions::default();
        let once = |key| Origin::Once { key, keys_max: 2 };
        apply(&mut table, 1, once(b"a"), "1");
        apply(&mut table, 2, once(b"b"), "2");
        assert_eq!(table.check(3, once(b"a")), Verdict::Duplicate("1".into()));
        apply(&mut table, 4, once(b"c"), "3");
        assert_eq!(table.check(5, once(b"a")), Verdict::Apply, "the oldest of three was dropped");
        assert_eq!(table.keys(), 2);
    }

    #[test]
    fn a_session_holds_a_bounded_number_of_responses() {
        let mut table = Sessions::default();
        let id = table.open(1, 1, 1);
        for n in 0..WINDOW {
            apply(&mut table, 2 + n, command(id, n, 0), "ok");
        }
        assert_eq!(table.check(5_000, command(id, WINDOW, 0)), Verdict::WindowFull);
        assert_eq!(table.check(5_001, command(id, WINDOW, 1)), Verdict::Apply);
    }
}
