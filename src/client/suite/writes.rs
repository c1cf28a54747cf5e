//! Stories of commands: one number, one effect, and nobody told more than is known.
//!
//! Each guards a way in which a client could carry a command out twice, or claim to know what it
//! does not.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::*;
use crate::session::WINDOW;

/// The client was given three addresses and knows nobody: the first names the leader, and from then
/// on requests go straight there. Following the hint costs neither time nor budget.
#[tokio::test(start_paused = true)]
async fn finds_the_leader_and_stays_with_it() {
    let net = Net::new(|sent| if sent.to == "b" { Fate::Serve } else { led_by(2, "b") });
    let config = ClientConfig { retries_per_second: 0, ..ClientConfig::default() };
    let client = net.client_with(config);
    assert_eq!(client.write(5).await, Ok(5));
    assert_eq!(net.went_to(0), ["a", "b", "b"], "the session is opened on the way");
    assert_eq!(net.elapsed(), ms(3));
    assert_eq!(client.clone().write(1).await, Ok(6));
    assert_eq!(client.read(()).await, Ok(6));
    assert_eq!(net.went_to(3), ["b", "b"]);
}

/// The command was carried out and its reply lost. Sent again as a new command, it would pay twice.
#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_asked_for_again_under_the_same_number() {
    let net = Net::new(|sent| if sent.n == 1 { Fate::LoseReply } else { Fate::Serve });
    let client = net.client();
    assert_eq!(client.write(5).await, Ok(5), "the recorded response of the first attempt");
    let sent = net.sent();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[1].number, sent[2].number);
    assert_eq!(sent[1].request, sent[2].request);
    assert_ne!(sent[1].to, sent[2].to, "another node may do better");
    assert_eq!(client.read(()).await, Ok(5));
    assert_ne!(net.sent()[3].request, sent[2].request, "another request, another id");
}

/// The same for a key: the application's name for the request takes the number's place.
#[tokio::test(start_paused = true)]
async fn a_keyed_write_needs_no_session_and_happens_once() {
    let net = Net::new(|sent| if sent.n == 0 { Fate::LoseReply } else { Fate::Serve });
    let client = net.client();
    assert_eq!(client.write_once("order-17", 5).await, Ok(5));
    assert_eq!(client.write_once("order-17", 5).await, Ok(5));
    assert_eq!(client.read(()).await, Ok(5));
    assert!(net.sent().iter().all(|sent| !sent.opens && sent.number.is_none()));
    assert!(matches!(client.write_once([0; 257], 1).await, Err(Error::TooLarge(_))));
}

/// The first attempt was carried out, its reply lost, and then the cluster forgot the session. A new
/// session and another attempt would be a second effect: the caller has to know.
#[tokio::test(start_paused = true)]
async fn an_expired_session_is_told_once_and_then_replaced() {
    let net = Net::new(|sent| match sent.n {
        2 => Fate::LoseReply,
        3 => Fate::Forget,
        _ => Fate::Serve,
    });
    let client = net.client();
    client.write(1).await.unwrap();
    let told = client.write(10).await;
    assert_eq!(told, Err(Error::SessionExpired));
    assert_eq!(client.read(()).await, Ok(11), "carried out once, by the attempt that was lost");
    assert_eq!(client.write(100).await, Ok(111), "in a new session");
    assert_eq!(net.sent().iter().filter(|sent| sent.opens).count(), 2);
}

/// A node with a smaller limit refuses what another one may have carried out before. Its word is
/// about its own attempt, not about the request.
#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_attempt_is_not_definite() {
    let refusal = || Error::TooLarge("for this node".into());
    let net = Net::new(move |sent| match sent.n {
        0 => Fate::Serve,
        1 => Fate::LoseReply,
        _ => Fate::Say(refusal()),
    });
    let client = net.client();
    let told = client.write(5).await.unwrap_err();
    assert!(matches!(told, Error::Unknown(_)), "{told:?}");
    assert_eq!(net.sent().len(), 3, "and it is final");
    assert_eq!(client.write(6).await, Err(refusal()), "alone, it is definite");
}

/// Nobody can be reached after the first attempt was lost: unknown. Nobody could be reached at
/// all: definite, and a caller may safely do something else.
#[tokio::test(start_paused = true)]
async fn the_deadline_tells_lost_from_never_sent() {
    let lost_once = |sent: &Sent| match sent.n {
        0 => Fate::Serve,
        1 => Fate::Hang,
        _ => Fate::NotSent,
    };
    let told = Net::new(lost_once).client().write(1).await.unwrap_err();
    assert!(matches!(told, Error::Unknown(_)), "{told:?}");

    let nobody = Net::new(|_| Fate::NotSent);
    for told in [
        nobody.client().write(1).await.unwrap_err(),
        nobody.client().write_once("k", 1).await.unwrap_err(),
        nobody.client().read(()).await.unwrap_err(),
        nobody.client().read_local(()).await.unwrap_err(),
    ] {
        assert!(told.is_definite() && told.to_string().contains("scripted"), "{told:?}");
        assert!(matches!(told, Error::Unavailable(_)), "no limit was reached: {told:?}");
    }
}

