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
    assert!(calls.len() <= 20, "{} calls have too many orders", calls.len());
    let mut seen = vec![Vec::new(); 1 << calls.len()];
    from(model, calls, 0, &model.initial(), &mut seen)
}

fn from<M: Model>(
    model: &M,
    calls: &Calls<'_, M>,
    placed: usize,
    state: &M::State,
    seen: &mut [Vec<M::State>],
) -> bool {
    let left = |call: usize| placed & (1 << call) == 0;
    if (0..calls.len()).all(|call| !left(call) || !calls[call].happened()) {
        return true;
    }
    if seen[placed].contains(state) {
        return false;
    }
    seen[placed].push(state.clone());
    (0..calls.len()).any(|next| {
        let free = |other: usize| !left(other) || !calls[other].precedes(&calls[next]);
        left(next)
            && (0..calls.len()).all(free)
            && model
                .step(state, calls[next].input, calls[next].output)
                .is_some_and(|state| from(model, calls, placed | 1 << next, &state, seen))
    })
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
