//! Made-up histories through the command line: what `gen` writes, `check` reads.
//!
//! In go arguments; the story is that each form holds the same history, that one which is made wrong
//! is found wrong, and that mistakes of the user and readers that leave early end as they should.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use sixbells_jepsen::history::{Format, History, Operation};

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixbells-jepsen"));
    command.arg("gen").args(arguments.split_whitespace());
    command
}

fn generate(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

/// What a form keeps of every operation.
fn operations(text: &str, format: Format) -> Vec<Operation> {
    let (_, operations) = History::parse("made", text, format).unwrap().operations().unwrap();
    operations
}

#[test]
fn every_form_holds_the_same_history_each_time() {
    let shape = "--ops 300 --clients 7 --keys 3 --values 4 --mix 40,30,30 --crash 0.1 --seed 5";
    let forms = [
        ("edn", Format::Edn),
        ("jsonl", Format::Jsonl),
        ("log", Format::Log),
        ("elle", Format::Elle),
    ];
    let read = forms.map(|(name, format)| {
        let arguments = format!("{shape} --format {name}");
        let output = generate(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stdout, generate(&arguments).stdout);
        operations(&String::from_utf8(output.stdout).unwrap(), format)
    });
    let [edn, jsonl, log, elle] = read;
    assert_eq!((edn.len(), elle.len()), (300, 300));
    assert_eq!(edn, jsonl);
    // A log has no times, and Elle has transactions: the rest is the same.
    assert_eq!(edn.len(), log.len());
    for ((edn, log), elle) in edn.iter().zip(&log).zip(&elle) {
        assert_eq!((edn.process, edn.outcome), (elle.process, elle.outcome));
        assert_eq!((edn.process, edn.outcome), (log.process, log.outcome));
        assert_eq!((&edn.f, &edn.input, &edn.value), (&log.f, &log.input, &log.value));
        assert_eq!(elle.f, "txn");
    }
}

#[test]
fn a_history_that_is_made_wrong_is_found_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for (stale, code) in [("0", 0), ("1", 1)] {
        let output = generate(&format!("--ops 200 --clients 3 --stale {stale}"));
        let path = folder.path().join(stale);
        std::fs::write(&path, output.stdout).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_sixbells-jepsen"));
        let check = check.args(["check", "--model", "register"]).arg(path).output().unwrap();
        assert_eq!(check.status.code(), Some(code), "{check:?}");
    }
}

#[test]
fn bad_arguments_say_why_and_write_nothing() {
    let cases = [
        ("--clients 0", "at least one client"),
        ("--mix 1,2", "three weights are expected"),
        ("--mix 0,0,0", "a weight above 0"),
        ("--mix 4294967295,1,0", "less than 2^32"),
        ("--values few", "`unique` or a number is expected"),
        ("--values 0", "at least one value"),
        ("--crash 2", "between 0 and 1"),
        ("--crash NaN", "between 0 and 1"),
        ("--stale 2", "2 is not in 0..=1"),
        ("--keys 4000000000", "ten million keys"),
        ("--ops 3 --stale 1", "more operations are needed"),
        ("--format xml", "possible values"),
    ];
    for (arguments, reason) in cases {
        let output = generate(arguments);
        assert_eq!(output.status.code(), Some(254), "{arguments}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(reason) && output.stdout.is_empty(), "{arguments}: {error}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = command("--ops 50000").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{:index 0, :type :invoke"), "{line}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
