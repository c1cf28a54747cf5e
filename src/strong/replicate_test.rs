//! The stream to one member, behind a door that answers when it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use futures_util::stream;
use openraft::network::RaftNetworkFactory;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::{
    Config,
    batch::Batch,
    codec,
    error::{Error, StartError},
    proposal::{Origin, Proposal},
    rpc,
    runtime::{AsyncRuntime, TokioRuntime, yield_now},
    status::Member,
    storage::LogId,
    strong::{network::Networks, types::to_raft},
    transport::{CallError, Lane, Message, Peer, Service, Transport},
};

type Answer = oneshot::Sender<AppendEntriesResponse<Types<TokioRuntime>>>;

/// Holds every call until it is answered.
#[derive(Debug, Default)]
struct Door(Mutex<VecDeque<(Request<TokioRuntime>, Answer)>>);

impl Transport for Door {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        lane: Lane,
        request: Message,
        _timeout: Duration,
    ) -> BoxFuture<'a, Result<Message, CallError>> {
        assert_eq!(lane, Lane::Log);
        let (answer, answered) = oneshot::channel();
        self.0.lock().unwrap().push_back((codec::decode(&request.body).unwrap(), answer));
        Box::pin(async move {
            let lost = |_| CallError::Lost { to: to.addr.clone(), reason: "dropped".into() };
            Ok(rpc::reply(0, &Ok::<_, Error>(answered.await.map_err(lost)?)))
        })
    }

    fn listen(&self, _service: Arc<dyn Service>) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(async { Ok(()) })
    }

    fn close(&self) {}
}

impl Door {
    fn under_way(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|(request, _)| last(request)).collect()
    }

    fn answer(&self, at: usize, response: AppendEntriesResponse<Types<TokioRuntime>>) {
        let (_, answer) = self.0.lock().unwrap().remove(at).unwrap();
        let _gone = answer.send(response);
    }
}

fn id(index: u64) -> LogIdOf<Types<TokioRuntime>> {
    to_raft::<TokioRuntime>(LogId { term: 1, index })
}

fn batch(bytes: usize) -> Batch {
    Batch::of(&[&Proposal::new(
        1,
        Origin::Session { session: 1, sequence: 1, floor: 0 },
        &vec![0; bytes],
    )])
}

/// After entry `prev`, with as many entries; says that all before them is committed.
fn request(prev: u64, count: u64) -> Request<TokioRuntime> {
    let entry = |index| {
        let payload = EntryPayload::Normal(batch(8));
        openraft::Entry { log_id: id(index), payload }
    };
    AppendEntriesRequest {
        vote: openraft::impls::Vote::new(1, 1),
        prev_log_id: Some(id(prev)),
        entries: (prev + 1..=prev + count).map(entry).collect(),
        leader_commit: Some(id(prev)),
    }
}

fn last(request: &Request<TokioRuntime>) -> u64 {
    let entry = request.entries.last().map(|entry| entry.log_id.index);
    entry.unwrap_or_else(|| request.prev_log_id.as_ref().unwrap().index)
}

/// What a stream gave, as the index up to which the member has everything.
fn told(outcome: Option<Outcome<TokioRuntime>>) -> Result<u64, String> {
    match outcome {
        Some(Ok(Ok(matching))) => Ok(matching.unwrap().index),
        Some(Ok(Err(refused))) => Err(refused.to_string()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the end".into()),
    }
}

struct Bench {
    door: Arc<Door>,
    requests: mpsc::UnboundedSender<Request<TokioRuntime>>,
    outcomes: mpsc::UnboundedReceiver<Result<u64, String>>,
}

async fn bench() -> Bench {
    let door = Arc::new(Door::default());
    let mut networks = Networks::<TokioRuntime>::new(1, door.clone(), Arc::new(Config::default()));
    let member = Member { addr: "n2".into(), disk: 2 };
    let network = networks.new_client(2, &member).await;
    let (requests, taken) = mpsc::unbounded_channel();
    let (tell, outcomes) = mpsc::unbounded_channel();
    TokioRuntime::spawn(async move {
        let input = Box::pin(stream::unfold(taken, |mut taken| async move {
            Some((taken.recv().await?, taken))
        }));
        let mut outcomes = Stream::new(&network, input);
        outcomes.commit_wait = WAIT;
        loop {
            let told = told(outcomes.next().await);
            let ended = told.as_ref().is_err_and(|why| why == "the end");
            if tell.send(told).is_err() || ended {
                return;
            }
        }
    });
    Bench { door, requests, outcomes }
}

/// Longer than the grain of the clock, which is a millisecond.
const WAIT: Duration = Duration::from_millis(100);

async fn settle() {
    TokioRuntime::sleep(WAIT / 10).await;
}

#[tokio::test(start_paused = true)]
async fn entries_do_not_wait_for_the_reply_to_those_before() {
    let mut bench = bench().await;
    for prev in 0..20 {
        bench.requests.send(request(prev, 1)).unwrap();
    }
    settle().await;
    assert_eq!(bench.door.under_way(), (1..=UNDER_WAY_MAX as u64).collect::<Vec<_>>());
    // The second reply is here first, and counts only after the first one.
    bench.door.answer(1, AppendEntriesResponse::Success);
    settle().await;
    assert!(bench.outcomes.try_recv().is_err());
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(1)));
    assert_eq!(bench.outcomes.recv().await, Some(Ok(2)));
    settle().await;
    assert_eq!(bench.door.under_way().last(), Some(&10), "two more were sent");
}

