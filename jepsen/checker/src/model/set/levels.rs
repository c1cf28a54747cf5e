//! A set that only grows: one pass over the levels of its reads.
//!
//! Reads of a set that only grows contain each other, so by size they form levels. With each element
//! added at most once, an element belongs to the first level that has it: its add lies before every
//! read of that level and after every read of the level below. That fixes the order of any two calls
//! of different levels, and says nothing about those of one level, beyond adds before reads.
//!
//! Theorem: such a history is linearizable exactly if every element read was added, no read has an
//! element twice, any two reads contain one another, and no call returned before one of a lower rank
//! was called. Proof: the ranks are forced, as just said; and any order by ranks answers every read
//! with what it saw, since exactly the adds of its level and of those below stand before it. The rest
//! is [`rank::order`].
//!
//! Crashed adds take part exactly if a read has their element: elsewhere leaving them out is an order
//! too. Acknowledged elements that no read has come after every read.
//!
//! Preconditions: only adds and reads; every completed read has an answer; no element is added twice.
//! Complexity: O(n log n + total length of the reads); reads are compared with their neighbour only.

use super::{SetInput, SetOutput};
use crate::datum::Datum;
use crate::linearizable::{Contradiction, Decision, Object, Piece};
use crate::model::rank::{self, Inversion};

/// The calls of a set that only grows.
struct Growing<'a> {
    /// Elements, ascending, each with its add.
    adds: Vec<(Datum, u32)>,
    /// Reads by size.
    reads: Vec<(u32, &'a [Datum])>,
}

/// Puts an element into words.
type Show<'a> = &'a dyn Fn(Datum) -> String;

/// Decides a set that only grows; `None` if the preconditions do not hold.
pub(super) fn decide(object: &Object<'_, SetInput, SetOutput>, show: Show<'_>) -> Option<Decision> {
    let growing = Growing::of(object)?;
    let decision = growing.ranks(object, show).and_then(|ranked| {
        let order = rank::order(object, ranked);
        order.map_err(|inversion| growing.inverted(object, inversion, show))
    });
    Some(match decision {
        Ok(order) => Decision::Order(order),
        Err(contradiction) => Decision::Contradiction(contradiction),
    })
}

impl<'a> Growing<'a> {
    fn of(object: &Object<'a, SetInput, SetOutput>) -> Option<Self> {
        let mut growing = Self { adds: Vec::new(), reads: Vec::new() };
        for (call, what) in (0..).zip(&object.calls) {
            match (what.input, what.output) {
                (SetInput::Add(element), _) => growing.adds.push((*element, call)),
                (SetInput::Read, Some(SetOutput::All(elements))) => {
                    growing.reads.push((call, elements));
                }
                (SetInput::Read, None) if !what.happened() => {}
                _ => return None,
            }
        }
        growing.adds.sort_unstable();
        growing.reads.sort_by_key(|(_, elements)| elements.len());
        let twice = growing.adds.windows(2).any(|pair| pair[0].0 == pair[1].0);
        (!twice).then_some(growing)
    }

    fn add_of(&self, element: Datum) -> Option<u32> {
        let at = self.adds.binary_search_by_key(&element, |(element, _)| *element).ok()?;
        Some(self.adds[at].1)
    }

