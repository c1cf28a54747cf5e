//! How log entries travel to one member: in a pipeline, and news of commits with them.
//!
//! Owns [`Stream`], which passes openraft's requests to the member and its replies back.
//!
//! - Up to [`UNDER_WAY_MAX`] requests are under way, so that entries do not wait for the round trip of those
//!   before them.
//! - A member that is sent what is committed already is behind. As long as commits go on, nobody waits for it; but
//!   whoever shares its disk or its processors waits while it writes that down, and that may be the leader. So it
//!   is sent one request at a time, with a rest after each, unless it would take long to get level so, or would
//!   never: the way to it is long, or it does not come nearer, for as many entries are committed meanwhile.
//! - A request without entries says only how far the log is committed. It waits [`COMMIT_WAIT`] for one with
//!   entries, which says so too. Without that, every write would cost each member two messages. It does not
//!   wait where the reply to the one before it may be what commits an entry.
//!
//! In: openraft's stream of requests. Out: its stream of results.
//!
//! Invariants
//! - Requests leave in openraft's order, and results are given in that order.
//! - A request is dropped only if it has no entries and another one follows, which says as much.
//! - The success of a request is passed over if the next one has no entries. For openraft counts a member that
//!   holds all of a request as having answered it, and notes the time at which it handed the request out: so it
//!   would take an old reply for a round trip that began when a request was handed out that was not even sent,
//!   and believe that it still leads. The reply to the next one says the same, and is one.
//! - The first reply that is no full success is the last result.
//!
//! Does not: retry, or know what a member lacks. openraft does, and begins another stream.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use openraft::{
    EntryPayload, Instant as _,
    alias::LogIdOf,
    errors::RPCError,
    raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult},
};

use super::{network::Network, types::Types};
use crate::{
    plant::{Bug, planted},
    runtime::Runtime,
    transport::BoxFuture,
};

/// Requests to one member that are under way at once. What comes meanwhile becomes one.
const UNDER_WAY_MAX: usize = 8;

/// The same for a member that is behind, whose requests are shorter; more of them where batches may be longer.
const UNDER_WAY_BEHIND_MAX: usize = 32;

/// The longest batch that is read from the disk: what a member that is far behind is sent at once.
pub(super) const LITTLE_BYTES: u64 = 64 << 10;

/// How long a member that is behind and can wait is sent nothing after a reply.
const REST: Duration = Duration::from_millis(1);

/// Requests during which the gap should become smaller.
const GAP_REQUESTS: u32 = 64;

/// How often in a row it does not before that counts: what is committed now may be many small entries, and what the
/// member lacks few large ones.
const STALLS_MAX: u32 = 8;

/// Requests during which nothing was committed: somebody may wait for the member that is behind, or nobody writes
/// whom it could hold up.
const STILL_MAX: u32 = 32;

/// A long way, or a slow disk: no reply comes sooner. With rests, that is 10 MB/s.
const FAR: Duration = Duration::from_millis(5);

/// Replies that say so, in a row.
const FAR_REPLIES: u32 = 16;

/// How much later than it could a member hears of a commit, when no entries follow; one that rests, after its rest.
const COMMIT_WAIT: Duration = Duration::from_millis(1);

// They share a timer, and one that was set for longer is kept.
const _: () = assert!(COMMIT_WAIT.as_nanos() <= REST.as_nanos());

type Request<R> = AppendEntriesRequest<Types<R>>;
type Reply<R> = Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>>;
type Outcome<R> = Result<StreamAppendResult<Types<R>>, RPCError<Types<R>>>;

/// A request that is under way: what follows on its entries, and how long they are.
struct Sent<R: Runtime> {
    prev: Option<LogIdOf<Types<R>>>,
    last: Option<LogIdOf<Types<R>>>,
    bytes: u64,
    /// How long the reply took, if its entries were committed already.
    took: Option<Duration>,
    reply: Reply<R>,
}

/// A request without entries that waits for company, and the end of its wait.
struct Held<R: Runtime> {
    request: Request<R>,
    until: R::Instant,
}

/// Goes off at that instant.
struct Timer<R: Runtime> {
    at: R::Instant,
    sleep: Pin<Box<R::Sleep>>,
}

