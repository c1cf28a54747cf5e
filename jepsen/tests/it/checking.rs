//! `check` beyond a verdict: how it was found, what counts as failure, histories that grow, files beside.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixbells-jepsen"));
    command.arg("check");
    command
}

fn check(file: &Path, arguments: &str) -> Output {
    binary().arg(file).args(arguments.split_whitespace()).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(name)
}

/// One line of a history.
fn line(time: u64, process: u64, event_type: &str, f: &str, value: &str) -> String {
    format!("{{:process {process} :type :{event_type} :f :{f} :value {value} :time {time}}}\n")
}

/// A write and its end, then a read and its end.
fn write_and_read(from: u64, written: u64, seen: &str) -> String {
    line(from, 0, "invoke", "write", &written.to_string())
        + &line(from + 1, 0, "ok", "write", &written.to_string())
        + &line(from + 2, 1, "invoke", "read", "nil")
        + &line(from + 3, 1, "ok", "read", seen)
}

#[test]
fn each_method_says_that_it_decided() {
    let cases = [
        ("register_log-index_valid.jsonl", "register", "decided by log order"),
        ("register_log-index-lies_valid.jsonl", "register", "decided by zones"),
        ("queue_overtaken_invalid.edn", "queue", "found by procedure"),
        ("cas-register_lost-update_invalid.jsonl", "cas-register", "found by zones"),
    ];
    for (file, model, method) in cases {
        let output = check(&recorded(file), &format!("--model {model} --explain"));
        assert!(words(&output).contains(method), "{file}: {}", words(&output));
    }
    let folder = tempfile::tempdir().unwrap();
    let repeated = folder.path().join("repeated.edn");
    fs::write(&repeated, write_and_read(10, 1, "1") + &write_and_read(20, 1, "1")).unwrap();
    let output = check(&repeated, "--model register --explain");
    assert!(words(&output).contains("decided by search"), "{}", words(&output));
}

/// Unknown is a failure everywhere, unless it is said otherwise.
#[test]
fn unknown_fails_unless_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let (history, junit) = (folder.path().join("h.edn"), folder.path().join("j.xml"));
    // Values repeat, so that a search is needed, for which there is no memory.
    let text: String =
        (0..50).map(|i| write_and_read(i * 10, i % 2, &(i % 2).to_string())).collect();
    fs::write(&history, text).unwrap();
    let hopeless = format!("--model register --memory 0 --junit {}", junit.display());
    let output = check(&history, &hopeless);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(words(&output).lines().last().unwrap().starts_with("unknown: "));
    assert!(fs::read_to_string(&junit).unwrap().contains("<error"));
    let output = check(&history, &format!("{hopeless} --allow-unknown"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(words(&output).lines().last().unwrap().starts_with("unknown: "));
    assert!(fs::read_to_string(&junit).unwrap().contains("<skipped"));
}

#[test]
fn a_register_may_begin_with_a_value_and_any_model_may_be_keyed() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun.edn");
    fs::write(&begun, line(1, 0, "invoke", "read", "nil") + &line(2, 0, "ok", "read", "0"))
        .unwrap();
    assert_eq!(check(&begun, "--model register").status.code(), Some(1));
    assert_eq!(check(&begun, "--model register --initial 0").status.code(), Some(0));
    assert_eq!(check(&begun, "--model register --initial [").status.code(), Some(254));
    let keyed = folder.path().join("keyed.edn");
    let text = line(1, 0, "invoke", "enqueue", "[7 1]")
        + &line(2, 0, "ok", "enqueue", "[7 1]")
        + &line(3, 0, "invoke", "dequeue", "[8 nil]")
        + &line(4, 0, "ok", "dequeue", "[8 1]");
    fs::write(&keyed, text).unwrap();
    let output = check(&keyed, "--model queue --keyed");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(words(&output).contains("key 8"), "{}", words(&output));
    assert_eq!(check(&keyed, "--model queue").status.code(), Some(1));
}

/// The page of a valid history lists the order that was found, with the state after each step.
#[test]
fn a_page_shows_the_order_that_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let history = recorded("kv_two-keys_valid.jsonl");
    let output = check(&history, &format!("--model kv --html {}", page.display()));
    assert_eq!(output.status.code(), Some(0));
    assert!(fs::read_to_string(page).unwrap().contains("key 1: "));
}

