//! Plans: everything that decides a simulated run, as data.
//!
//! Owns [`Plan`], drawn from a seed in the manner of swarm testing (Groce et al., "Swarm Testing",
//! ISSTA 2012): each seed has its own sizes, limits, delays and selection of faults, because a run
//! with everything at once hides what a run with a few things shows.
//!
//! In: a seed, and what the test asks for. Out: a plan, also as JSON, which a later run carries out
//! again.
//!
//! Invariants
//! - a plan and its seed decide the whole run; what is removed from a plan leaves the rest as it was;
//! - every fault has an end: the cluster is whole when the safety phase is over;
//! - limits keep the relations that the library's configuration asks for.
//!
//! Does not: carry anything out. Whom a fault hits is decided when it is due, by the leader of then.

use std::{ops::Range, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};
use sixbells::{Config, Mode};

use super::{
    fault::{Fault, Kind},
    network::Links,
};

/// A step of the nemesis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When it begins, after the cluster has started.
    pub at: Duration,
    /// For how long it lasts; nothing for what is over at once.
    pub lasting: Duration,
    /// What breaks, or is asked for.
    pub fault: Fault,
}

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Decides everything random in the run itself.
    pub seed: u64,
    /// What the cluster promises.
    #[serde(default)]
    pub mode: Mode,
    /// Whether clients differ in how they choose nodes: see [`Manner`].
    #[serde(default)]
    pub roaming: bool,
    /// The initial voters: nodes 1 to this.
    pub nodes: u64,
    /// How many clients.
    pub clients: u64,
    /// How many operations each client does at most.
    pub operations: u64,
    /// How long a client waits between two operations, at most.
    pub think: Duration,
    /// Whether writes carry the application's own key instead of a session, one in so many; 0: none.
    pub keyed: u64,
    /// How long the safety phase lasts.
    pub active: Duration,
    /// The nodes' limits.
    pub limits: Limits,
    /// What the network is like when nothing is wrong with it.
    pub links: Links,
    /// How long a sync takes.
    pub sync: Range<Duration>,
    /// Whether tasks that are ready run in random order.
    pub shuffle: bool,
    /// What breaks, by time.
    pub steps: Vec<Step>,
    /// What is asked of the cluster once it is healed, in order.
    pub calm: Vec<Fault>,
}

/// The limits of the nodes that matter here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// See [`Config::heartbeat`].
    pub heartbeat: Duration,
    /// See [`Config::election_timeout`].
    pub election_timeout: Range<Duration>,
    /// See [`Config::request_timeout`].
    pub request_timeout: Duration,
    /// See [`Config::append_timeout`].
    pub append_timeout: Duration,
    /// See [`Config::snapshot_entries`].
    pub snapshot_entries: u64,
    /// See [`Config::log_keep_entries`].
    pub log_keep_entries: u64,
    /// See [`Config::sessions_max`].
    pub sessions_max: u64,
    /// See [`Config::keys_max`].
    pub keys_max: u64,
    /// See [`Config::append_entries_max`].
    pub append_entries_max: u64,
    /// See [`Config::snapshot_chunk_bytes`].
    pub snapshot_chunk_bytes: usize,
    /// See [`Config::in_flight_max`].
    pub in_flight_max: usize,
}

/// How a client chooses the nodes that it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// One node first, the others if that cannot be reached.
    Sticky,
    /// Another for each operation.
    Roaming,
    /// The same, but carrying a token of what it has seen, in eventual mode.
    Session,
}

/// What a test asks of its plans.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// What the cluster promises.
    pub mode: Mode,
    /// Whether clients differ in how they choose nodes.
    pub roaming: bool,
    /// How many nodes, to choose from.
    pub nodes: Vec<u64>,
    /// How many clients, at most.
    pub clients: u64,
    /// How long the safety phase lasts.
    pub active: Duration,
    /// Which kinds of fault, to choose from.
    pub faults: Vec<Kind>,
    /// Whether every kind that is allowed occurs in every plan, and often: to reach a rare state.
    pub insist: bool,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            mode: Mode::Strong,
            roaming: false,
            nodes: vec![1, 2, 3, 3, 3, 4, 5, 5, 7],
            clients: 6,
            active: Duration::from_secs(15),
            faults: Kind::ALL.to_vec(),
            insist: false,
        }
    }
}

impl Frame {
    /// The default in a mode. Where nobody leads and all members are given, there is no such thing as
    /// adding one or handing the leadership over; and who loses a disk for good loses what it alone had
    /// acknowledged, as is documented.
    pub fn of(mode: Mode) -> Self {
        let mut frame = Self { mode, ..Self::default() };
        if mode == Mode::Eventual {
            frame.roaming = true;
            frame.faults.retain(|kind| !Kind::STRONG.contains(kind));
        }
        frame
    }
}

