//! The simulation as a whole: it is decided by its seed, it finds what is planted, and its kit tells
//! users what they need to know.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

use serde::{Deserialize, Serialize};
use sixbells::StateMachine;
use sixbells_jepsen::rand::RngExt;
use sixbells_jepsen::sim::bug::{Bug, catalogue};
use sixbells_jepsen::sim::campaign::{Campaign, Case};
use sixbells_jepsen::sim::plan::Frame;
use sixbells_jepsen::sim::{Kind, Op, Test};

/// Short runs: in debug builds openraft checks itself at every step, and each takes half a second.
fn campaign() -> Campaign {
    let frame = Frame { active: Duration::from_secs(2), ..Frame::default() };
    Campaign { frame, ..Campaign::default() }
}

fn hash(seed: u64) -> u64 {
    let outcome = campaign().case(seed).run(None);
    let violation = outcome.violation.map(|violation| violation.to_string());
    assert_eq!(violation, None, "seed {seed}");
    outcome.traces.hash
}

/// The promise that everything else rests on. A map that iterates in random order, a real clock, a
/// task that runs elsewhere: any of them shows here.
#[test]
fn fifty_seeds_run_the_same_in_this_thread_in_a_fresh_one_and_once_more() {
    let elsewhere = thread::spawn(|| (0..50).map(hash).collect::<Vec<u64>>());
    let here: Vec<u64> = (0..50).map(hash).collect();
    assert_eq!(here, elsewhere.join().unwrap());
    let again: Vec<u64> = (0..5).map(hash).collect();
    assert_eq!(here[..5], again);
    let mut distinct = here;
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 50, "a seed decides something");
}

fn sim(arguments: &[&str]) -> (Option<i32>, String) {
    let store = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sixbells-jepsen"))
        .arg("sim")
        .args(arguments)
        .arg("--store")
        .arg(store.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_seed_has_the_same_trace_hash_in_every_process() {
    for seed in ["3", "7"] {
        let run = || sim(&["--seed", seed, "--time-limit", "2"]);
        let (code, said) = run();
        assert_eq!(code, Some(0), "{said}");
        let wanted = format!("trace hash {:016x}", hash(seed.parse().unwrap()));
        assert!(said.contains(&wanted), "{wanted} is not in\n{said}");
        assert_eq!(run().1, said);
    }
}

#[test]
fn bad_arguments_are_bad_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let senseless = folder.path().join("case.json");
    let mut case = campaign().case(1);
    case.plan.nodes = 0;
    fs::write(&senseless, serde_json::to_vec(&case).unwrap()).unwrap();
    for arguments in [
        &["--seeds", "0"][..],
        &["--nemesis", "fire"],
        &["--plant", "no-such-bug"],
        &["--workload", "chess"],
        &["--nodes", "0"],
        &["--case", "no/such/file"],
        &["--case", "Cargo.toml"],
        &["--case", senseless.to_str().unwrap()],
        &["--seed", "18446744073709551615", "--seeds", "2"],
    ] {
        let (code, said) = sim(arguments);
        assert_eq!(code, Some(254), "{arguments:?}: {said}");
    }
}

/// Each of these failed once, for a reason that its name tells. They must never again.
#[test]
fn what_failed_once_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let case: Case = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let violation = case.run(None).violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "{}", path.display());
        count += 1;
    }
    assert!(count >= 2, "only {count} cases were found");
}

/// The quick ones. All of them, and those in the library itself, which are there in builds with the
/// feature `plant` alone, are the part of `cargo jepsen bugs`.
#[test]
fn bugs_planted_outside_of_the_library_are_caught_within_their_budgets() {
    let outside = catalogue().filter(|planted| match planted.bug {
        Bug::Log(_) | Bug::NondeterministicApply => planted.budget <= 40,
        #[cfg(feature = "plant")]
        Bug::Library(_) => false,
    });
    let mut caught = BTreeMap::new();
    for planted in outside {
        let campaign = Campaign { planted: Some(planted), ..Campaign::default() };
        let sweep = campaign.sweep(0..planted.budget, 2, |_| {});
        let (case, outcome) = sweep.failed.unwrap_or_else(|| panic!("{}", planted.name));
        let violation = outcome.violation.unwrap();
        let clean = case.without_bug().run(None).violation;
        assert_eq!(clean, None, "{}, seed {}", planted.name, case.plan.seed);
        caught.insert(planted.name, violation.oracle);
    }
    assert_eq!(caught.len(), 7, "{caught:?}");
    assert_eq!(caught["unsynced-vote"], "election safety");
}

/// What is planted fails in its replay as well, and so does the smaller case.
#[test]
fn a_failure_replays_and_is_made_smaller() {
    let planted = catalogue().find(|planted| planted.name == "nondeterministic-apply");
    let campaign = Campaign { planted, ..Campaign::default() };
    let (case, outcome) = campaign.sweep(0..10, 2, |_| {}).failed.expect("it is caught");
    let violation = outcome.violation.unwrap();
    assert_eq!(case.run(None).violation.as_ref(), Some(&violation));
    let small = case.shrink(violation.oracle, 60);
    assert!(small.plan.steps.len() <= case.plan.steps.len() && small.plan.clients == 1);
    let written = serde_json::to_vec(&small).unwrap();
    let read: Case = serde_json::from_slice(&written).unwrap();
    let again = read.run(None).violation.expect("the smaller case fails, too");
    assert_eq!(again.oracle, violation.oracle);
}

