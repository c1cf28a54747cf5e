//! The network of a simulated cluster, and its faults.
//!
//! Owns [`SimNetwork`]: which hosts are plugged in, who serves, and which calls wait for a reply.
//! Below it: `plug` is the library's network door on a host, `letter` is the way of a request and
//! of its reply, `conditions` says what befalls them.
//!
//! In: calls of nodes and clients; faults. Out: requests for services; replies, or errors that say
//! whether the request may have been served.
//!
//! Invariants, beside those of [`Transport`]:
//! - [`CallError::NotSent`](sixbells::transport::CallError::NotSent) is the truth: neither the request
//!   nor a duplicate of it is ever served. So a duplicate exists only of what was let in;
//! - requests of an in-order lane are let in as they were sent; only a late duplicate comes later;
//! - what is under way belongs to no host and survives its sender; a request being served belongs
//!   to the host that serves it, and ends with it;
//! - no lock is held while foreign code runs: a service that is dropped may hold a plug.
//!
//! Does not: know bytes on a stream. A message arrives whole or not at all.

mod conditions;
mod letter;
mod plug;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sixbells::{
    storage::Identity,
    transport::{Lane, Service, Transport},
};
use tokio::sync::{Semaphore, oneshot};

pub use self::conditions::{Links, Mishap};
use self::{
    conditions::{Conditions, back, chance},
    letter::{Answer, Letter},
    plug::Plug,
};
use super::{Host, world};
use crate::nemesis::Link;

/// The network between the hosts of a simulation. Clones are the same network.
#[derive(Clone, Default)]
pub struct SimNetwork {
    wires: Arc<Mutex<Wires>>,
}

#[derive(Default)]
struct Wires {
    conditions: Conditions,
    /// Where an address leads, whether anybody serves there or not.
    hosts: BTreeMap<String, Host>,
    plugs: BTreeMap<Host, Vec<Open>>,
    serving: BTreeMap<String, Serving>,
    /// The calls that wait for an answer. Whoever takes one out of here decides how it ends.
    waiting: BTreeMap<u64, Waiting>,
    calls: u64,
    /// When the last request of an in-order lane arrives.
    arrivals: BTreeMap<(Link, Lane), Duration>,
}

/// Has no permits, ever: waiting for one ends when the plug is closed.
type Open = Arc<Semaphore>;

struct Serving {
    host: Host,
    who: Identity,
    service: Arc<dyn Service>,
    open: Open,
    /// What waits for its turn, by caller. Bounded by what callers send: the layers above bound that.
    queues: BTreeMap<(Host, Lane), Queue>,
}

#[derive(Default)]
struct Queue {
    letters: VecDeque<Letter>,
    /// Whether a task serves from here.
    served: bool,
}

struct Waiting {
    link: Link,
    open: Open,
    answer: oneshot::Sender<Answer>,
}

impl SimNetwork {
    /// A network whose links are like this, and on which nothing is broken.
    pub fn new(links: Links) -> Self {
        let network = Self::default();
        network.set_links(links);
        network
    }

    /// The network door of a node on a host. It serves at `addr`, as `who` and as nobody else.
    pub fn node(&self, host: Host, addr: impl Into<String>, who: &Identity) -> Arc<dyn Transport> {
        self.plug(host, addr.into(), who.cluster.clone(), Some(who.clone()))
    }

    /// The network door of a client, on a host of its own, of the cluster named.
    pub fn client(
        &self,
        host: Host,
        addr: impl Into<String>,
        cluster: impl Into<String>,
    ) -> Arc<dyn Transport> {
        self.plug(host, addr.into(), cluster.into(), None)
    }

    fn plug(
        &self,
        host: Host,
        addr: String,
        cluster: String,
        who: Option<Identity>,
    ) -> Arc<dyn Transport> {
        let open = Arc::new(Semaphore::new(0));
        let mut wires = self.wires();
        wires.hosts.insert(addr.clone(), host);
        let plugs = wires.plugs.entry(host).or_default();
        plugs.retain(|plug| !plug.is_closed());
        plugs.push(Arc::clone(&open));
        drop(wires);
        Arc::new(Plug { network: self.clone(), host, addr, cluster, who, open })
    }

