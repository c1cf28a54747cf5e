//! Replays an order: whoever found it, it is believed only if it holds.
//!
//! An order holds if it has every call that happened once, no call stands behind one that it returned
//! before, and every answer is what the model gives. One pass, `O(n)`.

use std::collections::BTreeMap;

use super::object::{NEVER, Object};
use super::touch::{NOTHING, Touch};
use crate::model::Model;

/// Whether the order is complete, agrees with real time, and has no call behind one that must come
/// after it.
fn in_time(
    order: &[u32],
    spans: impl Fn(u32) -> (u64, u64),
    happened: usize,
    before: &BTreeMap<u32, u32>,
    count: usize,
) -> bool {
    let mut placed = vec![false; count];
    let (mut first_return, mut missing) = (NEVER, happened);
    for &call in order.iter().rev() {
        let (invoked, returned) = spans(call);
        // From the end: what must come before this call is still to come.
        if before.get(&call).is_some_and(|first| placed[*first as usize]) {
            return false;
        }
        if invoked > first_return || std::mem::replace(&mut placed[call as usize], true) {
            return false;
        }
        first_return = first_return.min(returned);
        missing -= usize::from(returned != NEVER);
    }
    missing == 0
}

/// Whether the order explains these touches.
pub(super) fn touches(
    order: &[u32],
    touches: &[Touch],
    before: &BTreeMap<u32, u32>,
    initial: u64,
) -> bool {
    let mut state = initial;
    let answers = order.iter().all(|call| {
        let Touch { observes, writes, .. } = touches[*call as usize];
        let fits = observes == NOTHING || observes == state;
        if writes != NOTHING {
            state = writes;
        }
        fits
    });
    let happened = touches.iter().filter(|touch| touch.happened()).count();
    let span = |call: u32| (touches[call as usize].invoked, touches[call as usize].returned);
    answers && in_time(order, span, happened, before, touches.len())
}

/// Whether the order explains these calls.
pub(super) fn calls<M: Model>(
    order: &[u32],
    object: &Object<'_, M::Input, M::Output>,
    before: &BTreeMap<u32, u32>,
    model: &M,
) -> bool {
    let mut state = model.initial();
    for call in order {
        let call = &object.calls[*call as usize];
        match model.step(&state, call.input, call.output) {
            Some(next) => state = next,
            None => return false,
        }
    }
    let happened = object.calls.iter().filter(|call| call.happened()).count();
    let span = |call: u32| {
        let call = &object.calls[call as usize];
        (call.invoked, call.returned)
    };
    in_time(order, span, happened, before, object.calls.len())
}