/// A sweep that was to try a fault and did not must not pass for one that did.
#[test]
fn a_fault_that_never_fires_is_no_evidence() {
    let frame = Frame {
        nodes: vec![1],
        faults: vec![Kind::Remove],
        insist: true,
        active: Duration::from_secs(4),
        ..Frame::default()
    };
    let campaign = Campaign { frame, ..Campaign::default() };
    let sweep = campaign.sweep(0..3, 1, |_| {});
    assert!(sweep.failed.is_none());
    assert_eq!(sweep.gaps(&campaign.frame.faults), ["remove never fired, in 3 plans"]);
    assert!(sweep.table().contains("fault: remove"));
}

/// A counter that a user may have written, with a mistake to choose.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter<const MISTAKE: u8> {
    sum: u64,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

const NONE: u8 = 0;
const COUNTS_CALLS: u8 = 1;
const PANICS: u8 = 2;
const OVERFLOWS: u8 = 3;

impl<const MISTAKE: u8> StateMachine for Counter<MISTAKE> {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, n: u64) -> u64 {
        self.sum += n;
        match MISTAKE {
            COUNTS_CALLS => self.sum += CALLS.fetch_add(1, Ordering::Relaxed),
            PANICS => assert!(self.sum < 100, "too much"),
            OVERFLOWS => self.sum %= 64,
            _ => {}
        }
        self.sum
    }

    fn query(&self, (): ()) -> u64 {
        self.sum
    }
}

/// What the kit says of a counter with this mistake.
fn verdict<const MISTAKE: u8>() -> Result<(), String> {
    let test = Test::<Counter<MISTAKE>>::new(|rng| match rng.random_bool(0.7) {
        true => Op::Write(rng.random_range(1..10)),
        false => Op::Read(()),
    })
    .nodes([3])
    .clients(3)
    .nemesis([Kind::Kill, Kind::Partition])
    .lasting(Duration::from_secs(4))
    .setup([1])
    .invariant("it only grows", |counter| counter.sum > 0);
    catch_unwind(AssertUnwindSafe(|| test.simulate(0..12)))
        .map_err(|panic| panic.downcast::<String>().map_or_else(|_| String::new(), |said| *said))
}

#[test]
fn the_kit_passes_a_machine_without_a_mistake() {
    assert_eq!(verdict::<NONE>(), Ok(()));
}

#[test]
fn the_kit_finds_a_machine_that_is_not_deterministic() {
    let said = verdict::<COUNTS_CALLS>().unwrap_err();
    let seen = said.starts_with("state machine safety") || said.contains("another state than");
    assert!(seen, "{said}");
}

#[test]
fn the_kit_finds_a_machine_that_panics() {
    let said = verdict::<PANICS>().unwrap_err();
    assert!(said.contains("too much") || said.contains("panicked"), "{said}");
}

#[test]
fn the_kit_finds_a_broken_invariant_and_says_how_to_see_it_again() {
    let said = verdict::<OVERFLOWS>().unwrap_err();
    assert!(said.contains("it only grows: does not hold after operation"), "{said}");
    assert!(said.contains("to see it again: SIXBELLS_SEED="), "{said}");
    let path = said.split("SIXBELLS_PLAN=").nth(1).and_then(|rest| rest.split(' ').next());
    let plan = fs::read_to_string(path.expect("the smaller plan is named")).unwrap();
    assert!(plan.contains("\"steps\""), "{plan}");
}

fn said(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it must not pass");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// An assertion in a generator or an invariant is the first thing that one writes.
#[test]
fn a_panic_in_the_users_code_does_not_cost_the_seed() {
    let counter = || Test::<Counter<NONE>>::new(|_| Op::Write(1)).lasting(Duration::from_secs(2));
    let generator =
        Test::<Counter<NONE>>::new(|_| panic!("what now")).lasting(Duration::from_secs(2));
    let said_of_generator = said(|| generator.simulate(3..4));
    let invariant = counter().invariant("none", |_| panic!("what now"));
    let said_of_invariant = said(|| invariant.simulate(3..4));
    for said in [said_of_generator, said_of_invariant] {
        assert!(said.contains("panicked: what now"), "{said}");
        assert!(said.contains("SIXBELLS_SEED=3 cargo test"), "{said}");
    }
    counter().simulate(3..4);
}

#[test]
fn a_test_of_nothing_does_not_pass() {
    let counter = || Test::<Counter<NONE>>::new(|_| Op::Write(1));
    assert!(said(|| counter().simulate(5..5)).contains("nothing was tested"));
    let one = counter().nodes([1]).nemesis([Kind::Remove]).lasting(Duration::from_secs(2));
    assert!(said(|| one.simulate(0..2)).contains("never fired in all seeds: [Remove]"));
}
