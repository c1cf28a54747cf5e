//! The way of a request, and of its answer.
//!
//! Owns [`Letter`], a request under way, and [`Answer`], what comes back. In: a letter. Out: it is
//! served by the host it was meant for, or refused, or lost; and its caller told, or not.
//!
//! Invariants:
//! - cluster, node id and disk id are checked on arrival, as the real handshake does;
//! - requests of one caller on an in-order lane are served one at a time, from a queue: tasks that
//!   are ready run in random order, so their order says nothing;
//! - a request once begun is served to its end, unless its host ends or its plug is closed;
//! - every message is in the trace: when it was sent, and what became of it;
//! - what comes to a paused host has arrived, as in the buffers of a stopped process: no cut takes it back,
//!   only the end of its host. When that goes on, it serves the requests and reads the answers, these in no
//!   order and not all in one instant: were they, a bug that needs something between them had no chance;
//! - the answer to a duplicate is thrown away, or a caller could be told that its request was refused
//!   when the first of it was served. On the client lane the first answer goes with it: who is told
//!   "overloaded" may take that for the end of it, so a request that is served twice is one whose
//!   connection broke.
//!
//! Does not: know what is in a message.

use std::{mem, ops::Range, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use sixbells::{
    runtime::AsyncRuntime,
    storage::Identity,
    transport::{Kind, Lane, Message, Peer},
};

use super::{
    Mishap, Open, SimNetwork, Wires,
    conditions::{Repeat, back},
};
use crate::{
    digest::digest,
    nemesis::Link,
    sim::{
        Host, SimRuntime,
        runtime::JoinHandle,
        world::{self, HARNESS, Stream},
    },
};

/// How long a process that goes on after a pause takes to read what came meanwhile: the answers to
/// others, and what it does about them, may come first.
const READING: Range<Duration> = Duration::ZERO..Duration::from_millis(5);

/// A request under way.
#[derive(Clone)]
pub(super) struct Letter {
    /// Who waits for the answer; `None` for a duplicate.
    pub(super) call: Option<u64>,
    pub(super) link: Link,
    pub(super) to: Peer,
    pub(super) cluster: String,
    pub(super) lane: Lane,
    pub(super) request: Message,
    pub(super) sent: Duration,
    pub(super) timeout: Duration,
    /// Whether it is a duplicate that comes long after its original.
    pub(super) late: bool,
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Message),
    /// The request was not let in.
    Refused(String),
    /// The connection is gone.
    Broke,
}

enum Arrival {
    Dropped,
    Refused(String),
    LetIn(Option<Repeat>),
}

impl SimNetwork {
    pub(super) fn send(&self, letter: Letter) {
        let mut wires = self.wires();
        let delay = wires.conditions.depart(letter.link).map(|delay| wires.arrival(&letter, delay));
        drop(wires);
        trace("send", letter.link, &letter.request);
        match delay {
            Some(delay) => self.arrive_after(delay, letter),
            None => trace("drop", letter.link, &letter.request),
        }
    }

    /// What is under way belongs to no host: it arrives though its sender is gone.
    fn arrive_after(&self, delay: Duration, letter: Letter) {
        let network = self.clone();
        world::call_after(HARNESS, delay, move || network.arrive(letter));
    }

    fn arrive(&self, letter: Letter) {
        let arrival = self.wires().judge(&letter);
        match arrival {
            Arrival::Dropped => trace("drop", letter.link, &letter.request),
            Arrival::Refused(reason) => {
                trace("refuse", letter.link, &letter.request);
                if let Some(call) = letter.call {
                    self.answer(call, back(letter.link), Answer::Refused(reason));
                }
            }
            Arrival::LetIn(repeat) => {
                trace("deliver", letter.link, &letter.request);
                let copy = |late| Letter { call: None, late, ..letter.clone() };
                let repeat = repeat.map(|repeat| match repeat {
                    Repeat::Soon(after) => (after, copy(false)),
                    Repeat::Late(after) => (after, copy(true)),
                });
                let told = repeat.is_none() || letter.lane != Lane::Client;
                let (call, link) = (letter.call, letter.link);
                self.begin(if told { letter } else { Letter { call: None, ..letter } });
                if let (false, Some(call)) = (told, call) {
                    self.answer(call, back(link), Answer::Broke);
                }
                match repeat {
                    Some((Duration::ZERO, copy)) => self.arrive(copy),
                    Some((after, copy)) => self.arrive_after(after, copy),
                    None => {}
                }
            }
        }
    }

    /// Begins to serve a request, or lets it wait for its turn.
    fn begin(&self, letter: Letter) {
        if !in_order(letter.lane) {
            drop(self.serve(letter));
            return;
        }
        let (to, from, lane) = (letter.link.to, letter.link.from, letter.lane);
        let addr = letter.to.addr.clone();
        let open = self.wires().serving.get_mut(&addr).and_then(|serving| {
            let queue = serving.queues.entry((from, lane)).or_default();
            queue.letters.push_back(letter);
            let idle = !mem::replace(&mut queue.served, true);
            idle.then(|| serving.open.clone())
        });
        if let Some(open) = open {
            let serve = self.clone().serve_in_order(addr, open, from, lane);
            drop(world::on(to, || SimRuntime::spawn(serve)));
        }
    }

    async fn serve_in_order(self, addr: String, open: Open, from: Host, lane: Lane) {
        loop {
            let turn = self.wires().turn(&addr, &open, (from, lane));
            let Some(served) = turn.and_then(|letter| self.serve(letter)) else { return };
            // If it panicked, that is noted already, and the next has its turn.
            drop(served.await);
        }
    }