/// See the module.
pub(super) struct Stream<'a, R: Runtime, S> {
    network: &'a Network<R>,
    /// Until it ends, or a reply ends this.
    input: Option<S>,
    held: Option<Held<R>>,
    commit_wait: Duration,
    /// Goes off when what is held, or was, has waited, or a rest is over. Nearly every wait ends before that: a timer
    /// for each would be set and unset with every batch. So it may go off for nothing.
    timer: Option<Timer<R>>,
    under_way: FuturesOrdered<BoxFuture<'a, Sent<R>>>,
    /// The last entry of each of them, and whether the next request has none.
    followed: VecDeque<(Option<LogIdOf<Types<R>>>, bool)>,
    bytes_under_way: u64,
    lag: Lag<R>,
    /// Until when a member that can wait is sent no entries.
    rests_until: Option<R::Instant>,
}

/// Whether a member is behind, and whether that can wait.
struct Lag<R: Runtime> {
    /// The entries that were sent last were committed already.
    behind: bool,
    committed: Option<LogIdOf<Types<R>>>,
    /// Requests with entries since that has moved.
    still: u32,
    /// Replies in a row that took as long as a long way.
    late: u32,
    /// Entries between what was sent and what was committed, so many requests ago.
    gap: u64,
    sent: u32,
    /// How often in a row it has not become smaller. The last time counts until the member is level: to go back would
    /// let the gap grow again.
    stalls: u32,
}

impl<R: Runtime> Lag<R> {
    fn none() -> Self {
        let (gap, sent, stalls) = (u64::MAX, 0, 0);
        Self { behind: false, committed: None, still: 0, late: 0, gap, sent, stalls }
    }

    /// Of a request that is about to be sent and its last entry.
    fn sends(&mut self, last: LogIdOf<Types<R>>, committed: Option<LogIdOf<Types<R>>>) {
        self.behind = Some(last) <= committed;
        self.look_at_the_gap(committed.map_or(0, |id| id.index).saturating_sub(last.index));
        self.still = if committed == self.committed { self.still.saturating_add(1) } else { 0 };
        self.committed = committed;
    }

    fn look_at_the_gap(&mut self, gap: u64) {
        if !self.behind {
            (self.gap, self.sent, self.stalls) = (u64::MAX, 0, 0);
            return;
        }
        self.sent = self.sent.saturating_add(1);
        if self.sent == GAP_REQUESTS && self.stalls < STALLS_MAX {
            self.stalls = if gap >= self.gap { self.stalls + 1 } else { 0 };
            (self.gap, self.sent) = (gap, 0);
        }
    }

    fn replied(&mut self, took: Duration) {
        self.late = if took < FAR { 0 } else { self.late.saturating_add(1) };
    }

    fn can_wait(&self) -> bool {
        self.behind && self.still < STILL_MAX && self.late < FAR_REPLIES && self.stalls < STALLS_MAX
    }
}

impl<'a, R: Runtime, S> Stream<'a, R, S> {
    pub(super) fn new(network: &'a Network<R>, input: S) -> Self {
        Self {
            network,
            input: Some(input),
            held: None,
            commit_wait: COMMIT_WAIT,
            timer: None,
            under_way: FuturesOrdered::new(),
            followed: VecDeque::new(),
            bytes_under_way: 0,
            lag: Lag::none(),
            rests_until: None,
        }
    }

    fn has_room(&self) -> bool {
        if self.lag.can_wait() {
            return self.bytes_under_way == 0 && self.under_way.len() < UNDER_WAY_BEHIND_MAX;
        }
        let bytes = self.network.append_bytes_max();
        let requests = match self.lag.behind {
            true => usize::try_from(bytes / LITTLE_BYTES).unwrap_or(0).max(UNDER_WAY_BEHIND_MAX),
            false => UNDER_WAY_MAX,
        };
        self.under_way.len() < requests && self.bytes_under_way < bytes
    }

