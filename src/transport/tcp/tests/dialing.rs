//! What a caller learns: a reply, `NotSent` or `Lost`, and never the wrong one.
//!
//! Owns the tests of the handshake, the queue, timeouts and broken connections on the dialing side.
//!
//! Invariant: whatever asserts `NotSent` knows that the other side has not seen the request, for
//! commands are sent again on that word alone.

use futures_util::future::join_all;

use super::{calls::QUEUED_MAX, *};

/// An address proves nothing: whoever answers there is asked who it is.
#[tokio::test]
async fn only_the_peer_that_was_meant_is_called() {
    let held = Held::new();
    let server = started(options(3), held.clone()).await;
    let to = peer(&server);
    let stranger = TcpTransport::client("whistles".into());
    let reason = not_sent(stranger.call(&to, Lane::Client, request("x"), LONG).await);
    assert_eq!(reason, "refused: this is cluster \"bells\", not \"whistles\"");
    let caller = TcpTransport::node(options(2));
    let other = Peer { node: Some(4), ..to.clone() };
    let reason = not_sent(caller.call(&other, Lane::Log, request("x"), LONG).await);
    assert_eq!(reason, "refused: this is node 3, not node 4");
    let replaced = Peer { disk: Some(299), ..to.clone() };
    let error = caller.call(&replaced, Lane::Log, request("x"), LONG).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("node 3 has another disk than the membership says"), "{text}");
    assert!(text.contains("its data was lost; replace it under a new id"), "{text}");
    assert!(matches!(error, CallError::NotSent { .. }), "{error:?}");
    assert_eq!(held.begun(), 0);
    let anybody = Peer { node: None, disk: None, ..to };
    held.let_go(1);
    assert!(caller.call(&anybody, Lane::Log, request("x"), LONG).await.is_ok());
}

/// Nor is the other side trusted to compare: a `Welcome` under other ids is not accepted.
#[tokio::test]
async fn a_welcome_of_somebody_else_is_not_accepted() {
    let (listener, addr) = listener().await;
    let (caller, to) = (client(), peer_at(addr, 1));
    let accept = async { Bare::accept(&listener, 9).await };
    let (reply, _bare) = tokio::join!(caller.call(&to, Lane::Client, request("x"), LONG), accept);
    let reason = not_sent(reply);
    assert!(reason.contains("but this is node 9, not node 1"), "{reason}");
}

#[tokio::test]
async fn replies_in_any_order_find_their_callers() {
    let (listener, addr) = listener().await;
    let (caller, to) = (client(), peer_at(addr, 1));
    let calls =
        join_all((0..20_u8).map(|n| caller.call(&to, Lane::Client, request(vec![n]), LONG)));
    let serve = async {
        let mut bare = Bare::accept(&listener, 1).await;
        let mut frames = Vec::new();
        for _ in 0..20 {
            frames.push(bare.next().await);
        }
        for frame in frames.into_iter().rev() {
            bare.send(frame.call, frame.message).await;
        }
        bare
    };
    let (replies, _bare) = tokio::join!(calls, serve);
    for (n, reply) in (0..20_u8).zip(replies) {
        assert_eq!(reply.unwrap().body, vec![n]);
    }
}

/// Nobody listens: definitely not sent, at once, and again at once while the link pauses.
#[tokio::test]
async fn nobody_there_is_not_sent() {
    let (listener, addr) = listener().await;
    drop(listener);
    let (caller, to) = (client(), peer_at(addr, 1));
    for _ in 0..20 {
        let reason = not_sent(caller.call(&to, Lane::Client, request("x"), LONG).await);
        assert!(reason.starts_with("cannot connect"), "{reason}");
    }
}

/// The peer dies while it serves: it may have happened.
#[tokio::test]
async fn a_connection_that_breaks_mid_call_is_lost() {
    let (listener, addr) = listener().await;
    let (caller, to) = (client(), peer_at(addr, 1));
    let die = async {
        let mut bare = Bare::accept(&listener, 1).await;
        bare.next().await
    };
    let (reply, _) = tokio::join!(caller.call(&to, Lane::Client, request("x"), LONG), die);
    assert_eq!(lost(reply), "closed by the other side");
}

/// No answer in time is `Lost`; when it comes after all it is not taken for another's.
#[tokio::test]
async fn a_timeout_is_lost_and_a_late_reply_is_nobodys() {
    let (listener, addr) = listener().await;
    let (caller, to) = (client(), peer_at(addr, 1));
    let short = Duration::from_millis(100);
    let serve = async {
        let mut bare = Bare::accept(&listener, 1).await;
        let late = bare.next().await;
        let second = bare.next().await;
        bare.send(late.call, request("late")).await;
        bare.send(second.call, request("second")).await;
        bare
    };
    let calls = async {
        let first = caller.call(&to, Lane::Client, request("1"), short).await;
        assert_eq!(lost(first), "timed out after 100ms");
        caller.call(&to, Lane::Client, request("2"), LONG).await
    };
    let (reply, _bare) = tokio::join!(calls, serve);
    assert_eq!(reply.unwrap().body, "second");
}

