//! What comes to a host that is paused: it waits there, whatever becomes of the link.

use super::*;

const ASLEEP: Duration = Duration::from_millis(500);

/// Calls while `host` sleeps, and the link to it is cut in its sleep. What was served until it awoke comes
/// with the result.
async fn call_a_sleeper(lab: &Lab, host: Host, after: Duration) -> (String, Vec<String>) {
    let sleep = async {
        SimRuntime::sleep(after).await;
        world::pause(host);
        SimRuntime::sleep(ASLEEP).await;
        lab.network.cut(3 - host, host);
        let begun = lab.begun();
        world::resume(host);
        begun
    };
    let (result, begun) = join(lab.call(Lane::Log, "a"), sleep).await;
    (result.unwrap(), begun)
}

#[test]
fn an_answer_to_a_paused_host_is_read_soon_after_it_goes_on() {
    let read_at = |seed| {
        let after = Duration::from_millis(35);
        let (awake_for, traces) = run(seed, async {
            let lab = Lab::new(Links { delay: ms(20, 30), ..Links::default() }).await;
            let (answer, begun) = call_a_sleeper(&lab, 1, after).await;
            assert_eq!((answer.as_str(), begun), ("a", vec!["a".to_owned()]));
            assert_eq!(lab.count(Mishap::Unread), 1);
            world::now() - after - ASLEEP
        });
        assert!(awake_for < Duration::from_millis(5), "{awake_for:?}");
        (awake_for, traces.hash)
    };
    assert_eq!(read_at(1), read_at(1));
    assert_ne!(read_at(1).0, read_at(2).0, "two answers are not read in one instant");
}

#[test]
fn a_request_to_a_paused_host_is_served_when_it_goes_on() {
    run(1, async {
        let lab = Lab::new(Links::default()).await;
        let (answer, begun) = call_a_sleeper(&lab, 2, Duration::ZERO).await;
        assert_eq!((answer.as_str(), begun), ("a", vec![]));
        assert_eq!((lab.begun(), lab.count(Mishap::Unread)), (vec!["a".to_owned()], 0));
    });
}
