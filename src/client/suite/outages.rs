//! Stories of outages: who is asked next, how soon, how often, and when to give up.
//!
//! Each guards a way in which a client could miss a node that is well, or trouble one that is not.

use futures_util::future::join_all;

use super::*;

/// The node listed first is down. Nobody should wait for a pause before the others are tried, nor
/// pay for the failed call for ever.
#[tokio::test(start_paused = true)]
async fn the_first_round_does_not_pause_and_the_dead_are_passed_over() {
    let net = Net::new(|sent| if sent.to == "c" { Fate::Serve } else { Fate::NotSent });
    let client = net.client();
    assert_eq!(client.read(()).await, Ok(0));
    assert_eq!(
        (net.went_to(0), net.elapsed()),
        (["a", "b", "c"].map(str::to_owned).to_vec(), ms(1))
    );
    for _ in 0..2 {
        client.read(()).await.unwrap();
    }
    let before = net.sent().len();
    client.read(()).await.unwrap();
    assert_eq!(net.went_to(before), ["c"]);
}

/// Everybody was down, and so every breaker is open. When one comes back, it is found.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_comes_back_is_found_again() {
    let net = Net::new(|sent| if sent.at < ms(60_000) { Fate::NotSent } else { Fate::Serve });
    let client = net.client();
    while net.elapsed() < ms(50_000) {
        assert!(client.read(()).await.unwrap_err().is_definite());
        TokioRuntime::sleep(ms(500)).await;
    }
    TokioRuntime::sleep(ms(10_000)).await;
    assert_eq!(client.read(()).await, Ok(0));
}

/// An election takes its time. A caller with a deadline of 5 s should not notice but for the wait.
#[tokio::test(start_paused = true)]
async fn waits_for_a_leader_within_the_deadline() {
    let net = Net::new(|sent| match (sent.at < ms(2_000), sent.to.as_str()) {
        (true, _) => no_leader(),
        (false, "c") => Fate::Serve,
        (false, _) => led_by(3, "c"),
    });
    assert_eq!(net.client().write(5).await, Ok(5));
    assert!(net.elapsed() < ms(2_000 + 1_100), "{:?}", net.elapsed());
}

/// The leader dies with a request under way: the attempt is lost, the others name the dead one for a
/// while, and then one of them leads.
#[tokio::test(start_paused = true)]
async fn lives_through_a_failover() {
    let net = Net::new(|sent| match (sent.at, sent.to.as_str()) {
        (at, "a") if at < ms(10) => Fate::Serve,
        (at, "a") if at < ms(20) => Fate::LoseReply,
        (_, "a") => Fate::NotSent,
        (at, _) if at < ms(900) => led_by(1, "a"),
        (_, "b") => Fate::Serve,
        (_, _) => led_by(2, "b"),
    });
    let client = net.client();
    client.write(1).await.unwrap();
    TokioRuntime::sleep(ms(10)).await;
    assert_eq!(client.write(10).await, Ok(11), "carried out by the old leader, told by the new");
    assert!(
        net.elapsed() < ms(3_000),
        "two pauses at most after the new leader: {:?}",
        net.elapsed()
    );
}

/// Each attempt tells the node how long its answer is wanted; work for nobody is load for nothing.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_deadline_travels_with_each_attempt() {
    let net = Net::new(|sent| if sent.n % 2 == 0 { Fate::Hang } else { no_leader() });
    let (deadline, pause) = (ms(3_500), ms(1));
    let client = net.client_with(ClientConfig {
        deadline,
        backoff_base: pause,
        backoff_cap: pause,
        ..ClientConfig::default()
    });
    assert!(matches!(client.read(()).await, Err(Error::Unknown(_))));
    assert!(net.elapsed() <= deadline, "{:?}", net.elapsed());
    let sent = net.sent();
    for sent in &sent {
        assert_eq!(sent.timeout, (deadline - sent.at).min(ms(1_000)), "{sent:?}");
    }
    assert!(sent.iter().any(|sent| sent.timeout < ms(1_000)));
}

/// A busy leader is given a pause and asked again; to ask the others would only cost them too.
#[tokio::test(start_paused = true)]
async fn a_busy_leader_is_asked_again_after_a_pause() {
    let busy = || Fate::Say(Error::Overloaded("busy".into()));
    let net = Net::new(move |sent| match sent.to.as_str() {
        "b" if (3..6).contains(&sent.n) => busy(),
        "b" => Fate::Serve,
        _ => led_by(2, "b"),
    });
    let client = net.client();
    client.write(1).await.unwrap();
    assert_eq!(client.write(1).await, Ok(2));
    assert_eq!(net.went_to(3), ["b", "b", "b", "b"]);
    let numbers: Vec<_> = net.sent()[3..].iter().map(|sent| sent.number).collect();
    assert!(numbers.iter().all(|number| *number == numbers[0]));
}

