//! One side of a contrast: what a mode kept, and what it cost.
//!
//! Owns [`Side`], a run with all that the checkers say of it, and [`Bill`], what clients had to live with
//! during a stretch of time. In: a [`Story`] of a simulated run, or the [`trial::Outcome`] of a real one.
//! Out: what [`table`](super::table) and
//! [`page`](super::page) show.
//!
//! Invariant: both sides are made by the same code; nothing is left out because a mode is better at it.
//!
//! Does not: weigh one against the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sixbells::Mode;
use sixbells_checker::faults::Band;

use crate::{
    checker::{
        Verdict,
        budget::Budget,
        eventual::{
            Guarantees, Reordering, Revocation, Sight, Staleness, guarantees, reorderings,
            revocations, staleness,
        },
        replay::{self, Typed},
    },
    eventual,
    history::{Clock, Outcome, pairing},
    machine::Workbench,
    sim::{
        End, Host,
        plan::Manner,
        record::{Entry, typed},
        run::{Story, kept},
    },
    suite::Suite,
    trial,
};

/// How long the search for another order may take, and in how much memory.
const CHECK_MAX: Duration = Duration::from_secs(60);
const CHECK_BYTES_MAX: usize = 512 << 20;

/// One attempt of a client.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Which client.
    pub client: u64,
    /// When it began, in nanoseconds.
    pub invoked: u64,
    /// When it ended, if it did.
    pub ended: Option<u64>,
    /// How.
    pub end: End,
    /// Its operation's number.
    pub number: u64,
}

/// What clients had to live with during a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bill {
    /// How many operations began then.
    pub attempts: usize,
    /// How many of them succeeded.
    pub succeeded: usize,
    /// The middle of the times that these took.
    pub p50: Duration,
    /// The time that 99 of 100 did not exceed.
    pub p99: Duration,
}

/// A run in one mode, judged.
#[derive(Debug)]
pub struct Side {
    /// The mode.
    pub mode: Mode,
    /// What clients did, but for what definitely failed.
    pub operations: Vec<Typed<Workbench>>,
    /// All that clients tried.
    pub attempts: Vec<Attempt>,
    /// What broke, and when.
    pub bands: Vec<Band>,
    /// When all was healed, in nanoseconds.
    pub healed: u64,
    /// How long it took from then until all replicas held the same, in eventual mode.
    pub converged: Option<Duration>,
    /// What the mode promises, and whether it was kept.
    pub promises: Result<(), String>,
    /// Whether some order explains what clients saw.
    pub linearizable: Verdict,
    /// Answers that turned out untrue.
    pub revoked: Vec<Revocation<Workbench>>,
    /// How old what was read was.
    pub staleness: Staleness,
    /// What clients that went from node to node without a token saw, and those with one.
    pub sessions: [Guarantees; 2],
    /// Orders that changed between two reads of one replica.
    pub reordered: Vec<Reordering>,
    /// From the acknowledgement of a write until another node had it; sorted.
    pub visible: Vec<Duration>,
    /// The commands in the order on which the replicas agreed.
    pub order: Vec<u64>,
    /// Which node accepted a command, by its number.
    pub accepted: BTreeMap<u64, Host>,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Side {
    /// Judges a simulated run.
    pub fn of_story(suite: &Suite<Workbench>, mode: Mode, story: &Story<Workbench>) -> Self {
        let operations = typed(&story.entries);
        let promises = match &story.violation {
            Some(violation) => Err(violation.to_string()),
            None => kept(suite, mode, story, &operations),
        };
        let sight = Sight::new(&operations, &story.order);
        let of = |manner: Manner| {
            let entries = story.entries.iter().filter(|entry| entry.manner == manner);
            let processes: BTreeSet<u64> = entries.map(|entry| entry.process).collect();
            guarantees(&sight, |operation| processes.contains(&operation.process))
        };
        let sessions = [of(Manner::Roaming), of(Manner::Session)];
        let first = |nodes: &BTreeMap<Host, Duration>| {
            nodes.iter().min_by_key(|(_, at)| **at).map(|(node, _)| *node)
        };
        let accepted = story.applied.iter().filter_map(|(number, n)| Some((*number, first(n)?)));
        Self {
            bands: story.rest.episodes.iter().map(band).collect(),
            healed: nanoseconds(story.rest.healed),
            converged: (mode == Mode::Eventual).then_some(story.rest.converged),
            sessions,
            visible: visible(&operations, &story.applied),
            accepted: accepted.collect(),
            attempts: story.entries.iter().map(attempt).collect(),
            ..Self::judged(mode, operations, story.order.clone(), promises)
        }
    }

    /// Judges a run of real processes, by so many clients.
    pub fn of_trial(mode: Mode, clients: u64, outcome: trial::Outcome) -> Self {
        let bands = outcome.bands();
        let trial::Outcome { report, events, operations, order, rested, healed } = outcome;
        let wrong = report.checks.iter().find_map(|check| match &check.verdict {
            Verdict::Invalid { explanation } if !of_answers(&check.name) => {
                Some(format!("{}: {}", check.name, explanation.sentence))
            }
            _ => None,
        });
        let promises = match (report.failures.first(), wrong, rested) {
            (Some(failure), ..) => Err(failure.clone()),
            (None, Some(wrong), _) => Err(wrong),
            (None, None, None) => Err("the replicas did not come to rest".to_owned()),
            (None, None, Some(_)) => Ok(()),
        };
        let end = operations.iter().map(|operation| operation.invoked).max().unwrap_or(0);
        let known = operations.iter().map(|o| Attempt {
            client: o.process % clients,
            invoked: o.invoked,
            ended: o.returned,
            end: if o.returned.is_some() { End::Ok } else { End::Info },
            number: o.number,
        });
        let recorded = pairing::pair(&events).map(|(_, paired)| paired).unwrap_or_default();
        let failed = recorded.into_iter().filter(|o| o.outcome == Outcome::Fail);
        let failed = failed.map(|o| Attempt {
            client: o.process % clients,
            invoked: o.invoked,
            ended: o.returned,
            end: End::Fail,
            number: 0,
        });
        Self {
            healed: healed.unwrap_or(end),
            bands,
            converged: rested.filter(|_| mode == Mode::Eventual),
            attempts: known.chain(failed).collect(),
            ..Self::judged(mode, operations, order, promises)
        }
    }

    /// What follows from the operations and the final order alone.
    fn judged(
        mode: Mode,
        operations: Vec<Typed<Workbench>>,
        order: Vec<u64>,
        promises: Result<(), String>,
    ) -> Self {
        let mut budget = Budget::new(CHECK_MAX, CHECK_BYTES_MAX);
        let linearizable =
            replay::check(&operations, &order, Clock::Nanoseconds, &mut budget).verdict;
        Self {
            mode,
            bands: Vec::new(),
            healed: 0,
            converged: None,
            promises,
            linearizable,
            revoked: revocations(&operations, &order).1,
            staleness: staleness(&Sight::new(&operations, &order)),
            sessions: Default::default(),
            reordered: reorderings(&operations),
            visible: Vec::new(),
            order,
            accepted: BTreeMap::new(),
            attempts: Vec::new(),
            operations,
        }
    }

    /// What clients had to live with while something was broken, and while nothing was, up to the
    /// healing.
    pub fn bills(&self) -> (Bill, Bill) {
        let broken = |at: u64| {
            self.bands.iter().any(|band| (band.from..band.to.unwrap_or(u64::MAX)).contains(&at))
        };
        let within = self.attempts.iter().filter(|attempt| attempt.invoked < self.healed);
        let (during, outside): (Vec<_>, Vec<_>) =
            within.partition(|attempt| broken(attempt.invoked));
        (Bill::of(&during), Bill::of(&outside))
    }

    /// What clients had to live with from one time to another.
    pub fn bill(&self, from: u64, to: u64) -> Bill {
        let within = self.attempts.iter().filter(|a| (from..to).contains(&a.invoked));
        Bill::of(&within.collect::<Vec<_>>())
    }

    /// Money that was paid and was not there.
    pub fn overspent(&self) -> u64 {
        self.revoked.iter().filter_map(eventual::overspent).sum()
    }

    /// How many commands were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.operations.iter().filter(|o| o.is_write() && o.returned.is_some()).count()
    }
}