/// The session may or may not have been opened; the command was not sent in any case.
#[tokio::test(start_paused = true)]
async fn a_command_without_a_session_was_definitely_not_sent() {
    let net = Net::new(|_| Fate::Hang);
    let client = net.client();
    let started = net.elapsed();
    let told = join_all((0..3).map(|n| client.write(n))).await;
    assert!(told.iter().all(|told| told.as_ref().is_err_and(Error::is_definite)), "{told:?}");
    assert!(net.elapsed() - started <= ms(5_000), "nobody waits longer for the session of another");
    assert!(net.sent().iter().all(|sent| sent.opens));
}

/// A server starts with a hundred requests waiting. A session each would crowd out those of others.
#[tokio::test(start_paused = true)]
async fn one_session_for_a_hundred_first_writes() {
    let net = Net::new(|_| Fate::Serve);
    let client = net.client();
    let told = join_all((0..100).map(|_| client.write(1))).await;
    assert!(told.iter().all(Result::is_ok));
    assert_eq!(client.read(()).await, Ok(100));
    let sent = net.sent();
    assert_eq!(sent.iter().filter(|sent| sent.opens).count(), 1);
    let numbers: BTreeSet<_> = sent.iter().filter_map(|sent| sent.number).collect();
    assert_eq!(numbers.len(), 100);
}

/// The floor tells the cluster which responses it may forget. It follows what has ended, and never
/// passes a command that may still be sent again.
#[tokio::test(start_paused = true)]
async fn the_floor_follows_what_has_ended() {
    let net = Net::new(|sent| match sent.number {
        Some((_, 1, _)) if sent.at < ms(2_000) => Fate::Hang,
        _ => Fate::Serve,
    });
    let client = net.client();
    client.write(1).await.unwrap();
    let (slow, ()) = tokio::join!(client.write(1), async {
        TokioRuntime::sleep(ms(1)).await;
        client.write(1).await.unwrap();
        client.write(1).await.unwrap();
    });
    slow.unwrap();
    client.write(1).await.unwrap();
    let mut floors: Vec<_> =
        net.sent().iter().filter_map(|sent| sent.number).map(|(_, n, floor)| (n, floor)).collect();
    floors.dedup();
    let last = floors.pop();
    assert_eq!(last, Some((4, 4)), "all ended");
    assert!(floors.iter().all(|(n, floor)| floor <= n && *floor <= 1), "{floors:?}");
}

/// A thousand commands hang. Those behind them get a session of their own, for the old one could not
/// tell their retries apart any more.
#[tokio::test(start_paused = true)]
async fn beyond_the_window_another_session_is_opened() {
    let first = |sent: &Sent| matches!(sent.number, Some((1, _, _)));
    let net = Net::new(move |sent| if first(sent) { Fate::Hang } else { Fate::Serve });
    let client = net.client_with(ClientConfig { in_flight_max: 2_000, ..ClientConfig::default() });
    let window = join_all((0..WINDOW).map(|_| client.write(1)));
    let behind = async {
        TokioRuntime::sleep(ms(10)).await;
        client.write(7).await
    };
    let (stuck, behind) = tokio::join!(window, behind);
    assert_eq!(behind, Ok(7));
    assert!(stuck.iter().all(|told| matches!(told, Err(Error::Unknown(_)))));
    assert_eq!(net.sent().iter().filter(|sent| sent.opens).count(), 2);
}

/// Callers must not queue up behind a cluster that hangs: one too many is told at once.
#[tokio::test(start_paused = true)]
async fn over_the_bounds_is_told_at_once() {
    let net = Net::new(|_| Fate::Hang);
    let config = ClientConfig { in_flight_max: 2, command_bytes_max: 8, ..ClientConfig::default() };
    let client = net.client_with(config);
    let third = async {
        TokioRuntime::sleep(ms(10)).await;
        let (asked, told) = (net.elapsed(), client.read(()).await);
        assert!(matches!(told, Err(Error::Overloaded(_))), "{told:?}");
        assert_eq!(net.elapsed(), asked);
    };
    tokio::join!(client.write_once("a", 1), client.read(()), third).2;
    let small = ClientConfig { command_bytes_max: 7, ..ClientConfig::default() };
    let before = net.sent().len();
    assert!(matches!(net.client_with(small).write(1).await, Err(Error::TooLarge(_))));
    assert_eq!(net.sent().len(), before, "nothing was sent");
}
