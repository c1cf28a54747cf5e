//! Histories of a queue and of a set that work.
//!
//! In goes a size, out come calls with elements that are unique: what the models of both have rules
//! of their own for.

use std::collections::VecDeque;

use rand::RngExt;
use rand::rngs::SmallRng;
use sixbells_checker::call::Call;
use sixbells_checker::datum::Datum;
use sixbells_checker::model::{QueueInput, QueueOutput, SetInput, SetOutput};

use crate::simulation::Size;

/// As many enqueues as dequeues, so that the queue is short and sometimes empty.
pub(crate) fn queue(size: Size) -> Vec<Call<QueueInput, QueueOutput>> {
    let mut next = 0;
    let ask = |rng: &mut SmallRng| {
        next += 1;
        match rng.random_bool(0.5) {
            true => QueueInput::Enqueue(Datum::from(next)),
            false => QueueInput::Dequeue,
        }
    };
    size.simulate(VecDeque::new(), ask, |queue, input| match input {
        QueueInput::Enqueue(element) => {
            queue.push_back(*element);
            None
        }
        QueueInput::Dequeue => {
            Some(queue.pop_front().map_or(QueueOutput::Empty, QueueOutput::Element))
        }
    })
}

/// Every twentieth call reads all that was added.
pub(crate) fn set(size: Size) -> Vec<Call<SetInput, SetOutput>> {
    let mut next = 0;
    let ask = |rng: &mut SmallRng| {
        next += 1;
        if rng.random_bool(0.95) { SetInput::Add(Datum::from(next)) } else { SetInput::Read }
    };
    size.simulate(Vec::new(), ask, |set, input| match input {
        SetInput::Add(element) => {
            set.push(*element);
            None
        }
        SetInput::Read | SetInput::Remove(_) | SetInput::Contains(_) => {
            Some(SetOutput::all(set.iter().copied()))
        }
    })
}
