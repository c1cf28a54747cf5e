//! The network door of one host.
//!
//! Owns [`Plug`], a [`Transport`], and [`Call`], a request that waits for its answer.
//!
//! Invariants:
//! - a call ends, at the latest, when its timeout has passed on the clock of its host;
//! - a closed plug neither serves nor sends; its calls under way end at once, and what it was serving
//!   is dropped.
//!
//! Does not: decide what befalls a message.

use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

use sixbells::{
    StartError,
    runtime::AsyncRuntime,
    storage::Identity,
    transport::{BoxFuture, CallError, Lane, Message, Peer, Service, Transport},
};
use tokio::sync::oneshot;

use super::{
    Open, Serving, SimNetwork, Waiting,
    conditions::back,
    letter::{Answer, Letter},
};
use crate::{
    nemesis::Link,
    sim::{Host, SimRuntime, world},
};

pub(super) struct Plug {
    pub(super) network: SimNetwork,
    pub(super) host: Host,
    pub(super) addr: String,
    pub(super) cluster: String,
    /// `None` for a client.
    pub(super) who: Option<Identity>,
    pub(super) open: Open,
}

/// A call under way. Dropped, it waits no longer.
struct Call {
    network: SimNetwork,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Call {
    async fn answer(mut self) -> Answer {
        // Whoever ends a call without a word has broken its connection.
        (&mut self.answer).await.unwrap_or(Answer::Broke)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let gone = self.network.wires().waiting.remove(&self.id);
        drop(gone);
    }
}

impl Plug {
    /// Sends a request; `None` if this plug is closed.
    fn send(&self, to: &Peer, lane: Lane, request: Message, timeout: Duration) -> Option<Call> {
        let (answer, answered) = oneshot::channel();
        let mut wires = self.network.wires();
        if self.open.is_closed() {
            return None;
        }
        // Where an address leads nowhere, this host itself finds out.
        let host = wires.hosts.get(&to.addr).copied().unwrap_or(self.host);
        let link = Link { from: self.host, to: host };
        wires.calls += 1;
        let call = wires.calls;
        let open = Arc::clone(&self.open);
        wires.waiting.insert(call, Waiting { link, open, answer });
        drop(wires);
        let letter = Letter {
            call: Some(call),
            link,
            to: to.clone(),
            cluster: self.cluster.clone(),
            lane,
            request,
            sent: world::now(),
            timeout,
            late: false,
        };
        self.network.send(letter);
        Some(Call { network: self.network.clone(), id: call, answer: answered })
    }

    fn begin(&self, service: Arc<dyn Service>) -> Result<(), StartError> {
        let refused = |why: &str| StartError::Config(format!("transport: {why}"));
        let who = self.who.clone().ok_or_else(|| refused("a client does not listen"))?;
        let open = Arc::clone(&self.open);
        let serving = Serving { host: self.host, who, service, open, queues: BTreeMap::new() };
        let mut wires = self.network.wires();
        let problem = if self.open.is_closed() {
            Some(refused("closed"))
        } else if wires.serving.contains_key(&self.addr) {
            let source = io::ErrorKind::AddrInUse.into();
            Some(StartError::Bind { addr: self.addr.clone(), source })
        } else {
            None
        };
        let Some(problem) = problem else {
            wires.serving.insert(self.addr.clone(), serving);
            return Ok(());
        };
        drop(wires);
        drop(serving);
        Err(problem)
    }
}

impl Transport for Plug {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        Box::pin(async move {
            let not_sent = |reason| CallError::NotSent { to: to.to_string(), reason };
            let lost = |reason: &str| CallError::Lost { to: to.to_string(), reason: reason.into() };
            let Some(call) = self.send(to, lane, request, timeout) else {
                return Err(not_sent("the transport is closed".to_owned()));
            };
            let limited = world::on(self.host, || SimRuntime::timeout(timeout, call.answer()));
            match limited.await {
                Ok(Answer::Reply(reply)) => Ok(reply),
                Ok(Answer::Refused(reason)) => Err(not_sent(reason)),
                Ok(Answer::Broke) => Err(lost("the connection broke")),
                Err(elapsed) => Err(lost(&elapsed.to_string())),
            }
        })
    }

    fn listen(&self, service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(async move { self.begin(service) })
    }

    fn close(&self) {
        let mut wires = self.network.wires();
        if self.open.is_closed() {
            return;
        }
        self.open.close();
        let own = wires
            .serving
            .get(&self.addr)
            .is_some_and(|serving| Arc::ptr_eq(&serving.open, &self.open));
        let served = if own { wires.serving.remove(&self.addr) } else { None };
        let calls: Vec<_> = wires
            .waiting
            .extract_if(.., |_, waiting| Arc::ptr_eq(&waiting.open, &self.open))
            .collect();
        let others = if own { wires.calls_to(self.host) } else { Vec::new() };
        drop(wires);
        drop(calls);
        // The service may hold the last handle of a whole node.
        drop(served);
        for (call, link) in others {
            self.network.answer(call, back(link), Answer::Broke);
        }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of host {}", self.addr, self.host)
    }
}
