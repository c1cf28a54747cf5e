//! The calls that nobody knows about, by kind.
//!
//! Those of one class are alike, so all that counts is how many of them took effect. A kind may be
//! *counted*, one bit a call in a configuration; or it is taken to be available without end, which
//! allows more orders than there are: then an impossible history is impossible all the more, and an
//! order that was found is checked for what it uses too often.
//!
//! Invariants: the calls of a kind stand by invocation, so those that may be used are a prefix.

use std::collections::{BTreeMap, BinaryHeap};

use super::super::machine::{Machine, NOWHERE, Timed, number};
use super::bits::Bits;

/// One kind.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) class: u32,
    /// Its calls, by invocation.
    pub(super) calls: Vec<u32>,
    /// Where its bits begin, if it is counted.
    pub(super) base: Option<usize>,
    /// After this event nobody can observe what it writes.
    pub(super) useful_until: u32,
}

/// All kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Crashed {
    pub(super) kinds: Vec<Kind>,
    /// By class: its kind.
    by_class: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Crashed {
    /// The kinds among these calls. `spans` holds the events at which calls began and ended.
    pub(super) fn new<M: Machine>(calls: &[Timed], spans: &[(u32, u32)], machine: &M) -> Self {
        let mut crashed = Self::without_a_future(calls);
        crashed.look_ahead(calls, spans, machine);
        crashed
    }

    /// The kinds among these calls, all of use until the end: others may follow that observe them.
    pub(super) fn without_a_future(calls: &[Timed]) -> Self {
        let classes = calls.iter().map(|call| call.class as usize + 1).max().unwrap_or(0);
        let mut crashed = Self { kinds: Vec::new(), by_class: vec![NONE; classes] };
        for (at, call) in (0_u32..).zip(calls) {
            if call.happened() {
                continue;
            }
            let kind = &mut crashed.by_class[call.class as usize];
            if *kind == NONE {
                *kind = number(crashed.kinds.len());
                let (class, calls) = (call.class, Vec::new());
                crashed.kinds.push(Kind { class, calls, base: None, useful_until: u32::MAX });
            }
            crashed.kinds[*kind as usize].calls.push(at);
        }
        crashed
    }

    /// Finds until when each kind is of use: until the last call that happened and observed what it
    /// writes has returned, or until another kind that observes it is of none.
    fn look_ahead<M: Machine>(&mut self, calls: &[Timed], spans: &[(u32, u32)], machine: &M) {
        if !M::FINITE {
            return;
        }
        let effect = |class| machine.effect(class).unwrap_or((NOWHERE, NOWHERE));
        let mut last_seen = LastSeen::default();
        for (call, span) in calls.iter().zip(spans).filter(|(call, _)| call.happened()) {
            last_seen.note(effect(call.class).0, span.1);
        }
        let mut writers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, kind) in self.kinds.iter_mut().enumerate() {
            kind.useful_until = 0;
            writers.entry(effect(kind.class).1).or_default().push(at);
        }
        // The value that is of use longest can get no longer; what it is made of is of use as long.
        let mut open: BinaryHeap<(u32, u32)> = last_seen.all().collect();
        while let Some((until, value)) = open.pop() {
            for kind in writers.remove(&value).unwrap_or_default() {
                self.kinds[kind].useful_until = until;
                open.push((until, effect(self.kinds[kind].class).0));
            }
        }
    }

    /// The kind of a class.
    pub(super) fn kind_of(&self, class: u32) -> Option<usize> {
        let kind = self.by_class.get(class as usize).copied().filter(|kind| *kind != NONE)?;
        Some(kind as usize)
    }

    /// How many bits the counted kinds need.
    pub(super) fn bits(&self) -> usize {
        let counted = self.kinds.iter().filter(|kind| kind.base.is_some());
        counted.map(|kind| kind.calls.len()).sum()
    }

    /// Counts these kinds from now on.
    pub(super) fn count(&mut self, kinds: &[u32]) {
        let mut base = self.bits();
        for kind in kinds {
            let kind = &mut self.kinds[*kind as usize];
            if kind.base.is_none() {
                kind.base = Some(base);
                base += kind.calls.len();
            }
        }
    }

    /// The bits of a kind.
    pub(super) fn range<const N: usize>(&self, kind: usize) -> Bits<N> {
        let mut bits = Bits::EMPTY;
        if let Some(base) = self.kinds[kind].base {
            (base..base + self.kinds[kind].calls.len()).for_each(|bit| bits.insert(bit));
        }
        bits
    }
}

/// By value: the last event at which it is observed.
#[derive(Debug, Default)]
struct LastSeen(Vec<u32>);

impl LastSeen {
    /// What is observed at all: the last event, and the value.
    fn all(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().copied().zip(0..).filter(|(event, _)| *event > 0)
    }

    fn note(&mut self, value: u32, event: u32) {
        if value != NOWHERE {
            let at = value as usize;
            self.0.resize(self.0.len().max(at + 1), 0);
            self.0[at] = self.0[at].max(event);
        }
    }
}
