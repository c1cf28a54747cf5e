//! A list or string that only grows: the longest read says the order of all that it has.
//!
//! With no element appended twice, the elements of a read are appends, in their order, and every read
//! is a beginning of every longer one. So appends and reads form a chain: the first append, the reads
//! of length one, the second append, and so on; behind it the appends that no read has.
//!
//! Theorem: such a history is linearizable exactly if the reads are beginnings of the longest, its
//! elements were appended and none is there twice, and no call returned before one of a lower rank
//! in that chain was called. Proof: the chain is forced, since a read is answered only right behind
//! its last append and before the next; an append that no read has stands after all of them; and any
//! order by ranks answers all reads. The rest is [`rank::order`].
//!
//! In a string, elements run together. If none is the beginning of another, reading from the left
//! there is at most one that fits (the greatest in order that is not above the rest), so a string
//! falls into its elements in one way, and a read that ends within one is impossible by itself.
//!
//! Crashed appends take part exactly if a read has their element.
//!
//! Preconditions: every completed read has an answer; no element is empty, or the beginning of
//! another or equal to it. Complexity: O(n log n + length of the longest read), since a read is
//! compared with the longest by its node alone; the total length was paid when it was read in.

use super::{AppendAction, AppendInput, AppendList, Prefix};
use crate::datum::Datum;
use crate::linearizable::{Contradiction, Decision, Object, Piece};
use crate::model::rank::{self, Inversion};

/// The calls of one list.
struct Growing<'a> {
    list: &'a AppendList,
    /// What each append adds, in order, with its call.
    appends: Vec<(Vec<Datum>, u32)>,
    /// Each read by its length.
    reads: Vec<(u32, Prefix, u32)>,
}

/// Decides one list; `None` if the preconditions do not hold.
pub(super) fn decide(
    object: &Object<'_, AppendInput, Prefix>,
    list: &AppendList,
) -> Option<Decision> {
    let growing = Growing::of(object, list)?;
    let decision = growing.ranks(object).and_then(|ranked| {
        rank::order(object, ranked).map_err(|inversion| {
            let ranked = growing.ranks(object).unwrap_or_default();
            growing.inverted(object, inversion, &ranked)
        })
    });
    Some(match decision {
        Ok(order) => Decision::Order(order),
        Err(contradiction) => Decision::Contradiction(contradiction),
    })
}

impl<'a> Growing<'a> {
    fn of(object: &Object<'_, AppendInput, Prefix>, list: &'a AppendList) -> Option<Self> {
        let mut growing = Self { list, appends: Vec::new(), reads: Vec::new() };
        for (call, what) in (0..).zip(&object.calls) {
            match (what.input.action, what.output) {
                (AppendAction::Append(element), _) => {
                    growing.appends.push((list.spelled(element), call));
                }
                (AppendAction::Read, Some(seen)) => {
                    growing.reads.push((list.prefixes.depth(*seen), *seen, call));
                }
                (AppendAction::Read, None) if !what.happened() => {}
                (AppendAction::Read, None) => return None,
            }
        }
        growing.appends.sort_unstable();
        growing.reads.sort_unstable();
        let empty = growing.appends.first().is_some_and(|(letters, _)| letters.is_empty());
        // In order, what begins with an element follows it at once, or others that do.
        let mut pairs = growing.appends.windows(2);
        let ambiguous = pairs.any(|pair| pair[1].0.starts_with(&pair[0].0));
        (!empty && !ambiguous).then_some(growing)
    }

    /// The append of what a text begins with.
    fn next(&self, text: &[Datum]) -> Option<&(Vec<Datum>, u32)> {
        let after = self.appends.partition_point(|(letters, _)| letters.as_slice() <= text);
        self.appends[..after].last().filter(|(letters, _)| text.starts_with(letters))
    }

