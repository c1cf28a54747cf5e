//! The client's stories, on a scripted network and paused time.
//!
//! Owns [`Net`], a network whose script says what becomes of each message, with one real [`Applier`]
//! behind all its addresses: what a story calls "carried out" was carried out, under the real rules
//! of sessions.
//!
//! In: the script, a function of each message sent. Out: replies, and the list of what was sent.
//!
//! Does not: elect or replicate; `cluster` runs the client against real nodes.

mod cluster;
mod outages;
mod writes;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Client, ClientConfig};
use crate::{
    applier::{Applier, Outcome},
    error::{Error, StartError},
    machine::Typed,
    proposal::{Origin, Proposal},
    rpc,
    runtime::{AsyncRuntime, Instant, TokioRuntime},
    status::{Role, Status},
    sum::Sum,
    transport::{BoxFuture, CallError, Kind, Lane, Message, Peer, Service, Transport},
};

/// What becomes of a message.
#[derive(Clone, Debug)]
enum Fate {
    /// Carried out, and answered after 1 ms.
    Serve,
    /// The same, after others used the cluster so much that it forgot every session.
    Forget,
    /// Carried out; the connection breaks before the reply.
    LoseReply,
    /// Not carried out; no reply, ever.
    Hang,
    /// Nobody listens.
    NotSent,
    /// Not carried out; answered with this after 1 ms.
    Say(Error),
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    /// How many were sent before.
    n: usize,
    at: Duration,
    to: String,
    kind: Kind,
    request: u128,
    /// Session, sequence and floor, of a command in a session.
    number: Option<(u64, u64, u64)>,
    /// Whether it opens a session.
    opens: bool,
    timeout: Duration,
}

type Script = Box<dyn FnMut(&Sent) -> Fate + Send>;

struct Net {
    start: <TokioRuntime as AsyncRuntime>::Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    script: Script,
    sent: Vec<Sent>,
    applier: Applier,
    applied: u64,
}

impl Net {
    fn new(script: impl FnMut(&Sent) -> Fate + Send + 'static) -> Arc<Self> {
        let applier = Applier::new(Typed::<Sum>::boxed());
        let inner = Inner { script: Box::new(script), sent: Vec::new(), applier, applied: 0 };
        let start = <TokioRuntime as AsyncRuntime>::Instant::now();
        Arc::new(Self { start, inner: Mutex::new(inner) })
    }

    /// A client of nodes `a`, `b` and `c`.
    fn client(self: &Arc<Self>) -> Client<Sum> {
        self.client_with(ClientConfig::default())
    }

    fn client_with(self: &Arc<Self>, config: ClientConfig) -> Client<Sum> {
        Client::with_transport::<TokioRuntime>(self.clone(), ["a", "b", "c"], config).unwrap()
    }

    fn sent(&self) -> Vec<Sent> {
        self.inner.lock().unwrap().sent.clone()
    }

    /// Where the messages after the first `n` went.
    fn went_to(&self, n: usize) -> Vec<String> {
        self.sent().into_iter().skip(n).map(|sent| sent.to).collect()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Inner {
    fn apply(&mut self, proposal: &Proposal) -> Outcome {
        self.applied += 1;
        self.applier.apply(self.applied, proposal).unwrap()
    }

    fn serve(&mut self, to: &str, message: &Message) -> Message {
        let id = message.request;
        match message.kind {
            Kind::Propose => {
                let proposal = Proposal::from_bytes(message.body.clone()).unwrap();
                rpc::reply(id, &Ok(self.apply(&proposal)))
            }
            Kind::Read | Kind::ReadLocal => {
                let answer = bytes::Bytes::from(self.applier.query(&message.body).unwrap());
                rpc::reply(id, &Ok(answer))
            }
            Kind::Status => rpc::reply(id, &Ok(status(to))),
            other => panic!("a client sent {other:?}"),
        }
    }
}

/// Node 1 is at `a`, node 2 at `b`, node 3 at `c`.
fn status(addr: &str) -> Status {
    Status {
        cluster: "sixbells".into(),
        id: u64::from(addr.as_bytes()[0] - b'a') + 1,
        role: Role::Follower,
        leader: None,
        term: 1,
        last_log_index: None,
        committed: None,
        applied: None,
        snapshot: None,
        purged: None,
        voters: std::collections::BTreeMap::default(),
        learners: std::collections::BTreeMap::default(),
        lag: std::collections::BTreeMap::default(),
        quorum_ack_age_ms: None,
        sessions: 0,
        idempotency_keys: 0,
        duplicates: 0,
        agreed: None,
        fault: None,
    }
}

fn led_by(node: u64, addr: &str) -> Fate {
    Fate::Say(Error::NotLeader { leader: Some((node, addr.to_owned())) })
}

fn no_leader() -> Fate {
    Fate::Say(Error::NotLeader { leader: None })
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

impl Transport for Net {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        assert_eq!(lane, Lane::Client);
        let (fate, reply) = {
            let inner = &mut *self.inner.lock().unwrap();
            let proposal = (request.kind == Kind::Propose)
                .then(|| Proposal::from_bytes(request.body.clone()).unwrap());
            let origin = proposal.as_ref().map(Proposal::origin);
            let sent = Sent {
                n: inner.sent.len(),
                at: self.elapsed(),
                to: to.addr.clone(),
                kind: request.kind,
                request: request.request,
                number: match origin {
                    Some(Origin::Session { session, sequence, floor }) => {
                        Some((session, sequence, floor))
                    }
                    _ => None,
                },
                opens: matches!(origin, Some(Origin::Open { .. })),
                timeout,
            };
            let fate = (inner.script)(&sent);
            inner.sent.push(sent);
            if matches!(fate, Fate::Forget) {
                inner.apply(&Proposal::new(0, Origin::Open { sessions_max: 1 }, &[]));
            }
            let reply = match &fate {
                Fate::Serve | Fate::Forget | Fate::LoseReply => {
                    Some(inner.serve(&to.addr, &request))
                }
                Fate::Say(error) => Some(rpc::reply::<()>(request.request, &Err(error.clone()))),
                Fate::Hang | Fate::NotSent => None,
            };
            (fate, reply)
        };
        let (to, reason) = (to.to_string(), "scripted".to_owned());
        Box::pin(async move {
            match (fate, reply) {
                (Fate::Serve | Fate::Forget | Fate::Say(_), Some(reply)) if timeout > ms(1) => {
                    TokioRuntime::sleep(ms(1)).await;
                    Ok(reply)
                }
                (Fate::NotSent, _) => Err(CallError::NotSent { to, reason }),
                (Fate::LoseReply, _) => Err(CallError::Lost { to, reason }),
                _ => {
                    TokioRuntime::sleep(timeout).await;
                    Err(CallError::Lost { to, reason })
                }
            }
        })
    }

    fn listen(&self, _service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(async { panic!("a client does not listen") })
    }

    fn close(&self) {}
}
