//! Telling the others: what they lack, and what this replica promises.
//!
//! Owns one task for each peer. It sends what the peer lacks, in order of arrival, with this replica's
//! digest, and learns from the reply what the peer holds by then. Woken by what is accepted here;
//! without that, it speaks every [`Config::heartbeat`](crate::Config::heartbeat), for promises make
//! operations final, also where nobody writes.
//!
//! Invariants
//! - One message to a peer at a time, of a bounded size: a peer that is slow or away holds up nobody.
//! - What was taken up from a message is durable before it is answered.
//!
//! Does not: relay at once what it did not accept itself. The peer most likely hears it from its
//! author, and if not, at the next turn.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Eventual, digest::Digest, log::Operation, stamp::Stamp};
use crate::{
    codec,
    error::Error,
    rpc,
    runtime::{self, Runtime},
    transport::{Kind, Lane, Message, Peer},
};

/// What one replica tells another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct News {
    pub(super) digest: Digest,
    pub(super) operations: Vec<Operation>,
}

/// How far the clock's ceiling is written ahead.
const CEILING_AHEAD_MS: u64 = 1_000;

impl<R: Runtime> Eventual<R> {
    /// Begins to speak to the others.
    pub(crate) fn speak(self: &Arc<Self>) {
        for (at, (node, addr)) in self.peers.iter().enumerate() {
            let peer = Peer { addr: addr.clone(), node: Some(*node), disk: None };
            runtime::spawn::<R>(self.clone().tell(*node, peer, at));
        }
        runtime::spawn::<R>(self.clone().wind());
        runtime::spawn::<R>(self.clone().compact());
    }

    async fn tell(self: Arc<Self>, node: u64, peer: Peer, at: usize) {
        // Whoever may be away is greeted first: to make up all that it lacks, for nobody, and at each
        // write again, would cost more than the writes.
        let mut there = false;
        let mut said = None;
        while self.works().is_ok() {
            match self.tell_once(node, &peer, there).await {
                Ok(more) => {
                    said = None;
                    if !there || more {
                        there = true;
                        continue;
                    }
                    let woken = self.news[at].notified();
                    // Woken or not, it is time.
                    let _ = R::timeout(self.config.heartbeat, woken).await;
                }
                Err(error) => {
                    there = false;
                    // Once for each reason, and again after it was well.
                    if said.as_ref() != Some(&error) {
                        tracing::warn!(node = self.identity.node, peer = node, %error, "not told");
                        said = Some(error);
                    }
                    R::sleep(self.config.heartbeat).await;
                }
            }
        }
    }

    /// Tells a peer what this replica promises and, if it is there, what it lacks, as far as that goes
    /// into one message; whether there is more.
    async fn tell_once(&self, node: u64, peer: &Peer, there: bool) -> Result<bool, Error> {
        if there && self.with(|replica| Ok(replica.needs_snapshot(node)))? {
            self.send_snapshot(peer).await?;
        }
        let bytes_max = usize::try_from(self.config.append_bytes_max).unwrap_or(usize::MAX);
        let news = self.with(|replica| {
            let operations = match there {
                true => replica.lacking(node, bytes_max),
                false => Vec::new(),
            };
            Ok(News { digest: replica.digest(Self::wall_ms()), operations })
        })?;
        let told = !news.operations.is_empty();
        let body = Bytes::from(codec::encode(&news));
        let request = Message { kind: Kind::Sync, request: 0, body };
        let reply =
            self.transport.call(peer, Lane::Log, request, self.config.append_timeout).await?;
        let digest: Digest = rpc::read_reply(&reply)?;
        self.with(|replica| Ok(replica.same_members(&digest)))??;
        self.with(|replica| {
            replica.hear(digest, Self::wall_ms())?;
            Ok(told && !replica.lacking(node, 1).is_empty())
        })
    }

    /// Takes up what another replica tells; answers with this one's digest, once all is durable.
    pub(super) async fn take(&self, news: News) -> Result<Digest, Error> {
        let (durable, taken) = oneshot::channel();
        self.with(|replica| Ok(replica.same_members(&news.digest)))??;
        self.with(|replica| {
            let fresh = replica.take(news.operations)?;
            replica.hear(news.digest, Self::wall_ms())?;
            self.append(replica, fresh, durable);
            Ok(())
        })?;
        self.arrived.notify_waiters();
        self.synced(taken).await?;
        self.with(|replica| Ok(replica.digest(Self::wall_ms())))
    }

    /// Keeps the ceiling of the clock ahead of it.
    async fn wind(self: Arc<Self>) {
        let wanted = || {
            self.with(|replica| {
                replica.settle_alone(Self::wall_ms())?;
                Ok(replica.ceiling_wanted(Self::wall_ms(), CEILING_AHEAD_MS))
            })
        };
        while let Ok(wanted) = wanted() {
            if let Some(ceiling) = wanted {
                if let Err(error) = self.save_ceiling(ceiling).await {
                    return self.fail(&format!("the log of operations: {error}"));
                }
                continue;
            }
            R::sleep(self.config.heartbeat).await;
        }
    }

    async fn save_ceiling(&self, ceiling: Stamp) -> std::io::Result<()> {
        let (durable, saved) = oneshot::channel();
        let done = Box::new(move |result| {
            // Who has stopped waiting has stopped.
            let _ = durable.send(result);
        });
        self.with(|_replica| {
            // Under the lock: the log has one writer at a time.
            if let Some(log) = self.log() {
                log.save_ceiling(ceiling, done);
            }
            Ok(())
        })
        .map_err(std::io::Error::other)?;
        saved.await.map_err(|_dropped| std::io::Error::other("it is gone"))??;
        self.replica().raise(ceiling);
        self.raised.notify_waiters();
        Ok(())
    }
}