    /// Serves a request in a task of the host that it was sent to.
    fn serve(&self, letter: Letter) -> Option<JoinHandle<()>> {
        let (service, open) = {
            let wires = self.wires();
            let serving = wires.serving.get(&letter.to.addr)?;
            (serving.service.clone(), serving.open.clone())
        };
        let (network, host) = (self.clone(), letter.link.to);
        let serve = async move {
            let Letter { call, link, request, sent, timeout, .. } = letter;
            let remaining = timeout.saturating_sub(world::now().saturating_sub(sent));
            let closed = pin!(open.acquire());
            let ended = select(closed, service.serve(request, remaining)).await;
            if let (Either::Right((reply, _)), Some(call)) = (ended, call) {
                network.answer(call, back(link), Answer::Reply(reply));
            }
        };
        Some(world::on(host, || SimRuntime::spawn(serve)))
    }

    /// Sends an answer back, over a link that may lose it.
    pub(super) fn answer(&self, call: u64, link: Link, answer: Answer) {
        let delay = self.wires().conditions.depart(link);
        let message = answer.as_message();
        trace("send", link, &message);
        let network = self.clone();
        match delay {
            Some(delay) => {
                world::call_after(HARNESS, delay, move || network.finish(call, link, answer));
            }
            None => trace("drop", link, &message),
        }
    }

    /// An answer arrives. At a host that is paused, it waits until somebody reads it.
    fn finish(&self, call: u64, link: Link, answer: Answer) {
        let stopped = self.wires().conditions.stops(link);
        if stopped {
            return trace("drop", link, &answer.as_message());
        }
        if !world::is_paused(link.to) {
            return self.read(call, link, answer);
        }
        self.wires().conditions.note(Mishap::Unread);
        let network = self.clone();
        let read = async move {
            SimRuntime::sleep(world::draw_duration(Stream::Network, READING)).await;
            network.read(call, link, answer);
        };
        drop(world::on(link.to, || SimRuntime::spawn(read)));
    }

    /// An answer is read: the first one ends its call.
    fn read(&self, call: u64, link: Link, answer: Answer) {
        let waiting = self.wires().waiting.remove(&call);
        let what = if waiting.is_some() { "deliver" } else { "drop" };
        trace(what, link, &answer.as_message());
        if let Some(waiting) = waiting {
            drop(waiting.answer.send(answer));
        }
    }
}

impl Wires {
    /// After how long a letter arrives. One of an in-order lane does not overtake another.
    fn arrival(&mut self, letter: &Letter, delay: Duration) -> Duration {
        if !in_order(letter.lane) {
            return delay;
        }
        let at = world::now().saturating_add(delay);
        let last = self.arrivals.entry((letter.link, letter.lane)).or_default();
        *last = at.max(*last);
        last.saturating_sub(world::now())
    }

    fn judge(&mut self, letter: &Letter) -> Arrival {
        if self.conditions.stops(letter.link) {
            return Arrival::Dropped;
        }
        if let Err(reason) = self.check(letter) {
            self.conditions.note(Mishap::Refused);
            return Arrival::Refused(reason);
        }
        if letter.call.is_none() {
            self.conditions.note(Mishap::Duplicated);
            if letter.late {
                self.conditions.note(Mishap::Late);
            }
            return Arrival::LetIn(None);
        }
        Arrival::LetIn(self.conditions.repeat(letter.link, in_order(letter.lane)))
    }

    /// Whether the one that is meant serves there. `Err` is the reason, for people.
    fn check(&self, letter: &Letter) -> Result<(), String> {
        let host = letter.link.to;
        let serving = self.serving.get(&letter.to.addr);
        // A host may be dead before anybody has pulled its plug.
        let serving = serving.filter(|serving| serving.host == host && world::is_alive(host));
        let Identity { cluster, node, disk, .. } = &serving.ok_or("nobody listens")?.who;
        if *cluster != letter.cluster {
            return Err(format!("this is cluster {cluster:?}, not {:?}", letter.cluster));
        }
        if letter.to.node.is_some_and(|meant| meant != *node) {
            return Err(format!("this is node {node}"));
        }
        if letter.to.disk.is_some_and(|meant| meant != *disk) {
            return Err(format!("node {node} has another disk: its data was lost"));
        }
        Ok(())
    }

    /// The letter whose turn it is; `None` ends the task that asks.
    fn turn(&mut self, addr: &str, open: &Open, caller: (Host, Lane)) -> Option<Letter> {
        let serving = self.serving.get_mut(addr)?;
        // Another one that began to listen here has queues of its own.
        let own = Arc::ptr_eq(&serving.open, open);
        let queue = serving.queues.get_mut(&caller).filter(|_| own)?;
        let next = queue.letters.pop_front();
        queue.served = next.is_some();
        next
    }
}

impl Answer {
    /// How it looks on the wire, for the trace.
    fn as_message(&self) -> Message {
        let (kind, body) = match self {
            Answer::Reply(reply) => return reply.clone(),
            Answer::Refused(reason) => (Kind::Refused, reason.clone()),
            Answer::Broke => (Kind::Refused, "reset".to_owned()),
        };
        Message { kind, request: 0, body: body.into() }
    }
}

/// Whether the door promises an order on this lane.
fn in_order(lane: Lane) -> bool {
    match lane {
        Lane::Log | Lane::Snapshot => true,
        Lane::Control | Lane::Client => false,
    }
}

fn trace(what: &'static str, Link { from, to }: Link, message: &Message) {
    let Message { kind, request, body } = message;
    let digest = digest((from, to, *kind as u8, request, body));
    world::trace(what, digest, || format!("{from} -> {to} {kind:?}, {} bytes", body.len()));
}
