//! How things end: restarts, close, and nothing left behind.
//!
//! Owns the tests of what is left after a side has closed, dropped out, gone unused or been cancelled.
//!
//! Invariant: tasks are counted, not guessed: a test ends only when none is left that should not be.

use super::*;

/// A node that comes back on the same port is found again, by links that were up and by new ones.
#[tokio::test]
async fn a_restarted_node_is_found_again() {
    let mut server = started(options(1), echo()).await;
    let (caller, to) = (client(), peer(&server));
    for _ in 0..5 {
        eventually_called(&caller, &to, Lane::Client).await;
        server.close();
        server.closed().await;
        let down = caller.call(&to, Lane::Client, request("x"), SECOND).await;
        assert!(down.is_err());
        server = started(NodeOptions { listen: to.addr.clone(), ..options(1) }, echo()).await;
    }
}

/// `close` ends calls under way, frees the port and leaves no task, on both sides.
#[tokio::test]
async fn close_leaves_nothing() {
    let held = Held::new();
    let server = started(options(1), held.clone()).await;
    let (caller, to) = (Arc::new(client()), peer(&server));
    let calls = [Lane::Control, Lane::Log, Lane::Client].map(|lane| {
        let (caller, to) = (Arc::clone(&caller), to.clone());
        TokioRuntime::spawn(async move { caller.call(&to, lane, request("x"), LONG).await })
    });
    eventually("begun", || held.begun() == 3).await;
    caller.close();
    for call in calls {
        assert_eq!(lost(call.await.unwrap()), "the transport was closed");
    }
    caller.closed().await;
    let after = caller.call(&to, Lane::Control, request("x"), LONG).await;
    assert_eq!(not_sent(after), "the transport is closed");
    server.close();
    server.closed().await;
    assert_eq!((caller.tasks.alive(), server.tasks.alive()), (0, 0));
    assert_eq!(Arc::strong_count(&held), 1, "the service is let go");
    drop(TcpListener::bind(&to.addr).await.unwrap());
}

/// A server that closes makes its callers' calls `Lost`, and dropping is closing.
#[tokio::test]
async fn a_dropped_node_loses_its_callers() {
    let held = Held::new();
    let server = started(options(1), held.clone()).await;
    let (caller, to) = (client(), peer(&server));
    let call = caller.call(&to, Lane::Client, request("x"), LONG);
    let stop = async {
        eventually("begun", || held.begun() == 1).await;
        drop(server);
    };
    let (reply, ()) = tokio::join!(call, stop);
    lost(reply);
    eventually("service let go", || Arc::strong_count(&held) == 1).await;
}

/// Peers that are gone cost nothing in the end; a link that ended is made again on demand.
#[tokio::test]
async fn unused_links_end() {
    let server = started(options(1), echo()).await;
    let mut caller = client();
    caller.unused_max = Some(Duration::from_millis(50));
    let to = peer(&server);
    for _ in 0..3 {
        for lane in [Lane::Client, Lane::Control] {
            assert!(caller.call(&to, lane, request("x"), LONG).await.is_ok());
        }
        eventually("no link", || caller.links.lock().is_empty()).await;
        eventually("no task", || caller.tasks.alive() == 0).await;
        eventually("only the accept loop", || server.tasks.alive() == 1).await;
    }
}

/// Callers race a link that ends all the time: nobody may fall between an old link and a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_between_two_links() {
    let server = started(options(1), echo()).await;
    let mut caller = client();
    caller.unused_max = Some(Duration::from_millis(1));
    let to = peer(&server);
    for _ in 0..300 {
        caller.call(&to, Lane::Client, request("x"), LONG).await.unwrap();
        let pause = Duration::from_micros(TokioRuntime::random_below(4_000));
        TokioRuntime::sleep(pause).await;
    }
}

/// A caller that goes away leaves no call behind, whether it was sent or not.
#[tokio::test]
async fn cancelled_calls_leave_nothing() {
    let held = Held::new();
    let server = started(options(1), held.clone()).await;
    let (caller, to) = (client(), peer(&server));
    for _ in 0..10 {
        let call = caller.call(&to, Lane::Client, request("x"), LONG);
        assert!(TokioRuntime::timeout(SECOND / 20, call).await.is_err());
    }
    assert!(caller.link(&to, Lane::Client).unwrap().is_unused());
}

/// Clients do not listen, and nobody listens twice.
#[tokio::test]
async fn listening_is_for_nodes_and_once() {
    let refused = client().listen(echo()).await.unwrap_err().to_string();
    assert!(refused.contains("a client does not listen"), "{refused}");
    let server = started(options(1), echo()).await;
    let again = server.listen(echo()).await.unwrap_err().to_string();
    assert!(again.contains("already listening"), "{again}");
    let taken = NodeOptions { listen: peer(&server).addr, ..options(2) };
    let taken = TcpTransport::node(taken).listen(echo()).await.unwrap_err();
    assert!(matches!(taken, StartError::Bind { .. }), "{taken}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client is shared by runtimes, and links live where the first call was made. Once that runtime was gone, a call
/// asked for a new link again and again without a pause, and no timeout ended it.
#[test]
fn a_call_ends_though_the_runtime_of_the_links_has_ended() {
    let (first, second) = (runtime(), runtime());
    let server = second.block_on(started(options(1), echo()));
    let (caller, to) = (Arc::new(client()), peer(&server));
    let mut call = {
        let (caller, to) = (Arc::clone(&caller), to.clone());
        Box::pin(async move { caller.call(&to, Lane::Client, request("x"), SECOND).await })
    };
    // Far enough for the link's task to be there.
    first.block_on(async { drop(TokioRuntime::timeout(SECOND / 10, &mut call).await) });
    drop((call, first));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let call = runtime().block_on(caller.call(&to, Lane::Client, request("x"), SECOND));
        tell.send(call).unwrap();
    });
    let call = told.recv_timeout(10 * SECOND).expect("the call does not end");
    assert!(matches!(call, Err(CallError::NotSent { .. })), "{call:?}");
}

/// The first runtime lives, but its thread does something else.
#[test]
fn a_call_keeps_its_time_though_the_runtime_of_the_links_stands_still() {
    let (first, second) = (runtime(), runtime());
    let server = second.block_on(started(options(1), echo()));
    let (caller, to) = (client(), peer(&server));
    let early = caller.call(&to, Lane::Client, request("x"), SECOND);
    first.block_on(async { drop(TokioRuntime::timeout(SECOND / 10, early).await) });
    let call = caller.call(&to, Lane::Client, request("x"), SECOND);
    let call = second.block_on(async { TokioRuntime::timeout(10 * SECOND, call).await });
    assert_eq!(lost(call.expect("the call does not end")), "timed out after 1s");
}
