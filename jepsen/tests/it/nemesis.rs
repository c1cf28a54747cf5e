//! The nemesis against a cluster that only remembers what was done to it.
//!
//! What could go wrong with a nemesis is that it breaks nothing, breaks more than it says, leaves
//! something broken, or breaks something else when its seed is replayed. Each story here guards
//! against one of those, without a process or a socket.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use sixbells_jepsen::history::{Event, Recorder, Value};
use sixbells_jepsen::nemesis::{Coverage, Fault, Link, Schedule, Target};

const INTERVAL: Duration = Duration::from_millis(1);

/// A cluster of three that notes each call, and fails or stays unaware if told so.
#[derive(Default)]
struct Fake {
    calls: Mutex<Vec<String>>,
    broken: Mutex<BTreeSet<String>>,
    leader: Option<u64>,
    /// What a cut holds back.
    held_back: u64,
    fails_at: Option<&'static str>,
}

impl Fake {
    fn note(&self, verb: &'static str, what: &str) -> anyhow::Result<()> {
        self.calls.lock().unwrap().push(format!("{verb} {what}"));
        anyhow::ensure!(self.fails_at != Some(verb), "{verb} is out of order");
        let mut broken = self.broken.lock().unwrap();
        let undone = match verb {
            "start" => Some(format!("kill {what}")),
            "resume" => Some(format!("pause {what}")),
            "heal" => Some("block".to_owned()),
            _ => None,
        };
        match undone {
            Some(undone) => broken.remove(&undone),
            None => broken.insert(format!("{verb} {what}").trim().to_owned()),
        };
        Ok(())
    }
}

impl Target for Fake {
    fn nodes(&self) -> Vec<u64> {
        vec![1, 2, 3]
    }

    async fn leader(&self) -> Option<u64> {
        self.leader
    }

    async fn kill(&self, node: u64) -> anyhow::Result<()> {
        self.note("kill", &node.to_string())
    }

    async fn start(&self, node: u64) -> anyhow::Result<()> {
        self.note("start", &node.to_string())
    }

    async fn pause(&self, node: u64) -> anyhow::Result<()> {
        self.note("pause", &node.to_string())
    }

    async fn resume(&self, node: u64) -> anyhow::Result<()> {
        self.note("resume", &node.to_string())
    }

    async fn block(&self, links: &BTreeSet<Link>) -> anyhow::Result<()> {
        assert!(!links.is_empty());
        self.note("block", "")
    }

    async fn heal(&self) -> anyhow::Result<u64> {
        self.note("heal", "").map(|()| self.held_back)
    }
}

struct Run {
    coverage: Coverage,
    result: anyhow::Result<()>,
    events: Vec<Event>,
    calls: Vec<String>,
}

/// Runs a schedule until the nemesis has recorded `steps` events.
async fn run(fake: &Fake, seed: u64, faults: &[Fault], steps: usize) -> Run {
    let recorder = Recorder::new(1);
    let enough = async {
        while recorder.events().len() < steps {
            tokio::task::yield_now().await;
        }
    };
    let schedule = Schedule::new(seed, faults, INTERVAL);
    let (coverage, result) = schedule.run(fake, &recorder, enough).await;
    let calls = fake.calls.lock().unwrap().clone();
    Run { coverage, result, events: recorder.events(), calls }
}

fn field<'a>(event: &'a Event, name: &str) -> &'a Value {
    let Value::Map(fields) = &event.value else { panic!("{event:?}") };
    &fields[&Value::from(name)]
}

/// Every fault and variant has its turn, each step is in the history, and nothing stays broken.
#[tokio::test]
async fn a_long_schedule_fires_everything_and_heals_it() {
    let fake = Fake { leader: Some(2), held_back: 7, ..Fake::default() };
    let Run { coverage, result, events, .. } = run(&fake, 1, &Fault::ALL, 60).await;
    result.unwrap();
    assert!(fake.broken.lock().unwrap().is_empty(), "something stayed broken");
    assert_eq!(coverage.gaps(), Vec::<String>::new());
    // Three nodes have all variants but less than a third of them: 5 + 5 + 7.
    let fired = coverage.rows.iter().filter(|row| row.installed > 0 && row.installed == row.healed);
    assert_eq!(fired.count(), 17);
    let skipped: Vec<_> = coverage.rows.iter().filter(|row| row.skipped > 0).collect();
    assert!(skipped.iter().all(|row| row.variant == "minority-third"));
    let results = |word: &str| {
        events.iter().filter(|event| *field(event, "result") == Value::from(word)).count()
    };
    assert_eq!(results("installed"), results("healed"));
    assert_eq!(results("installed") + results("healed") + results("skipped"), events.len());
    assert!(coverage.table().iter().any(|line| line.contains("held back")));
}

#[tokio::test]
async fn the_same_seed_breaks_the_same_things() {
    let calls = async |seed| {
        let fake = Fake { leader: Some(2), held_back: 1, ..Fake::default() };
        run(&fake, seed, &Fault::ALL, 40).await.calls
    };
    let (one, same, other) = (calls(7).await, calls(7).await, calls(8).await);
    let common = one.len().min(same.len());
    assert_eq!(one[..common], same[..common]);
    assert_ne!(one[..common.min(other.len())], other[..common.min(other.len())]);
}

/// A cut that nobody noticed did not fire: here, links that carry no traffic.
#[tokio::test]
async fn a_fault_that_never_fired_is_a_gap() {
    let fake = Fake { leader: Some(1), ..Fake::default() };
    let coverage = run(&fake, 1, &[Fault::Partition, Fault::Kill], 20).await.coverage;
    let gaps = coverage.gaps();
    assert_eq!(gaps.len(), 1);
    assert!(gaps[0].contains("partition") && gaps[0].contains("held nothing back"), "{gaps:?}");

    let short = run(&fake, 1, &[Fault::Pause], 0).await.coverage;
    assert!(short.gaps()[0].contains("too short"), "{:?}", short.gaps());
}

/// A variant that makes no sense now must not use up its fault's turn: in a short run the fault would
/// never fire.
#[tokio::test]
async fn without_a_leader_what_needs_one_leaves_its_turn_to_another() {
    let fake = Fake { held_back: 1, ..Fake::default() };
    let Run { events, coverage, .. } = run(&fake, 3, &Fault::ALL, 60).await;
    let results = || events.iter().map(|event| field(event, "result"));
    assert!(results().all(|result| *result != Value::from("skipped")));
    assert!(results().filter(|result| **result == Value::from("installed")).count() > 20);
    assert!(coverage.gaps().is_empty(), "{:?}", coverage.gaps());
}

/// The first failure ends the schedule, is recorded, and what was half done is undone.
#[tokio::test]
async fn a_target_that_fails_ends_the_run_after_healing() {
    let fake = Fake { leader: Some(1), fails_at: Some("pause"), ..Fake::default() };
    let Run { result, events, calls, .. } = run(&fake, 1, &[Fault::Pause], usize::MAX).await;
    assert!(result.unwrap_err().to_string().contains("pause is out of order"));
    assert_eq!(*field(&events[0], "result"), Value::from("failed"));
    assert!(calls.last().unwrap().starts_with("resume"), "{calls:?}");
    assert!(fake.broken.lock().unwrap().is_empty());
}
