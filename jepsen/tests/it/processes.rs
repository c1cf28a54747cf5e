//! Real runs through the binary: real nodes, real faults, and what is left behind.
//!
//! The runs are short, so they show that the harness works and not that the library does: a valid
//! run is complete, a planted bug is found, a run that tried nothing is no evidence, and no process
//! outlives its harness, however that ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A busy machine is slow, a hanging harness never ends.
const PATIENCE: Duration = Duration::from_secs(60);

fn harness(store: &TempDir, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixbells-jepsen"));
    command.arg("run").args(arguments.split_whitespace()).arg("--store").arg(store.path());
    command
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().unwrap_or_default().to_owned()
}

fn latest(store: &TempDir) -> PathBuf {
    store.path().join("latest")
}

/// The ids of all processes that a run started as nodes, by its log.
fn node_processes(folder: &Path) -> Vec<u32> {
    let log = fs::read_to_string(folder.join("harness.log")).unwrap_or_default();
    let started =
        log.lines().filter_map(|line| line.rsplit_once("started node=")?.1.split_once("pid="));
    started.map(|(_, pid)| pid.trim().parse().unwrap()).collect()
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(50));
    }
}

/// A run in the background that has got as far as its load.
fn loaded(store: &TempDir, arguments: &str) -> Child {
    let mut command = harness(store, arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let log = latest(store).join("harness.log");
    wait_for("the load begins", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("load and faults"))
    });
    sleep(Duration::from_millis(500));
    child
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

#[test]
fn a_short_run_is_valid_and_leaves_a_complete_folder_and_no_process() {
    let store = TempDir::new().unwrap();
    let arguments = "--workload register --nemesis kill,partition --nemesis-interval 1 \
                     --time-limit 8 --seed 5";
    let output = harness(&store, arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(last_line(&output).starts_with("valid: linearizable (kv) holds for "), "{words}");
    assert!(words.contains("replay: cargo jepsen run --workload register"), "{words}");
    let folder = latest(&store);
    let files = ["run.json", "history.edn", "history.jsonl", "results.json", "harness.log"];
    let pages = ["junit.xml", "timeline.html"];
    for file in files
        .iter()
        .chain(&pages)
        .map(|file| (*file).to_owned())
        .chain((1..=3).map(|node| format!("node-{node}.log")))
    {
        let size = fs::metadata(folder.join(&file)).unwrap_or_else(|e| panic!("{file}: {e}")).len();
        assert!(size > 0, "{file} is empty");
    }
    assert!(!folder.join("data").exists(), "the data of a valid run is nobody's business");
    let history = fs::read_to_string(folder.join("history.jsonl")).unwrap();
    assert!(history.contains("\"installed\"") && history.contains("\"healed\""));
    // Nodes say who they are, and the page shows it.
    assert!(history.contains("\"role\":\"leader\"") && history.contains("\"role\":\"silent\""));
    let page = fs::read_to_string(folder.join("timeline.html")).unwrap();
    assert!(page.contains("became leader of term ") && page.contains("\"name\":\"partition\""));
    let processes = node_processes(&folder);
    assert!(processes.len() > 3, "killed nodes were started again: {processes:?}");
    assert!(!processes.iter().any(|pid| exists(*pid)), "{processes:?}");
}

#[test]
fn planted_local_reads_are_found_and_the_operations_are_named() {
    let store = TempDir::new().unwrap();
    let arguments = "--workload register --nemesis partition --nemesis-interval 1 --time-limit 4 \
                     --seed 6 --plant local-reads";
    let output = harness(&store, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let verdict = last_line(&output);
    // Which contradiction a real run comes to is chance: most are of two operations, told in a sentence;
    // a compare-and-set in between makes it more, and those are listed.
    let told = ["but process", "no order of these"].iter().any(|words| verdict.contains(words));
    assert!(verdict.starts_with("invalid: key ") && told, "{verdict}");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.matches("process ").count() >= 2, "{words}");
    assert!(latest(&store).join("data/node-1").exists(), "what is wrong may be in there");
}

/// A run with JSON for its output; its exit code, and the verdict of each check by name.
fn judged(store: &TempDir, arguments: &str) -> (Option<i32>, serde_json::Value) {
    let output = harness(store, &format!("{arguments} --json")).output().unwrap();
    (output.status.code(), serde_json::from_str(&last_line(&output)).unwrap())
}

fn verdict_of<'a>(json: &'a serde_json::Value, name: &str) -> &'a str {
    let checks = json["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no check {name}: {json:#}"))["verdict"].as_str().unwrap()
}

