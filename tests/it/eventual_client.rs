//! The client in eventual mode: it goes from node to node, and takes its own order along.

use std::{sync::Arc, time::Duration};

use sixbells::{
    ClientConfig, Config, Doors, Error, EventualStatus, Mode, Node, Token, runtime::TokioRuntime,
};

use crate::{
    cluster::Remains,
    trio::{ADDRS, Account, IDS, Trio},
};

/// Gives a node up after what is long for a network in memory, also on a busy machine.
fn eventual() -> ClientConfig {
    let (mode, attempt_timeout) = (Mode::Eventual, Duration::from_millis(500));
    ClientConfig { mode, attempt_timeout, ..ClientConfig::default() }
}

/// All nodes accept, and their clocks are near each other.
async fn ready(trio: &Trio) {
    for id in IDS {
        trio.pay(id, 0).await.unwrap();
    }
    trio.agree().await;
}

/// A client pays at node 1, hears that it went well, and pays at node 2, whose clock is behind. Its
/// second payment says that nobody will ask for the first one again. Were it stamped before the first,
/// in the final order the first would be one that nobody asks for, and an acknowledged payment be gone.
#[tokio::test]
async fn a_client_that_moves_to_a_node_whose_clock_is_behind_loses_nothing() {
    let trio = Trio::start_with_a_late_clock().await;
    ready(&trio).await;
    let client = trio.client("client", eventual(), &ADDRS[..2]);
    assert_eq!(client.write(1).await, Ok(Ok(99)));
    trio.agree().await;
    trio.network.isolate("a:1", &ADDRS[1..]);
    assert_eq!(client.write(10).await, Ok(Ok(89)));
    trio.network.isolate("a:1", &["client"]);
    assert_eq!(client.write(20).await, Ok(Ok(79)), "node 2 knows nothing of the 10");
    trio.network.heal();
    trio.agree_on(69).await;
}

/// The node where a client opened its session is gone before any other has heard of it. A command under
/// that session is not accepted elsewhere: it would not be carried out there, be sent again under another
/// session, and be carried out a second time once its own is heard of.
#[tokio::test]
async fn a_session_that_died_with_its_node_is_replaced() {
    let mut trio = Trio::start(Config::default()).await;
    ready(&trio).await;
    trio.network.isolate("a:1", &ADDRS[1..]);
    let client = trio.client("client", eventual(), &ADDRS);
    assert_eq!(client.write(10).await, Ok(Ok(90)));
    trio.nodes.remove(&1).unwrap().shutdown().await;
    assert_eq!(client.write(20).await, Ok(Ok(80)));
    assert_eq!(client.write(20).await, Ok(Ok(60)));
    assert_eq!(client.read(()).await, Ok(60));
    trio.network.heal();
    trio.start_node(1).await;
    trio.agree_on(50).await;
}

/// The reply is lost, and the client asks another node: two operations, one effect.
#[tokio::test]
async fn a_retry_elsewhere_is_one_effect() {
    let trio = Trio::start(Config::default()).await;
    ready(&trio).await;
    let client = trio.client("client", eventual(), &ADDRS);
    assert_eq!(client.write(1).await, Ok(Ok(99)));
    trio.agree().await;
    trio.network.isolate("a:1", &ADDRS[1..]);
    trio.network.cut("a:1", "client");
    assert_eq!(client.write(10).await, Ok(Ok(89)), "from node 2");
    assert_eq!(trio.funds(1).await, 89, "node 1 has it, too");
    trio.network.heal();
    trio.agree_on(89).await;
}

/// The same, but no other node has heard of the session: under another one the payment could be a second.
/// So nobody knows, and the client says that.
#[tokio::test]
async fn a_lost_reply_is_not_made_up_for_under_another_session() {
    let trio = Trio::start(Config::default()).await;
    ready(&trio).await;
    trio.network.isolate("a:1", &ADDRS[1..]);
    let config = ClientConfig { deadline: Duration::from_secs(2), ..eventual() };
    let client = trio.client("client", config, &ADDRS);
    assert_eq!(client.write(1).await, Ok(Ok(99)));
    trio.network.cut("a:1", "client");
    let unknown = client.write(10).await.unwrap_err();
    assert!(matches!(unknown, Error::Unknown(_)), "{unknown}");
    trio.network.heal();
    trio.agree().await;
    assert_eq!(trio.funds(2).await, 89, "this time it was carried out");
}

/// A node that has stopped is still there to say so.
#[tokio::test]
async fn a_node_that_has_stopped_is_passed_over() {
    let trio = Trio::start(Config::default()).await;
    ready(&trio).await;
    let client = trio.client("client", eventual(), &ADDRS);
    assert_eq!(client.write(1).await, Ok(Ok(99)));
    trio.agree().await;
    trio.remains[&1].log.fail_next_sync();
    assert!(trio.nodes[&1].handle().write(50).await.is_err());
    trio.nodes[&1].stopped().await;
    assert_eq!(client.write(1).await, Ok(Ok(98)));
    assert_eq!(client.read(()).await, Ok(98));
}

