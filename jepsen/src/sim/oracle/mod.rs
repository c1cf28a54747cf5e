//! Oracles: what must be true of a Raft cluster at every instant, one file each.
//!
//! In go [`Observation`]s as they are made, and the [`Replica`]s at the end; out comes the first
//! violation, in a sentence. The names and definitions are those of the Raft paper (Ongaro and
//! Ousterhout, "In Search of an Understandable Consensus Algorithm", figure 3), where it has them.
//!
//! - [`Ledger`] keeps what all logs hold, for the oracles that compare logs;
//! - [`Panel`] is all oracles together, which is what a run asks.
//!
//! Invariants:
//! - an oracle looks at what happened, never at what a node believes;
//! - an oracle judges an observation against the ledger as it was just before it;
//! - an oracle that is silent has seen what it judges: [`Oracle::looked`] counts, and a run in which
//!   an oracle never looked is no evidence for it;
//! - observing costs logarithmic time per entry: oracles run on every seed, to the end. A start, an
//!   election and a wiped disk cost the length of a log.
//!
//! Does not: know about seeds, faults or how the run goes on after a violation.

mod commit_safety;
mod durability;
mod election_safety;
mod exactly_once;
#[cfg(test)]
mod fixture;
mod image;
mod leader_completeness;
mod ledger;
mod log_matching;
mod monotonicity;
mod order;
mod state_machine_safety;

use std::{fmt, time::Duration};

use sixbells::storage::Vote;

use self::{
    commit_safety::CommitSafety, durability::Durability, election_safety::ElectionSafety,
    exactly_once::ExactlyOnce, leader_completeness::LeaderCompleteness, log_matching::LogMatching,
    monotonicity::Monotonicity, state_machine_safety::StateMachineSafety,
};
pub use self::{
    image::{Held, Image, Write},
    ledger::{Account, Ledger, Settled},
    order::{Order, Step},
};
use super::observation::{Observation, Replica};

/// Something that must be true at every instant.
pub trait Oracle: fmt::Debug {
    /// What it is called, in reports and in lists of what was looked at.
    fn name(&self) -> &'static str;

    /// Judges what was seen. `ledger` does not contain it yet.
    ///
    /// # Errors
    /// If it must not be; the sentence says what happened where.
    fn observe(&mut self, seen: &Observation, ledger: &Ledger) -> Result<(), String>;

    /// Judges the end: everything is healed and quiet, `ledger` contains everything.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    fn finish(&mut self, _replicas: &[Replica], _ledger: &Ledger) -> Result<(), String> {
        Ok(())
    }

    /// How often it had something to compare. Zero at the end says that its silence means nothing.
    fn looked(&self) -> u64;
}

/// Something that must not be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The oracle that says so, by name. [`LEDGER`] says that the observations contradict each
    /// other: then the simulation is at fault, or the log does not write in one stream.
    pub oracle: &'static str,
    /// When, since the run began, in simulated time.
    pub at: Duration,
    /// What happened where.
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}: {}", self.oracle, self.at, self.sentence)
    }
}

/// The name under which the [`Ledger`] complains.
pub const LEDGER: &str = "ledger";

/// All oracles, and the ledger that they share.
#[derive(Debug)]
pub struct Panel {
    ledger: Ledger,
    oracles: Vec<Box<dyn Oracle>>,
    violation: Option<Violation>,
}

impl Default for Panel {
    fn default() -> Self {
        let oracles: Vec<Box<dyn Oracle>> = vec![
            Box::new(ElectionSafety::default()),
            Box::new(LogMatching::default()),
            Box::new(LeaderCompleteness::default()),
            Box::new(CommitSafety::default()),
            Box::new(Monotonicity::default()),
            Box::new(Durability::default()),
            Box::new(StateMachineSafety::default()),
            Box::new(ExactlyOnce::default()),
        ];
        Self { ledger: Ledger::default(), oracles, violation: None }
    }
}

impl Panel {
    /// Asks every oracle about what was seen at a simulated instant. After the first violation the
    /// rest of a run proves nothing, and is not looked at.
    pub fn observe(&mut self, at: Duration, seen: &Observation) {
        if self.violation.is_some() {
            return;
        }
        for oracle in &mut self.oracles {
            if let Err(sentence) = oracle.observe(seen, &self.ledger) {
                self.violation = Some(Violation { oracle: oracle.name(), at, sentence });
                return;
            }
        }
        if let Err(sentence) = self.ledger.observe(seen) {
            self.violation = Some(Violation { oracle: LEDGER, at, sentence });
        }
    }

