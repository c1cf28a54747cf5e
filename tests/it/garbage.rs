//! Whatever arrives at a node, the worst it does is to be refused.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use sixbells::{
    Config,
    runtime::TokioRuntime,
    transport::{Kind, Lane, Message, Peer},
};

use crate::cluster::{Cluster, addr};

async fn send(cluster: &Cluster, to: u64, kind: Kind, body: Vec<u8>) -> Message {
    let client = cluster.network.client::<TokioRuntime>("client", "sixbells");
    let peer = Peer { addr: addr(to), node: Some(to), disk: None };
    let request = Message { kind, request: 42, body: body.into() };
    let wait = Duration::from_secs(5);
    client.call(&peer, Lane::Client, request, wait).await.expect("every request is answered")
}

/// Replies are a `Result`: the first four bytes are 0 for `Ok`.
fn is_ok(reply: &Message) -> bool {
    reply.kind == Kind::Reply && reply.body.starts_with(&[0, 0, 0, 0])
}

async fn unharmed(cluster: &Cluster, before: i64) {
    for id in 1..=3 {
        let status = cluster.status(id);
        assert_eq!((status.fault.clone(), status.voters.len()), (None, 3), "{status}");
    }
    assert_eq!(cluster.add(1, 7, 1).await, Ok(before + 1));
    assert_eq!(cluster.agree(7).await, before + 1);
}

/// Random bytes of every length and kind. Kinds without a body are answered; the others are refused,
/// every time, and the cluster goes on as if nothing had been.
#[tokio::test(start_paused = true)]
async fn random_bodies_of_every_kind_are_refused() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let term = cluster.status(leader).term;
    for seed in 1..=3_u64 {
        let mut rng = StdRng::seed_from_u64(seed);
        for kind in Kind::ALL {
            for _ in 0..40 {
                let mut body = vec![0; rng.random_range(0..200)];
                rng.fill_bytes(&mut body);
                // Not by chance what it would have to be: no body starts with format, flag and tag 0.
                if let Some(first) = body.first_mut() {
                    *first |= 0x80;
                }
                let reply = send(&cluster, rng.random_range(1..=3), kind, body.clone()).await;
                let bodiless = matches!(kind, Kind::Probe | Kind::Status | Kind::ReadIndex);
                let query = body.len() == 8 && matches!(kind, Kind::Read | Kind::ReadLocal);
                assert!(bodiless || query || !is_ok(&reply), "seed {seed}: {kind:?} {body:?}");
            }
        }
        unharmed(&cluster, i64::try_from(seed).unwrap() - 1).await;
    }
    assert_eq!((cluster.leader().await, cluster.status(leader).term), (leader, term));
}

/// A proposal as it is laid out on the wire, of session `session`, with these bytes as command.
fn proposal(kind: u8, words: [u64; 3], command: &[u8]) -> Vec<u8> {
    let mut body = vec![1, kind];
    body.extend_from_slice(&77_u128.to_le_bytes());
    words.iter().for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
    body.extend_from_slice(command);
    body
}

/// `Command::Add(7, n)` as the machine's codec writes it.
fn add(n: i64) -> Vec<u8> {
    [&0_u32.to_le_bytes()[..], &7_u64.to_le_bytes(), &n.to_le_bytes()].concat()
}

/// Every cut of a good proposal, every other format and kind, and commands that are none of this
/// machine's. Were one of them logged, every node would stop on it.
#[tokio::test(start_paused = true)]
async fn no_bad_proposal_reaches_the_log() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 7, 1).await.unwrap();
    let good = proposal(2, [9, 3, 0], &[b"key", &add(1)[..]].concat());
    let before = cluster.status(leader).last_log_index;
    for cut in 0..good.len() {
        assert!(
            !is_ok(&send(&cluster, leader, Kind::Propose, good[..cut].to_vec()).await),
            "{cut}"
        );
    }
    let longer = [&good[..], b"?"].concat();
    assert!(!is_ok(&send(&cluster, leader, Kind::Propose, longer).await));
    for (at, byte) in [(0, 0), (0, 2), (1, 3), (1, 255), (26, 255), (33, 255)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(!is_ok(&send(&cluster, leader, Kind::Propose, bad).await), "{byte} at {at}");
    }
    assert_eq!(cluster.status(leader).last_log_index, before, "nothing of it was logged");
    assert!(is_ok(&send(&cluster, leader, Kind::Propose, good).await), "the good one is good");
    unharmed(&cluster, 2).await;
}

