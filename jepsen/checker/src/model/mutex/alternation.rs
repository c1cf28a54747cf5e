//! A lock without names: acquires and releases must alternate, and nothing else is asked.
//!
//! The state says which sort of call comes next, and calls of one sort differ in their times only. So
//! an order is built from its front: of the calls that nothing left precedes, take one of the sort
//! that is due, known before crashed ones, and of the known ones that which ends first. Where none is
//! due, there is no order.
//!
//! Theorem: this finds an order if there is one. Proof: let an order begin as built so far and go on
//! with y, while x is taken here. If x stands later in it, exchange the two: both are of one sort, so
//! the sorts still alternate. Nothing left precedes x, so it may stand there; and y ends no earlier
//! than x (if x crashed, y did too, for known ones go first, and then y never ends), so y precedes
//! nothing that x, in its old place, did not. If x does not stand in it, it crashed, and so did y: put
//! x for y. The order ends with the last known call; crashed ones that were never due did not happen.
//!
//! A contradiction is sought by counting: calls of one sort that lie, as a whole, within a span of
//! time need calls of the other sort between each two of them, and those must at least touch the
//! span. If no span is short of them, it is the calls since the lock was last idle, or since the
//! beginning: all that the calls that are due could ever have stood behind.
//!
//! Preconditions: none. Complexity: O(n log n). A contradiction has two calls if nothing of the other
//! sort touched the span, and two more for each that did.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::MutexInput;
use crate::linearizable::{Contradiction, Decision, Object, Piece};
use crate::model::rank::position;

type Lock<'a, 'b> = &'b Object<'a, MutexInput, ()>;

/// Decides a lock.
pub(super) fn decide(object: Lock<'_, '_>) -> Decision {
    let mut building = Building::of(object);
    while let Some((last, end)) = building.ends_next() {
        let due = match building.order.len() % 2 {
            0 => MutexInput::Acquire,
            _ => MutexInput::Release,
        };
        building.admit(end);
        let Some(call) = building.waiting(due).take() else {
            let short = shortage(object, due, end).or_else(|| unpaired(object, due, end));
            let contradiction = short.unwrap_or_else(|| building.since_idle(last));
            return Decision::Contradiction(contradiction);
        };
        building.placed[call as usize] = true;
        building.order.push(call);
    }
    Decision::Order(building.order)
}

/// Calls of one sort that may come next.
#[derive(Default)]
struct Waiting {
    /// By their end.
    known: BinaryHeap<Reverse<(u64, u32)>>,
    crashed: Vec<u32>,
}

impl Waiting {
    fn take(&mut self) -> Option<u32> {
        let known = self.known.pop().map(|Reverse((_, call))| call);
        known.or_else(|| self.crashed.pop())
    }
}

/// An order that is being built.
struct Building<'a, 'b> {
    object: Lock<'a, 'b>,
    order: Vec<u32>,
    placed: Vec<bool>,
    /// The known calls by their end, and how many of them, at least, are placed.
    ends: Vec<(u64, u32)>,
    ended: usize,
    /// How many calls, by invocation, have been admitted.
    begun: usize,
    acquires: Waiting,
    releases: Waiting,
}

impl<'a, 'b> Building<'a, 'b> {
    fn of(object: Lock<'a, 'b>) -> Self {
        let calls = (0..).zip(&object.calls).filter(|(_, call)| call.happened());
        let mut ends: Vec<(u64, u32)> = calls.map(|(at, call)| (call.returned, at)).collect();
        ends.sort_unstable();
        Self {
            object,
            order: Vec::with_capacity(object.calls.len()),
            placed: vec![false; object.calls.len()],
            ends,
            ended: 0,
            begun: 0,
            acquires: Waiting::default(),
            releases: Waiting::default(),
        }
    }

    /// Of the known calls that are left, the one that ends first, and its end.
    fn ends_next(&mut self) -> Option<(u32, u64)> {
        while self.ends.get(self.ended).is_some_and(|(_, call)| self.placed[*call as usize]) {
            self.ended += 1;
        }
        self.ends.get(self.ended).map(|(end, call)| (*call, *end))
    }

    /// Lets in what nothing left precedes: what began before the first of them ends.
    fn admit(&mut self, end: u64) {
        // Those before are not even counted over: there may be as many as there are calls.
        while let Some(what) = self.object.calls.get(self.begun)
            && what.invoked <= end
        {
            let call = position(self.begun);
            self.begun += 1;
            let waiting = self.waiting(*what.input);
            match what.happened() {
                true => waiting.known.push(Reverse((what.returned, call))),
                false => waiting.crashed.push(call),
            }
        }
    }