    /// Asks every oracle about the end, unless there was a violation before.
    pub fn finish(&mut self, at: Duration, replicas: &[Replica]) {
        if self.violation.is_some() {
            return;
        }
        for oracle in &mut self.oracles {
            if let Err(sentence) = oracle.finish(replicas, &self.ledger) {
                self.violation = Some(Violation { oracle: oracle.name(), at, sentence });
                return;
            }
        }
    }

    /// The first violation, if there was one.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How often each oracle looked, by name.
    pub fn coverage(&self) -> Vec<(&'static str, u64)> {
        self.oracles.iter().map(|oracle| (oracle.name(), oracle.looked())).collect()
    }
}

/// A vote, in words.
fn words(vote: Option<Vote>) -> String {
    match vote {
        None => "no vote".to_owned(),
        Some(Vote { term, voted_for, committed: false }) => {
            format!("the vote for {voted_for} in term {term}")
        }
        Some(Vote { term, voted_for, committed: true }) => {
            format!("the vote for {voted_for}, leader of term {term}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::observation::End, fixture::*, *};

    const AT: Duration = Duration::from_secs(3);

    /// Node 1 leads 2 and 3, commits one command and makes a snapshot of it.
    fn story() -> Vec<Observation> {
        let log = [change(0, 0, &[&[1, 2, 3]]), entry(1, 1)];
        let mut story = vec![invoked(70)];
        for node in 1..=3 {
            story.extend([started(node, None, &log[..1]), voted(node, vote(1, 1))]);
        }
        story.extend((1..=3).flat_map(|node| [voted(node, lead(1, 1)), appended(node, &log[1..])]));
        for node in 1..=3 {
            let state = sixbells::storage::LogState {
                vote: Some(lead(1, 1)),
                last: Some(id(1, 1)),
                ..Default::default()
            };
            story.push(Observation::Synced { node, state });
            story.push(Observation::Promised { node, state });
        }
        for node in 1..=3 {
            story.extend([committed(node, id(1, 1)), applied(node, 1, 70)]);
        }
        story.extend([completed(70, End::Ok), snapshot(1, id(1, 1), 5), purged(1, id(1, 1))]);
        story.extend([voted(2, vote(2, 2)), voted(2, lead(2, 2)), ended(3)]);
        story.push(started(3, Some(lead(1, 1)), &log));
        story.push(applied(3, 1, 70));
        story
    }

    fn panel(story: &[Observation]) -> Panel {
        let mut panel = Panel::default();
        for seen in story {
            panel.observe(AT, seen);
        }
        panel
    }

    #[test]
    fn a_good_story_is_silent_and_every_oracle_has_looked() {
        let mut panel = panel(&story());
        panel.finish(AT, &[replica(1, 1, 1_070, 9), replica(2, 1, 1_070, 9)]);
        assert_eq!(panel.violation(), None);
        assert_eq!(panel.coverage().len(), 8);
        for (oracle, looked) in panel.coverage() {
            assert!(looked > 0, "{oracle} has not looked");
        }
    }

    #[test]
    fn the_first_violation_is_kept() {
        let mut panel = panel(&story());
        panel.observe(AT, &voted(3, lead(2, 3)));
        panel.observe(2 * AT, &applied(1, 5, 71));
        panel.finish(2 * AT, &[replica(1, 0, 0, 0)]);
        let violation = panel.violation().unwrap();
        assert_eq!((violation.oracle, violation.at), ("election safety", AT));
        assert!(violation.to_string().contains("at 3s: term 2 has two leaders"), "{violation}");
    }

    #[test]
    fn the_end_may_be_the_first_violation() {
        let mut panel = panel(&story());
        panel.finish(AT, &[replica(1, 1, 1_070, 9), replica(2, 1, 1_070, 8)]);
        assert_eq!(panel.violation().unwrap().oracle, "state machine safety");
    }

    #[test]
    fn observations_that_contradict_each_other_are_a_violation_too() {
        let mut panel = panel(&story());
        panel.observe(AT, &Observation::Synced { node: 1, state: Default::default() });
        assert_eq!(panel.violation().unwrap().oracle, LEDGER);
    }
}
