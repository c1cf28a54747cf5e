//! The judge: tries every order of a few calls, and believes nothing but the model's `step`.
//!
//! In go a model and calls in any order, out comes whether some order explains every answer. It knows
//! no theorem and no effect; that it does not go twice from the same calls in the same state is all
//! its wit, so a history of ten calls is about as much as it bears.
//!
//! [`replays`] judges an order that somebody else found.

use sixbells_checker::linearizable::ObjectCall;
use sixbells_checker::model::Model;

type Calls<'a, M> = [ObjectCall<'a, <M as Model>::Input, <M as Model>::Output>];

/// Whether some order explains every answer.
pub(crate) fn possible<M: Model>(model: &M, calls: &Calls<'_, M>) -> bool {
    possible_with(model, calls, &|call| calls[call].happened())
}

/// Whether some order explains the answers of those that are required. The others may happen too,
/// when they did, or not.
pub(crate) fn possible_with<M: Model>(
    model: &M,
    calls: &Calls<'_, M>,
    required: &dyn Fn(usize) -> bool,
) -> bool {
    assert!(calls.len() <= 20, "{} calls have too many orders", calls.len());
    let seen = vec![Vec::new(); 1 << calls.len()];
    Search { model, calls, required, seen }.from(0, &model.initial())
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a Calls<'a, M>,
    required: &'a dyn Fn(usize) -> bool,
    seen: Vec<Vec<M::State>>,
}

impl<M: Model> Search<'_, M> {
    fn from(&mut self, placed: usize, state: &M::State) -> bool {
        let left = |call: usize| placed & (1 << call) == 0;
        if (0..self.calls.len()).all(|call| !left(call) || !(self.required)(call)) {
            return true;
        }
        if self.seen[placed].contains(state) {
            return false;
        }
        self.seen[placed].push(state.clone());
        (0..self.calls.len()).any(|next| {
            let call = &self.calls[next];
            let in_time = |other: usize| match left(other) {
                true => !(self.required)(other) || !self.calls[other].precedes(call),
                false => !call.precedes(&self.calls[other]),
            };
            left(next)
                && (0..self.calls.len()).all(in_time)
                && self
                    .model
                    .step(state, call.input, call.output)
                    .is_some_and(|state| self.from(placed | 1 << next, &state))
        })
    }
}

/// Whether this order, of positions, is one that explains every answer.
pub(crate) fn replays<M: Model>(
    model: &M,
    calls: &Calls<'_, M>,
    order: &[u32],
) -> Result<(), String> {
    let mut placed = vec![false; calls.len()];
    let mut state = model.initial();
    let mut latest = 0;
    for position in order {
        let at = *position as usize;
        let call = calls.get(at).ok_or_else(|| format!("there is no call {at}"))?;
        if std::mem::replace(&mut placed[at], true) {
            return Err(format!("call {at} stands twice"));
        }
        if call.returned < latest {
            return Err(format!("call {at} stands after one that it precedes"));
        }
        latest = latest.max(call.invoked);
        state = model
            .step(&state, call.input, call.output)
            .ok_or_else(|| format!("the model refuses call {at}"))?;
    }
    match (0..calls.len()).find(|at| !placed[*at] && calls[*at].happened()) {
        Some(missing) => Err(format!("call {missing} is missing")),
        None => Ok(()),
    }
}
