//! A queue with no element enqueued twice: four patterns, any of which forbids every order.
//!
//! With e(x) and d(x) the enqueue and dequeue of x, and -> for "had returned before the other began":
//! 1. *fresh*: x is dequeued, but never enqueued, or d(x) -> e(x);
//! 2. *repeated*: x is dequeued twice;
//! 3. *overtaken*: e(a) -> e(b), b is dequeued, and a never, or d(b) -> d(a);
//! 4. *never empty*: a dequeue found nothing, but at each moment between its start and its end some
//!    x was surely there: e(x) had returned and d(x) not begun.
//!
//! Theorem (Henzinger, Sezgin, Vafeiadis, "Aspect-oriented linearizability proofs", CONCUR 2013, for
//! complete histories; also Bouajjani et al., ICALP 2015): without these four there is an order. Our
//! proof is the construction in [`super::witness`], which needs no more than their absence.
//!
//! Crashed enqueues take part exactly if a known dequeue has their element: leaving out the others,
//! with the crashed dequeue that may have taken them, keeps an order an order.
//!
//! Crashed dequeues can only have taken elements that no known dequeue has. Sort those u1, u2, .. by
//! the end of their enqueue, and the crashed dequeues c1, c2, .. by their start: if there is an order,
//! there is one in which c(i) takes u(i), for all i that both lists have. Proof: pattern 3 gives u(i)
//! a latest moment to be taken, the earliest end of a d(b) with e(u(i)) -> e(b), and a dequeue that
//! found nothing at p gives the moment p to all u with an enqueue ended before p. Both grow with i.
//! For deadlines that grow so, and dequeues that are available from their start on for ever, matching
//! them in order is optimal (an exchange of two takers). It leaves the u's that end last, so no u
//! stays behind while one enqueued surely later is taken. Which p is chosen does not change the
//! matching, so the question is then one about a complete history.
//!
//! Preconditions: no element is enqueued twice; every completed dequeue has an answer.
//! Complexity: O(n log n). A contradiction has 1 to 4 calls, and more only where crashed dequeues
//! must be counted against the elements they may have taken, or a queue is never empty in turns.

use super::witness::{self, Element, TAKEN_BY_CRASHED, UNTAKEN};
use super::{QueueInput, QueueOutput};
use crate::datum::Datum;
use crate::linearizable::{Contradiction, Decision, Object, Piece};

/// The calls of a queue, sorted out.
struct Sorted<'a, 'b> {
    object: &'b Object<'a, QueueInput, QueueOutput>,
    /// By element.
    enqueues: Vec<(Datum, u32)>,
    /// By element, then by invocation.
    dequeues: Vec<(Datum, u32)>,
    /// Dequeues that found nothing.
    empty: Vec<u32>,
    /// Dequeues that nobody knows about, by invocation.
    crashed: Vec<u32>,
    /// Enqueues of elements that no known dequeue has, by their end.
    untaken: Vec<u32>,
}

/// Decides a queue; `None` if the preconditions do not hold.
pub(super) fn decide(object: &Object<'_, QueueInput, QueueOutput>) -> Option<Decision> {
    let mut sorted = Sorted::of(object)?;
    let decision = sorted.elements().and_then(|elements| {
        sorted.overtaken(&elements)?;
        let points = sorted.empty_points(&elements)?;
        Ok(witness::order(elements, points))
    });
    Some(match decision {
        Ok(order) => Decision::Order(order),
        Err(contradiction) => Decision::Contradiction(contradiction),
    })
}

impl<'a, 'b> Sorted<'a, 'b> {
    fn of(object: &'b Object<'a, QueueInput, QueueOutput>) -> Option<Self> {
        let (enqueues, dequeues) = (Vec::new(), Vec::new());
        let (empty, crashed, untaken) = (Vec::new(), Vec::new(), Vec::new());
        let mut sorted = Self { object, enqueues, dequeues, empty, crashed, untaken };
        for (call, what) in (0..).zip(&object.calls) {
            match (what.input, what.output) {
                (QueueInput::Enqueue(element), _) => sorted.enqueues.push((*element, call)),
                (QueueInput::Dequeue, Some(QueueOutput::Element(element))) => {
                    sorted.dequeues.push((*element, call));
                }
                (QueueInput::Dequeue, Some(QueueOutput::Empty)) => sorted.empty.push(call),
                (QueueInput::Dequeue, None) if !what.happened() => sorted.crashed.push(call),
                (QueueInput::Dequeue, None) => return None,
            }
        }
        sorted.enqueues.sort_unstable();
        sorted.dequeues.sort_unstable();
        let twice = sorted.enqueues.windows(2).any(|pair| pair[0].0 == pair[1].0);
        (!twice).then_some(sorted)
    }