/// Nobody waits for an answer whose deadline has passed: to carry the command out all the same would
/// only delay those behind it. So it is dropped before it is logged.
#[tokio::test(start_paused = true)]
async fn work_that_has_expired_is_not_proposed() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 7, 1).await.unwrap();
    let before = cluster.status(leader).last_log_index;
    let good = proposal(2, [9, 3, 0], &[b"key", &add(1)[..]].concat());
    let client = cluster.network.client::<TokioRuntime>("client", "sixbells");
    let request = Message { kind: Kind::Propose, request: 1, body: good.clone().into() };
    let to = Peer { addr: addr(leader), node: None, disk: None };
    let late = client.call(&to, Lane::Client, request, Duration::ZERO).await;
    assert!(late.is_err() || !is_ok(&late.unwrap()));
    crate::cluster::pass(1).await;
    assert_eq!(cluster.status(leader).last_log_index, before, "it was logged");
    assert!(
        is_ok(&send(&cluster, leader, Kind::Propose, good).await),
        "in time, it is carried out"
    );
}

/// Well-formed, but of a session that nobody opened, or with numbers at the end of the range: refused
/// or answered, never applied twice, and no node overflows.
#[tokio::test(start_paused = true)]
async fn wild_numbers_in_a_proposal_harm_nobody_else() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 7, 1).await.unwrap();
    for words in [[u64::MAX; 3], [0; 3], [12_345, 1, 0], [u64::MAX, 0, u64::MAX]] {
        send(&cluster, leader, Kind::Propose, proposal(1, words, &add(1_000))).await;
    }
    for words in [[u64::MAX; 3], [0; 3]] {
        send(&cluster, leader, Kind::Propose, proposal(0, words, &[])).await;
    }
    let status = cluster.status(leader);
    assert_eq!(status.fault, None, "{status}");
    // A sender that wants no session kept is not heard: the leader's own limit holds.
    assert_eq!(cluster.add(leader, 7, 1).await, Ok(2));
    assert_eq!(cluster.agree(7).await, 2);
}

/// Pieces of a snapshot that never was: out of order, beyond its end, empty, of a sender nobody knows.
#[tokio::test(start_paused = true)]
async fn pieces_of_no_snapshot_are_refused() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let counted = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    for (from, offset, total, bytes, taken) in [
        (1, 5, 10, &b"abcde"[..], false),
        (99, 0, 3, b"abc", true),
        (99, 3, 3, b"", false),
        (98, 0, 0, b"", false),
        (97, u64::MAX, u64::MAX, b"", false),
        (97, 0, 1, b"much more than was announced", true),
        (97, 1, 1, b"", false),
    ] {
        let vote = [&9_u64.to_le_bytes()[..], &[1], &u64::to_le_bytes(from), &[1]].concat();
        let mut body = u64::to_le_bytes(from).to_vec();
        body.extend(counted(&vote));
        body.extend(u64::to_le_bytes(offset));
        body.extend(u64::to_le_bytes(total));
        body.extend(counted(bytes));
        let reply = send(&cluster, follower, Kind::Snapshot, body).await;
        assert_eq!(is_ok(&reply), taken, "{from} {offset} {total}: {reply:?}");
    }
    assert_eq!(cluster.status(follower).snapshot, None, "nothing was installed");
    unharmed(&cluster, 0).await;
}
