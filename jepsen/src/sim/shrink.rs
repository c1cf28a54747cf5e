//! Shrinking: the smallest plan that still fails.
//!
//! In: a plan that fails, and a way to ask whether another does. Out: a smaller one that fails, too.
//!
//! Steps are removed by delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", TSE 2002): halves first, then quarters, down to single steps. Sizes are
//! then made smaller one by one, and all of it again until nothing gets smaller.
//!
//! Invariants: what is returned was seen to fail; at most so many plans are tried.
//!
//! Does not: change what a step does, or the seed: the rest of the run is to stay as it was.

use std::time::Duration;

use super::plan::Plan;

/// Makes a failing plan smaller, trying at most `tries` others. `fails` says whether one still fails.
pub fn shrink(plan: &Plan, tries: u32, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut shrinking = Shrinking { best: plan.clone(), tries, fails };
    loop {
        let before = shrinking.best.clone();
        shrinking.drop_steps();
        shrinking.make_smaller();
        if shrinking.best == before || shrinking.tries == 0 {
            return shrinking.best;
        }
    }
}

struct Shrinking<F> {
    best: Plan,
    tries: u32,
    fails: F,
}

impl<F: Fn(&Plan) -> bool> Shrinking<F> {
    /// Takes the candidate if it is another plan and still fails.
    fn accept(&mut self, candidate: Plan) -> bool {
        if self.tries == 0 || candidate == self.best {
            return false;
        }
        self.tries -= 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    fn with(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.accept(candidate)
    }

    fn drop_steps(&mut self) {
        self.with(|plan| plan.calm.clear());
        let mut size = self.best.steps.len();
        while size > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let end = (at + size).min(self.best.steps.len());
                if !self.with(|plan| drop(plan.steps.drain(at..end))) {
                    at = end;
                }
            }
            size /= 2;
        }
    }

    fn make_smaller(&mut self) {
        let end = self.best.steps.iter().map(|step| step.at + step.lasting).max();
        self.with(|plan| plan.active = end.unwrap_or_default() + Duration::from_secs(1));
        while self.with(|plan| plan.clients = (plan.clients / 2).max(1)) {}
        while self.with(|plan| plan.operations = (plan.operations / 2).max(1)) {}
        for nodes in 1..self.best.nodes {
            if self.with(|plan| plan.nodes = nodes) {
                break;
            }
        }
        self.with(|plan| plan.links.loss = 0.0);
        self.with(|plan| plan.links.duplicate = 0.0);
        self.with(|plan| plan.keyed = 0);
        self.with(|plan| plan.shuffle = false);
        let mut at = 0;
        while at < self.best.steps.len() {
            self.with(|plan| {
                if let Some(step) = plan.steps.get_mut(at) {
                    step.lasting /= 2;
                }
            });
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::Frame;

    /// Two steps of a kind and two clients are what it takes; all else must go.
    #[test]
    fn what_is_left_is_what_it_takes() {
        let frame = Frame { insist: true, nodes: vec![5], clients: 6, ..Frame::default() };
        let plan = Plan::draw(3, &frame);
        let kind = plan.steps[1].fault.kind();
        let fails = |plan: &Plan| {
            plan.steps.iter().any(|step| step.fault.kind() == kind) && plan.clients >= 2
        };
        let small = shrink(&Plan { clients: 6, ..plan }, 500, fails);
        assert_eq!(small.steps.len(), 1);
        assert_eq!((small.clients, small.nodes, small.operations), (3, 1, 1));
        assert!(small.calm.is_empty());
        assert!(fails(&small));
    }

    #[test]
    fn no_more_plans_are_tried_than_allowed() {
        let tried = std::cell::Cell::new(0);
        let plan = Plan::draw(3, &Frame::default());
        let small = shrink(&plan, 7, |_| {
            tried.set(tried.get() + 1);
            false
        });
        assert_eq!((tried.get(), small), (7, plan));
    }
}
