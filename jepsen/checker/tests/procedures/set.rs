//! Sets that only grow: elements lost, invented, doubled, stale, early and out of order.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;
use sixbells_checker::datum::Datum;
use sixbells_checker::model::{Set, SetInput, SetOutput};

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