/// The books are in order in the end, and still somebody was told what was not so.
#[test]
fn an_eventual_bank_that_is_cut_in_two_takes_a_payment_back_and_keeps_what_it_promises() {
    let store = TempDir::new().unwrap();
    let (exit, json) = judged(
        &store,
        "--mode eventual --workload bank --nemesis partition --nemesis-interval 1 --time-limit 4 \
         --seed 11",
    );
    assert_eq!(exit, Some(1), "{json:#}");
    for promised in ["convergence", "durability", "exactly once"] {
        assert_eq!(verdict_of(&json, promised), "valid", "{json:#}");
    }
    assert_eq!(verdict_of(&json, "revocation"), "invalid");
    let words = json["words"].as_str().unwrap();
    assert!(words.starts_with("invalid: process ") && words.contains("was told Done of Pay"));
    assert!(words.contains("it became Insufficient(") && words.contains("overspent"), "{words}");
    assert!(json["replay"].as_str().unwrap().contains("--mode eventual"));
    let history = fs::read_to_string(latest(&store).join("history.jsonl")).unwrap();
    assert!(history.contains("\"role\":\"running\""));
}

#[test]
fn a_strong_bank_takes_nothing_back() {
    let store = TempDir::new().unwrap();
    let (exit, json) = judged(
        &store,
        "--workload bank --nemesis partition --nemesis-interval 1 --time-limit 4 --seed 12",
    );
    assert_eq!(exit, Some(0), "{json:#}");
    assert_eq!(verdict_of(&json, "linearizable (bank)"), "valid");
}

/// Additions commute, so nobody can tell that their order was agreed on late: not even where nodes die.
#[test]
fn eventual_counters_lose_no_addition() {
    let store = TempDir::new().unwrap();
    let (exit, json) = judged(
        &store,
        "--mode eventual --workload counter --nemesis kill --nemesis-interval 1 --time-limit 4 \
         --seed 13",
    );
    assert_eq!(exit, Some(0), "{json:#}");
    for check in
        ["convergence", "durability", "exactly once", "revocation", "linearizable (counter)"]
    {
        assert_eq!(verdict_of(&json, check), "valid", "{json:#}");
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_starts() {
    let store = TempDir::new().unwrap();
    for arguments in [
        "--mode later",
        "--nemesis earthquake",
        "--rate 0",
        "--log paper",
        "--nemesis-interval x",
        "--nemesis kill,pause,partition --time-limit 26",
        "--nemesis partition --nemesis-interval 0.5 --time-limit 1",
    ] {
        let output = harness(&store, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(254), "{arguments}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments}");
    }
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
}

/// A green run whose faults never fired would be the most dangerous answer of all.
#[test]
fn a_fault_that_cannot_fire_makes_the_run_no_evidence() {
    let store = TempDir::new().unwrap();
    let arguments = "--workload set --nodes 1 --nemesis partition --nemesis-interval 0.5 \
                     --time-limit 2 --seed 7 --json";
    let output = harness(&store, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let json: serde_json::Value = serde_json::from_str(&last_line(&output)).unwrap();
    assert_eq!(json["verdict"], "not evidence");
    assert!(json["gaps"][0].as_str().unwrap().contains("partition was asked for but never fired"));
}

/// A node that dies under a run that does not kill is the best thing a run can find.
#[test]
fn a_node_that_dies_by_itself_fails_the_run() {
    let store = TempDir::new().unwrap();
    let run = loaded(&store, "--workload set --time-limit 30 --seed 8");
    let processes = node_processes(&latest(&store));
    signal("-ABRT", processes[1]);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let verdict = last_line(&output);
    assert!(verdict.starts_with("invalid: node 2 ended by itself, by signal 6"), "{verdict}");
    assert!(!processes.iter().any(|pid| exists(*pid)), "{processes:?}");
}

#[test]
fn an_interrupted_run_writes_what_it_has_and_a_killed_one_takes_its_nodes_along() {
    let store = TempDir::new().unwrap();
    let run = loaded(&store, "--workload set --time-limit 60 --seed 9");
    let processes = node_processes(&latest(&store));
    assert!(processes.len() == 3 && processes.iter().all(|pid| exists(*pid)));
    signal("-INT", run.id());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(last_line(&output), "not evidence: the run was interrupted");
    assert!(!processes.iter().any(|pid| exists(*pid)), "{processes:?}");
    assert!(fs::metadata(latest(&store).join("history.edn")).unwrap().len() > 0);

    let mut run = loaded(&store, "--workload set --time-limit 60 --seed 10");
    let processes = node_processes(&latest(&store));
    // Even one that stands still.
    signal("-STOP", processes[0]);
    signal("-KILL", run.id());
    run.wait().unwrap();
    wait_for("the orphans are gone", || !processes.iter().any(|pid| exists(*pid)));
}