/// More voters than anybody runs.
const NODES_MAX: u64 = 9;
const ACTIVE_MAX: Duration = Duration::from_secs(3_600);

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64, frame: &Frame) -> Self {
        // Not the stream of the run itself: it has the same seed.
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x706c_616e);
        let rng = &mut rng;
        let nodes = frame.nodes.choose(rng).copied().unwrap_or(3).max(1);
        let mut limits = Limits::draw(rng);
        // Some do not wait long, so that what they ask for at the same time becomes one entry.
        let hurry = rng.random_bool(0.25);
        if hurry {
            // A reply is lost, and before its command is sent again, more keyed ones have passed than are
            // remembered: then it is applied twice, as is documented. Seed 1746 did that.
            limits.keys_max = limits.keys_max.max(1_000);
        }
        let sync = [millis(1), millis(3), millis(8)];
        let mut plan = Self {
            seed,
            mode: frame.mode,
            roaming: frame.roaming,
            nodes,
            clients: rng.random_range(1..=frame.clients.max(1)),
            operations: rng.random_range(if hurry { 100..250 } else { 20..80 }),
            think: millis(rng.random_range(if hurry { 1..30 } else { 50..600 })),
            keyed: *[0, 0, 3].choose(rng).unwrap_or(&0),
            active: frame.active,
            limits,
            links: Links {
                delay: Duration::from_micros(100)..millis(rng.random_range(1..12)),
                loss: *[0.0, 0.0, 0.002].choose(rng).unwrap_or(&0.0),
                duplicate: *[0.0, 0.01].choose(rng).unwrap_or(&0.0),
                late: false,
            },
            sync: Duration::from_micros(50)..*sync.choose(rng).unwrap_or(&millis(1)),
            shuffle: rng.random_bool(0.5),
            steps: Vec::new(),
            calm: Vec::new(),
        };
        if plan.mode == Mode::Eventual {
            // A session that the final order has no room for takes its acknowledged commands along, as is
            // documented: the limits are not for tests to reach.
            (plan.limits.sessions_max, plan.limits.keys_max) = (10_000, 10_000);
        }
        plan.draw_steps(rng, frame);
        plan
    }

    fn draw_steps(&mut self, rng: &mut SmallRng, frame: &Frame) {
        let selected: Vec<Kind> = match frame.insist {
            true => frame.faults.clone(),
            false => frame.faults.iter().copied().filter(|_| rng.random_bool(0.3)).collect(),
        };
        let mut at = millis(rng.random_range(200..1_500));
        let pace = if frame.insist { 400..1_600 } else { 500..4_000 };
        while at + millis(500) < self.active
            && let Some(kind) = selected.choose(rng)
        {
            let left = self.active - at;
            let lasting = millis(rng.random_range(50..4_000)).min(left);
            self.steps.push(Step { at, lasting, fault: kind.draw(rng, self.nodes) });
            at += millis(rng.random_range(pace.clone()));
        }
        for kind in Kind::CALM.iter().filter(|kind| frame.faults.contains(kind)) {
            if rng.random_bool(0.3) {
                self.calm.push(kind.draw(rng, self.nodes));
            }
        }
    }

    /// Refuses what no seed draws and no cluster can be: a plan may come from a file that somebody wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let probability = |p: f64| (0.0..=1.0).contains(&p);
        let probable = |fault: &Fault| match *fault {
            Fault::Loss(p) | Fault::Duplicates(p) => probability(p),
            Fault::ClockRate(_, rate) => (0.01..=100.0).contains(&rate),
            _ => true,
        };
        let faults = || self.steps.iter().map(|step| &step.fault).chain(&self.calm);
        let rules = [
            ((1..=NODES_MAX).contains(&self.nodes), "nodes: 1 to 9"),
            ((1..=100).contains(&self.clients), "clients: 1 to 100"),
            (self.operations <= 100_000, "operations: 100,000 at most"),
            (self.active.max(self.think) <= ACTIVE_MAX, "active and think: an hour at most"),
            (
                self.links.delay.end.max(self.sync.end) <= millis(10_000),
                "delay and sync: 10 s at most",
            ),
            (probability(self.links.loss), "links.loss: 0 to 1"),
            (probability(self.links.duplicate), "links.duplicate: 0 to 1"),
            (faults().all(probable), "a fault's probability or rate is out of range"),
            (
                self.steps.iter().all(|s| s.at <= ACTIVE_MAX && s.lasting <= ACTIVE_MAX),
                "a step begins late or lasts long: an hour at most",
            ),
        ];
        if let Some((_, broken)) = rules.iter().find(|(holds, _)| !holds) {
            return Err((*broken).to_owned());
        }
        self.config().check().map_err(|error| error.to_string())
    }

    /// How one of the clients chooses nodes.
    pub fn manner(&self, client: u64) -> Manner {
        match client % 3 {
            1 if self.roaming => Manner::Roaming,
            2 if self.roaming => Manner::Session,
            _ => Manner::Sticky,
        }
    }

    /// The kinds of fault in it.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.steps.iter().map(|step| &step.fault).chain(&self.calm).map(Fault::kind)
    }

    /// The nodes' configuration.
    pub fn config(&self) -> Config {
        let limits = self.limits.clone();
        Config {
            heartbeat: limits.heartbeat,
            election_timeout: limits.election_timeout,
            request_timeout: limits.request_timeout,
            append_timeout: limits.append_timeout,
            snapshot_timeout: Duration::from_secs(20).max(limits.append_timeout),
            in_flight_max: limits.in_flight_max,
            sessions_max: limits.sessions_max,
            keys_max: limits.keys_max,
            snapshot_entries: limits.snapshot_entries,
            log_keep_entries: limits.log_keep_entries,
            append_entries_max: limits.append_entries_max,
            snapshot_chunk_bytes: limits.snapshot_chunk_bytes,
            ..Config::default()
        }
    }
}