#[tokio::test(start_paused = true)]
async fn news_of_a_commit_waits_for_entries_but_not_for_long() {
    let mut bench = bench().await;
    bench.requests.send(request(1, 0)).unwrap();
    settle().await;
    assert_eq!(bench.door.under_way(), []);
    bench.requests.send(request(1, 2)).unwrap();
    settle().await;
    assert_eq!(bench.door.under_way(), [3], "one message for both");
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(3)));

    bench.requests.send(request(3, 0)).unwrap();
    TokioRuntime::sleep(WAIT / 2).await;
    bench.requests.send(request(3, 0)).unwrap();
    assert_eq!(bench.door.under_way(), []);
    TokioRuntime::sleep(WAIT * 3 / 4).await;
    assert_eq!(bench.door.under_way(), [3], "it waited since the first of the two");
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(3)));
    // A probe is a request without entries, too, and nothing follows it.
    bench.requests.send(request(3, 0)).unwrap();
    drop(bench.requests);
    settle().await;
    assert_eq!(bench.door.under_way(), [3]);
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(3)));
    assert_eq!(bench.outcomes.recv().await, Some(Err("the end".into())));
}

/// There is one timer for all that waits in turn; one that was set for what has long made way must not cut a later
/// wait short.
#[tokio::test(start_paused = true)]
async fn each_news_has_a_wait_of_its_own() {
    let mut bench = bench().await;
    bench.requests.send(request(1, 0)).unwrap();
    TokioRuntime::sleep(WAIT / 2).await;
    bench.requests.send(request(1, 1)).unwrap();
    settle().await;
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(2)));
    bench.requests.send(request(2, 0)).unwrap();
    TokioRuntime::sleep(WAIT * 3 / 4).await;
    assert_eq!(bench.door.under_way(), [], "the first wait would be over");
    TokioRuntime::sleep(WAIT / 2).await;
    assert_eq!(bench.door.under_way(), [2]);
}

/// openraft takes a reply to be as young as the newest request that it has handed out and that says no more. Was
/// that one held back, a leader that slept through an election would wake up, find an old reply, and answer a
/// read in the belief that it still leads.
#[tokio::test(start_paused = true)]
async fn a_reply_does_not_vouch_for_news_that_were_not_sent() {
    let news = |committed: u64| AppendEntriesRequest {
        leader_commit: Some(id(committed)),
        ..request(2, 0)
    };
    // Entry 2 is committed already: whoever waits for it need not wait for this reply.
    let mut bench = bench().await;
    bench.requests.send(request(0, 2)).unwrap();
    bench.requests.send(news(2)).unwrap();
    settle().await;
    assert_eq!(bench.door.under_way(), [2], "the news wait");
    bench.door.answer(0, AppendEntriesResponse::Success);
    settle().await;
    assert!(bench.outcomes.try_recv().is_err());
    bench.requests.send(request(2, 1)).unwrap();
    settle().await;
    assert_eq!(bench.door.under_way(), [3], "and make way");
    assert!(bench.outcomes.try_recv().is_err());
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(3)));

    // Here it may be this reply that commits it.
    let mut bench = self::bench().await;
    bench.requests.send(request(0, 2)).unwrap();
    bench.requests.send(news(1)).unwrap();
    settle().await;
    assert_eq!(bench.door.under_way(), [2, 2], "the news do not wait");
    bench.door.answer(0, AppendEntriesResponse::Success);
    settle().await;
    assert!(bench.outcomes.try_recv().is_err());
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(2)));
    assert!(bench.outcomes.try_recv().is_err(), "once for both");
}

