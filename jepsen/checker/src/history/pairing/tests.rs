//! Pairing, story by story.
//!
//! What becomes of operations that nobody completed, which clock their times are on, what a clock
//! that is set back does, and which histories are refused.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn event(time: u64, process: u64, event_type: EventType, f: &str) -> Event {
    let event = Event::new(Process::Client(process), event_type, f, Value::Nil);
    Event { time: Some(time), ..event }
}

#[test]
fn an_operation_nobody_completed_is_unknown() {
    let events = [event(1, 0, EventType::Invoke, "write")];
    let (clock, operations) = pair(&events).unwrap();
    assert_eq!(clock, Clock::Nanoseconds);
    assert_eq!(operations[0].outcome, Outcome::Info);
    assert_eq!(operations[0].returned, None);
}

#[test]
fn positions_replace_times_when_one_is_missing() {
    let mut events =
        [event(700, 0, EventType::Invoke, "write"), event(900, 0, EventType::Ok, "write")];
    events[1].time = None;
    let (clock, operations) = pair(&events).unwrap();
    assert_eq!(clock, Clock::Positions);
    assert_eq!((operations[0].invoked, operations[0].returned), (0, Some(1)));
}

#[test]
fn histories_that_cannot_be_are_refused_where_they_go_wrong() {
    use EventType::{Info, Invoke, Ok};
    let cases = [
        (vec![event(1, 0, Ok, "read")], 0, "never invoked"),
        (vec![event(1, 0, Invoke, "read"), event(2, 0, Invoke, "read")], 1, "in flight"),
        (vec![event(1, 0, Invoke, "read"), event(2, 0, Ok, "write")], 1, "completes write"),
        (vec![event(3, 0, Invoke, "read"), event(2, 0, Ok, "read")], 1, "before it invoked"),
        (
            vec![event(1, 0, Invoke, "r"), event(2, 0, Info, "r"), event(3, 0, Invoke, "r")],
            2,
            "after an :info",
        ),
        (
            vec![event(1, 0, Invoke, "r"), event(9, 0, Ok, "r"), event(8, 0, Invoke, "r")],
            2,
            "before its previous operation returned",
        ),
    ];
    for (events, position, reason) in cases {
        let error = pair(&events).unwrap_err();
        assert_eq!(error.position, position);
        assert!(error.reason.contains(reason), "{}", error.reason);
    }
}

#[test]
fn a_clock_that_is_set_back_invents_no_order() {
    use EventType::{Invoke, Ok};
    // The second operation was called before the first returned; the clock was set back between.
    let mut events = vec![
        event(100, 0, Invoke, "write"),
        event(120, 1, Invoke, "read"),
        event(110, 0, Ok, "write"),
        event(130, 1, Ok, "read"),
    ];
    let (_, operations) = pair(&events).unwrap();
    assert_eq!(operations[0].returned, Some(120));
    assert!(operations[0].returned >= Some(operations[1].invoked));
    // Nor is there one if the times alone say that the first came first.
    events.swap(1, 2);
    let (_, operations) = pair_owned(events).unwrap();
    assert_eq!((operations[0].returned, operations[1].invoked), (Some(110), 120));
}

#[test]
fn an_operation_precedes_another_only_if_times_and_positions_agree() {
    let seeds = match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIXBELLS_SEED is a number")],
        Err(_) => (0..300).collect(),
    };
    for seed in seeds {
        println!("replay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker --lib pairing");
        let mut rng = SmallRng::seed_from_u64(seed);
        // Each process has a clock of its own, which runs well and was set anyhow.
        let mut clocks: Vec<u64> = (0..4).map(|_| rng.random_range(0..40)).collect();
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..40 {
            let process = rng.random_range(0..clocks.len());
            clocks[process] += rng.random_range(0..9);
            let of_process = Process::Client(process as u64);
            let earlier = events.iter().filter(|event| event.process == of_process).count();
            let ends = [EventType::Invoke, EventType::Ok];
            events.push(event(clocks[process], process as u64, ends[earlier % 2], "read"));
        }
        let (_, operations) = pair(&events).unwrap();
        let end = |operation: &Operation| {
            let process = Process::Client(operation.process);
            let later = events.iter().enumerate().skip(operation.index + 1);
            later.clone().find(|(_, event)| event.process == process).unwrap()
        };
        for one in operations.iter().filter(|one| one.returned.is_some()) {
            let (position, completion) = end(one);
            for other in &operations {
                let both = completion.time < Some(other.invoked) && position < other.index;
                assert!(one.returned >= Some(other.invoked) || both, "{one:?} {other:?}");
            }
        }
    }
}

#[test]
fn events_one_by_one_say_what_they_say_together() {
    use EventType::{Fail, Info, Invoke, Ok};
    let mut pairing = Pairing::new(Clock::Nanoseconds);
    let mut push = |event| pairing.push(event).map(|paired| (paired, pairing.in_flight()));
    let (begun, in_flight) = push(event(1, 0, Invoke, "write")).unwrap();
    assert!(matches!(begun, Paired::Invoked(operation) if operation.returned.is_none()));
    assert_eq!(in_flight, 1);
    let nemesis = Event { process: Process::Nemesis, ..event(2, 0, Info, "kill") };
    assert!(matches!(push(nemesis).unwrap(), (Paired::Nemesis(_), 1)));
    push(event(3, 1, Invoke, "read")).unwrap();
    for (time, process, event_type, number, outcome) in
        [(4, 1, Ok, 1, Outcome::Ok), (5, 0, Fail, 0, Outcome::Fail)]
    {
        let f = if process == 0 { "write" } else { "read" };
        let (ended, _) = push(event(time, process, event_type, f)).unwrap();
        let Paired::Ended(at, ending) = ended else { panic!("{ended:?}") };
        assert_eq!((at, ending.outcome, ending.time), (number, outcome, time));
    }
    let untimed = Event { time: None, ..event(0, 0, Invoke, "read") };
    let error = push(untimed).unwrap_err();
    assert_eq!(error.position, 5);
    assert!(error.reason.contains("has no time"), "{}", error.reason);
}
