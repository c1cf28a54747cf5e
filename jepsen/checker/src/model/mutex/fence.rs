//! A lock with tokens: the tokens say the whole order.
//!
//! Tokens increase, and a token must be given back before the next one is handed out. So the calls
//! form a chain: the acquire of the least token, its release, the acquire of the next, and so on.
//!
//! Theorem: there is an order exactly if no token was handed out or given back twice, each token but
//! the last was given back, each token given back was handed out, and no call returned before one
//! that the chain puts before it was called. The chain is forced, so the rest is [`rank::order`].
//!
//! Crashed releases name their token: one takes part exactly if the chain goes on behind its token
//! and no known release gave that back. Of several for one token, the one that began first.
//!
//! A crashed acquire does not name its token. It can have got only one that a known release names and
//! no known acquire got; if its token never showed, leaving the acquire out keeps an order an order.
//! Sort those tokens, and the crashed acquires by their start: if there is an order, there is one in
//! which the i-th got the i-th, since two that stand the other way round can be exchanged: neither
//! ever ends, and the one that moves back began before the place where the other stood.
//!
//! Preconditions: every completed acquire has a token. Complexity: O(n log n). A contradiction has 1
//! to 3 calls, and more only where crashed acquires must be counted against tokens.

use super::FencedInput;
use crate::linearizable::{Contradiction, Decision, Object, Piece};
use crate::model::rank::{self, Inversion};

type Lock<'a, 'b> = &'b Object<'a, FencedInput, i64>;

/// The calls of a lock, by token.
#[derive(Default)]
struct Tokens {
    acquires: Vec<(i64, u32)>,
    /// By invocation.
    crashed_acquires: Vec<u32>,
    releases: Vec<(i64, u32)>,
    /// By token, then by invocation.
    crashed_releases: Vec<(i64, u32)>,
    /// Known releases of tokens that no known acquire got.
    orphans: Vec<u32>,
}

/// Decides a lock; `None` if the preconditions do not hold.
pub(super) fn decide(object: Lock<'_, '_>) -> Option<Decision> {
    let mut tokens = Tokens::of(object)?;
    let decision = tokens.chain().and_then(|chain| {
        let ranked = (0..).zip(chain.iter().copied()).collect();
        rank::order(object, ranked).map_err(|inversion| tokens.inverted(object, inversion))
    });
    Some(match decision {
        Ok(order) => Decision::Order(order),
        Err(contradiction) => Decision::Contradiction(contradiction),
    })
}

/// Where a token stands in a sorted list.
fn find(list: &[(i64, u32)], token: i64) -> Option<u32> {
    let at = list.partition_point(|(lower, _)| *lower < token);
    list.get(at).filter(|(same, _)| *same == token).map(|(_, call)| *call)
}

impl Tokens {
    fn of(object: Lock<'_, '_>) -> Option<Self> {
        let mut tokens = Self::default();
        for (call, what) in (0..).zip(&object.calls) {
            match (what.input, what.output, what.happened()) {
                (FencedInput::Acquire, Some(token), true) => tokens.acquires.push((*token, call)),
                (FencedInput::Acquire, None, true) => return None,
                (FencedInput::Acquire, _, false) => tokens.crashed_acquires.push(call),
                (FencedInput::Release(token), _, true) => tokens.releases.push((*token, call)),
                (FencedInput::Release(token), _, false) => {
                    tokens.crashed_releases.push((*token, call));
                }
            }
        }
        tokens.acquires.sort_unstable();
        tokens.releases.sort_unstable();
        tokens.crashed_releases.sort_unstable();
        Some(tokens)
    }

