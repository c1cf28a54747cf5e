//! What a node does for those who behave.
//!
//! Owns the tests of frames, lanes and slots on the serving side, and the measurement of calls per
//! second, which is run by hand.
//!
//! Does not: test what happens when a side fails; that is in `dialing` and `ending`.

use std::sync::atomic::AtomicBool;

use futures_util::future::join_all;

use super::{serve::SLOTS, *};
use crate::transport::Request;

/// Bodies of all sizes, ids and deadlines arrive on every lane as they were sent.
#[tokio::test]
async fn echo_on_each_lane() {
    let service = Serve(|request: Message, remaining: Duration| -> BoxFuture<'static, Message> {
        assert!((SECOND * 2..=LONG).contains(&remaining), "{remaining:?}");
        Box::pin(ready(Message { kind: Kind::Reply, ..request }))
    });
    let server = started(options(1), Arc::new(service)).await;
    let caller = TcpTransport::node(options(2));
    for lane in [Lane::Control, Lane::Log, Lane::Snapshot, Lane::Client] {
        for size in [0, 1, 1_000, 100_000, 1 << 20] {
            let sent = request(vec![7; size]);
            let reply = caller.call(&peer(&server), lane, sent.clone(), LONG).await.unwrap();
            assert_eq!(reply, Message { kind: Kind::Reply, ..sent }, "{lane:?} {size}");
        }
    }
    let large = request(vec![1; 20 << 20]);
    assert!(caller.call(&peer(&server), Lane::Log, large, LONG).await.is_ok());
}

/// Packets are not frames: guards against a reader that takes one for the other.
#[tokio::test]
async fn frames_share_packets_and_arrive_in_pieces() {
    let server = started(options(1), echo()).await;
    let mut bare = Bare::dial(&server, None, Lane::Client).await;
    let two = [frame(5, request("five")), frame(6, request("six"))].concat();
    bare.writer.write_all(&two).await.unwrap();
    let mut bodies = vec![bare.next().await.message.body, bare.next().await.message.body];
    bodies.sort();
    assert_eq!(bodies, ["five", "six"]);
    for byte in frame(7, request("in pieces")) {
        bare.writer.write_all(&[byte]).await.unwrap();
        TokioRuntime::sleep(Duration::from_micros(200)).await;
    }
    let reply = bare.next().await;
    assert_eq!((reply.call, &reply.message.body[..]), (7, &b"in pieces"[..]));
}

/// The in-order lanes serve in the order sent, one at a time, however long each request takes; on
/// the others a slow request holds up nobody.
#[tokio::test]
async fn in_order_lanes_are_in_order() {
    let (busy, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let service = {
        let (busy, seen) = (Arc::clone(&busy), Arc::clone(&seen));
        Serve(move |request: Message, _| -> BoxFuture<'static, Message> {
            let (busy, seen) = (Arc::clone(&busy), Arc::clone(&seen));
            Box::pin(async move {
                assert!(!busy.swap(true, SeqCst), "two at a time");
                seen.lock().unwrap().push(request.body[0]);
                TokioRuntime::sleep(Duration::from_micros(u64::from(request.body[0]) % 3 * 700))
                    .await;
                busy.store(false, SeqCst);
                Message { kind: Kind::Reply, ..request }
            })
        })
    };
    let server = started(options(1), Arc::new(service)).await;
    let (caller, to) = (TcpTransport::node(options(2)), peer(&server));
    for lane in [Lane::Log, Lane::Snapshot] {
        seen.lock().unwrap().clear();
        let calls = (0..100).map(|n| caller.call(&to, lane, request(vec![n; 4]), LONG));
        for (n, reply) in (0..100).zip(join_all(calls).await) {
            assert_eq!(reply.unwrap().body, vec![n; 4]);
        }
        assert_eq!(*seen.lock().unwrap(), (0..100).collect::<Vec<u8>>(), "{lane:?}");
    }
}

/// Guards against an old batch of entries that arrives behind a newer one: a caller that lost its
/// connection and made another must not be served on both.
#[tokio::test]
async fn order_holds_across_connections() {
    let held = Held::new();
    let server = started(options(1), held.clone()).await;
    let mut old = Bare::dial(&server, Some(2), Lane::Log).await;
    old.send(1, request("old, being served")).await;
    eventually("begun", || held.begun() == 1).await;
    old.send(2, request("old, waiting")).await;
    let mut new = Bare::dial(&server, Some(2), Lane::Log).await;
    new.send(1, request("new")).await;
    let mut other = Bare::dial(&server, Some(3), Lane::Log).await;
    other.send(1, request("of another node")).await;
    eventually("the other node does not wait", || held.begun() == 2).await;
    held.let_go(2);
    // The reply on the old connection may still arrive, or not: its caller has given it up.
    while let Ok(frame) = TokioRuntime::timeout(LONG, old.reader.next()).await.unwrap() {
        assert_eq!(frame.message.body, "old, being served");
    }
    held.let_go(1);
    assert_eq!(new.next().await.message.body, "new");
    assert_eq!(held.begun(), 3, "what waited on the old connection was not served");
}

