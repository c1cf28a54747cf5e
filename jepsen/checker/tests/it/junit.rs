//! Reports as JUnit's XML, read by a parser that is not ours.
//!
//! A build server believes what the document says, so a document that is greener than the exit code,
//! or that no parser reads because of what stood in a history, would be worse than none.

use std::time::Duration;

use roxmltree::{Document, Node};
use sixbells_checker::junit::{self, Undecided};
use sixbells_checker::report::{Check, Exit, Report};
use sixbells_checker::{Explanation, Verdict};

fn check(name: &str, verdict: Verdict) -> Check {
    Check { name: name.to_owned(), verdict, details: serde_json::Value::Null }
}

fn valid() -> Verdict {
    Verdict::Valid { operations: 3, partitions: 1 }
}

fn invalid(sentence: &str, operations: &[&str]) -> Verdict {
    let operations = operations.iter().map(|operation| (*operation).to_owned()).collect();
    let sentence = sentence.to_owned();
    Verdict::Invalid { explanation: Explanation { sentence, operations, ..Explanation::default() } }
}

fn unknown() -> Verdict {
    Verdict::Unknown { why: "the search took 60 s".to_owned() }
}

fn report(subject: &str, checks: Vec<Check>) -> Report {
    Report { subject: subject.to_owned(), checks, ..Report::default() }
}

fn number(node: Node<'_, '_>, name: &str) -> usize {
    node.attribute(name).unwrap().parse().unwrap()
}

#[test]
fn a_document_has_a_suite_a_history_and_a_case_a_check() {
    let bad = Report {
        seed: Some(7),
        replay: Some("cargo jepsen run --seed 7".to_owned()),
        took: Some(Duration::from_millis(1250)),
        ..report("b.edn", vec![check("linearizable (kv)", invalid("4 < 5, but", &["one", "two"]))])
    };
    let good = report("a.edn", vec![check("set", valid()), check("order", valid())]);
    let xml = junit::xml(&[good, bad], Undecided::Error);
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "testsuites");
    let counts = ["tests", "failures", "errors", "skipped"].map(|name| number(root, name));
    assert_eq!(counts, [3, 1, 0, 0]);
    let suites: Vec<_> = root.children().filter(Node::is_element).collect();
    assert_eq!(suites[0].attribute("name"), Some("a.edn"));
    assert_eq!((number(suites[0], "tests"), number(suites[0], "failures")), (2, 0));
    assert_eq!(suites[1].attribute("time"), Some("1.250"));
    let property = |name| {
        let mut all = suites[1].descendants();
        all.find(|node| node.attribute("name") == Some(name)).unwrap().attribute("value")
    };
    assert_eq!(property("seed"), Some("7"));
    assert_eq!(property("replay"), Some("cargo jepsen run --seed 7"));
    assert_eq!(property("verdict"), Some("invalid: 4 < 5, but"));
    let case = suites[1].descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    assert_eq!(case.attribute("name"), Some("linearizable (kv)"));
    assert_eq!((case.attribute("file"), case.attribute("time")), (Some("b.edn"), Some("1.250")));
    let failure = case.first_element_child().unwrap();
    assert!(failure.has_tag_name("failure"));
    assert_eq!(failure.attribute("message"), Some("4 < 5, but"));
    let text = "4 < 5, but\none\ntwo\nreplay: cargo jepsen run --seed 7";
    assert_eq!(failure.text(), Some(text));
}

/// Whatever the exit code asks attention for, the document does too.
#[test]
fn a_document_is_never_greener_than_the_exit_code() {
    let gap = |report: Report| Report { gaps: vec!["kill never fired".to_owned()], ..report };
    let failed = |report: Report| Report { failures: vec!["disk full".to_owned()], ..report };
    let one = |verdict: Verdict| report("x", vec![check("c", verdict)]);
    let reports = [
        one(valid()),
        one(unknown()),
        one(invalid("no", &[])),
        gap(one(valid())),
        failed(one(valid())),
        report("x", Vec::new()),
    ];
    for report in reports {
        let xml = junit::xml(std::slice::from_ref(&report), Undecided::Error);
        let document = Document::parse(&xml).unwrap();
        let root = document.root_element();
        let red = number(root, "failures") + number(root, "errors");
        assert_eq!(red == 0, report.exit() == Exit::Valid, "{xml}");
        let tagged = document
            .descendants()
            .filter(|node| ["failure", "error"].iter().any(|tag| node.has_tag_name(*tag)));
        assert_eq!(tagged.count(), red, "{xml}");
    }
}

#[test]
fn the_caller_says_what_undecided_counts_as() {
    let report = report("x", vec![check("c", unknown())]);
    let tag = |undecided| {
        let xml = junit::xml(std::slice::from_ref(&report), undecided);
        let document = Document::parse(&xml).unwrap();
        let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
        case.first_element_child().unwrap().tag_name().name().to_owned()
    };
    assert_eq!(tag(Undecided::Error), "error");
    assert_eq!(tag(Undecided::Failure), "failure");
    assert_eq!(tag(Undecided::Skipped), "skipped");
}

#[test]
fn whatever_a_history_holds_the_document_is_well_formed() {
    let hostile: String = (0..0x300).filter_map(char::from_u32).collect();
    let hostile = hostile + "]]> <!-- <![CDATA[ \u{2028}\u{fffe}\u{ffff}\u{10ffff} </testsuites>";
    let report = Report {
        notes: vec![hostile.clone()],
        failures: vec![hostile.clone()],
        ..report(&hostile, vec![check(&hostile, invalid(&hostile, &[&hostile]))])
    };
    let xml = junit::xml(&[report], Undecided::Error);
    let document = Document::parse(&xml).unwrap();
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    let message = failure.attribute("message").unwrap();
    assert!(message.starts_with("\\u0000\\u0001") && message.contains("]]> <!-- <![CDATA["));
    assert!(message.contains("\t\n") && message.contains("\\ufffe"), "{message:?}");
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("testsuite")).count(), 1);
}