/// A history is judged while it grows: nothing is said while it is fine, and the first violation ends
/// it.
#[test]
fn a_history_that_grows_is_followed_to_its_first_violation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growing.edn");
    let mut file = File::create(&path).unwrap();
    let mut child = binary()
        .arg(&path)
        .args(["--model", "register", "--follow", "--idle", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for round in 0..400_u64 {
        let value = round + 1;
        let text = write_and_read(round * 10, value, &value.to_string());
        // Not always whole lines.
        let (first, second) = text.split_at(text.len() / 3);
        file.write_all(first.as_bytes()).unwrap();
        file.flush().unwrap();
        file.write_all(second.as_bytes()).unwrap();
    }
    assert!(child.try_wait().unwrap().is_none(), "it ended while nothing was wrong");
    // It looks at a batch at a time, so what follows the violation brings it to light.
    file.write_all(write_and_read(10_000, 1000, "7").as_bytes()).unwrap();
    for round in 1001..1400_u64 {
        let text = write_and_read(round * 10, round, &round.to_string());
        file.write_all(text.as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = words(&output);
    assert!(said.lines().last().unwrap().starts_with("invalid: process 1 read 7 "), "{said}");
}

#[test]
fn a_followed_history_ends_when_it_has_been_idle() {
    let folder = tempfile::tempdir().unwrap();
    let missing = check(&folder.path().join("none.edn"), "--model register --follow --idle 0");
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    for (file, model, code) in [
        ("kv_two-keys_valid.jsonl", "kv", 0),
        ("kv_one-key-of-two_invalid.jsonl", "kv", 1),
        ("queue_overtaken_invalid.edn", "queue", 1),
        ("mutex_handed-over_valid.log", "mutex", 0),
        ("register_any-value_valid.edn", "register", 0),
        ("register_crashed-write-appears-late_valid.edn", "register", 254),
        ("register_two-in-flight_bad-input.jsonl", "register", 254),
        ("append_elle_valid.edn", "append", 254),
    ] {
        let output = check(&recorded(file), &format!("--model {model} --follow --idle 0"));
        assert_eq!(output.status.code(), Some(code), "{file}: {output:?}");
    }
}

/// A slip on the command line must not cost the history.
#[test]
fn a_history_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("h.edn");
    let text = write_and_read(10, 1, "1");
    fs::write(&history, &text).unwrap();
    let page = folder.path().join("p");
    let twice = format!("--model register --html {0} --junit {0}", page.display());
    for arguments in [format!("--model register --html {}", history.display()), twice] {
        let output = check(&history, &arguments);
        assert_eq!(output.status.code(), Some(254), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("overwritten"), "{output:?}");
    }
    assert_eq!(fs::read_to_string(&history).unwrap(), text);
}

#[test]
fn a_verdict_is_told_though_something_else_goes_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("h.edn");
    fs::write(&history, write_and_read(10, 1, "2")).unwrap();
    let nowhere = folder.path().join("nowhere/j.xml");
    let output = check(&history, &format!("--model register --junit {}", nowhere.display()));
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(words(&output).contains("nobody wrote 2"), "{output:?}");
    // The other of two histories is not there.
    let output =
        check(&folder.path().join("none.edn"), &format!("{} --model register", history.display()));
    assert_eq!(output.status.code(), Some(254), "{output:?}");
    assert!(words(&output).contains("nobody wrote 2"), "{output:?}");
}

#[test]
fn what_was_followed_has_a_page_if_one_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (history, page) = (folder.path().join("h.edn"), folder.path().join("p.html"));
    fs::write(&history, write_and_read(10, 1, "1")).unwrap();
    let followed = "--model register --follow --idle 0";
    let output = check(&history, &format!("{followed} --html {}", page.display()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(fs::read_to_string(&page).unwrap().contains("</html>"));
    let output = check(&history, followed);
    assert!(!words(&output).contains("0 operations"), "{}", words(&output));
    let output = check(folder.path(), followed);
    assert_eq!(output.status.code(), Some(254), "{output:?}");
}
