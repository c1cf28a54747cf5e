//! The contrast: both modes under the same workload, seed and faults.

use std::{fs, process::Command, time::Duration};

use sixbells::Mode;
use sixbells_jepsen::{
    checker::Verdict,
    contrast::{Outcome, Setting},
    sim::{
        Kind,
        campaign::Campaign,
        plan::{Frame, Plan},
    },
    workload::Workload,
};

fn setting(workload: Workload, seed: u64, seconds: u64) -> Setting {
    let (faults, active) = (vec![Kind::Partition], Duration::from_secs(seconds));
    Setting { workload, seed, nodes: 3, faults, active }
}

fn contrast(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sixbells-jepsen"))
        .arg("contrast")
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_bank_pays_twice_in_one_mode_and_never_in_the_other() {
    let shown = setting(Workload::Bank, 3, 8).run();
    assert_eq!(shown.outcome(), Outcome::AsExpected);
    assert!(matches!(shown.strong.linearizable, Verdict::Valid { .. }));
    assert!(shown.strong.revoked.is_empty() && shown.strong.overspent() == 0);
    assert!(matches!(shown.eventual.linearizable, Verdict::Invalid { .. }));
    assert!(shown.eventual.overspent() > 0);
    // And the other bill: who is cut off waits in strong mode, and goes on in eventual mode.
    let (strong, eventual) = (shown.strong.bills().0, shown.eventual.bills().0);
    assert!(strong.available() < eventual.available(), "{strong:?} {eventual:?}");
    let example = shown.example();
    assert!(example.contains("paid") && example.contains("was revoked"), "{example}");
}

#[test]
fn a_counter_that_nobody_reads_on_the_way_is_as_good_in_either_mode() {
    let shown = setting(Workload::Counter, 3, 5).run();
    assert_eq!(shown.outcome(), Outcome::AsExpected);
    assert!(shown.eventual.revoked.is_empty());
    assert!(matches!(shown.eventual.linearizable, Verdict::Valid { .. }));
}

#[test]
fn lists_are_read_late_and_change_and_a_token_helps() {
    let shown = setting(Workload::Append, 3, 8).run();
    assert_eq!(shown.outcome(), Outcome::AsExpected);
    let side = &shown.eventual;
    assert!(side.staleness.stale() > 0 && !side.reordered.is_empty());
    let [without, with] = &side.sessions;
    assert!(!without.lapses.is_empty() && with.judged > 0 && with.lapses.is_empty());
    assert!(shown.strong.reordered.is_empty() && shown.strong.staleness.stale() == 0);
}

#[test]
fn a_run_that_shows_nothing_is_no_pass() {
    let weak = Setting { nodes: 2, faults: vec![Kind::Loss], ..setting(Workload::Claim, 1, 2) };
    let mut shown = weak.run();
    shown.eventual.linearizable = Verdict::Valid { operations: 9, partitions: 1 };
    assert_eq!(shown.outcome(), Outcome::Weak);
    shown.eventual.promises = Err("durability: planted".to_owned());
    assert!(matches!(shown.outcome(), Outcome::Broken(Mode::Eventual, _)));
}

#[test]
fn the_command_prints_a_table_and_leaves_a_page() {
    let store = tempfile::tempdir().unwrap();
    let folder = store.path().to_str().unwrap();
    let (code, said) =
        contrast(&["--workload", "lock", "--seed", "1", "--time-limit", "6", "--store", folder]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("answers revoked") && said.contains("replay: cargo jepsen contrast"));
    let page = fs::read_to_string(store.path().join("latest/contrast.html")).unwrap();
    assert!(page.contains("</html>") && page.contains("<svg") && !page.contains("<script"));
    let (code, said) = contrast(&["--nemesis", "transfer", "--store", folder]);
    assert_eq!(code, Some(254), "{said}");
}

#[test]
fn eventual_mode_keeps_its_promises_under_every_fault() {
    let campaign = Campaign { frame: Frame::of(Mode::Eventual), ..Campaign::default() };
    let sweep = campaign.sweep(0..30, 2, |_| {});
    let failed = sweep.failed.map(|(case, outcome)| (case.plan.seed, outcome.violation));
    assert!(failed.is_none(), "{failed:?}");
    assert!(sweep.looked["durability"] > 1_000, "{:?}", sweep.looked);
    assert!(sweep.looked["session guarantees"] > 100, "{:?}", sweep.looked);
    let frame = Frame::of(Mode::Eventual);
    assert_eq!(Plan::draw(1, &frame).mode, Mode::Eventual);
}
