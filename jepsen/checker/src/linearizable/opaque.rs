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

/// Decides as best it can. `before` holds, for calls of which time does not say so, the one of the
/// same process before them.
pub(super) fn decide<M: Model>(
    model: &M,
    object: &Object<'_, M::Input, M::Output>,
    before: &BTreeMap<u32, u32>,
    budget: &mut Budget,
) -> Result<(Found, Method), Exhausted> {
    let decision = if before.is_empty() { model.decide(object) } else { None };
    match decision {
        Some(Decision::Order(order)) => {
            if verify::calls(&order, object, before, model) {
                return Ok((Found::Order(order), Method::Procedure));
            }
            debug_assert!(false, "{} found an order that is none: {order:?}", model.name());
        }
        Some(Decision::Contradiction(contradiction)) => {
            return Ok((Found::Contradiction(contradiction), Method::Procedure));
        }
        None => {}
    }
    search(model, object, before, budget)
}

/// Searches without the model's own procedure.
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
