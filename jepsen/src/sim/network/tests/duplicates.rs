//! Requests that arrive twice: who is served, and who is answered.

use super::*;

#[test]
fn a_duplicate_is_served_and_answers_nobody() {
    for (late, lane) in [(false, Lane::Log), (false, Lane::Control), (true, Lane::Log)] {
        let (_, traces) = run(3, async {
            let lab = Lab::new(Links { duplicate: 1.0, late, ..Links::default() }).await;
            for body in ["a", "b", "c", "d", "e"] {
                assert_eq!(lab.call(lane, body).await.unwrap(), body);
            }
            SimRuntime::sleep(SECOND * 20).await;
            let mut begun = lab.begun();
            assert_eq!(begun.is_sorted(), !late, "{begun:?}");
            begun.sort();
            assert_eq!(begun, ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e"]);
        });
        assert_eq!(traces.reached.get("network: duplicated"), Some(&5));
        assert_eq!(traces.reached.contains_key("network: late duplicate"), late);
    }
}

/// Told "overloaded" by the first, its sender took a command for not executed, and the second was.
#[test]
fn nobody_is_answered_on_the_client_lane_if_there_is_a_duplicate() {
    let (_, traces) = run(3, async {
        let lab = Lab::new(Links { duplicate: 1.0, ..Links::default() }).await;
        for body in ["a", "b", "c"] {
            assert!(reason(lab.call(Lane::Client, body).await).starts_with("lost: "));
        }
        SimRuntime::sleep(SECOND).await;
        assert_eq!(lab.begun(), ["a", "a", "b", "b", "c", "c"]);
    });
    assert_eq!(traces.reached.get("network: duplicated"), Some(&3));
}
