//! The style guide's checkable rules, held by a test: a rule that nobody checks is a wish.

use std::{
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 60;

/// Each outside crate that is a door is named in one place.
const DOORS: [(&str, &[&str]); 5] = [
    ("bincode::", &["src/codec.rs"]),
    // The first two are the crate's; the third names our module of the same name.
    ("sled::", &["src/storage/sled.rs", "src/storage/sled_test.rs", "src/storage/mod.rs"]),
    ("openraft::", &["src/strong/", "src/runtime.rs"]),
    ("tokio::net", &["src/transport/tcp/"]),
    ("std::fs", &["src/storage/"]),
];

struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut left: Vec<PathBuf> = ["src", "examples", "tests", "benches", "jepsen"]
        .iter()
        .map(|dir| root().join(dir))
        .collect();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.ends_with("target") {
            // What an excluded package built is not ours.
        } else if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push(Source { path, text });
        }
    }
    assert!(found.len() > 40, "only {} source files found", found.len());
    found
}

/// Every place that breaks the rule, or nothing.
fn none_breaks(rule: &str, broken: impl Fn(&Source) -> Vec<String>) {
    let places: Vec<String> = sources()
        .iter()
        .flat_map(|source| {
            broken(source).into_iter().map(|what| format!("{}: {what}", source.path))
        })
        .collect();
    assert!(places.is_empty(), "{rule}\n  {}", places.join("\n  "));
}

#[test]
fn a_file_is_a_room_one_can_know() {
    none_breaks("files have at most 450 lines", |source| {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX { vec![format!("{lines} lines")] } else { Vec::new() }
    });
}

#[test]
fn a_function_fits_on_a_page() {
    none_breaks("functions have at most 60 lines", |source| {
        let mut open: Option<(usize, usize, &str)> = None;
        let mut broken = Vec::new();
        for (number, line) in source.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let begins = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn "]
                .iter()
                .chain(&["pub async fn ", "pub(crate) async fn ", "pub(super) async fn "])
                .any(|start| code.starts_with(start));
            match open {
                None if begins => open = Some((number, indent, code)),
                Some((start, depth, name)) if indent == depth && code.starts_with('}') => {
                    if number - start + 1 > FUNCTION_LINES_MAX {
                        broken.push(format!("{name} has {} lines", number - start + 1));
                    }
                    open = None;
                }
                // A declaration without a body, or a body on one line.
                Some((start, depth, _))
                    if indent == depth && number >= start && code.ends_with([';', '}']) =>
                {
                    open = None;
                }
                _ => {}
            }
            if let Some((start, _, _)) = open
                && start == number
                && code.ends_with([';', '}'])
            {
                open = None;
            }
        }
        broken
    });
}

#[test]
fn a_module_says_what_it_is() {
    none_breaks("files open with a `//!` header", |source| {
        if source.text.starts_with("//!") { Vec::new() } else { vec!["no header".into()] }
    });
}

#[test]
fn files_are_nouns() {
    none_breaks("no catch-all modules", |source| {
        let stem = Path::new(&source.path).file_stem().unwrap().to_str().unwrap();
        let catch_all = ["utils", "util", "common", "misc", "manager", "helpers", "helper"];
        if catch_all.contains(&stem) { vec!["says nothing".into()] } else { Vec::new() }
    });
}

#[test]
fn a_door_is_named_in_one_place() {
    none_breaks("outside crates are named in one place each", |source| {
        let outside = |allowed: &[&str]| {
            source.path.starts_with("src/") && !allowed.iter().any(|a| source.path.starts_with(a))
        };
        DOORS
            .iter()
            .filter(|(door, allowed)| outside(allowed) && names(&source.text, door))
            .map(|(door, _)| format!("names {door}"))
            .collect()
    });
}

/// Whether code names the crate; prose may, and so may a module of ours with the same name.
fn names(text: &str, door: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.match_indices(door).map(move |(at, _)| &line[..at]))
        .any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    // Spelled in two parts, so that this file does not break its own rule.
    let banned = [
        ["#[ig", "nore"],
        ["todo", "!("],
        ["unimple", "mented!("],
        ["TO", "DO"],
        ["FIX", "ME"],
        ["#[al", "low("],
        ["#![al", "low("],
        ["un", "safe {"],
    ];
    none_breaks("no stubs, ignored tests or silenced lints", |source| {
        let found = banned.iter().map(|parts| parts.concat());
        found.filter(|word| source.text.contains(word)).map(|word| format!("says {word}")).collect()
    });
}

#[test]
fn the_first_program_in_the_readme_is_the_example() {
    let example = fs::read_to_string(root().join("examples/embed.rs")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let program: Vec<&str> = example.lines().filter(|line| !line.starts_with("//!")).collect();
    let program = program.join("\n");
    assert!(readme.contains(program.trim()), "README.md does not show examples/embed.rs as it is");
    assert!(example.lines().count() <= 60, "the smallest program has grown");
}
