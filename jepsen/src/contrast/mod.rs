//! The contrast: one workload, one seed and one schedule of faults, in both modes.
//!
//! Owns [`Contrast`], two [`Side`]s of one story, and what they add up to. In: a workload, a seed, what
//! may break. Out: a verdict, a [`table`] and a [`page`].
//!
//! The contrast is fair: machine, commands, clients, faults and checkers are the same, and both bills are
//! shown. Strong mode pays in availability and latency while the network is cut; eventual mode pays in
//! answers that turn out untrue.
//!
//! Invariants
//! - strong mode has to be linearizable; eventual mode has to keep what it promises, and is *expected* to
//!   be caught by the same checker of linearizability;
//! - a run too weak to catch it is no pass ([`Outcome::Weak`]); a workload whose commands commute is
//!   expected to pass in both modes, and says so.
//!
//! Does not: run anything itself: clusters are simulated ([`tell`]), or real ([`processes`]).

pub mod page;
pub mod processes;
mod side;
pub mod table;
mod words;

use std::{fmt, time::Duration};

use sixbells::Mode;

pub use self::side::{Bill, Side};
use crate::{
    checker::Verdict,
    report::Exit,
    sim::{
        Kind,
        plan::{Frame, Plan},
        run::tell,
    },
    workload::Workload,
};

/// What is contrasted.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What clients do.
    pub workload: Workload,
    /// Decides the rest.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u64,
    /// What breaks.
    pub faults: Vec<Kind>,
    /// How long things break, in simulated time.
    pub active: Duration,
}

/// One story in both modes.
#[derive(Debug)]
pub struct Contrast {
    /// What was run.
    pub setting: Setting,
    /// Agreed on the order, then applied.
    pub strong: Side,
    /// Applied, then agreed on the order.
    pub eventual: Side,
}

/// What a contrast has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Each mode did what is expected of it.
    AsExpected,
    /// A mode broke a promise: which, and how.
    Broken(Mode, String),
    /// Eventual mode looks linearizable: too little happened to tell the modes apart.
    Weak,
    /// A checker could not say.
    Undecided(String),
}

impl Setting {
    /// The plan of one side.
    pub fn plan(&self, mode: Mode) -> Plan {
        let frame = Frame {
            nodes: vec![self.nodes],
            faults: self.faults.clone(),
            active: self.active,
            insist: true,
            roaming: true,
            ..Frame::of(mode)
        };
        let mut plan = Plan::draw(self.seed, &frame);
        plan.clients = 6;
        plan.operations = 10_000;
        plan.think = Duration::from_millis(200);
        plan
    }

    /// Runs both sides, one after the other, and lets the checkers look.
    pub fn run(self) -> Contrast {
        let side = |mode| {
            let plan = self.plan(mode);
            let suite = self.workload.suite();
            let story = tell(&plan, &suite, None, None);
            Side::of_story(&suite, mode, &story)
        };
        let (strong, eventual) = (side(Mode::Strong), side(Mode::Eventual));
        Contrast { setting: self, strong, eventual }
    }
}

impl Contrast {
    /// What it has shown.
    pub fn outcome(&self) -> Outcome {
        for side in [&self.strong, &self.eventual] {
            if let Err(sentence) = &side.promises {
                return Outcome::Broken(side.mode, sentence.clone());
            }
        }
        match &self.strong.linearizable {
            Verdict::Invalid { explanation } => {
                return Outcome::Broken(Mode::Strong, explanation.sentence.clone());
            }
            Verdict::Unknown { why } => return Outcome::Undecided(why.clone()),
            Verdict::Valid { .. } => {}
        }
        match (&self.eventual.linearizable, self.setting.workload.commutes()) {
            (Verdict::Unknown { why }, _) => Outcome::Undecided(why.clone()),
            (Verdict::Invalid { explanation }, true) => {
                Outcome::Broken(Mode::Eventual, explanation.sentence.clone())
            }
            (Verdict::Valid { .. }, false) => Outcome::Weak,
            (Verdict::Valid { .. }, true) | (Verdict::Invalid { .. }, false) => Outcome::AsExpected,
        }
    }

    /// The example that tells the difference, in a sentence.
    pub fn example(&self) -> String {
        words::example(&self.eventual)
    }
}

impl Outcome {
    /// What the process says to its caller.
    pub fn exit(&self) -> Exit {
        match self {
            Outcome::AsExpected => Exit::Valid,
            Outcome::Broken(..) => Exit::Invalid,
            Outcome::Undecided(_) => Exit::Unknown,
            Outcome::Weak => Exit::HarnessFailure,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::AsExpected => out.write_str("each mode did what is expected of it"),
            Outcome::Broken(mode, sentence) => {
                write!(out, "{mode} mode broke a promise: {sentence}")
            }
            Outcome::Weak => out.write_str(
                "too weak a run: eventual mode looks linearizable, so nothing was shown",
            ),
            Outcome::Undecided(why) => write!(out, "undecided: {why}"),
        }
    }
}
