//! Sets that only grow: elements lost, invented, doubled, stale, early and out of order.
//!
//! A working set answers, then one answer or time is changed, and procedure and judge are compared.
//! A set with a remove is told now and then, which the procedure must leave to the search. How the
//! elements of a set that is never read as a whole fall apart has a test of its own.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;
use sixbells_checker::datum::Datum;
use sixbells_checker::history::{Outcome, Value};
use sixbells_checker::model::{Action, HistoryModel, Model, Set, SetInput, SetOutput};

use crate::history::{Made, Shape};
use crate::story::{Told, count, large, small};

fn datum(number: usize) -> Datum {
    Datum::from(i32::try_from(number).expect("a small number"))
}

/// A set of adds and reads, as a working one would have answered.
fn working(rng: &mut StdRng, shape: Shape, reads: f64) -> Vec<Made<SetInput, SetOutput>> {
    let mut there = BTreeSet::new();
    let slots = shape.slots(rng).into_iter().enumerate();
    let made = slots.map(|(at, slot)| {
        let read = rng.random_bool(reads);
        let input = if read { SetInput::Read } else { SetInput::Add(datum(at)) };
        if !read && slot.effective {
            there.insert(datum(at));
        }
        let output = read.then(|| SetOutput::all(there.iter().copied()));
        Made { input, output, invoked: slot.invoked, returned: slot.returned }
    });
    made.collect()
}

/// Changes one answer, or the time of one call.
fn spoil(rng: &mut StdRng, made: &mut [Made<SetInput, SetOutput>]) {
    let at = rng.random_range(0..made.len());
    let other = datum(rng.random_range(0..made.len() + 1));
    match made[at].output.clone() {
        Some(SetOutput::All(elements)) if rng.random_bool(0.8) => {
            let mut changed: Vec<Datum> = elements.to_vec();
            match rng.random_range(0..3) {
                0 if !changed.is_empty() => {
                    changed.remove(rng.random_range(0..changed.len()));
                }
                1 => changed.push(other),
                _ => {
                    changed.retain(|element| *element != other);
                    changed.push(other);
                }
            }
            made[at].output = Some(SetOutput::all(changed));
        }
        _ if made[at].happened() => {
            let length = made[at].returned - made[at].invoked;
            made[at].invoked = rng.random_range(1..20);
            made[at].returned = made[at].invoked + length;
        }
        _ => {}
    }
}

fn told(rng: &mut StdRng) -> Told<Set> {
    let shape = Shape::small(rng);
    let mut calls = working(rng, shape, 0.5);
    if rng.random_bool(0.6) {
        spoil(rng, &mut calls);
    }
    // Now and then something that the procedure does not cover.
    let covered = !rng.random_bool(0.02);
    if !covered {
        let input = SetInput::Remove(datum(0));
        calls.push(Made { input, output: None, invoked: 1, returned: 9 });
    }
    Told { model: Set::whole(), calls, covered }
}

#[test]
fn a_growing_set_is_judged_as_every_order_would() {
    let tally = small(count(), told);
    println!("set: {tally:?}");
    tally.says_much();
}

/// Without reads of the whole, each element is an object; the first read of the whole makes it one.
#[test]
fn elements_are_objects_until_the_set_is_read_as_a_whole() {
    let mut model = Set::by_element();
    let told = |model: &mut Set, f, input: Value, value: Value| {
        model.read(&Action { f, input: &input, value: &value, outcome: Outcome::Ok })
    };
    let (seven, asked) = (Value::Int(7), Value::pair(7, Value::Nil));
    let (add, none) = told(&mut model, "add", seven.clone(), seven.clone()).unwrap();
    let (remove, _) = told(&mut model, "delete", Value::Int(8), Value::Nil).unwrap();
    let answered = Value::pair(7, Value::Bool(true));
    let (contains, held) = told(&mut model, "contains", asked, answered).unwrap();
    assert_eq!((none, held.clone()), (None, Some(SetOutput::Held(true))));
    assert_eq!(told(&mut model, "has", seven.clone(), Value::Bool(true)).unwrap().1, held);
    assert!(told(&mut model, "has", seven, Value::Int(3)).unwrap_err().contains("true or false"));
    assert_eq!(model.key(&add), model.key(&contains));
    assert_ne!(model.key(&add), model.key(&remove));
    let effect = |model: &Set, input, output| model.effect(input, output).expect("a register");
    let (writes, observes) = (effect(&model, &add, None), effect(&model, &contains, held.as_ref()));
    assert_eq!((writes.writes, observes.writes), (observes.observes, None));
    let all = Value::Vector(vec![Value::Int(9), Value::Int(7)]);
    let (_, seen) = told(&mut model, "read", Value::Nil, all).unwrap();
    assert_eq!(seen, Some(SetOutput::all([datum(7), datum(9)])));
    assert_eq!(model.key(&add), model.key(&remove));
    assert_eq!(model.effect(&add, None), None);
}

#[test]
fn a_hundred_thousand_calls_on_a_set_take_milliseconds() {
    let mut rng = crate::history::random(1);
    let shape = Shape { clients: 20, calls: 100_000, duration: 40, crashes: 10 };
    let mut calls = working(&mut rng, shape, 0.002);
    let told = |calls| Told { model: Set::whole(), calls, covered: true };
    let legal = large(&told(calls.clone()), true);
    let late = calls.iter().rposition(|call| call.output.is_some() && call.happened()).unwrap();
    let Some(SetOutput::All(elements)) = &calls[late].output else { panic!("not a read") };
    let without = elements.iter().copied().filter(|element| *element != elements[7]);
    calls[late].output = Some(SetOutput::all(without));
    let illegal = large(&told(calls), false);
    println!("set of 100,000 calls: legal {legal} ms, with one element lost {illegal} ms");
}