    fn take(&mut self, request: Request<R>) {
        let earlier = self.held.take();
        if let Some(last) = request.entries.last() {
            self.lag.sends(last.log_id, request.leader_commit);
            return self.send(request);
        }
        if let Some((last, by_none)) = self.followed.back_mut() {
            *by_none = true;
            // The reply that is now passed over may be what commits it, so the next one has to be soon.
            if *last > request.leader_commit {
                return self.send(request);
            }
        }
        let until = earlier.map(|held| held.until);
        let until = until.unwrap_or_else(|| R::Instant::now() + self.commit_wait);
        self.held = Some(Held { request, until });
    }

    fn send(&mut self, request: Request<R>) {
        let network = self.network;
        let bytes = request.entries.iter().map(|entry| match &entry.payload {
            EntryPayload::Normal(batch) => batch.bytes().len() as u64,
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        });
        let bytes = bytes.sum();
        self.bytes_under_way += bytes;
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        self.followed.push_back((last, false));
        let sent = (self.lag.behind && bytes > 0).then(R::Instant::now);
        self.under_way.push_back(Box::pin(async move {
            let reply = network.append(&request).await;
            let took = sent.map(|sent| R::Instant::now() - sent);
            Sent { prev, last, bytes, took, reply }
        }));
    }

    /// Sends what was held back.
    fn release(&mut self) {
        if let Some(Held { request, .. }) = self.held.take() {
            self.send(request);
        }
    }

    /// Waits with the timer that is set, and once more if it was set for less. If it was set for more, the wait is longer by
    /// a [`REST`] at most.
    fn poll_wait(&mut self, until: R::Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let set = || Timer { at: until, sleep: Box::pin(R::sleep_until(until)) };
            let timer = self.timer.get_or_insert_with(set);
            ready!(timer.sleep.poll_unpin(cx));
            let waited = timer.at >= until;
            self.timer = None;
            if waited {
                return Poll::Ready(());
            }
        }
    }

    /// Whether a member that can wait has its rest.
    fn rests(&mut self, cx: &mut Context<'_>) -> bool {
        let until = self.rests_until.take().filter(|_| self.lag.can_wait());
        self.rests_until = until.filter(|until| self.poll_wait(*until, cx).is_pending());
        self.rests_until.is_some()
    }

    fn end(&mut self) {
        (self.input, self.held) = (None, None);
        self.under_way.clear();
        self.followed.clear();
    }

    /// What a reply says, unless the next one says it.
    fn outcome(&mut self, sent: Sent<R>) -> Option<Outcome<R>> {
        let Sent { prev, last, bytes, took, reply } = sent;
        self.bytes_under_way -= bytes;
        if let Some(took) = took {
            self.lag.replied(took);
            self.rests_until = Some(R::Instant::now() + REST);
        }
        let next_has_none = self.followed.pop_front().is_some_and(|(_, by_none)| by_none);
        let passed_over = next_has_none && !planted(Bug::ReplyPassesForFresh);
        let result = reply.map(|reply| reply.into_stream_result(prev, last));
        if matches!(&result, Ok(Ok(matching)) if *matching == last) {
            return (!passed_over).then_some(result);
        }
        self.end();
        Some(result)
    }
}

impl<R, S> futures_util::Stream for Stream<'_, R, S>
where
    R: Runtime,
    S: futures_util::Stream<Item = Request<R>> + Unpin,
{
    type Item = Outcome<R>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<R>>> {
        let this = &mut *self;
        loop {
            // Also sends what was just begun.
            if let Poll::Ready(Some(sent)) = this.under_way.poll_next_unpin(cx) {
                match this.outcome(sent) {
                    Some(outcome) => return Poll::Ready(Some(outcome)),
                    None => continue,
                }
            }
            if this.has_room()
                && !this.rests(cx)
                && let Some(input) = &mut this.input
                && let Poll::Ready(request) = input.poll_next_unpin(cx)
            {
                match request {
                    Some(request) => this.take(request),
                    None => {
                        this.input = None;
                        this.release();
                    }
                }
                continue;
            }
            match this.held {
                Some(Held { until, .. }) => ready!(this.poll_wait(until, cx)),
                None if this.input.is_none() && this.under_way.is_empty() => {
                    return Poll::Ready(None);
                }
                None => return Poll::Pending,
            }
            this.release();
        }
    }
}

#[cfg(test)]
#[path = "replicate_test.rs"]
mod tests;
