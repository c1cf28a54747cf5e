//! The portfolio: which algorithm decides which object, and what becomes of their answers.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use super::explanation::{Context, Story};
use super::grouping::{self, Grouping};
use super::object::{NEVER, Object, ObjectCall, Piece};
use super::scratch::Scratch;
use super::touch::Touch;
use super::{Method, Order, Verdict, Witness, log_order, opaque, register, shrink, ties};
use crate::budget::{Budget, Exhausted};
use crate::call::Call;
use crate::model::Model;

/// From how many calls on a history is worth a second thread.
const PARALLEL_MIN: usize = 50_000;

/// Judges a history; times are nanoseconds, and nothing is known of nodes.
pub fn check<M: Model>(
    calls: &[Call<M::Input, M::Output>],
    model: &M,
    budget: &mut Budget,
) -> Verdict {
    check_in(calls, model, &Context::default(), budget)
}

/// Judges a history. What `context` knows besides the calls goes into explanations.
pub fn check_in<M: Model>(
    calls: &[Call<M::Input, M::Output>],
    model: &M,
    context: &Context<'_>,
    budget: &mut Budget,
) -> Verdict {
    let grouping = match Grouping::new(calls, model) {
        Ok(grouping) => grouping,
        Err(why) => return Verdict::Unknown { why },
    };
    Judge { calls, model, context, grouping }.judge(budget)
}

struct Judge<'a, M: Model> {
    calls: &'a [Call<M::Input, M::Output>],
    model: &'a M,
    context: &'a Context<'a>,
    grouping: Grouping<M::Key>,
}

/// What became of one object. Calls by their position among its members.
enum Decided {
    Order(Vec<u32>, Method),
    Violation(Violation),
}

/// Calls that contradict each other, and why if whoever found them said so.
struct Violation {
    core: Vec<u32>,
    argument: Vec<Piece>,
    method: Method,
}

impl Decided {
    fn contradiction(core: Vec<u32>, method: Method) -> Self {
        Self::Violation(Violation { core, argument: Vec::new(), method })
    }
}

/// One object, as far as it was looked at.
struct Part<'a, I, O> {
    object: Object<'a, I, O>,
    before: BTreeMap<u32, u32>,
}