/// Nobody answers for a minute while requests keep coming. Were each retried until its deadline, the
/// cluster would come back to a multiple of its load, and fall over again.
#[tokio::test(start_paused = true)]
async fn a_retry_storm_is_bounded_by_the_budget() {
    for fate in [Fate::NotSent, Fate::Say(Error::Overloaded("busy".into())), no_leader()] {
        let net = Net::new(move |_| fate.clone());
        let client = net.client();
        let requests = (0..60_u64).flat_map(|second| (0..50).map(move |n| second * 1_000 + n * 20));
        let all = join_all(requests.map(|at| {
            let client = &client;
            async move {
                TokioRuntime::sleep(ms(at)).await;
                assert!(client.read(()).await.unwrap_err().is_definite());
            }
        }));
        let requests = all.await.len() as f64;
        let (attempts, seconds) = (net.sent().len() as f64, net.elapsed().as_secs_f64());
        assert!(attempts >= requests);
        let bound = requests * 1.2 + seconds * 10.0 + 100.0;
        assert!(attempts <= bound, "{attempts} attempts of {requests} requests, bound {bound}");
    }
}

/// Reads of the nearest node stay with it, whoever leads; they go on only where nobody answers, and
/// an answer is final, even if it is an error.
#[tokio::test(start_paused = true)]
async fn local_reads_stay_with_the_first_node() {
    let net = Net::new(|sent| match (sent.kind, sent.to.as_str()) {
        (Kind::ReadLocal, "a") if sent.at > ms(100) => Fate::NotSent,
        (Kind::ReadLocal, "b") => Fate::Say(Error::Stopped("bad disk".into())),
        (Kind::ReadLocal, _) | (_, "b") => Fate::Serve,
        (_, _) => led_by(2, "b"),
    });
    let client = net.client();
    client.write(5).await.unwrap();
    assert_eq!(client.read_local(()).await, Ok(5));
    assert_eq!(net.went_to(3), ["a"]);
    TokioRuntime::sleep(ms(200)).await;
    let told = client.read_local(()).await;
    assert!(matches!(told, Err(Error::Unknown(_))), "{told:?}");
    assert_eq!(net.went_to(4), ["a", "b"]);
}

/// The members know each other by addresses that mean nothing here, behind a proxy or in a container.
/// The client finds out which of its own addresses is the leader's.
#[tokio::test(start_paused = true)]
async fn an_advertised_address_that_is_unreachable_is_translated() {
    let net = Net::new(|sent| match (sent.kind, sent.to.as_str()) {
        (Kind::Status, _) | (_, "c") => Fate::Serve,
        (_, "a" | "b") => led_by(3, "inner-3"),
        (_, _) => Fate::NotSent,
    });
    let client = net.client();
    client.write_once("k", 5).await.unwrap();
    assert_eq!(net.went_to(0), ["a", "inner-3", "a", "b", "c", "c"]);
    assert_eq!(client.write_once("l", 1).await, Ok(6));
    assert_eq!(net.went_to(6), ["c"]);
    assert!(net.elapsed() < ms(10), "without a pause");
}

/// For people: how is the node I talk to, and how is that one?
#[tokio::test(start_paused = true)]
async fn tells_how_nodes_are() {
    let net = Net::new(|sent| match (sent.kind, sent.to.as_str()) {
        (Kind::Status, "a") => Fate::NotSent,
        (Kind::Status, _) | (_, "c") => Fate::Serve,
        (_, _) => led_by(3, "c"),
    });
    let client = net.client();
    assert_eq!(client.status().await.unwrap().id, 2, "the first that can be reached");
    client.write(1).await.unwrap();
    assert_eq!(client.status().await.unwrap().id, 3, "the leader");
    assert_eq!(client.status_of("b").await.unwrap().id, 2);
    assert!(client.status_of("a").await.unwrap_err().is_definite());
}

/// Over TCP, with nobody at home: connecting asks nobody, and the first request says why, definitely.
#[tokio::test]
async fn over_tcp_a_cluster_that_is_not_there_is_a_definite_error() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (deadline, attempt_timeout) = (ms(300), ms(100));
    let config = ClientConfig { deadline, attempt_timeout, ..ClientConfig::default() };
    let client = Client::<Sum>::connect([port.as_str()], config.clone()).await.unwrap();
    let told = client.write(1).await.unwrap_err();
    assert!(told.is_definite() && told.to_string().contains(&port), "{told}");
    let nobody = Client::<Sum>::connect(Vec::<String>::new(), config).await.unwrap_err();
    assert!(nobody.to_string().contains("no address"), "{nobody}");
}