impl Limits {
    fn draw(rng: &mut SmallRng) -> Self {
        let heartbeat = millis(*[50, 100, 100, 200].choose(rng).unwrap_or(&100));
        let start = heartbeat * rng.random_range(3..6);
        let one_of = |rng: &mut SmallRng, choice: &[u64]| *choice.choose(rng).unwrap_or(&1);
        Self {
            heartbeat,
            election_timeout: start..start + millis(rng.random_range(50..400)),
            request_timeout: millis(rng.random_range(2_000..6_000)),
            append_timeout: millis(one_of(rng, &[200, 500, 2_000])),
            snapshot_entries: one_of(rng, &[5, 20, 60, 1_000]),
            log_keep_entries: one_of(rng, &[0, 4, 30]),
            sessions_max: one_of(rng, &[3, 8, 1_000]),
            keys_max: one_of(rng, &[50, 1_000]),
            append_entries_max: one_of(rng, &[1, 8, 4_096]),
            snapshot_chunk_bytes: usize::try_from(one_of(rng, &[256, 1_024, 1 << 20]))
                .unwrap_or(1_024),
            in_flight_max: usize::try_from(one_of(rng, &[2, 64, 4_096])).unwrap_or(64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_reads_back() {
        let frame = Frame::default();
        let plan = Plan::draw(7, &frame);
        assert_eq!(plan, Plan::draw(7, &frame));
        assert_ne!(plan, Plan::draw(8, &frame));
        let written = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&written).unwrap(), plan);
    }

    /// Else a command that is sent again may be applied again, and nobody is to blame.
    #[test]
    fn no_key_is_forgotten_while_a_client_in_a_hurry_may_ask_again() {
        let plans = (0..2_000).map(|seed| Plan::draw(seed, &Frame::default()));
        let hurried: Vec<_> =
            plans.filter(|plan| plan.operations >= 100 && plan.keyed > 0).collect();
        assert!(hurried.len() > 50);
        for plan in hurried {
            assert!(plan.limits.keys_max >= plan.clients * plan.operations / 2, "{}", plan.seed);
        }
    }

    #[test]
    fn what_no_cluster_can_be_is_refused_and_what_is_drawn_is_not() {
        let frame = Frame::default();
        for seed in 0..300 {
            assert_eq!(Plan::draw(seed, &frame).check(), Ok(()), "{seed}");
        }
        let refused = |change: fn(&mut Plan)| {
            let mut plan = Plan::draw(1, &frame);
            change(&mut plan);
            plan.check().unwrap_err()
        };
        assert!(refused(|plan| plan.nodes = 0).contains("nodes"));
        assert!(refused(|plan| plan.links.loss = f64::NAN).contains("loss"));
        assert!(refused(|plan| plan.active = Duration::MAX).contains("active"));
        assert!(refused(|plan| plan.limits.heartbeat = Duration::ZERO).contains("heartbeat"));
        let step = |fault| Step { at: Duration::ZERO, lasting: Duration::ZERO, fault };
        let mut plan = Plan::draw(1, &frame);
        plan.steps.push(step(Fault::Loss(7.0)));
        assert!(plan.check().unwrap_err().contains("probability"));
    }

    #[test]
    fn every_fault_ends_within_the_safety_phase() {
        for seed in 0..200 {
            let plan = Plan::draw(seed, &Frame::default());
            assert!(plan.steps.iter().all(|step| step.at + step.lasting <= plan.active), "{seed}");
        }
    }
}