impl<M: Model> Judge<'_, M> {
    fn judge(&self, budget: &mut Budget) -> Verdict {
        let objects: Vec<usize> = self.grouping.objects().collect();
        if objects.is_empty() {
            let why = "the history has no operation that could be judged".to_owned();
            return Verdict::Unknown { why };
        }
        let touches = grouping::touches(self.calls, self.model, &self.grouping);
        let mut found: Vec<Option<Order>> = vec![None; self.grouping.keys.len()];
        let mut hard = Vec::new();
        // The quick methods see every object before the slow ones see any.
        let logged = self.calls.iter().any(|call| call.log_index.is_some());
        let zones = match &touches {
            Some(touches) if !logged => self.zones(&objects, touches),
            _ => vec![None; objects.len()],
        };
        let mut scratch = Scratch::default();
        for (&object, zones) in objects.iter().zip(zones) {
            let by_log = || if logged { self.by_log(object) } else { None };
            match by_log().or_else(|| self.of_zones(object, touches.as_deref()?, zones)) {
                Some(Decided::Order(order, method)) => {
                    found[object] = Some(self.order(object, order, method));
                }
                Some(Decided::Violation(found)) => return self.violation(object, &found),
                None => hard.push(object),
            }
        }
        hard.sort_by_key(|object| self.grouping.members(*object).len());
        let mut undecided = None;
        for object in hard {
            match self.slow(object, touches.as_deref(), &mut scratch, budget) {
                Ok(Decided::Order(order, method)) => {
                    found[object] = Some(self.order(object, order, method));
                }
                Ok(Decided::Violation(found)) => return self.violation(object, &found),
                Err(why) => {
                    undecided.get_or_insert_with(|| self.undecided(object, why));
                }
            }
        }
        if let Some(why) = undecided {
            return Verdict::Unknown { why };
        }
        Verdict::Linearizable { witness: Witness { orders: found.into_iter().flatten().collect() } }
    }

    /// Decides an object in the order of the log, if that explains all.
    fn by_log(&self, object: usize) -> Option<Decided> {
        let members = self.grouping.members(object);
        let indexes: Vec<Option<u64>> =
            members.iter().map(|call| self.calls[*call as usize].log_index).collect();
        let part = self.part(object);
        let order = log_order::decide(self.model, &part.object, &part.before, &indexes)?;
        Some(Decided::Order(order, Method::LogOrder))
    }

    /// Decides registers with unique values, on as many threads as are worth it.
    fn zones(&self, objects: &[usize], touches: &[Touch]) -> Vec<Option<register::Found>> {
        let initial = self.model.initial_value().bits();
        let part = |object: &usize| match self.grouping.is_coarse(*object) {
            true => &[],
            false => &touches[self.grouping.range(*object)],
        };
        let parts: Vec<&[Touch]> = objects.iter().map(part).collect();
        let all = |parts: &[&[Touch]]| -> Vec<Option<register::Found>> {
            let mut scratch = Scratch::default();
            let decide = |part: &&[Touch]| match part.is_empty() {
                // Ranks have to replace its times first.
                true => None,
                false => register::decide_unique(part, initial, &mut scratch),
            };
            parts.iter().map(decide).collect()
        };
        let threads = match touches.len() {
            0..PARALLEL_MIN => 1,
            _ => thread::available_parallelism().map_or(1, NonZero::get).min(parts.len()),
        };
        if threads == 1 {
            return all(&parts);
        }
        thread::scope(|scope| {
            let shares = parts.chunks(parts.len().div_ceil(threads));
            let running: Vec<_> = shares.map(|share| scope.spawn(move || all(share))).collect();
            let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
            joined.flat_map(|found| found.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    fn of_zones(
        &self,
        object: usize,
        touches: &[Touch],
        found: Option<register::Found>,
    ) -> Option<Decided> {
        match found? {
            register::Found::Order(order) => Some(Decided::Order(order, Method::Zones)),
            register::Found::Contradiction(core) => {
                let touches = &touches[self.grouping.range(object)];
                let initial = self.model.initial_value().bits();
                let core = shrink::core(touches, initial, core);
                Some(Decided::contradiction(core, Method::Zones))
            }
            register::Found::Impossible { .. } => None,
        }
    }

    fn slow(
        &self,
        object: usize,
        touches: Option<&[Touch]>,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<Decided, Exhausted> {
        let part = self.part(object);
        if part.before.is_empty()
            && let Some(found) = opaque::procedure(self.model, &part.object)
        {
            return Ok(self.settle(found, Method::Procedure, &part, budget));
        }
        let coarse;
        let touches = match touches {
            Some(touches) if !self.grouping.is_coarse(object) => {
                Some(&touches[self.grouping.range(object)])
            }
            _ => {
                coarse = self.coarse_touches(&part);
                coarse.as_deref()
            }
        };
        if let Some(touches) = touches {
            let initial = self.model.initial_value().bits();
            let (found, method) =
                register::decide(touches, initial, &part.before, scratch, budget)?;
            match found {
                register::Found::Order(order) => return Ok(Decided::Order(order, method)),
                register::Found::Contradiction(core) => {
                    let zones = method == Method::Zones;
                    let core = if zones { shrink::core(touches, initial, core) } else { core };
                    return Ok(Decided::contradiction(core, method));
                }
                register::Found::Impossible { until } => {
                    let mut spare = budget.explanation();
                    let core = shrink::registers(touches, initial, &part.before, until, &mut spare);
                    return Ok(Decided::contradiction(core, method));
                }
            }
        }
        let (found, method) = opaque::search(self.model, &part.object, &part.before, budget)?;
        Ok(self.settle(found, method, &part, budget))
    }

    fn settle(
        &self,
        found: opaque::Found,
        method: Method,
        part: &Part<'_, M::Input, M::Output>,
        budget: &Budget,
    ) -> Decided {
        match found {
            opaque::Found::Order(order) => Decided::Order(order, method),
            opaque::Found::Contradiction(why) => {
                let (core, argument) = (why.calls, why.argument);
                Decided::Violation(Violation { core, argument, method })
            }
            opaque::Found::Impossible { until } => {
                let mut spare = budget.explanation();
                let core = shrink::calls(self.model, &part.object, &part.before, until, &mut spare);
                Decided::contradiction(core, method)
            }
        }
    }

    /// The calls of an object, with ranks for times where the clock was too coarse.
    fn part(&self, object: usize) -> Part<'_, M::Input, M::Output> {
        let members = || self.grouping.members(object).iter().map(|at| &self.calls[*at as usize]);
        let mut calls: Vec<_> = members()
            .map(|call| ObjectCall {
                input: &call.input,
                output: call.answer(),
                invoked: call.invoked,
                returned: call.returned.unwrap_or(NEVER),
            })
            .collect();
        let mut before = BTreeMap::new();
        if self.grouping.is_coarse(object) {
            let ranks = ties::rank(&grouping::times(self.calls, self.grouping.members(object)));
            for (call, span) in calls.iter_mut().zip(&ranks.spans) {
                (call.invoked, call.returned) = *span;
            }
            before = ranks.before;
        }
        Part { object: Object { calls }, before }
    }

    /// The touches of an object whose times were replaced by ranks.
    fn coarse_touches(&self, part: &Part<'_, M::Input, M::Output>) -> Option<Vec<Touch>> {
        let touch = |call: &ObjectCall<'_, M::Input, M::Output>| {
            let effect = self.model.effect(call.input, call.output)?;
            let returned = call.happened().then_some(call.returned);
            Some(Touch::new(effect, call.invoked, returned).unwrap_or(Touch::NOTHING))
        };
        part.object.calls.iter().map(touch).collect()
    }

    fn order(&self, object: usize, order: Vec<u32>, method: Method) -> Order {
        let members = self.grouping.members(object);
        let calls = order.into_iter().map(|at| members[at as usize]).collect();
        Order { calls, judged: members.len(), method }
    }

    fn violation(&self, object: usize, found: &Violation) -> Verdict {
        let Violation { core, argument, method } = found;
        let members = self.grouping.members(object);
        let story = Story {
            model: self.model,
            calls: self.calls,
            context: self.context,
            members,
            core,
            argument,
        };
        let key = self.model.key_words(&self.grouping.keys[object]);
        Verdict::Violation { explanation: story.explain(key), method: *method }
    }

    fn undecided(&self, object: usize, why: Exhausted) -> String {
        let size = self.grouping.members(object).len();
        let key = self.model.key_words(&self.grouping.keys[object]);
        let key = key.map_or(String::new(), |key| format!(" at key {key}"));
        let advice =
            "fewer clients or fewer operations per key make it easier, and so do unique values";
        format!("{why}{key} ({size} operations); {advice}")
    }
}