    /// Closes every plug of a host that was killed, and forgets its services. Its callers notice in
    /// half of the cases, as after the end of a process; to the others it falls silent, as after a
    /// loss of power.
    ///
    /// Call it after [`world::kill`]: what a service leaves behind when it is dropped must not run.
    /// Calling it for every host at the end of a run also frees what services and plugs hold of
    /// each other.
    pub fn unplug(&self, host: Host) {
        let mut wires = self.wires();
        let plugs = wires.plugs.remove(&host).unwrap_or_default();
        plugs.iter().for_each(|plug| plug.close());
        let served: Vec<_> =
            wires.serving.extract_if(.., |_, serving| serving.host == host).collect();
        let own: Vec<_> =
            wires.waiting.extract_if(.., |_, waiting| waiting.link.from == host).collect();
        let others = wires.calls_to(host);
        drop(wires);
        drop(own);
        world::on(host, || drop(served));
        for (call, link) in others {
            if chance(0.5) {
                self.answer(call, back(link), Answer::Broke);
            }
        }
    }

    /// How links are from now on. What is under way stays as it is.
    pub fn set_links(&self, links: Links) {
        self.wires().conditions.links = links;
    }

    /// How links are.
    pub fn links(&self) -> Links {
        self.wires().conditions.links.clone()
    }

    /// Cuts a link in one direction: no message of `from` reaches `to`, be it a request or a reply.
    /// That includes those under way.
    pub fn cut(&self, from: Host, to: Host) {
        self.partition([Link { from, to }]);
    }

    /// Cuts the link between two hosts in both directions.
    pub fn cut_both(&self, one: Host, other: Host) {
        let link = Link { from: one, to: other };
        self.partition([link, back(link)]);
    }

    /// Cuts links, beside those that are cut already. Here, unlike before a proxy, `from` is who sends
    /// a message and not who dialled.
    pub fn partition(&self, links: impl IntoIterator<Item = Link>) {
        self.wires().conditions.cut.extend(links);
    }

    /// Mends these links. What was lost stays lost.
    pub fn mend(&self, links: &[Link]) {
        self.wires().conditions.cut.retain(|link| !links.contains(link));
    }

    /// Mends every link that is cut.
    pub fn heal(&self) {
        self.wires().conditions.cut.clear();
    }

    /// Makes a link slow, in one direction: every message on it takes so long.
    pub fn slow(&self, from: Host, to: Host, delay: Range<Duration>) {
        self.wires().conditions.slow.insert(Link { from, to }, delay);
    }

    /// Makes these links as fast as the others.
    pub fn quicken(&self, links: &[Link]) {
        self.wires().conditions.slow.retain(|link, _| !links.contains(link));
    }

    /// Makes every slow link as fast as the others.
    pub fn hasten(&self) {
        self.wires().conditions.slow.clear();
    }

    /// Breaks the connections between two hosts: calls under way are lost, at once. Their requests may
    /// still arrive.
    pub fn reset(&self, one: Host, other: Host) {
        let between = Link { from: one, to: other };
        let mut wires = self.wires();
        let broken: Vec<_> = wires
            .waiting
            .extract_if(.., |_, Waiting { link, .. }| *link == between || *link == back(between))
            .collect();
        broken.iter().for_each(|_| wires.conditions.note(Mishap::Reset));
        drop(wires);
        drop(broken);
    }

    /// How often each thing has befallen a message. A fault between two equal counts hit nobody.
    pub fn counts(&self) -> BTreeMap<Mishap, u64> {
        self.wires().conditions.counts.clone()
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wires {
    /// The calls under way to a host, in the order in which they were made.
    fn calls_to(&self, host: Host) -> Vec<(u64, Link)> {
        let to_host = self.waiting.iter().filter(|(_, waiting)| waiting.link.to == host);
        to_host.map(|(call, waiting)| (*call, waiting.link)).collect()
    }
}

impl fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNetwork").field("conditions", &self.wires().conditions).finish()
    }
}