/// What was sent after a request that failed does not count: the member has a gap before it, or another leader.
#[tokio::test(start_paused = true)]
async fn nothing_is_said_after_the_first_failure() {
    let failures = [
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(openraft::impls::Vote::new(2, 3)),
        AppendEntriesResponse::PartialSuccess(Some(id(1))),
    ];
    for failure in failures.map(Some).into_iter().chain([None]) {
        let partial = matches!(failure, Some(AppendEntriesResponse::PartialSuccess(_)));
        let mut bench = bench().await;
        for prev in [0, 2, 4] {
            bench.requests.send(request(prev, 2)).unwrap();
        }
        settle().await;
        bench.door.answer(1, AppendEntriesResponse::Success);
        match failure {
            Some(failure) => bench.door.answer(0, failure),
            None => drop(bench.door.0.lock().unwrap().pop_front()),
        }
        let first = bench.outcomes.recv().await.unwrap();
        assert_eq!(first.is_ok(), partial, "{first:?}");
        assert_eq!(bench.outcomes.recv().await, Some(Err("the end".into())));
        assert_eq!(bench.outcomes.recv().await, None);
    }
}

/// A member that is far behind must not make the leader hold its whole log in memory.
#[tokio::test(start_paused = true)]
async fn bytes_under_way_are_bounded() {
    let mut bench = bench().await;
    let large = |prev: u64| {
        let mut request = request(prev, 1);
        request.entries[0].payload = EntryPayload::Normal(batch(768 << 10));
        request
    };
    for prev in 0..5 {
        bench.requests.send(large(prev)).unwrap();
    }
    settle().await;
    assert_eq!(bench.door.under_way(), [1, 2], "1 MiB is reached with the second");
    bench.door.answer(0, AppendEntriesResponse::Success);
    assert_eq!(bench.outcomes.recv().await, Some(Ok(1)));
    settle().await;
    assert_eq!(bench.door.under_way(), [2, 3]);
}

/// One entry after `prev`, of 40 KiB, that is committed already.
fn old(prev: u64, committed: u64) -> Request<TokioRuntime> {
    let mut request = request(prev, 1);
    request.entries[0].payload = EntryPayload::Normal(batch(40 << 10));
    request.leader_commit = Some(id(committed));
    request
}

impl Bench {
    /// Answers so many of those that are under way, one after the other.
    async fn answer(&mut self, count: usize, after: Duration) {
        for _ in 0..count {
            TokioRuntime::sleep(after).await;
            self.door.answer(0, AppendEntriesResponse::Success);
            settle().await;
        }
    }

    /// The same from a member that is near, until after its rest.
    async fn answer_soon(&self, count: u32) {
        for _ in 0..count {
            self.door.answer(0, AppendEntriesResponse::Success);
            TokioRuntime::sleep(SOON).await;
        }
    }
}

/// Longer than a rest and its grain.
const SOON: Duration = FAR.saturating_sub(Duration::from_millis(1));

/// A follower that was a million entries behind had a mebibyte and more to write at any time, and on the disk that it
/// shared with the leader each of the leader's syncs waited for that: its writes took five times as long.
#[tokio::test(start_paused = true)]
async fn what_is_committed_already_is_sent_little_by_little_with_rests() {
    let bench = bench().await;
    for prev in 0..20 {
        bench.requests.send(old(prev, 100 + prev)).unwrap();
    }
    bench.requests.send(request(20, 1)).unwrap();
    settle().await;
    assert_eq!(bench.door.under_way(), [1]);
    for answered in 1..=18 {
        bench.door.answer(0, AppendEntriesResponse::Success);
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(bench.door.under_way().is_empty(), "it rests");
        TokioRuntime::sleep(2 * REST).await;
        assert_eq!(bench.door.under_way(), [answered + 1]);
    }
    // Once it is level, it is sent as much as the others.
    bench.answer_soon(2).await;
    for prev in 21..40 {
        bench.requests.send(request(prev, 1)).unwrap();
    }
    settle().await;
    assert_eq!(bench.door.under_way().len(), UNDER_WAY_MAX);
}

