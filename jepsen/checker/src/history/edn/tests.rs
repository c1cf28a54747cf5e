//! The reader of EDN, form by form.
//!
//! Stories: every kind of form comes back as itself; what counts as a blank; what is refused, with
//! its line and its reason.

use super::*;

fn read(text: &str) -> Result<Vec<Value>, EdnError> {
    let mut reader = EdnReader::new(text);
    let mut forms = Vec::new();
    while let Some((_, form)) = reader.next_form()? {
        forms.push(form);
    }
    Ok(forms)
}

#[test]
fn every_kind_of_form_reads_and_writes_back_to_itself() {
    let text = r#"nil true false 0 -7 +3 12N 1.5 -2e3 3.25M ##Inf ##-Inf \a \newline \( \u0041
        "a \"quoted\" [text] \n\t\\ \u00e9 \ud83d\ude00" :key :ns/key sym (1 2) [] [1, [2 nil]]
        #{:a "b"} {:a 1, "b" [2], [3] {}} #inst "2024-01-01" #jepsen.history.Op{:f :read}"#;
    let forms = read(text).unwrap();
    assert_eq!(forms.len(), 27);
    let written: Vec<String> = forms.iter().map(Value::to_string).collect();
    assert_eq!(read(&written.join("\n")).unwrap(), forms);
    assert!(matches!(&forms[16], Value::Text(text) if text.ends_with("é 😀")));
}

#[test]
fn comments_discards_and_commas_are_blanks() {
    let forms = read("; a note\n[1 #_ 2 #_#_ 3 [4] 5,,] #_{:gone 1} ; end").unwrap();
    assert_eq!(forms, vec![Value::Vector(vec![Value::Int(1), Value::Int(5)])]);
}

#[test]
fn bad_input_names_the_line_and_the_reason() {
    let cases = [
        ("1\n{:a}", 2, "without a value"),
        ("{:a 1\n :a 2}", 2, "twice"),
        ("[1\n\n2", 3, "closes line 1"),
        ("\n\"never", 2, "has no end"),
        ("99999999999999999999", 1, "64 bits"),
        ("1/2", 1, "not a number"),
        (")", 1, "closes nothing"),
        ("\"\\q\"", 1, "not an escape"),
        ("#_", 1, "form was expected"),
        ("^:meta x", 1, "not EDN"),
    ];
    for (text, line, reason) in cases {
        let error = read(text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
    assert!(read(&"[".repeat(100_000)).unwrap_err().reason.contains("deeper"));
    assert!(read(&"#_".repeat(100_000)).unwrap_err().reason.contains("deeper"));
}