/// A session over the network, from a node to another that lacks what it has seen: it is told so, and
/// with another node to ask, it is answered by that one.
#[tokio::test]
async fn a_session_goes_where_its_writes_are() {
    let trio = Trio::start(Config::default()).await;
    ready(&trio).await;
    trio.network.isolate("c:3", &ADDRS[..2]);
    let mut session = trio.client("here", eventual(), &ADDRS[..1]).session(Token::default());
    assert_eq!(session.write(20).await, Ok(Ok(80)));
    assert_eq!(session.read(()).await, Ok(80));

    let config = ClientConfig { deadline: Duration::from_secs(2), ..eventual() };
    let there = trio.client("there", config, &ADDRS[2..]);
    assert_eq!(there.read(()).await, Ok(100), "without the token");
    let mut lacking = there.session(session.token().clone());
    let missing = lacking.read(()).await.unwrap_err();
    assert!(matches!(missing, Error::NotYet(_)), "{missing}");
    assert!(matches!(lacking.write(1).await, Err(Error::NotYet(_))), "a definite error");

    let both = trio.client("both", eventual(), &["c:3", "b:2"]);
    let mut elsewhere = both.session(session.token().clone());
    assert_eq!(elsewhere.read(()).await, Ok(80), "node 2 answers");
    assert_eq!(elsewhere.write(30).await, Ok(Ok(50)));
    trio.network.heal();
    let mut back = trio.nodes[&3].session(elsewhere.token().clone());
    assert_eq!(back.read(()).await, Ok(50));
    trio.agree().await;
    assert_eq!(there.read_stable(()).await, Ok(50));
    let status = there.eventual_status().await.unwrap();
    assert_eq!((status.id, status.tentative), (3, 0));
    assert_eq!(there.eventual_status_of("a:1").await.unwrap().id, 1);
    assert_eq!(there.eventual_status().await.unwrap().id, 3, "to look at another changes nothing");
}

/// A web service keeps its user's token in a cookie, and its operators look at a status as JSON, where
/// the key of a map has to be a string.
#[tokio::test]
async fn a_token_and_a_status_can_be_written_as_json() {
    let trio = Trio::start(Config::default()).await;
    ready(&trio).await;
    let mut session = trio.nodes[&1].session(Token::default());
    session.read(()).await.unwrap();
    let text = serde_json::to_string(session.token()).unwrap();
    assert_eq!(serde_json::from_str::<Token>(&text).unwrap(), *session.token());
    let status = trio.nodes[&1].status();
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<EventualStatus>(&text).unwrap(), status);
}

/// Who is asked in the wrong mode would promise what it cannot keep, or keep less than is believed.
#[tokio::test]
async fn a_client_of_the_other_mode_is_refused() {
    fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
        match answer.unwrap_err() {
            Error::Refused(reason) => reason,
            other => panic!("{other}"),
        }
    }
    let trio = Trio::start(Config::default()).await;
    ready(&trio).await;
    let strong = trio.client("strong", ClientConfig::default(), &ADDRS);
    for said in [refused(strong.write(1).await), refused(strong.read(()).await)] {
        assert!(said.contains("set ClientConfig::mode to eventual"), "{said}");
    }
    assert!(refused(strong.status().await).contains("eventual_status"));
    assert!(refused(strong.read_stable(()).await).contains("ClientConfig::mode"));
    assert!(
        refused(strong.session(Token::default()).read(()).await).contains("ClientConfig::mode")
    );
    assert_eq!(strong.read_local(()).await, Ok(100), "what may be old anyway, anyone may ask");

    let (network, remains) = (trio.network.clone(), Remains::default());
    let doors = Doors {
        disk: Arc::new(remains.disk),
        log: Arc::new(remains.log),
        transport: Box::new(move |who| network.node::<TokioRuntime>("strong:1", who)),
    };
    let builder = Node::<Account>::builder(1).peers([(1, "strong:1")]);
    let node = builder.start_with::<TokioRuntime>(doors).await.unwrap();
    node.handle().write(1).await.unwrap().unwrap();
    let client = trio.client("eventual", eventual(), &["strong:1"]);
    let mut session = client.session(Token::default());
    for said in [
        refused(client.write(1).await),
        refused(session.write(1).await),
        refused(session.read(()).await),
        refused(client.read_stable(()).await),
    ] {
        assert!(said.contains("set ClientConfig::mode to strong"), "{said}");
    }
    assert!(refused(client.eventual_status().await).contains("strong mode: ask for its status"));
    assert_eq!(client.read(()).await, Ok(99), "it promises nothing, so anyone may answer");
    assert_eq!(client.status().await.unwrap().id, 1);
}