/// With so little at a time, a follower on another continent would be sent a megabyte in a second.
#[tokio::test(start_paused = true)]
async fn a_member_far_away_is_sent_more_at_once() {
    let mut bench = bench().await;
    for prev in 0..100 {
        bench.requests.send(old(prev, 100 + prev)).unwrap();
    }
    settle().await;
    bench.answer(FAR_REPLIES as usize - 1, WAIT).await;
    assert_eq!(bench.door.under_way().len(), 1);
    bench.answer(1, WAIT).await;
    assert_eq!(bench.door.under_way().len(), (1 << 20) / (40 << 10) + 1, "1 MiB");
}

/// With another follower dead, every write waits for the one that is behind.
#[tokio::test(start_paused = true)]
async fn a_member_that_commits_wait_for_is_sent_more_at_once() {
    let bench = bench().await;
    for prev in 0..100 {
        bench.requests.send(old(prev, 100)).unwrap();
    }
    settle().await;
    while bench.door.under_way().len() == 1 {
        bench.answer_soon(1).await;
    }
    let under_way = bench.door.under_way();
    assert_eq!(under_way.len(), (1 << 20) / (40 << 10) + 1, "1 MiB");
    assert_eq!(under_way[0], u64::from(STILL_MAX) + 1);
}

/// At what a loaded cluster commits in a second a follower that was sent little by little never got level, and openraft
/// purges nothing as long as that goes on.
#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_come_nearer_is_sent_more_at_once_until_it_is_level() {
    const WINDOW: u64 = GAP_REQUESTS as u64;
    // The first window has none before it.
    const STALLED: u64 = (1 + STALLS_MAX as u64) * WINDOW;
    // Two entries are committed for each that is sent, or one; later on, and in the last case always, one for two.
    for (committed, falls_back) in [(2, true), (1, true), (0, false)] {
        let bench = bench().await;
        let early = (STALLED + WINDOW) * committed.min(1);
        for prev in 0..STALLED + 12 * WINDOW {
            let later = prev.saturating_sub(early) / 2;
            let committed = STALLED + 12 * WINDOW + prev.min(early) * committed + later;
            bench.requests.send(old(prev, committed)).unwrap();
        }
        settle().await;
        bench.answer_soon(u32::try_from(STALLED).unwrap() - 8).await;
        assert_eq!(bench.door.under_way().len(), 1, "it is not known yet");
        bench.answer_soon(GAP_REQUESTS).await;
        let expected = if falls_back { (1 << 20) / (40 << 10) + 1 } else { 1 };
        assert_eq!(bench.door.under_way().len(), expected);
        // All at once, for replies that wait for each other take as long as those from far away.
        for _ in 0..=10 * WINDOW / expected as u64 {
            let under_way = bench.door.under_way().len();
            (0..under_way).for_each(|_| bench.door.answer(0, AppendEntriesResponse::Success));
            TokioRuntime::sleep(SOON).await;
        }
        assert_eq!(bench.door.under_way().len(), expected, "that is no reason to go back");
    }
}

/// What it lacks may be few large entries, beside many small ones that are committed now: it comes nearer in bytes.
#[tokio::test(start_paused = true)]
async fn a_member_that_comes_nearer_now_and_then_can_wait() {
    const WINDOW: u64 = GAP_REQUESTS as u64;
    const REQUESTS: u64 = 4 * STALLS_MAX as u64 * WINDOW;
    let bench = bench().await;
    for prev in 0..REQUESTS {
        // Nothing more is committed in each fifth window but a little.
        let (whole, rest) = (prev / (5 * WINDOW), prev % (5 * WINDOW));
        let committed =
            whole * 4 * WINDOW + rest.min(4 * WINDOW) + rest.saturating_sub(4 * WINDOW) / 2;
        bench.requests.send(old(prev, REQUESTS + committed)).unwrap();
    }
    settle().await;
    bench.answer_soon(u32::try_from(REQUESTS).unwrap() - 8).await;
    assert_eq!(bench.door.under_way().len(), 1);
}
