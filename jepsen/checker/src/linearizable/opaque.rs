//! Any model: the portfolio for states that nothing more is known of.
//!
//! 1. The model's own procedure ([`Model::decide`]), if it has one that applies. Its order is replayed.
//! 2. The [`race`] of two searches.

use std::collections::BTreeMap;

use super::frontier::Outcome;
use super::machine::Interned;
use super::object::{Contradiction, Decision, Object};
use super::{Method, race, verify};
use crate::budget::{Budget, Exhausted};
use crate::model::Model;

/// What was found. Calls by their position in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This order explains all.
    Order(Vec<u32>),
    /// The model's procedure says that these contradict each other.
    Contradiction(Contradiction),
    /// Those that began at or before this time contradict each other.
    Impossible { until: u64 },
}

/// Decides by the model's own procedure, if it has one that applies. It knows nothing of calls that time
/// does not order, so there must be none.
pub(super) fn procedure<M: Model>(
    model: &M,
    object: &Object<'_, M::Input, M::Output>,
) -> Option<Found> {
    match model.decide(object)? {
        Decision::Contradiction(contradiction) => Some(Found::Contradiction(contradiction)),
        Decision::Order(order) => {
            let holds = verify::calls(&order, object, &BTreeMap::new(), model);
            debug_assert!(holds, "{} found an order that is none: {order:?}", model.name());
            holds.then_some(Found::Order(order))
        }
    }
}

/// Decides by search. `before` holds, for calls of which time does not say so, the one of the same
/// process before them.
pub(super) fn search<M: Model>(
    model: &M,
    object: &Object<'_, M::Input, M::Output>,
    before: &BTreeMap<u32, u32>,
    budget: &mut Budget,
) -> Result<(Found, Method), Exhausted> {
    let (deep, calls) = Interned::new(model, object);
    let (wide, _) = Interned::new(model, object);
    let holds = |order: &[u32]| verify::calls(order, object, before, model);
    let (outcome, method) = race::run(deep, wide, &calls, before, holds, budget)?;
    Ok(match outcome {
        Outcome::Order(order) => (Found::Order(order), method),
        Outcome::Impossible { until } => (Found::Impossible { until }, method),
        Outcome::Wider | Outcome::TooWide => return Err(Exhausted::Room),
    })
}