    fn invoked(&self, call: u32) -> u64 {
        self.object.calls[call as usize].invoked
    }

    fn returned(&self, call: u32) -> u64 {
        self.object.calls[call as usize].returned
    }

    /// Every element that takes part, with who enqueued and who dequeued it, unless that is fresh or
    /// repeated.
    fn elements(&mut self) -> Result<Vec<Element>, Contradiction> {
        let mut elements = Vec::with_capacity(self.enqueues.len());
        let mut dequeues = self.dequeues.iter().copied().peekable();
        let mut untaken = Vec::new();
        for (element, enqueue) in &self.enqueues {
            if let Some((_, dequeue)) = dequeues.next_if(|(lower, _)| lower < element) {
                return Err(invented(dequeue));
            }
            let Some((_, dequeue)) = dequeues.next_if(|(same, _)| same == element) else {
                let happened = self.object.calls[*enqueue as usize].happened();
                untaken.extend(happened.then_some(*enqueue));
                continue;
            };
            if let Some((_, again)) = dequeues.next_if(|(same, _)| same == element) {
                return Err(repeated(*enqueue, dequeue, again));
            }
            if self.returned(dequeue) < self.invoked(*enqueue) {
                return Err(early(*enqueue, dequeue));
            }
            let ends = (self.invoked(dequeue), self.returned(dequeue));
            elements.push(self.element(*enqueue, Some(dequeue), ends, None));
        }
        if let Some((_, dequeue)) = dequeues.next() {
            return Err(invented(dequeue));
        }
        untaken.sort_by_key(|enqueue| self.returned(*enqueue));
        for (at, enqueue) in untaken.iter().enumerate() {
            let crashed = self.crashed.get(at).copied();
            let ends = match crashed {
                Some(dequeue) => (self.invoked(dequeue), TAKEN_BY_CRASHED),
                None => (UNTAKEN, UNTAKEN),
            };
            elements.push(self.element(*enqueue, crashed, ends, Some(at)));
        }
        self.untaken = untaken;
        Ok(elements)
    }

    /// An element is enqueued before it is dequeued, so neither can take effect beyond the other.
    fn element(
        &self,
        enqueue: u32,
        dequeue: Option<u32>,
        (begun, ended): (u64, u64),
        untaken: Option<usize>,
    ) -> Element {
        let invoked = self.invoked(enqueue);
        Element {
            enqueue,
            dequeue,
            enqueued: (invoked, self.returned(enqueue).min(ended)),
            dequeued: (begun.max(invoked), ended),
            untaken,
        }
    }

    /// Pattern 3: for each a, the earliest end of a dequeue among all b enqueued surely after it.
    fn overtaken(&self, elements: &[Element]) -> Result<(), Contradiction> {
        let mut later: Vec<&Element> = elements.iter().collect();
        later.sort_by_key(|element| element.enqueued.0);
        let mut earliest = later.clone();
        for at in (1..later.len()).rev() {
            if earliest[at].dequeued.1 < earliest[at - 1].dequeued.1 {
                earliest[at - 1] = earliest[at];
            }
        }
        for a in elements {
            let after = later.partition_point(|b| b.enqueued.0 <= a.enqueued.1);
            if let Some(b) = earliest.get(after)
                && b.dequeued.1 < a.dequeued.0
            {
                return Err(self.overtook(a, b));
            }
        }
        Ok(())
    }

    fn overtook(&self, a: &Element, b: &Element) -> Contradiction {
        let mut calls = vec![a.enqueue, b.enqueue];
        let mut argument = Vec::new();
        if let Some(taker) = b.dequeue {
            calls.push(taker);
            argument.extend([Piece::Subject(taker), ", but ".into()]);
        }
        argument.extend([
            Piece::Noun(a.enqueue),
            " had finished ".into(),
            Piece::Gap(a.enqueue, b.enqueue),
            " before ".into(),
            Piece::Noun(b.enqueue),
            " began, and ".into(),
        ]);
        match (b.dequeue, a.dequeue, a.untaken) {
            (Some(first), Some(second), None) => {
                calls.push(second);
                argument.extend([
                    Piece::Noun(second),
                    " began ".into(),
                    Piece::Gap(first, second),
                    " after that dequeue had finished".into(),
                ]);
            }
            _ => argument.push(self.left_behind(a, &mut calls).into()),
        }
        Contradiction { calls, argument }
    }

