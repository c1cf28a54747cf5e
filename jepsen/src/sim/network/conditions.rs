//! What the network does to messages.
//!
//! Owns [`Links`], the part of a plan that is about the network, and [`Conditions`], what holds at the
//! moment: which links are cut or slow. In: a link. Out: whether a message gets through, and how
//! long it takes.
//!
//! Invariants:
//! - whatever befalls a message is counted, and counted when it does: a cut link that nobody used and
//!   a duplicate that never arrived are not evidence;
//! - all that is random comes from [`Stream::Network`].
//!
//! Does not: know messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    time::Duration,
};

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    nemesis::Link,
    sim::world::{self, Stream},
};

/// How long after its original a late duplicate comes: beyond several elections.
const LATE: Range<Duration> = Duration::from_millis(10)..Duration::from_secs(10);

/// How all links are, when nothing else is said of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Links {
    /// How long a message is under way. Each draws its own, so that they overtake each other.
    pub delay: Range<Duration>,
    /// How likely a message is lost, a request as well as a reply: 0 to 1.
    pub loss: f64,
    /// How likely a request is served twice: 0 to 1.
    pub duplicate: f64,
    /// Whether half of the duplicates come seconds later, in the lanes that keep an order as well.
    pub late: bool,
}

impl Default for Links {
    /// A local network on a good day.
    fn default() -> Self {
        let delay = Duration::from_micros(100)..Duration::from_millis(2);
        Self { delay, loss: 0.0, duplicate: 0.0, late: false }
    }
}

/// What can befall a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// Lost by chance.
    Lost,
    /// Served a second time.
    Duplicated,
    /// Served a second time, long after the first. Counts as [`Mishap::Duplicated`] as well.
    Late,
    /// Lost on a link that is cut in this direction only.
    CutOneWay,
    /// Lost on a link that is cut in both directions.
    CutBothWays,
    /// Sent over a link that was made slow.
    Slow,
    /// Refused: nobody listens there, or somebody else.
    Refused,
    /// Its connection was reset before there was a reply.
    Reset,
    /// An answer that came to a paused host, and waited to be read.
    Unread,
}

impl Mishap {
    /// The words for it, which are also what the world counts as reached.
    pub fn name(self) -> &'static str {
        match self {
            Mishap::Lost => "network: lost",
            Mishap::Duplicated => "network: duplicated",
            Mishap::Late => "network: late duplicate",
            Mishap::CutOneWay => "network: cut one way",
            Mishap::CutBothWays => "network: cut both ways",
            Mishap::Slow => "network: slow",
            Mishap::Refused => "network: refused",
            Mishap::Reset => "network: reset",
            Mishap::Unread => "network: unread in a pause",
        }
    }
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a duplicate arrives.
pub(super) enum Repeat {
    /// After its original as any message after another.
    Soon(Duration),
    /// Long after.
    Late(Duration),
}

/// How the links are at the moment.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) links: Links,
    pub(super) cut: BTreeSet<Link>,
    pub(super) slow: BTreeMap<Link, Range<Duration>>,
    pub(super) counts: BTreeMap<Mishap, u64>,
}

impl Conditions {
    pub(super) fn note(&mut self, mishap: Mishap) {
        *self.counts.entry(mishap).or_default() += 1;
        world::reach(mishap.name());
    }

    /// A message wants to leave: for how long it is under way, or `None` if it does not arrive.
    pub(super) fn depart(&mut self, link: Link) -> Option<Duration> {
        if self.stops(link) {
            return None;
        }
        if chance(self.links.loss) {
            self.note(Mishap::Lost);
            return None;
        }
        Some(self.delay(link))
    }

    /// Whether a message that is on the link, or about to be, is lost because the link is cut.
    pub(super) fn stops(&mut self, link: Link) -> bool {
        let cut = self.cut.contains(&link);
        if cut {
            let both = self.cut.contains(&back(link));
            self.note(if both { Mishap::CutBothWays } else { Mishap::CutOneWay });
        }
        cut
    }

    /// Whether a request that arrives will do so once more, and when. Within an order, and if not
    /// late, that is at once: nothing that was sent later may come between.
    pub(super) fn repeat(&mut self, link: Link, in_order: bool) -> Option<Repeat> {
        if !chance(self.links.duplicate) {
            return None;
        }
        Some(match (self.links.late && chance(0.5), in_order) {
            (true, _) => Repeat::Late(world::draw_duration(Stream::Network, LATE)),
            (false, true) => Repeat::Soon(Duration::ZERO),
            (false, false) => Repeat::Soon(self.delay(link)),
        })
    }

    fn delay(&mut self, link: Link) -> Duration {
        let slow = self.slow.get(&link).cloned();
        if slow.is_some() {
            self.note(Mishap::Slow);
        }
        let range = slow.unwrap_or_else(|| self.links.delay.clone());
        world::draw_duration(Stream::Network, range)
    }
}

/// The other direction.
pub(super) fn back(Link { from, to }: Link) -> Link {
    Link { from: to, to: from }
}

/// Draws whatever the probability, so that another loss rate does not shift all that follows.
pub(super) fn chance(probability: f64) -> bool {
    world::draw(Stream::Network, |rng| rng.random::<f64>()) < probability
}