    /// The calls in the order that the tokens say.
    fn chain(&mut self) -> Result<Vec<u32>, Contradiction> {
        if let Some(pair) = self.acquires.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(twice(pair, "got the same token"));
        }
        if let Some(pair) = self.releases.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let mut twice = twice(pair, "gave back the same token");
            twice.calls.extend(find(&self.acquires, pair[0].0));
            return Err(twice);
        }
        let known = self.acquires.iter().chain(&self.releases).map(|(token, _)| *token);
        let mut named: Vec<i64> = known.collect();
        named.sort_unstable();
        named.dedup();
        let mut chain = Vec::with_capacity(2 * named.len());
        for (at, token) in named.iter().enumerate() {
            let release = find(&self.releases, *token);
            let acquire = match find(&self.acquires, *token) {
                Some(acquire) => acquire,
                None => self.crashed_acquire(release)?,
            };
            chain.push(acquire);
            let Some(next) = named.get(at + 1) else {
                chain.extend(release);
                break;
            };
            match release.or_else(|| find(&self.crashed_releases, *token)) {
                Some(release) => chain.push(release),
                None => {
                    let next = find(&self.acquires, *next).or(find(&self.releases, *next));
                    return Err(kept(acquire, next));
                }
            }
        }
        Ok(chain)
    }

    /// The crashed acquire that got the next token that no known acquire did.
    fn crashed_acquire(&mut self, release: Option<u32>) -> Result<u32, Contradiction> {
        self.orphans.extend(release);
        let at = self.orphans.len() - 1;
        self.crashed_acquires.get(at).copied().ok_or_else(|| self.without_acquire(at, None))
    }

    /// More tokens were given back than crashed acquires can have got: up to this orphan, before
    /// `early` had ended.
    fn without_acquire(&self, orphan: usize, early: Option<u32>) -> Contradiction {
        let crashed = &self.crashed_acquires[..orphan.min(self.crashed_acquires.len())];
        let orphans = &self.orphans[..=orphan];
        let last = orphans[orphan];
        let mut calls: Vec<u32> = orphans.iter().chain(crashed).copied().chain(early).collect();
        calls.sort_unstable();
        calls.dedup();
        let said = match crashed.len() {
            0 => ", a token that nobody had got by then".to_owned(),
            1 => ", but the one acquire that nobody knows about cannot have got every token that \
                  nobody else got"
                .to_owned(),
            count => format!(
                ", but the {count} acquires that nobody knows about cannot have got all {} tokens \
                 that nobody else got",
                orphan + 1
            ),
        };
        let mut argument = vec![Piece::Subject(last), said.into()];
        if let Some(early) = early.filter(|early| *early != last) {
            argument.extend([", and that must have come before ".into(), Piece::Noun(early)]);
        }
        Contradiction { calls, argument }
    }

    /// `early` returned before `late` was called, though it belongs after it.
    fn inverted(
        &self,
        object: Lock<'_, '_>,
        Inversion { early, late }: Inversion,
    ) -> Contradiction {
        let what = &object.calls[late as usize];
        let mut calls = vec![early, late];
        match what.input {
            FencedInput::Acquire if !what.happened() => {
                let at = self.crashed_acquires.binary_search(&late).unwrap_or(0);
                return self.without_acquire(at, Some(early));
            }
            // Only the known acquire of its token says that there had to be a release.
            FencedInput::Release(token) if !what.happened() => {
                calls.extend(find(&self.acquires, *token));
            }
            FencedInput::Acquire | FencedInput::Release(_) => {}
        }
        let argument = vec![
            Piece::Subject(late),
            ", but ".into(),
            Piece::Noun(early),
            ", which the tokens put after it, had finished ".into(),
            Piece::Gap(early, late),
            " before that began".into(),
        ];
        Contradiction { calls, argument }
    }
}

fn twice(pair: &[(i64, u32)], what: &str) -> Contradiction {
    let (one, other) = (pair[0].1, pair[1].1);
    let argument =
        vec![Piece::Subject(other), ", but ".into(), Piece::Noun(one), format!(" {what}").into()];
    Contradiction { calls: vec![one, other], argument }
}

/// A token that was never given back, and a call of a greater one.
fn kept(acquire: u32, next: Option<u32>) -> Contradiction {
    let subject = next.map(Piece::Subject);
    let said = [", but nobody had given back what ".into(), Piece::Noun(acquire), " got".into()];
    let argument = subject.into_iter().chain(said).collect();
    Contradiction { calls: [acquire].into_iter().chain(next).collect(), argument }
}