    /// Why an element that no known dequeue has was there: as many crashed dequeues as had begun can
    /// have taken as many of those enqueued by then, and there is one more.
    fn left_behind(&self, element: &Element, calls: &mut Vec<u32>) -> String {
        let before = element.untaken.unwrap_or(0);
        let crashed = &self.crashed[..before.min(self.crashed.len())];
        calls.extend(self.untaken[..before].iter().chain(crashed));
        calls.sort_unstable();
        calls.dedup();
        match crashed.len() {
            0 => "nobody had dequeued that one".to_owned(),
            1 => "the one dequeue that nobody knows about, and that had begun, cannot have taken \
                  both elements that were left"
                .to_owned(),
            count => format!(
                "the {count} dequeues that nobody knows about, and that had begun, cannot have \
                 taken all {} elements that were left",
                before + 1
            ),
        }
    }

    /// Pattern 4: for each dequeue that found nothing, a moment at which nothing was surely there.
    fn empty_points(&self, elements: &[Element]) -> Result<Vec<(u64, u32)>, Contradiction> {
        let there = |element: &&Element| element.enqueued.1 < element.dequeued.0;
        let mut held: Vec<&Element> = elements.iter().filter(there).collect();
        held.sort_by_key(|element| element.enqueued.1);
        // For each of them the one, up to it, that stayed longest.
        let mut longest = held.clone();
        for at in 1..held.len() {
            if longest[at - 1].dequeued.0 > longest[at].dequeued.0 {
                longest[at] = longest[at - 1];
            }
        }
        let cover = |moment: u64| {
            let begun = held.partition_point(|element| element.enqueued.1 < moment);
            let longest = longest[..begun].last()?;
            (moment < longest.dequeued.0).then_some(*longest)
        };
        // Where a stretch without an empty moment ends, for each that holds a moment of it.
        let mut ends = vec![0; held.len()];
        for at in (0..held.len()).rev() {
            let end = longest[at].dequeued.0;
            let joined = held.get(at + 1).is_some_and(|next| next.enqueued.1 < end);
            ends[at] = if joined { ends[at + 1] } else { end };
        }
        let mut points = Vec::with_capacity(self.empty.len());
        for call in &self.empty {
            let mut moment = self.invoked(*call);
            if cover(moment).is_some() {
                let begun = held.partition_point(|element| element.enqueued.1 < moment);
                moment = ends[begun - 1];
            }
            if moment > self.returned(*call) {
                return Err(self.never_empty(*call, cover));
            }
            points.push((moment, *call));
        }
        Ok(points)
    }

    /// The fewest elements that were there in turns from the start to the end of the dequeue.
    fn never_empty<'e>(
        &self,
        call: u32,
        cover: impl Fn(u64) -> Option<&'e Element>,
    ) -> Contradiction {
        let mut calls = vec![call];
        let mut argument = vec![Piece::Subject(call), ", but it never was: ".into()];
        let mut moment = self.invoked(call);
        let mut between = "";
        while let Some(element) = cover(moment).filter(|_| moment <= self.returned(call)) {
            argument.extend([between.into(), Piece::Noun(element.enqueue)]);
            calls.push(element.enqueue);
            match (element.dequeue, element.untaken) {
                (Some(dequeue), None) => {
                    calls.push(dequeue);
                    argument.extend([" had finished, and ".into(), Piece::Noun(dequeue)]);
                    argument.push(" had not begun".into());
                }
                _ => {
                    argument.push(" had finished, and ".into());
                    argument.push(self.left_behind(element, &mut calls).into());
                }
            }
            moment = element.dequeued.0;
            between = "; then ";
        }
        Contradiction { calls, argument }
    }
}

fn invented(dequeue: u32) -> Contradiction {
    let argument = vec![Piece::Subject(dequeue), ", which nobody enqueued".into()];
    Contradiction { calls: vec![dequeue], argument }
}

fn repeated(enqueue: u32, first: u32, second: u32) -> Contradiction {
    let argument = vec![
        Piece::Subject(second),
        ", but ".into(),
        Piece::Noun(first),
        " had it too, and there was only ".into(),
        Piece::Noun(enqueue),
    ];
    Contradiction { calls: vec![enqueue, first, second], argument }
}

fn early(enqueue: u32, dequeue: u32) -> Contradiction {
    let argument = vec![
        Piece::Subject(dequeue),
        ", but ".into(),
        Piece::Noun(enqueue),
        " began ".into(),
        Piece::Gap(dequeue, enqueue),
        " after that dequeue had finished".into(),
    ];
    Contradiction { calls: vec![enqueue, dequeue], argument }
}
