//! The calls of one link: from being queued to being answered.
//!
//! Owns the one answer that matters to callers: was the request ever handed to the socket? A call is
//! `queued` until it is drained into a batch and `sent` from then on; both are maps under one lock,
//! so that a caller who gives up and a writer who drains never disagree.
//!
//! In: requests of callers, replies of the connection. Out: batches for the connection; for each
//! caller a reply or a [`Fault`]. Time is kept for all of them together ([`Calls::keep_time`]), by the link's
//! task: a timer for each call would be set and unset without ever going off.
//!
//! Invariants
//! - A fault says `sent: false` only if no byte of the request was handed to a socket.
//! - What is queued is bounded in number and bytes; one more is refused at once. A sent request holds
//!   no body, and somebody waits for it.
//! - A caller who stops waiting, for whatever reason, leaves nothing behind.
//! - Every call ends: with its reply, with its time, or with the link.
//!
//! Does not: know sockets.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::stream::BATCH_BYTES;
use crate::{
    ascending::Ascending,
    runtime::{AsyncRuntime, Instant as _, TokioRuntime},
    transport::{
        Message,
        wire::{self, Frame},
    },
};

/// Requests that wait for a connection or for room in its socket.
pub(super) const QUEUED_MAX: usize = 4_096;

/// Bytes of such requests: two of the longest.
pub(super) const QUEUED_BYTES_MAX: usize = 2 * wire::FRAME_BYTES_MAX;

/// A connection is not taken for dead before it was silent this long.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// Bounds what is added to a clock.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

type Instant = <TokioRuntime as AsyncRuntime>::Instant;
type Answer = oneshot::Sender<Result<Message, Fault>>;

/// Why a call has no reply.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Whether the request may have left this process.
    pub(super) sent: bool,
    /// The name in metrics.
    pub(super) kind: &'static str,
    /// For people.
    pub(super) reason: String,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    open: Mutex<Open>,
    /// There is something to send, or the link was closed.
    pub(super) wake: Notify,
    /// See [`Calls::is_silent`].
    pub(super) silent: Notify,
    /// A call ends sooner than those before it.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    queued: Ascending<Queued>,
    queued_bytes: usize,
    sent: Ascending<Sent>,
    /// No call ends before this; without it, there is none.
    soonest: Option<Instant>,
    /// Why nothing can be sent for now.
    down: Option<String>,
    /// The link has ended; a new one may take its place.
    retired: bool,
    /// Since when the other side owes an answer to anything and has not sent a byte.
    owed_since: Option<Instant>,
    is_silent: bool,
}

#[derive(Debug)]
struct Queued {
    message: Message,
    time: Time,
    answer: Answer,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    time: Time,
    answer: Answer,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
struct Time {
    timeout: Duration,
    deadline: Instant,
}

/// Why a request was not queued.
#[derive(Debug)]
pub(super) enum NotQueued {
    /// The link has ended; here is the request for another one.
    Retired(Message),
    Fault(Fault),
}

impl Fault {
    pub(super) fn not_sent(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { sent: false, kind, reason: reason.into() }
    }

    pub(super) fn lost(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { sent: true, kind, reason: reason.into() }
    }
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // No caller's code runs under this lock, and each change is whole before anything can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request, or says at once why not.
    pub(super) fn queue(
        self: &Arc<Self>,
        message: Message,
        timeout: Duration,
    ) -> Result<Waiting, NotQueued> {
        let mut open = self.lock();
        if open.retired {
            return Err(NotQueued::Retired(message));
        }
        if let Some(reason) = &open.down {
            return Err(NotQueued::Fault(Fault::not_sent("unreachable", reason)));
        }
        let bytes = open.queued_bytes + message.body.len();
        if open.queued.len() >= QUEUED_MAX || bytes > QUEUED_BYTES_MAX {
            return Err(NotQueued::Fault(Fault::not_sent("queue_full", "queue full")));
        }
        let id = open.next;
        let timeout = timeout.min(TIMEOUT_MAX);
        let time = Time { timeout, deadline: Instant::now() + timeout };
        let (answer, reply) = oneshot::channel();
        open.next += 1;
        open.queued_bytes = bytes;
        open.queued.push(id, Queued { message, time, answer });
        if open.soonest.is_none_or(|soonest| time.deadline < soonest) {
            open.soonest = Some(time.deadline);
            self.sooner.notify_one();
        }
        drop(open);
        self.wake.notify_one();
        Ok(Waiting { calls: Arc::clone(self), id, timeout, reply, answered: false })
    }

    pub(super) fn queued(&self) -> usize {
        self.lock().queued.len()
    }

    /// Whether something is queued while other calls are open too.
    pub(super) fn is_busy(&self) -> bool {
        let open = self.lock();
        !open.queued.is_empty() && open.queued.len() + open.sent.len() > 1
    }

    pub(super) fn is_unused(&self) -> bool {
        let open = self.lock();
        open.queued.is_empty() && open.sent.is_empty()
    }

    /// Moves what is queued into `batch`, as far as it fits. From here on it counts as sent.
    pub(super) fn drain(&self, batch: &mut Vec<u8>) {
        let mut open = self.lock();
        if open.queued.is_empty() {
            return;
        }
        let now = Instant::now();
        while batch.len() < BATCH_BYTES
            && let Some((call, Queued { message, time, answer })) = open.queued.pop_first()
        {
            open.queued_bytes -= message.body.len();
            let remaining = time.deadline.saturating_duration_since(now);
            wire::write_frame(&Frame { call, remaining, message }, batch);
            open.sent.push(call, Sent { at: now, time, answer });
        }
        open.owed_since.get_or_insert(now);
    }

