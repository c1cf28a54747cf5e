//! Queues: elements lost, invented, doubled, overtaken, too early; and empty when they were not.
//!
//! A working queue answers, crashed calls among it; then answers are changed or swapped, calls are
//! dropped or moved in time, and procedure and judge are compared. Long queues and short ones both
//! matter: on a short one most dequeues find nothing.

use std::collections::VecDeque;

use rand::RngExt;
use rand::rngs::StdRng;
use sixbells_checker::datum::Datum;
use sixbells_checker::history::{Outcome, Value};
use sixbells_checker::linearizable::{Decision, NEVER};
use sixbells_checker::model::{Action, HistoryModel, Model, Queue, QueueInput, QueueOutput};

use crate::history::{Made, Shape, object};
use crate::story::{Told, count, large, small};

type Calls = Vec<Made<QueueInput, QueueOutput>>;

fn datum(number: usize) -> Datum {
    Datum::from(i32::try_from(number).expect("a small number"))
}

/// Enqueues and dequeues, as a working queue would have answered.
fn working(rng: &mut StdRng, shape: Shape, enqueues: f64) -> Calls {
    let mut queue = VecDeque::new();
    let slots = shape.slots(rng).into_iter().enumerate();
    let made = slots.map(|(at, slot)| {
        let (input, output) = if rng.random_bool(enqueues) {
            if slot.effective {
                queue.push_back(datum(at));
            }
            (QueueInput::Enqueue(datum(at)), None)
        } else {
            let front = if slot.effective { queue.pop_front() } else { None };
            let output = front.map_or(QueueOutput::Empty, QueueOutput::Element);
            (QueueInput::Dequeue, Some(output))
        };
        Made { input, output, invoked: slot.invoked, returned: slot.returned }
    });
    made.collect()
}

/// Changes one answer or swaps two, or changes the time of one call.
fn spoil(rng: &mut StdRng, made: &mut Calls) {
    let (at, other) = (rng.random_range(0..made.len()), rng.random_range(0..made.len()));
    match rng.random_range(0..5) {
        0 if made[at].output.is_some() => made[at].output = Some(QueueOutput::Empty),
        1 if made[at].output.is_some() => {
            made[at].output = Some(QueueOutput::Element(datum(other)));
        }
        2 if made[at].output.is_some() && made[other].output.is_some() => {
            let answer = made[at].output;
            made[at].output = std::mem::replace(&mut made[other].output, answer);
        }
        3 if made.len() > 1 => {
            made.remove(at);
        }
        _ if made[at].happened() => {
            let length = made[at].returned - made[at].invoked;
            made[at].invoked = rng.random_range(1..20);
            made[at].returned = made[at].invoked + length;
        }
        _ => {}
    }
}

fn told(rng: &mut StdRng) -> Told<Queue> {
    let shape = Shape::small(rng);
    let share = [0.4, 0.5, 0.7][rng.random_range(0..3)];
    let mut calls = working(rng, shape, share);
    for _ in 0..[0, 0, 1, 1, 2][rng.random_range(0..5)] {
        spoil(rng, &mut calls);
    }
    // Now and then an element that is enqueued twice, which the procedure does not cover.
    let twice = calls[0].input != QueueInput::Dequeue && rng.random_bool(0.05);
    if twice {
        calls.push(Made { output: None, invoked: 2, returned: 9, ..calls[0].clone() });
    }
    Told { model: Queue::new(), calls, covered: !twice }
}

#[test]
fn a_queue_is_judged_as_every_order_would() {
    let tally = small(count(), told);
    println!("queue: {tally:?}");
    tally.says_much();
}

/// One dequeue that nobody knows about can have taken one of two elements left behind, so it and both
/// belong to the argument.
#[test]
fn crashed_dequeues_are_counted_against_what_they_may_have_taken() {
    let call = |input, output, invoked, returned| Made { input, output, invoked, returned };
    let enqueue =
        |element, invoked| call(QueueInput::Enqueue(datum(element)), None, invoked, invoked + 1);
    let taken = |element| Some(QueueOutput::Element(datum(element)));
    let calls = [
        call(QueueInput::Dequeue, None, 0, NEVER),
        enqueue(1, 1),
        enqueue(2, 3),
        enqueue(3, 5),
        call(QueueInput::Dequeue, taken(3), 7, 8),
    ];
    let Some(Decision::Contradiction(found)) = Queue::new().decide(&object(&calls)) else {
        panic!("there is no order");
    };
    assert_eq!(found.calls, [0, 1, 2, 3, 4]);
    let one_less = [&calls[..2], &calls[3..]].concat();
    let decision = Queue::new().decide(&object(&one_less));
    assert!(matches!(decision, Some(Decision::Order(_))), "{decision:?}");
}

#[test]
fn a_hundred_thousand_calls_on_a_queue_take_milliseconds() {
    let mut rng = crate::history::random(1);
    for (name, enqueues, crashes) in [("short", 0.5, 10), ("long", 0.7, 10), ("broken", 0.55, 300)]
    {
        let shape = Shape { clients: 20, calls: 100_000, duration: 40, crashes };
        let mut calls = working(&mut rng, shape, enqueues);
        let told = |calls| Told { model: Queue::new(), calls, covered: true };
        let legal = large(&told(calls.clone()), true);
        let taken = |call: &&mut Made<QueueInput, QueueOutput>| {
            call.happened() && matches!(call.output, Some(QueueOutput::Element(_)))
        };
        let mut dequeues = calls.iter_mut().filter(taken);
        let (one, other) = (dequeues.next().expect("one"), dequeues.next_back().expect("another"));
        std::mem::swap(&mut one.output, &mut other.output);
        let illegal = large(&told(calls), false);
        println!("{name} queue of 100,000 calls: legal {legal} ms, two swapped {illegal} ms");
    }
}

#[test]
fn a_dequeue_of_nothing_is_an_answer_and_a_drain_is_none() {
    let mut model = Queue::new();
    let mut told = |f, value: Value, outcome| {
        model.read(&Action { f, input: &Value::Nil, value: &value, outcome })
    };
    let empty = Some(QueueOutput::Empty);
    assert_eq!(told("dequeue", Value::Nil, Outcome::Ok).unwrap().1, empty);
    assert_eq!(told("poll", Value::Keyword("empty".into()), Outcome::Ok).unwrap().1, empty);
    assert_eq!(told("dequeue", Value::Nil, Outcome::Info).unwrap().1, None);
    let taken = Some(QueueOutput::Element(datum(5)));
    assert_eq!(told("deq", Value::Int(5), Outcome::Ok).unwrap().1, taken);
    assert!(told("enqueue", Value::Nil, Outcome::Ok).unwrap_err().contains("empty"));
    assert!(told("drain", Value::Nil, Outcome::Ok).unwrap_err().contains("each"));
}