/// The network swallows everything, without a reset: the connection is given up after a second of
/// silence, so that the next call does not wait for TCP to try again.
#[tokio::test]
async fn a_silent_connection_is_replaced() {
    let (listener, addr) = listener().await;
    let (caller, to) = (client(), peer_at(addr, 1));
    let serve = async {
        let silent = Bare::accept(&listener, 1).await;
        let mut healed = Bare::accept(&listener, 1).await;
        loop {
            let frame = healed.next().await;
            healed.send(frame.call, frame.message).await;
            if frame.call > 100 {
                return silent;
            }
        }
    };
    let calls = async {
        let watch = Stopwatch::start();
        loop {
            let call = caller.call(&to, Lane::Client, request("x"), Duration::from_millis(300));
            match call.await {
                Ok(_) => return watch.seconds(),
                Err(CallError::Lost { .. }) => {}
                Err(CallError::NotSent { .. }) => TokioRuntime::sleep(SECOND / 100).await,
            }
        }
    };
    let took = tokio::select! {
        biased;
        took = TokioRuntime::timeout(LONG, calls) => took.unwrap(),
        _ = serve => unreachable!(),
    };
    assert!((1.0..10.0).contains(&took), "{took} s");
}

/// A slow peer that answers others is not silent: guards against a slow request that costs everybody
/// the connection.
#[tokio::test]
async fn a_slow_request_does_not_break_a_busy_connection() {
    let (listener, addr) = listener().await;
    let (caller, to) = (client(), peer_at(addr, 1));
    let serve = async {
        let mut bare = Bare::accept(&listener, 1).await;
        loop {
            let frame = bare.next().await;
            if frame.message.body != "slow" {
                bare.send(frame.call, frame.message).await;
            }
        }
    };
    let slow = caller.call(&to, Lane::Client, request("slow"), Duration::from_millis(1_500));
    let busy = async {
        for _ in 0..50 {
            caller.call(&to, Lane::Client, request("quick"), LONG).await.unwrap();
            TokioRuntime::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        (slow, ()) = async { tokio::join!(slow, busy) } => {
            assert_eq!(lost(slow), "timed out after 1.5s");
        }
        () = serve => {}
    }
}

/// Guards against callers that pile up before a peer that does not answer.
#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let (listener, addr) = listener().await;
    let (caller, to) = (Arc::new(client()), peer_at(addr, 1));
    let waiting = (0..QUEUED_MAX).map(|_| {
        let (caller, to) = (Arc::clone(&caller), to.clone());
        TokioRuntime::spawn(async move { caller.call(&to, Lane::Client, request("x"), LONG).await })
    });
    let waiting: Vec<_> = waiting.collect();
    let link = caller.link(&to, Lane::Client).unwrap();
    eventually("queue full", || link.queued() == QUEUED_MAX).await;
    let reason = not_sent(caller.call(&to, Lane::Client, request("x"), LONG).await);
    assert_eq!(reason, "queue full");
    let other_lane = caller.call(&to, Lane::Control, request("x"), Duration::from_millis(10));
    assert_eq!(not_sent(other_lane.await), "could not be sent within 10ms");
    caller.close();
    for waiting in waiting {
        assert_eq!(not_sent(waiting.await.unwrap()), "the transport was closed");
    }
    drop(listener);
}

/// Bytes count too: two of the longest frames fill the queue.
#[tokio::test]
async fn a_queue_is_full_by_bytes() {
    let (_listener, addr) = listener().await;
    let (caller, to) = (client(), peer_at(addr, 1));
    let body = Bytes::from(vec![0; FRAME_BYTES_MAX - HEADER_BYTES]);
    let call = || caller.call(&to, Lane::Snapshot, request(body.clone()), SECOND);
    let [first, second, third] = [call(), call(), call()];
    let (first, second, third) = tokio::join!(first, second, third);
    assert_eq!(not_sent(first), "could not be sent within 1s");
    assert_eq!(not_sent(second), "could not be sent within 1s");
    assert_eq!(not_sent(third), "queue full");
    let over = request(vec![0; FRAME_BYTES_MAX]);
    assert!(not_sent(caller.call(&to, Lane::Log, over, SECOND).await).contains("a frame of"));
}

/// A node is dialled where its route says, and must still be itself.
#[tokio::test]
async fn routes_override_addresses() {
    let server = started(options(1), echo()).await;
    let addr = server.local_addr().unwrap().to_string();
    let routes = BTreeMap::from([(1, addr)]);
    let caller = TcpTransport::node(NodeOptions { routes, ..options(2) });
    let to = Peer { addr: "nowhere.invalid:1".into(), node: Some(1), disk: Some(100) };
    assert!(caller.call(&to, Lane::Log, request("x"), LONG).await.is_ok());
}