    /// Bytes have arrived: the connection lives.
    pub(super) fn heard(&self) {
        let mut open = self.lock();
        open.owed_since = open.owed_since.map(|_| Instant::now());
    }

    /// Hands a reply to its caller; false if nobody waits for it any more.
    pub(super) fn answer(&self, call: u64, reply: Message) -> bool {
        let mut open = self.lock();
        let sent = open.sent.take(call);
        if open.sent.is_empty() {
            open.owed_since = None;
        }
        drop(open);
        sent.is_some_and(|sent| sent.answer.send(Ok(reply)).is_ok())
    }

    /// A connection begins.
    pub(super) fn connected(&self) {
        self.lock().is_silent = false;
    }

    /// Whether a call timed out on a connection that owed it an answer and sent nothing, not even to
    /// others. A network that has healed would let such a connection wait for minutes: TCP doubles
    /// the pause before each retransmission. A new one works at once.
    pub(super) fn is_silent(&self) -> bool {
        self.lock().is_silent
    }

    /// The connection broke: what was sent is lost.
    pub(super) fn fail_sent(&self, kind: &'static str, reason: &str) {
        let mut open = self.lock();
        open.owed_since = None;
        let sent = std::mem::take(&mut open.sent);
        drop(open);
        for call in sent.into_things() {
            // A caller that is gone needs no answer, here and below.
            drop(call.answer.send(Err(Fault::lost(kind, reason))));
        }
    }

    /// Nothing can be sent: what is queued fails, and so do new calls until [`Calls::up`].
    pub(super) fn down(&self, reason: &str) {
        let mut open = self.lock();
        open.down = Some(reason.to_owned());
        let queued = open.take_queued();
        drop(open);
        for call in queued.into_things() {
            drop(call.answer.send(Err(Fault::not_sent("unreachable", reason))));
        }
    }

    /// Calls may be queued again.
    pub(super) fn up(&self) {
        self.lock().down = None;
    }

    /// Ends the link if nobody uses it.
    pub(super) fn retire_if_unused(&self) -> bool {
        let mut open = self.lock();
        open.retired |= open.queued.is_empty() && open.sent.is_empty();
        open.retired
    }

    /// Ends the link and all its calls.
    pub(super) fn close(&self, reason: &str) {
        let mut open = self.lock();
        open.retired = true;
        let queued = open.take_queued();
        drop(open);
        for call in queued.into_things() {
            drop(call.answer.send(Err(Fault::not_sent("closed", reason))));
        }
        self.fail_sent("closed", reason);
    }

    /// Ends calls when their time is over.
    pub(super) async fn keep_time(&self) -> Infallible {
        loop {
            let sooner = self.sooner.notified();
            match self.end_overdue() {
                Some(soonest) => drop(TokioRuntime::timeout_at(soonest, sooner).await),
                None => sooner.await,
            }
        }
    }

    /// Ends the calls whose time is over; says when the next one's is.
    fn end_overdue(&self) -> Option<Instant> {
        let mut open = self.lock();
        let now = Instant::now();
        let queued = open.queued.iter().map(|(id, call)| (id, call.time));
        let sent = open.sent.iter().map(|(id, call)| (id, call.time));
        let (mut overdue, mut soonest) = (Vec::new(), None::<Instant>);
        for (id, time) in queued.chain(sent) {
            match time.deadline <= now {
                true => overdue.push((id, time)),
                false => soonest = soonest.into_iter().chain([time.deadline]).min(),
            }
        }
        open.soonest = soonest;
        drop(open);
        for (id, Time { timeout, .. }) in overdue {
            match self.give_up(id, SILENCE_MIN) {
                Some((answer, true)) => {
                    let reason = format!("timed out after {timeout:?}");
                    drop(answer.send(Err(Fault::lost("timeout", reason))));
                }
                Some((answer, false)) => {
                    let reason = format!("could not be sent within {timeout:?}");
                    drop(answer.send(Err(Fault::not_sent("timeout", reason))));
                }
                None => {}
            }
        }
        soonest
    }

    /// A call is not waited for any more; says whether it was sent, unless it has ended. If its caller merely
    /// went away, `silence` says how long the connection must have been silent to be dead; a whole timeout
    /// without a byte is enough in any case.
    fn give_up(&self, id: u64, silence: Duration) -> Option<(Answer, bool)> {
        let mut open = self.lock();
        let now = Instant::now();
        let (answer, sent, asked) = match (open.queued.take(id), open.sent.take(id)) {
            (Some(queued), _) => {
                open.queued_bytes -= queued.message.body.len();
                (queued.answer, false, now)
            }
            (None, Some(sent)) => (sent.answer, true, sent.at),
            (None, None) => return None,
        };
        let silent = open.owed_since.is_some_and(|since| {
            since <= asked && now.saturating_duration_since(since) >= silence.max(SILENCE_MIN)
        });
        open.is_silent |= silent;
        drop(open);
        if silent {
            self.silent.notify_one();
        }
        Some((answer, sent))
    }
}

impl Open {
    fn take_queued(&mut self) -> Ascending<Queued> {
        self.queued_bytes = 0;
        std::mem::take(&mut self.queued)
    }
}

/// A caller that waits for its reply.
#[derive(Debug)]
pub(super) struct Waiting {
    calls: Arc<Calls>,
    id: u64,
    timeout: Duration,
    reply: oneshot::Receiver<Result<Message, Fault>>,
    answered: bool,
}

impl Waiting {
    pub(super) async fn reply(mut self) -> Result<Message, Fault> {
        let reply = (&mut self.reply).await;
        self.answered = true;
        reply.unwrap_or_else(|_gone| Err(Fault::lost("closed", "the connection's task ended")))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            drop(self.calls.give_up(self.id, self.timeout));
        }
    }
}