    /// Each call with its rank: adds of a level have an even one, its reads the odd one above.
    fn ranks(
        &self,
        object: &Object<'_, SetInput, SetOutput>,
        show: Show<'_>,
    ) -> Result<Vec<(u64, u32)>, Contradiction> {
        let mut ranked = Vec::with_capacity(object.calls.len());
        let mut placed = vec![false; object.calls.len()];
        let mut level = 0;
        let mut below: (u32, &[Datum]) = (0, &[]);
        for (read, elements) in &self.reads {
            if let Some(twice) = elements.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(self.doubled(*read, twice[0], show));
            }
            level += u64::from(elements.len() > below.1.len());
            let fresh = match difference(elements, below.1) {
                Ok(fresh) => fresh,
                Err((one, other)) => {
                    return Err(crossed((*read, show(one)), (below.0, show(other))));
                }
            };
            for element in fresh {
                let Some(add) = self.add_of(element) else {
                    return Err(invented(*read, &show(element)));
                };
                placed[add as usize] = true;
                ranked.push((2 * level, add));
            }
            ranked.push((2 * level + 1, *read));
            below = (*read, elements);
        }
        let unread = self
            .adds
            .iter()
            .map(|(_, add)| *add)
            .filter(|add| !placed[*add as usize] && object.calls[*add as usize].happened());
        ranked.extend(unread.map(|add| (2 * level + 2, add)));
        Ok(ranked)
    }

    /// A read that returned an element twice.
    fn doubled(&self, read: u32, element: Datum, show: Show<'_>) -> Contradiction {
        let calls = [read].into_iter().chain(self.add_of(element)).collect();
        let element = show(element);
        let argument = vec![Piece::Subject(read), format!(", which has {element} twice").into()];
        Contradiction { calls, argument }
    }

    /// `early` returned before `late` was called, though it belongs after it.
    fn inverted(
        &self,
        object: &Object<'_, SetInput, SetOutput>,
        Inversion { early, late }: Inversion,
        show: Show<'_>,
    ) -> Contradiction {
        let input = |call: u32| object.calls[call as usize].input.element();
        let finished = [" had finished ".into(), Piece::Gap(early, late)];
        let mut calls = vec![early, late];
        let argument = match (input(early), input(late)) {
            (Some(element), None) => {
                let lacks = format!(" without {}, but ", show(element));
                let said = [Piece::Subject(late), lacks.into(), Piece::Noun(early)];
                [&said[..], &finished, &[" before that read began".into()]].concat()
            }
            (None, Some(element)) => {
                let has = format!(" with {}, and ", show(element));
                let said = [Piece::Subject(early), has.into(), "that read".into()];
                let before = [" before ".into(), Piece::Noun(late), " began".into()];
                [&said[..], &finished, &before].concat()
            }
            (None, None) => {
                let lacks = self.reads.iter().find(|(read, _)| *read == late);
                let lacks = lacks.map_or(&[][..], |(_, elements)| elements);
                let has = self.reads.iter().find(|(read, _)| *read == early);
                let extra = has.and_then(|(_, all)| difference(all, lacks).ok()?.first().copied());
                let lacks = format!(" without {}, but ", extra.map(show).unwrap_or_default());
                let said = [Piece::Subject(late), lacks.into(), Piece::Noun(early)];
                let before = [", which has it,".into(), finished[0].clone(), finished[1].clone()];
                [&said[..], &before, &[" before that read began".into()]].concat()
            }
            (Some(first), Some(second)) => {
                // The smallest read that has the late element is of its level, and that is lower.
                let mut reads = self.reads.iter();
                let has = reads.find(|(_, all)| all.binary_search(&second).is_ok());
                calls.extend(has.map(|(read, _)| *read));
                let said = [Piece::Noun(early)].into_iter().chain(finished);
                let before = [" before ".into(), Piece::Noun(late), " began, but ".into()];
                let reads = has.map(|(read, _)| Piece::Subject(*read));
                let lacks = format!(", with {} and without {}", show(second), show(first)).into();
                said.chain(before).chain(reads).chain([lacks]).collect()
            }
        };
        Contradiction { calls, argument }
    }
}

/// What the greater has and the smaller has not; or, if the smaller is no part of the greater, an
/// element that only the greater has, and one that only the smaller has.
fn difference(greater: &[Datum], smaller: &[Datum]) -> Result<Vec<Datum>, (Datum, Datum)> {
    if greater == smaller {
        return Ok(Vec::new());
    }
    let mut only_greater = Vec::new();
    let mut only_smaller = None;
    let mut rest = smaller.iter().copied().peekable();
    for element in greater {
        while let Some(lower) = rest.next_if(|lower| lower < element) {
            only_smaller = only_smaller.or(Some(lower));
        }
        if rest.next_if_eq(element).is_none() {
            only_greater.push(*element);
        }
    }
    match (only_smaller.or(rest.next()), only_greater.first()) {
        (None, _) => Ok(only_greater),
        // Equally many or more elements of which one is missing: another took its place.
        (Some(missing), extra) => Err((*extra.unwrap_or(&missing), missing)),
    }
}

/// A read of an element that nobody added.
fn invented(read: u32, element: &str) -> Contradiction {
    let argument = vec![Piece::Subject(read), format!(", but nobody added {element}").into()];
    Contradiction { calls: vec![read], argument }
}

/// Two reads of which neither contains the other, each with an element that the other lacks.
fn crossed((one, only_one): (u32, String), (other, only_other): (u32, String)) -> Contradiction {
    let argument = vec![
        Piece::Subject(one),
        format!(" with {only_one} and without {only_other}, and ").into(),
        Piece::Subject(other),
        format!(" with {only_other} and without {only_one}: one of them was added first").into(),
    ];
    Contradiction { calls: vec![one, other], argument }
}