    /// Each call with its rank: an append twice the length with it, a read one more than that.
    fn ranks(
        &self,
        object: &Object<'_, AppendInput, Prefix>,
    ) -> Result<Vec<(u64, u32)>, Contradiction> {
        let Some((length, longest, longest_read)) = self.reads.last().copied() else {
            return Ok(self.unread(object, 0, &vec![false; object.calls.len()]));
        };
        let beginnings = self.list.prefixes.beginnings(longest);
        let text = self.list.prefixes.last(longest, length as usize);
        let mut seen = vec![false; object.calls.len()];
        let mut ranked = Vec::with_capacity(object.calls.len());
        let mut complete = vec![false; text.len() + 1];
        complete[0] = true;
        let mut end = 0;
        while end < text.len() {
            let Some((letters, append)) = self.next(&text[end..]) else {
                return Err(self.invented(longest_read, end, text[end]));
            };
            end += letters.len();
            complete[end] = true;
            if std::mem::replace(&mut seen[*append as usize], true) {
                let doubled = ", which has twice what was appended once, in ".into();
                let argument = vec![Piece::Subject(longest_read), doubled, Piece::Noun(*append)];
                return Err(Contradiction { calls: vec![longest_read, *append], argument });
            }
            ranked.push((2 * end as u64, *append));
        }
        for (depth, prefix, read) in &self.reads {
            if beginnings[*depth as usize] != *prefix {
                let argument = vec![
                    Piece::Subject(*read),
                    ", and ".into(),
                    Piece::Subject(longest_read),
                    ": neither list is the beginning of the other".into(),
                ];
                return Err(Contradiction { calls: vec![*read, longest_read], argument });
            }
            if !complete[*depth as usize] {
                let argument = vec![
                    Piece::Subject(*read),
                    ", which ends in the middle of what was appended at once".into(),
                ];
                return Err(Contradiction { calls: vec![*read], argument });
            }
            ranked.push((2 * u64::from(*depth) + 1, *read));
        }
        ranked.extend(self.unread(object, 2 * u64::from(length) + 2, &seen));
        Ok(ranked)
    }

    /// The appends that are known to have happened, though no read has them.
    fn unread(
        &self,
        object: &Object<'_, AppendInput, Prefix>,
        rank: u64,
        seen: &[bool],
    ) -> Vec<(u64, u32)> {
        let appends = self.appends.iter().map(|(_, append)| *append);
        let unread = appends
            .filter(|append| !seen[*append as usize] && object.calls[*append as usize].happened());
        unread.map(|append| (rank, append)).collect()
    }

    /// A read of something that nobody appended.
    fn invented(&self, read: u32, before: usize, letter: Datum) -> Contradiction {
        let what = match self.list.text {
            true => format!("what it has after the first {before} letters"),
            false => self.list.shown(letter),
        };
        let argument = vec![Piece::Subject(read), format!(", but nobody appended {what}").into()];
        Contradiction { calls: vec![read], argument }
    }

    /// `early` returned before `late` was called, though it belongs after it.
    fn inverted(
        &self,
        object: &Object<'_, AppendInput, Prefix>,
        Inversion { early, late }: Inversion,
        ranked: &[(u64, u32)],
    ) -> Contradiction {
        let rank = |call: u32| {
            let found = ranked.iter().find(|(_, ranked)| *ranked == call);
            found.map_or(0, |(rank, _)| *rank)
        };
        let reads = |call: u32| object.calls[call as usize].input.action == AppendAction::Read;
        let mut calls = vec![early, late];
        let finished = [" had finished ".into(), Piece::Gap(early, late)];
        let argument = match (reads(early), reads(late)) {
            (false, true) => {
                let said = [Piece::Subject(late), ", which lacks ".into(), Piece::Noun(early)];
                let before = [", but that".into(), finished[0].clone(), finished[1].clone()];
                [&said[..], &before, &[" before that read began".into()]].concat()
            }
            (true, false) => {
                let said = [Piece::Subject(early), ", and that read".into()];
                let before = [" before ".into(), Piece::Noun(late), ", which it has, began".into()];
                [&said[..], &finished, &before].concat()
            }
            (true, true) => {
                let said = [Piece::Subject(late), ", but ".into(), Piece::Noun(early)];
                let longer =
                    [", which is longer,".into(), finished[0].clone(), finished[1].clone()];
                [&said[..], &longer, &[" before that read began".into()]].concat()
            }
            (false, false) => {
                // The shortest read that has both; or, if none has the early one, only the late one.
                let has = |call: u32| {
                    let mut reads = self.reads.iter();
                    reads.find(|(depth, ..)| 2 * u64::from(*depth) >= rank(call))
                };
                let read = has(early).or_else(|| has(late)).map(|(_, _, read)| *read);
                calls.extend(read);
                let said = [Piece::Noun(early)].into_iter().chain(finished);
                let before = [" before ".into(), Piece::Noun(late), " began, but ".into()];
                let order = match has(early) {
                    Some(_) => ", with the two the other way round",
                    None => ", with the second and without the first",
                };
                let read = read.map(Piece::Subject).into_iter().chain([order.into()]);
                said.chain(before).chain(read).collect()
            }
        };
        Contradiction { calls, argument }
    }
}
