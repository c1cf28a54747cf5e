//! The stories of [`super`], each with many random histories.
//!
//! The judge is the reader of whole forms, `jepsen::read` and `jsonl::read`: slow, simple, and the
//! one that words errors. Everything faster has to agree with it.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::scribble::{events, spoil, ugly_edn};
use super::{IN_ONE, cut, each_seed, history, known, operations};
use crate::history::batch::Batch;
use crate::history::edn::EdnReader;
use crate::history::follow::Follower;
use crate::history::source::Syntax;
use crate::history::{
    Event, Format, History, InputError, Operation, Skipped, file, jepsen, jsonl, parallel, source,
};

fn written(events: &[Event], format: Format) -> String {
    let mut text = Vec::new();
    file::write(&mut text, events, format).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn what_is_written_comes_back_in_every_form() {
    each_seed(60, |rng| {
        let events = events(rng, 40);
        for format in [Format::Edn, Format::Jsonl] {
            let text = written(&events, format);
            for (asked, cut) in [(format, IN_ONE), (Format::Auto, cut(200))] {
                let read = history(text.as_bytes(), asked, cut).unwrap();
                assert_eq!(read.events, events, "{text}");
                assert_eq!(read.skipped.unknown_keys, 0);
            }
            let ends = text.replace('\n', "\r\n");
            let marked = format!("\u{feff}{}", ends.trim_end());
            assert_eq!(history(marked.as_bytes(), Format::Auto, IN_ONE).unwrap().events, events);
        }
    });
}

/// Reads form by form, and builds every map.
fn slow_edn(text: &str) -> Result<(Vec<Event>, Skipped), String> {
    let mut reader = EdnReader::new(text);
    let in_vector = reader.enter_vector().map_err(|error| error.to_string())?;
    let (mut events, mut skipped) = (Vec::new(), Skipped::default());
    loop {
        let form = if in_vector { reader.next_item() } else { reader.next_form() };
        let Some((line, form)) = form.map_err(|error| error.to_string())? else { break };
        let event = jepsen::read(form, events.len() as u64, &mut skipped);
        events.extend(event.map_err(|reason| format!("line {line}: {reason}"))?);
    }
    if in_vector && let Some((line, _)) = reader.next_form().map_err(|error| error.to_string())? {
        return Err(format!("line {line}: something follows the vector of events"));
    }
    skipped.nemesis_events =
        events.iter().filter(|event| event.process == crate::history::Process::Nemesis).count()
            as u64;
    Ok((events, skipped))
}

fn slow_jsonl(text: &str) -> Result<(Vec<Event>, Skipped), String> {
    let (mut events, mut skipped) = (Vec::new(), Skipped::default());
    for (position, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let event = jsonl::read(line, events.len() as u64, &mut skipped);
        events.extend(event.map_err(|reason| format!("line {}: {reason}", position + 1))?);
    }
    Ok((events, skipped))
}

fn worded(InputError { line, reason, .. }: InputError) -> String {
    assert!(line > 0 && !reason.is_empty(), "line {line}: {reason:?}");
    format!("line {line}: {reason}")
}

/// All ways to read one text agree.
fn agree(rng: &mut SmallRng, text: &str, format: Format) {
    let bytes = text.as_bytes();
    let whole = history(bytes, format, IN_ONE).map_err(worded);
    let slow = match format {
        Format::Jsonl => slow_jsonl(text),
        _ => slow_edn(text),
    };
    match (&whole, slow) {
        (Ok(whole), Ok((events, skipped))) => {
            assert_eq!(whole.events, events, "{text}");
            assert_eq!(whole.skipped.unknown_keys, skipped.unknown_keys, "{text}");
            assert_eq!(whole.skipped.early_times, skipped.early_times, "{text}");
        }
        // An array is refused as what it is before anything is read.
        (Err(error), Err(_)) if error.ends_with("not an array") => {}
        (Err(error), Err(slow)) => assert_eq!(*error, slow, "{text}"),
        (whole, slow) => panic!("{whole:?}, but {slow:?}: {text}"),
    }
    let cut = cut(rng.random_range(20..400));
    let pieces = history(bytes, format, cut).map_err(worded);
    assert_eq!(pieces.map(known), whole.clone().map(known), "{text}");
    let paired = |whole: &History| whole.operations().map_err(worded);
    let direct = operations(bytes, format, cut).map_err(worded);
    let direct = direct.map(|direct| (direct.clock, direct.operations));
    assert_eq!(direct, whole.as_ref().map_err(String::clone).and_then(paired), "{text}");
    if format == Format::Edn && source::begins_vector(text) {
        return;
    }
    let followed = followed(rng, bytes, format).map_err(worded);
    assert_eq!(followed, whole.map(|whole| (whole.events, whole.skipped)), "{text}");
}

/// Gives a text to a follower in pieces of any size.
fn followed(
    rng: &mut SmallRng,
    mut text: &[u8],
    format: Format,
) -> Result<(Vec<Event>, Skipped), InputError> {
    let mut follower = Follower::new("h", format);
    let mut events = Vec::new();
    while !text.is_empty() {
        let (piece, rest) = text.split_at(rng.random_range(1..=text.len().min(300)));
        events.extend(follower.push(piece)?);
        assert_eq!(follower.position(), events.len());
        text = rest;
    }
    let (last, skipped) = follower.finish()?;
    events.extend(last);
    Ok((events, skipped))
}

#[test]
fn a_plain_text_is_read_in_pieces_and_not_again() {
    each_seed(60, |rng| {
        let events = events(rng, 40);
        let lines = written(&events, Format::Edn);
        let vector = format!(" [{}]\n\n; that was it", lines.trim_end());
        for (text, in_vector) in [(&lines, false), (&vector, true)] {
            // Line feeds within strings are written as escapes, so every cut is a good one.
            let cut = cut(rng.random_range(1..2000));
            let mut read = Vec::new();
            let mut take = |batch: &mut Batch| {
                read.append(&mut batch.events);
                true
            };
            let parser = Syntax::Edn.parser();
            assert!(parallel::read(text.as_bytes(), in_vector, parser, cut, &mut take), "{text}");
            assert_eq!(read, events);
            // Wrong about the vector, it was in vain.
            let mut take = |_: &mut Batch| true;
            assert!(!parallel::read(text.as_bytes(), !in_vector, parser, cut, &mut take));
        }
    });
}

#[test]
fn pieces_that_do_not_add_up_were_in_vain() {
    let event = "{:process 0, :type :invoke, :f :read}\n";
    let blanks = " ".repeat(20);
    let read = |text: &str, in_vector| {
        let mut take = |_: &mut Batch| true;
        parallel::read(text.as_bytes(), in_vector, Syntax::Edn.parser(), cut(10), &mut take)
    };
    assert!(read(&format!("[{event}{event}]\n\n; the end\n"), true));
    for (text, in_vector) in [
        // Closed twice, closed never, closed too early, and begun unexpectedly.
        (format!("[{event}]{blanks}\n{blanks}]\n"), true),
        (format!("[{event}{event}"), true),
        (format!("[{event}]\n{event}"), true),
        (format!("[{event}{event}"), false),
    ] {
        assert!(!read(&text, in_vector), "{text}");
    }
}

#[test]
fn all_ways_to_read_a_good_text_agree() {
    each_seed(120, |rng| {
        let events = events(rng, 40);
        let text = ugly_edn(rng, &events);
        let strip = |event: &Event| Event { index: 0, ..event.clone() };
        let read = history(text.as_bytes(), Format::Auto, IN_ONE).unwrap().events;
        let same = read.iter().map(strip).eq(events.iter().map(strip));
        assert!(same, "{text}");
        agree(rng, &text, Format::Edn);
        agree(rng, &written(&events, Format::Jsonl), Format::Jsonl);
    });
}

#[test]
fn all_ways_to_read_a_broken_text_agree() {
    each_seed(500, |rng| {
        let events = events(rng, 12);
        let texts = [
            (ugly_edn(rng, &events), Format::Edn),
            (written(&events, Format::Edn), Format::Edn),
            (written(&events, Format::Jsonl), Format::Jsonl),
        ];
        for (text, format) in texts {
            let mut bytes = text.into_bytes();
            spoil(rng, &mut bytes);
            match String::from_utf8(bytes) {
                Ok(text) => agree(rng, &text, format),
                Err(error) => {
                    let bytes = error.into_bytes();
                    let reason = history(&bytes, format, cut(100)).map_err(worded).unwrap_err();
                    assert!(reason.ends_with("the text is not UTF-8"), "{reason}");
                    // Following finds the first fault, whichever it is.
                    followed(rng, &bytes, format).map_err(worded).unwrap_err();
                }
            }
        }
    });
}

#[test]
fn anything_at_all_is_a_history_or_an_error() {
    each_seed(500, |rng| {
        let log = "INFO jepsen.util - 0\t:invoke\t:read\tnil\nINFO jepsen.util - 0\t:ok\t:read\t[1 \"a\"]\n";
        let mut bytes = log.repeat(3).into_bytes();
        spoil(rng, &mut bytes);
        spoil(rng, &mut bytes);
        for format in [Format::Auto, Format::Edn, Format::Jsonl, Format::Log] {
            let whole = operations(&bytes, format, IN_ONE).map_err(worded);
            let pieces = operations(&bytes, format, cut(50)).map_err(worded);
            let operations = |read: Result<_, String>| -> Result<Vec<Operation>, String> {
                read.map(|read: crate::history::Operations| read.operations)
            };
            assert_eq!(operations(whole), operations(pieces));
        }
    });
}
