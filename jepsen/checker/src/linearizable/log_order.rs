//! The order of the log: where each call says at which index it took effect, that is the order to try.
//!
//! Calls are sorted by index; at one index the call that the log holds there comes first, then reads of
//! the state behind it, by invocation. The order is replayed like any other: the indexes are a hint,
//! verified, never trusted. Crashed calls that have an index happened, the others did not.
//!
//! It hides nothing: if the replay fails, the history is decided without it.

use std::collections::BTreeMap;

use super::object::Object;
use super::verify;
use crate::model::Model;

/// The order that the log says, if it explains all. `indexes` holds the index of each call.
pub(super) fn decide<M: Model>(
    model: &M,
    object: &Object<'_, M::Input, M::Output>,
    before: &BTreeMap<u32, u32>,
    indexes: &[Option<u64>],
) -> Option<Vec<u32>> {
    let mut order = Vec::with_capacity(object.calls.len());
    for (at, (call, index)) in (0_u32..).zip(object.calls.iter().zip(indexes)) {
        match index {
            Some(index) => order.push((*index, model.read_only(call.input), call.invoked, at)),
            None if call.happened() => return None,
            None => {}
        }
    }
    order.sort_unstable();
    let order: Vec<u32> = order.into_iter().map(|(_, _, _, at)| at).collect();
    verify::calls(&order, object, before, model).then_some(order)
}
