//! The network as its users see it: what arrives, in which order, and what a caller is told.
//!
//! Host 1 calls, host 2 serves, and each test runs in a world of its own.

mod duplicates;
mod pause;

use std::{collections::BTreeSet, iter::zip};

use futures_util::future::{join, join_all};
use sixbells::{
    runtime::AsyncRuntime,
    transport::{BoxFuture, CallError, Kind, Message, Peer},
};

use super::*;
use crate::{
    nemesis::Shape,
    sim::{
        SimRuntime,
        world::{Settings, Stream, Traces, World},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = SECOND;

type Served = Arc<Mutex<Vec<String>>>;

/// Notes what it serves, in the beginning and in the end, and says it again.
struct Echo {
    served: Served,
    /// How long it takes at most.
    busy: Duration,
}

impl Service for Echo {
    fn serve(&self, request: Message, remaining: Duration) -> BoxFuture<'static, Message> {
        assert!(remaining < TIMEOUT, "the way takes time");
        let (served, busy) = (self.served.clone(), self.busy);
        Box::pin(async move {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            served.lock().unwrap().push(format!("begin {body}"));
            let busy = world::draw_duration(Stream::Program, Duration::ZERO..busy);
            SimRuntime::sleep(busy).await;
            served.lock().unwrap().push(format!("end {body}"));
            assert_ne!(body, "panic");
            Message { kind: Kind::Reply, ..request }
        })
    }
}

struct Lab {
    network: SimNetwork,
    caller: Arc<dyn Transport>,
    server: Arc<dyn Transport>,
    served: Served,
}

fn identity(node: u64) -> Identity {
    Identity { cluster: "c".into(), node, disk: node * 11, engine: "wal".into() }
}

fn peer(node: u64) -> Peer {
    Peer { addr: format!("n{node}"), node: Some(node), disk: Some(node * 11) }
}

impl Lab {
    async fn new(links: Links) -> Self {
        Self::busy(links, Duration::ZERO).await
    }

    async fn busy(links: Links, busy: Duration) -> Self {
        let network = SimNetwork::new(links);
        world::boot(1);
        world::boot(2);
        let caller = network.node(1, "n1", &identity(1));
        let served = Served::default();
        let server = network.node(2, "n2", &identity(2));
        server.listen(Arc::new(Echo { served: served.clone(), busy })).await.unwrap();
        Self { network, caller, server, served }
    }

    async fn call(&self, lane: Lane, body: &str) -> Result<String, CallError> {
        let request = Message { kind: Kind::Propose, request: 7, body: body.to_owned().into() };
        let reply = self.caller.call(&peer(2), lane, request, TIMEOUT).await?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    async fn call_to(&self, to: &Peer) -> Result<Message, CallError> {
        let request = Message { kind: Kind::Vote, request: 0, body: "x".into() };
        self.caller.call(to, Lane::Control, request, TIMEOUT).await
    }

    /// What was begun, in order.
    fn begun(&self) -> Vec<String> {
        let served = self.served.lock().unwrap();
        served.iter().filter_map(|line| line.strip_prefix("begin ").map(String::from)).collect()
    }

    fn count(&self, mishap: Mishap) -> u64 {
        self.network.counts().get(&mishap).copied().unwrap_or_default()
    }
}

fn run<T>(seed: u64, main: impl Future<Output = T>) -> (T, Traces) {
    let (result, traces) =
        World::run(Settings { seed, shuffle: true, ..Settings::default() }, main);
    (result.unwrap(), traces)
}

fn reason(result: Result<impl fmt::Debug, CallError>) -> String {
    match result.unwrap_err() {
        CallError::Lost { reason, .. } => format!("lost: {reason}"),
        CallError::NotSent { reason, .. } => format!("not sent: {reason}"),
    }
}

fn ms(from: u64, to: u64) -> Range<Duration> {
    Duration::from_millis(from)..Duration::from_millis(to)
}

#[test]
fn a_request_is_served_and_answered() {
    run(1, async {
        let lab = Lab::new(Links { delay: ms(20, 30), ..Links::default() }).await;
        assert_eq!(lab.call(Lane::Client, "hello").await.unwrap(), "hello");
        assert!((ms(40, 60)).contains(&world::now()), "{:?}", world::now());
        assert_eq!(lab.begun(), ["hello"]);
        assert_eq!(lab.network.counts(), BTreeMap::new());
    });
}

#[test]
fn a_link_cut_one_way_loses_requests_or_replies_and_says_which_was_used() {
    run(1, async {
        let lab = Lab::new(Links::default()).await;
        lab.network.cut(2, 1);
        assert_eq!(lab.count(Mishap::CutOneWay), 0, "nobody has run into it");
        assert_eq!(reason(lab.call(Lane::Client, "a").await), "lost: timed out");
        assert_eq!((lab.begun(), world::now()), (vec!["a".to_owned()], TIMEOUT));
        lab.network.heal();

        lab.network.cut(1, 2);
        assert_eq!(reason(lab.call(Lane::Client, "b").await), "lost: timed out");
        assert_eq!(lab.count(Mishap::CutOneWay), 2);

        lab.network.cut_both(1, 2);
        assert_eq!(reason(lab.call(Lane::Client, "c").await), "lost: timed out");
        assert_eq!((lab.count(Mishap::CutOneWay), lab.count(Mishap::CutBothWays)), (2, 1));
        assert_eq!(lab.begun(), ["a"], "what was cut off never arrives");

        lab.network.heal();
        lab.call(Lane::Client, "d").await.unwrap();
    });
}

#[test]
fn a_partition_cuts_the_links_of_its_shape() {
    let (_, traces) = run(1, async {
        let lab = Lab::new(Links::default()).await;
        let shape = world::draw(Stream::Nemesis, |rng| Shape::One.links(&[1, 2], rng, None));
        lab.network.partition(shape.unwrap());
        assert_eq!(reason(lab.call(Lane::Log, "a").await), "lost: timed out");
    });
    assert_eq!(traces.reached, BTreeMap::from([("network: cut both ways", 1)]));
}

#[test]
fn where_nobody_listens_a_request_is_refused_after_a_while() {
    run(1, async {
        let lab = Lab::new(Links { delay: ms(20, 30), ..Links::default() }).await;
        assert_eq!(reason(lab.call_to(&peer(9)).await), "not sent: nobody listens");
        assert!(ms(40, 60).contains(&world::now()), "{:?}", world::now());
        // Killed, and nobody has told the network yet.
        world::kill(2);
        assert_eq!(reason(lab.call_to(&peer(2)).await), "not sent: nobody listens");
        // Without the way back, nobody hears that it was refused.
        lab.network.cut(2, 1);
        assert_eq!(reason(lab.call_to(&peer(2)).await), "lost: timed out");
        assert_eq!(lab.count(Mishap::Refused), 3);
    });
}

#[test]
fn another_node_disk_or_cluster_is_refused() {
    run(1, async {
        let lab = Lab::new(Links::default()).await;
        let another = |node, disk| Peer { addr: "n2".into(), node, disk };
        let refused = reason(lab.call_to(&another(Some(3), Some(22))).await);
        assert_eq!(refused, "not sent: this is node 2");
        let refused = reason(lab.call_to(&another(Some(2), Some(99))).await);
        assert!(refused.contains("another disk"), "{refused}");
        lab.call_to(&another(None, None)).await.unwrap();

        world::boot(8);
        let stranger = lab.network.client(8, "n8", "other");
        let request = Message { kind: Kind::Status, request: 0, body: "y".into() };
        let refused = stranger.call(&peer(2), Lane::Client, request, TIMEOUT).await;
        assert!(reason(refused).contains("this is cluster \"c\""));
        assert_eq!(lab.begun(), ["x"]);
    });
}

/// A caller that was told "definitely not served" may do something else instead.
#[test]
fn what_was_not_sent_is_never_served() {
    let mut refused = 0;
    for seed in 0..100 {
        run(seed, async {
            let links = Links { delay: ms(0, 50), duplicate: 0.5, late: true, ..Links::default() };
            let lab = Lab::new(links).await;
            let bodies: Vec<String> = (0..10).map(|number| number.to_string()).collect();
            let calls = join_all(bodies.iter().map(|body| lab.call(Lane::Client, body)));
            let restart = async {
                SimRuntime::sleep(Duration::from_millis(15)).await;
                world::kill(2);
                lab.network.unplug(2);
                SimRuntime::sleep(Duration::from_millis(15)).await;
                world::boot(2);
                let again = lab.network.node(2, "n2", &identity(2));
                let served = lab.served.clone();
                again.listen(Arc::new(Echo { served, busy: Duration::ZERO })).await.unwrap();
                again
            };
            let (results, _again) = join(calls, restart).await;
            SimRuntime::sleep(SECOND * 20).await;
            for (body, result) in zip(&bodies, results) {
                if let Err(CallError::NotSent { .. }) = result {
                    refused += 1;
                    assert!(!lab.begun().contains(body), "seed {seed}: {body} was served");
                }
            }
        });
    }
    assert!(refused > 50, "only {refused} were refused");
}

#[test]
fn the_log_keeps_its_order_and_control_does_not() {
    let (mut overtaken, mut repeated) = (0, 0);
    for seed in 0..50 {
        for lane in [Lane::Log, Lane::Snapshot, Lane::Control] {
            let links = Links { delay: ms(0, 50), duplicate: 0.2, ..Links::default() };
            let ((), traces) = run(seed, async {
                let lab = Lab::busy(links, Duration::from_millis(5)).await;
                let bodies: Vec<String> = (10..30).map(|number| number.to_string()).collect();
                join_all(bodies.iter().map(|body| lab.call(lane, body))).await;
                SimRuntime::sleep(SECOND).await;
                let mut begun = lab.begun();
                if lane == Lane::Control {
                    overtaken += u32::from(!begun.is_sorted());
                    return;
                }
                assert!(begun.is_sorted(), "seed {seed}: {begun:?}");
                begun.dedup();
                assert_eq!(begun, bodies, "seed {seed}");
                for pair in lab.served.lock().unwrap().chunks(2) {
                    let [begin, end] = pair else { panic!("seed {seed}: one has not ended") };
                    let same = begin.strip_prefix("begin ") == end.strip_prefix("end ");
                    assert!(same, "seed {seed}: {begin} and then {end}");
                }
            });
            repeated += u32::from(traces.reached.contains_key("network: duplicated"));
        }
    }
    assert_eq!(overtaken, 50);
    assert!(repeated > 120, "only {repeated} of 150 runs repeated a message");
}

#[test]
fn a_service_that_panics_does_not_hold_up_its_lane() {
    let (_, traces) = run(1, async {
        let lab = Lab::new(Links::default()).await;
        assert_eq!(reason(lab.call(Lane::Log, "panic").await), "lost: timed out");
        lab.call(Lane::Log, "next").await.unwrap();
    });
    assert_eq!(traces.panics.len(), 1);
    assert_eq!(traces.panics[0].0, 2, "it was host 2 that served");
}

#[test]
fn the_death_of_the_server_is_noticed_or_waited_for_and_nothing_stays_of_it() {
    let mut told = BTreeSet::new();
    for seed in 0..40 {
        run(seed, async {
            let lab = Lab::busy(Links::default(), SECOND * 1_000).await;
            let died = async {
                SimRuntime::sleep(Duration::from_millis(50)).await;
                world::kill(2);
                lab.network.unplug(2);
            };
            let (result, ()) = join(lab.call(Lane::Log, "a"), died).await;
            told.insert(reason(result));
            assert!(world::now() <= TIMEOUT, "seed {seed}: {:?}", world::now());
            assert_eq!(lab.served.lock().unwrap().as_slice(), ["begin a"]);
            assert_eq!(Arc::strong_count(&lab.served), 1, "the service is gone");

            // A new process finds the address free, and the lane is not held up by the old one.
            world::boot(2);
            let again = lab.network.node(2, "n2", &identity(2));
            let echo = Echo { served: lab.served.clone(), busy: Duration::ZERO };
            again.listen(Arc::new(echo)).await.unwrap();
            assert_eq!(lab.call(Lane::Log, "b").await.unwrap(), "b");
            let echo = Echo { served: lab.served.clone(), busy: Duration::ZERO };
            let refused = lab.server.listen(Arc::new(echo)).await.unwrap_err();
            assert!(refused.to_string().contains("closed"), "{refused}");
        });
    }
    let expected = ["lost: the connection broke", "lost: timed out"].map(String::from);
    assert_eq!(told, BTreeSet::from(expected));
}

#[test]
fn a_closed_plug_neither_sends_nor_serves() {
    run(1, async {
        let lab = Lab::busy(Links::default(), SECOND * 1_000).await;
        let soon = || SimRuntime::sleep(Duration::from_millis(50));
        let close = async {
            soon().await;
            lab.server.close();
        };
        let (result, ()) = join(lab.call(Lane::Log, "a"), close).await;
        assert_eq!(reason(result), "lost: the connection broke");
        soon().await;
        assert_eq!(Arc::strong_count(&lab.served), 1, "nothing is served any more");
        assert_eq!(reason(lab.call(Lane::Log, "b").await), "not sent: nobody listens");

        lab.network.slow(1, 2, ms(500, 600));
        let before = world::now();
        let close = async {
            soon().await;
            lab.caller.close();
        };
        let (result, ()) = join(lab.call(Lane::Log, "c"), close).await;
        assert_eq!(reason(result), "lost: the connection broke");
        assert_eq!(world::now() - before, Duration::from_millis(50), "at once");
        assert_eq!(reason(lab.call(Lane::Log, "d").await), "not sent: the transport is closed");
        assert_eq!(lab.begun(), ["a"]);
    });
}

#[test]
fn loss_ends_in_silence() {
    run(1, async {
        let lab = Lab::new(Links { loss: 1.0, ..Links::default() }).await;
        for round in 1..=5 {
            assert_eq!(reason(lab.call(Lane::Client, "a").await), "lost: timed out");
            assert_eq!(world::now(), TIMEOUT * round);
        }
        assert_eq!(lab.count(Mishap::Lost), 5);
        assert!(lab.begun().is_empty());
        lab.network.set_links(Links { loss: 0.5, ..lab.network.links() });
        let calls = (0..20).map(|_| lab.call(Lane::Client, "b"));
        let answered = join_all(calls).await.iter().filter(|result| result.is_ok()).count();
        assert!(answered < lab.begun().len() && lab.begun().len() < 20, "replies are lost too");
    });
}

#[test]
fn a_timeout_runs_on_the_callers_clock() {
    run(1, async {
        let lab = Lab::new(Links::default()).await;
        lab.network.cut_both(1, 2);
        world::set_clock_rate(1, 0.5);
        world::set_clock_rate(2, 3.0);
        assert_eq!(reason(lab.call(Lane::Client, "a").await), "lost: timed out");
        assert_eq!(world::now(), TIMEOUT * 2);
    });
}

#[test]
fn a_reset_loses_what_is_under_way_and_nothing_else() {
    run(1, async {
        let lab = Lab::busy(Links::default(), Duration::from_nanos(1)).await;
        lab.network.reset(1, 2);
        assert_eq!(lab.count(Mishap::Reset), 0, "nothing was under way");
        lab.network.slow(1, 2, ms(300, 301));
        let reset = async {
            SimRuntime::sleep(Duration::from_millis(50)).await;
            lab.network.reset(2, 1);
        };
        let (result, ()) = join(lab.call(Lane::Log, "a"), reset).await;
        assert_eq!(reason(result), "lost: the connection broke");
        assert_eq!(world::now(), Duration::from_millis(50), "at once");
        assert_eq!((lab.count(Mishap::Reset), lab.count(Mishap::Slow)), (1, 1));
        lab.network.hasten();
        lab.call(Lane::Log, "b").await.unwrap();
        assert_eq!(lab.begun(), ["a", "b"], "it was on its way, and keeps its place");
    });
}

/// Everything at once: what a run does is decided by its seed and by nothing else.
#[test]
fn one_seed_is_one_run() {
    let run_once = |seed| {
        let links = Links { delay: ms(0, 400), loss: 0.1, duplicate: 0.2, late: true };
        let (told, traces) = run(seed, async {
            let lab = Lab::busy(links, SECOND).await;
            let lanes = [Lane::Control, Lane::Log, Lane::Client];
            let calls = join_all((0..30).map(|at| lab.call(lanes[at % 3], "x")));
            let faults = async {
                SimRuntime::sleep(Duration::from_millis(200)).await;
                lab.network.cut(2, 1);
                SimRuntime::sleep(Duration::from_millis(200)).await;
                lab.network.heal();
                lab.network.reset(1, 2);
                world::kill(2);
                lab.network.unplug(2);
            };
            join(calls, faults).await.0
        });
        (told, traces.hash, traces.reached)
    };
    let hashes: BTreeSet<u64> = (0..20)
        .map(|seed| {
            let first = run_once(seed);
            assert_eq!(first, run_once(seed), "seed {seed}");
            first.1
        })
        .collect();
    assert_eq!(hashes.len(), 20, "each seed is another run");
}

#[test]
fn a_plan_survives_being_written_down() {
    let links = Links { delay: ms(1, 20), loss: 0.05, duplicate: 0.01, late: true };
    let written = serde_json::to_string(&links).unwrap();
    assert_eq!(serde_json::from_str::<Links>(&written).unwrap(), links, "{written}");
}