impl Bill {
    fn of(attempts: &[&Attempt]) -> Self {
        let ok = attempts.iter().filter(|attempt| attempt.end == End::Ok);
        let mut took: Vec<Duration> = ok
            .filter_map(|a| Some(Duration::from_nanos(a.ended?.saturating_sub(a.invoked))))
            .collect();
        took.sort_unstable();
        Self {
            attempts: attempts.len(),
            succeeded: took.len(),
            p50: percentile(&took, 50),
            p99: percentile(&took, 99),
        }
    }

    /// The share that succeeded, of a hundred.
    pub fn available(&self) -> usize {
        (self.succeeded * 100).checked_div(self.attempts).unwrap_or(100)
    }
}

/// Whether a check of a trial is about answers, which this mode may revoke; the contrast looks itself.
fn of_answers(check: &str) -> bool {
    check == eventual::REVOCATION || check.starts_with("linearizable")
}

/// The value that so many of a hundred do not exceed; nothing of nothing.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

fn attempt(entry: &Entry<Workbench>) -> Attempt {
    let ended = entry.ended.as_ref().map(|(at, _)| *at);
    let Entry { client, invoked, number, .. } = *entry;
    Attempt { client, invoked, ended, end: entry.end(), number }
}

fn band(episode: &crate::sim::nemesis::Episode) -> Band {
    Band {
        name: episode.fault.kind().name().to_owned(),
        detail: format!("{:?}", episode.fault),
        nodes: Vec::new(),
        from: nanoseconds(episode.from),
        to: Some(nanoseconds(episode.until)),
    }
}

fn visible(
    operations: &[Typed<Workbench>],
    applied: &BTreeMap<u64, BTreeMap<Host, Duration>>,
) -> Vec<Duration> {
    let mut delays = Vec::new();
    for operation in operations.iter().filter(|operation| operation.is_write()) {
        let (Some(returned), Some(nodes)) = (operation.returned, applied.get(&operation.number))
        else {
            continue;
        };
        let mut times: Vec<&Duration> = nodes.values().collect();
        times.sort_unstable();
        // The first is the node that accepted it, or led.
        let others = times.into_iter().skip(1);
        delays.extend(others.map(|at| at.saturating_sub(Duration::from_nanos(returned))));
    }
    delays.sort_unstable();
    delays
}