    fn waiting(&mut self, sort: MutexInput) -> &mut Waiting {
        match sort {
            MutexInput::Acquire => &mut self.acquires,
            MutexInput::Release => &mut self.releases,
        }
    }

    /// All calls placed since the lock was idle and free, and the one that had to come next.
    fn since_idle(&self, last: u32) -> Contradiction {
        let at = |call: u32| &self.object.calls[call as usize];
        let mut from = self.order.len();
        let mut begun = at(last).invoked;
        let mut ended = vec![0];
        for call in &self.order {
            ended.push(at(*call).returned.max(ended[ended.len() - 1]));
        }
        // Idle: all before had ended when the first of these began, and they were pairs.
        while from > 0 && (from % 2 == 1 || from == self.order.len() || ended[from] >= begun) {
            from -= 1;
            begun = begun.min(at(self.order[from]).invoked);
        }
        let mut calls = self.order[from..].to_vec();
        calls.push(last);
        let acquires = |call: &&u32| *at(**call).input == MutexInput::Acquire;
        let acquires = calls.iter().filter(acquires).count();
        let argument = vec![
            Piece::Subject(last),
            format!(
                ", but there is no way to alternate the {acquires} acquires and {} releases up to it",
                calls.len() - acquires
            )
            .into(),
        ];
        Contradiction { calls, argument }
    }
}

/// A span up to `end` that holds two more calls of the other sort than calls that are due touch it.
/// The shortest one.
fn shortage(object: Lock<'_, '_>, due: MutexInput, end: u64) -> Option<Contradiction> {
    let begun = object.calls.partition_point(|call| call.invoked <= end);
    let calls = (0..).zip(&object.calls[..begun]);
    let mut touching: Vec<(u64, u32)> = Vec::new();
    let mut within: Vec<u32> = Vec::new();
    for (at, call) in calls {
        if *call.input == due {
            touching.push((call.returned, at));
        } else if call.returned <= end {
            within.push(at);
        }
    }
    touching.sort_unstable_by_key(|(returned, at)| (Reverse(*returned), *at));
    within.reverse();
    let mut touches = 0;
    for (before, first) in within.iter().enumerate() {
        let start = object.calls[*first as usize].invoked;
        while touching.get(touches).is_some_and(|(returned, _)| *returned >= start) {
            touches += 1;
        }
        if before + 1 >= touches + 2 {
            let touching = touching[..touches].iter().map(|(_, at)| *at).collect();
            // Of those within, any would do; the last are the nearest to where building stopped.
            let within = within[..=before].iter().rev().copied().collect();
            return Some(short(within, touching, due));
        }
    }
    None
}

/// As many releases as there were acquires up to `end`, and one more: the first needs one too.
fn unpaired(object: Lock<'_, '_>, due: MutexInput, end: u64) -> Option<Contradiction> {
    let begun = object.calls.partition_point(|call| call.invoked <= end);
    let (mut acquires, mut releases) = (Vec::new(), Vec::new());
    for (at, call) in (0..).zip(&object.calls[..begun]) {
        match call.input {
            MutexInput::Acquire => acquires.push(at),
            MutexInput::Release if call.returned <= end => releases.push(at),
            MutexInput::Release => {}
        }
    }
    let unpaired = due == MutexInput::Acquire && releases.len() > acquires.len();
    unpaired.then(|| short(releases, acquires, due))
}

/// Too many calls of one sort, in order, for the calls of the other between them.
fn short(within: Vec<u32>, touching: Vec<u32>, due: MutexInput) -> Contradiction {
    let (many, few) = match due {
        MutexInput::Release => ("acquires", "release"),
        MutexInput::Acquire => ("releases", "acquire"),
    };
    let between = match (within.as_slice(), touching.as_slice()) {
        ([_, .., _], []) => format!(", with no {few} under way between the two"),
        (_, []) => format!(", with no {few} under way before it"),
        (_, [_]) => format!(": {} {many} with one {few} under way among them", within.len()),
        (_, more) => {
            format!(": {} {many} with {} {few}s under way among them", within.len(), more.len())
        }
    };
    let ends = match within.as_slice() {
        [first, .., last] => vec![Piece::Subject(*first), ", and ".into(), Piece::Subject(*last)],
        one => one.iter().map(|call| Piece::Subject(*call)).collect(),
    };
    let argument = ends.into_iter().chain([between.into()]).collect();
    Contradiction { calls: within.into_iter().chain(touching).collect(), argument }
}