/// A service that can do once for many what it does for each is given them together: those of a kind that were
/// read at once, and no others.
#[tokio::test]
async fn requests_of_a_kind_that_arrive_together_are_served_together() {
    struct Counts(Mutex<Vec<(Kind, usize)>>);
    impl Service for Counts {
        fn serve(&self, request: Message, _: Duration) -> BoxFuture<'static, Message> {
            self.0.lock().unwrap().push((request.kind, 1));
            Box::pin(ready(Message { kind: Kind::Reply, ..request }))
        }

        fn shares(&self, kind: Kind) -> bool {
            kind != Kind::Status
        }

        fn serve_together(&self, requests: Vec<Request>) -> BoxFuture<'static, ()> {
            self.0.lock().unwrap().push((requests[0].message.kind, requests.len()));
            for Request { message, answer, .. } in requests {
                answer(Message { kind: Kind::Reply, ..message });
            }
            Box::pin(ready(()))
        }
    }
    let counts = Arc::new(Counts(Mutex::default()));
    let server = started(options(1), counts.clone()).await;
    let mut client = Bare::dial(&server, None, Lane::Client).await;
    let (write, read, status) = (Kind::Propose, Kind::Read, Kind::Status);
    let kinds = [write, write, read, write, write, status, status];
    let frames = (0..).zip(kinds).map(|(call, kind)| frame(call, Message { kind, ..request("x") }));
    client.writer.write_all(&frames.collect::<Vec<_>>().concat()).await.unwrap();
    let mut calls = Vec::new();
    for _ in kinds {
        calls.push(client.next().await.call);
    }
    calls.sort_unstable();
    assert_eq!(calls, [0, 1, 2, 3, 4, 5, 6], "each is answered, once");
    let mut groups = std::mem::take(&mut *counts.0.lock().unwrap());
    groups.sort_unstable();
    assert_eq!(groups, [(write, 2), (write, 2), (read, 1), (status, 1), (status, 1)]);

    let mut node = Bare::dial(&server, Some(2), Lane::Log).await;
    let frames = (0..3).map(|call| frame(call, request("in order")));
    node.writer.write_all(&frames.collect::<Vec<_>>().concat()).await.unwrap();
    for call in 0..3 {
        assert_eq!(node.next().await.call, call);
    }
    assert_eq!(*counts.0.lock().unwrap(), [(Kind::Propose, 1); 3], "one after the other");
}

/// A slow request on a lane without order delays nobody on it.
#[tokio::test]
async fn control_and_client_serve_side_by_side() {
    let held = Held::new();
    let server = started(options(1), held.clone()).await;
    let (caller, to) = (TcpTransport::node(options(2)), peer(&server));
    for lane in [Lane::Control, Lane::Client] {
        let before = held.begun();
        let calls = join_all((0..50).map(|_| caller.call(&to, lane, request("x"), LONG)));
        let release = async {
            eventually("all begun", || held.begun() == before + 50).await;
            held.let_go(50);
        };
        let (replies, ()) = tokio::join!(calls, release);
        assert!(replies.iter().all(Result::is_ok));
    }
}

/// Guards against a caller that fills the node's memory with requests that are not answered yet: a
/// connection stops being read when its slots are taken, and goes on when they are free again.
#[tokio::test]
async fn a_connection_has_slots() {
    let held = Held::new();
    let server = started(options(1), held.clone()).await;
    let mut bare = Bare::dial(&server, None, Lane::Client).await;
    let slots = SLOTS as usize;
    for call in 0..SLOTS + 500 {
        bare.send(u64::from(call), request("x")).await;
    }
    eventually("slots taken", || held.begun() == slots).await;
    TokioRuntime::sleep(Duration::from_millis(50)).await;
    assert_eq!(held.begun(), slots);
    held.let_go(slots + 500);
    let mut calls = Vec::new();
    for _ in 0..slots + 500 {
        calls.push(bare.next().await.call);
    }
    calls.sort_unstable();
    assert!(calls.into_iter().eq(0..u64::from(SLOTS + 500)));
}

/// Size counts as well as number: sixteen requests of 1 MiB fill the connection's 16 MiB.
#[tokio::test]
async fn large_requests_take_more_slots() {
    let held = Held::new();
    let server = started(options(1), held.clone()).await;
    let (caller, to) = (client(), peer(&server));
    let calls =
        join_all((0..40).map(|_| caller.call(&to, Lane::Client, request(vec![0; 1 << 20]), LONG)));
    let release = async {
        eventually("as many as fit", || held.begun() == 15).await;
        TokioRuntime::sleep(Duration::from_millis(50)).await;
        assert_eq!(held.begun(), 15);
        held.let_go(40);
    };
    let (replies, ()) = tokio::join!(calls, release);
    assert!(replies.iter().all(Result::is_ok));
}
