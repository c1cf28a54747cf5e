//! Recorded histories through the command line, from file to exit code.
//!
//! The files in `tests/histories` are named `<model>_<story>_<verdict>.<format>`; a new one needs no
//! code. Verdicts: `valid`, `invalid`, `unknown`, and `bad-input` for files that are refused. Each is
//! checked in words and in JSON, and both must agree with the exit code.

use std::path::Path;
use std::process::{Command, Output};

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sixbells-jepsen"))
        .arg("check")
        .args(arguments)
        .output()
        .unwrap()
}

fn recorded() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let files = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = files.map(|f| f.unwrap().path().display().to_string()).collect();
    paths.sort();
    paths
}

/// The verdict in the file name, the exit code, the last line and the JSON all agree.
#[test]
fn every_recorded_history_gets_the_verdict_in_its_name() {
    assert!(recorded().len() >= 12);
    for path in recorded() {
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        let [model, _, expected] = stem.split('_').collect::<Vec<_>>()[..] else {
            panic!("{stem}")
        };
        let code = match expected {
            "valid" => 0,
            "invalid" => 1,
            "unknown" => 2,
            "bad-input" => 254,
            other => panic!("{other}"),
        };
        let words = check(&[&path, "--model", model]);
        assert_eq!(words.status.code(), Some(code), "{path}: {words:?}");
        if code == 254 {
            let error = String::from_utf8(words.stderr).unwrap();
            let place =
                error.strip_prefix(&format!("{path}:")).unwrap_or_else(|| panic!("{error}"));
            assert!(place.starts_with(|digit: char| digit.is_ascii_digit()), "{error}");
            assert!(words.stdout.is_empty());
            continue;
        }
        let words = String::from_utf8(words.stdout).unwrap();
        let last = words.lines().last().unwrap();
        assert!(last.starts_with(&format!("{expected}: ")), "{path}: {last}");
        let json = check(&[&path, "--model", model, "--json"]);
        assert_eq!(json.status.code(), Some(code));
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json["verdict"], expected);
        assert_eq!(json["reports"][0]["words"], last);
    }
}

#[test]
fn bad_arguments_are_254_and_help_is_not() {
    for bad in [&[][..], &["x.edn"], &["x.edn", "--model", "heap"], &["/none.edn", "--model", "kv"]]
    {
        assert_eq!(check(bad).status.code(), Some(254), "{bad:?}");
    }
    assert_eq!(check(&["--help"]).status.code(), Some(0));
}

#[test]
fn of_several_files_the_last_line_speaks_for_the_worst() {
    let all = recorded();
    let pick = |part: &str| all.iter().find(|p| p.contains(part)).unwrap().as_str();
    let (good, bad) = (pick("cas-register_chain_valid"), pick("cas-register_lost-update_invalid"));
    let output = check(&[good, bad, good, "--model", "cas-register"]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stdout).unwrap();
    let last = words.lines().last().unwrap();
    assert!(last.starts_with("3 histories, ") && last.contains("lost-update"), "{last}");
}

/// What is written beside says the same as what is printed, and neither gets in the way of the other.
#[test]
fn a_page_and_a_document_for_build_servers_are_written_on_demand() {
    let all = recorded();
    let pick = |part: &str| all.iter().find(|p| p.contains(part)).unwrap().as_str();
    let (good, bad) = (pick("cas-register_chain_valid"), pick("cas-register_lost-update_invalid"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (page, junit) = (at("page.html"), at("junit.xml"));
    let model = ["--model", "cas-register", "--junit", &junit];
    let plain = check(&[bad, "--model", "cas-register"]);
    let output = check(&[&[bad, "--html", &page], &model[..]].concat());
    assert_eq!((output.status.code(), &output.stdout), (Some(1), &plain.stdout));
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(!words.contains('\x1b'), "colour is for terminals");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("<title>invalid: ") && html.contains("was there only once"), "{words}");
    assert!(html.contains("\"culprits\":[0,1,2]"), "the page points to what the sentence names");
    // One page cannot show two histories; a document can.
    let both = [good, bad];
    let refused = check(&[&both[..], &["--html", &page], &model[..]].concat());
    assert_eq!(refused.status.code(), Some(254));
    assert!(
        refused.stdout.is_empty() && String::from_utf8_lossy(&refused.stderr).contains("--html")
    );
    assert_eq!(check(&[&both[..], &model[..]].concat()).status.code(), Some(1));
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert_eq!(xml.matches("<testsuite ").count(), 2, "{xml}");
    assert!(xml.starts_with("<?xml") && xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
}
