//! Lists and strings that only grow: elements lost, invented, doubled, reordered, stale and early.
//!
//! A working list answers, then one answer or time is changed, and procedure and judge are compared.
//! The strings are the same histories written together, with elements of which none begins another;
//! some reads of them end within an element. The model, which keeps only what was read, is compared
//! with a list that keeps everything.

use rand::RngExt;
use rand::rngs::StdRng;
use sixbells_checker::datum::Datum;
use sixbells_checker::history::{Outcome, Value};
use sixbells_checker::linearizable::NEVER;
use sixbells_checker::model::{
    Action, AppendAction, AppendInput, AppendList, HistoryModel, Model, Prefix, Spec,
};

use crate::history::{Made, Shape, object};
use crate::judge;
use crate::story::{Told, count, large, small};

/// A history of lists, each read as the elements it saw.
type Plain = Vec<Made<Option<i64>, Vec<i64>>>;

/// Appends and reads, as a working list would have answered.
fn working(rng: &mut StdRng, shape: Shape, reads: f64) -> Plain {
    let mut list = Vec::new();
    let slots = (0..).zip(shape.slots(rng));
    let made = slots.map(|(at, slot)| {
        let read = rng.random_bool(reads);
        if !read && slot.effective {
            list.push(at);
        }
        let output = read.then(|| list.clone());
        let input = (!read).then_some(at);
        Made { input, output, invoked: slot.invoked, returned: slot.returned }
    });
    made.collect()
}

/// Changes one answer, or the time of one call.
fn spoil(rng: &mut StdRng, made: &mut Plain) {
    let count = made.len();
    let at = rng.random_range(0..count);
    let other = i64::try_from(rng.random_range(0..count + 1)).expect("a small number");
    let call = &mut made[at];
    let happened = call.happened();
    match &mut call.output {
        Some(list) if rng.random_bool(0.8) => {
            let place = rng.random_range(0..list.len() + 1);
            match rng.random_range(0..4) {
                0 if place < list.len() => {
                    list.remove(place);
                }
                1 => list.insert(place, other),
                2 if place < list.len() => list.swap(0, place),
                _ => list.truncate(place),
            }
        }
        _ if happened => {
            let length = call.returned - call.invoked;
            call.invoked = rng.random_range(1..20);
            call.returned = call.invoked + length;
        }
        _ => {}
    }
}

/// How an element is written in a string; none is the beginning of another.
fn written(element: i64) -> String {
    let begin = ["x", "yx", "yyx"][usize::try_from(element % 3).expect("not negative")];
    format!("{begin}{element};")
}

/// The same history as the model reads it.
fn modelled(mut model: AppendList, text: bool, plain: &Plain) -> Told<AppendList> {
    let value = |element: i64| match text {
        true => Value::Text(written(element)),
        false => Value::Int(element),
    };
    let mut calls = Vec::with_capacity(plain.len());
    for call in plain {
        let action = match call.input {
            Some(element) => AppendAction::Append(model.element(&value(element))),
            None => AppendAction::Read,
        };
        let output = call.output.as_ref().map(|list| {
            let whole = match text {
                true => Value::Text(list.iter().map(|element| written(*element)).collect()),
                false => Value::Vector(list.iter().map(|element| Value::Int(*element)).collect()),
            };
            model.seen(&whole).expect("a list")
        });
        let input = AppendInput { key: Datum::NIL, action };
        calls.push(Made { input, output, invoked: call.invoked, returned: call.returned });
    }
    Told { model, calls, covered: true }
}

fn plain(rng: &mut StdRng) -> Plain {
    let shape = Shape::small(rng);
    let mut plain = working(rng, shape, 0.5);
    if rng.random_bool(0.6) {
        spoil(rng, &mut plain);
    }
    plain
}

/// A list; now and then one with an element appended twice, which the procedure does not cover.
fn list(rng: &mut StdRng) -> Told<AppendList> {
    let mut plain = plain(rng);
    let twice = plain[0].input.filter(|_| rng.random_bool(0.05));
    if let Some(element) = twice {
        let input = Some(element);
        plain.push(Made { input, output: None, invoked: 2, returned: 9 });
    }
    Told { covered: twice.is_none(), ..modelled(AppendList::new(), false, &plain) }
}

fn text(rng: &mut StdRng) -> Told<AppendList> {
    let mut told = modelled(AppendList::text(), true, &plain(rng));
    // A read that ends within an element, or has letters that nobody wrote.
    if rng.random_bool(0.1) {
        let torn = ["x", "y", "x0;y", "q", "yx1;x"][rng.random_range(0..5)];
        let seen = told.model.seen(&Value::Text(torn.to_owned())).expect("text");
        let at = rng.random_range(0..told.calls.len());
        if let Some(output) = &mut told.calls[at].output {
            *output = seen;
        }
    }
    told
}

#[test]
fn a_growing_list_is_judged_as_every_order_would() {
    let tally = small(count(), list);
    println!("append list: {tally:?}");
    tally.says_much();
}

#[test]
fn a_growing_string_is_judged_as_every_order_would() {
    let tally = small(count(), text);
    println!("append text: {tally:?}");
    tally.says_much();
    assert_eq!(tally.undecided, 0);
}

/// The model forgets lists that nobody read. A list that forgets nothing must agree with it.
#[test]
fn the_model_is_a_list() {
    let naive = Spec::new(Vec::new(), |list: &Vec<i64>, input: &Option<i64>, seen| match input {
        Some(element) => Some([&list[..], &[*element]].concat()),
        None => seen.is_none_or(|seen: &Vec<i64>| seen == list).then(|| list.clone()),
    });
    for seed in 0..count() / 10 {
        let mut plain = plain(&mut crate::history::random(seed));
        if let Some(twice) = plain.first().cloned() {
            plain.push(twice);
        }
        let expected = judge::possible(&naive, &object(&plain).calls);
        for (model, text) in [(AppendList::new(), false), (AppendList::text(), true)] {
            let told = modelled(model, text, &plain);
            assert_eq!(judge::possible(&told.model, &object(&told.calls).calls), expected);
        }
    }
}

#[test]
fn a_hundred_thousand_appends_take_milliseconds() {
    let mut rng = crate::history::random(1);
    let shape = Shape { clients: 20, calls: 100_000, duration: 40, crashes: 10 };
    let mut plain = working(&mut rng, shape, 0.002);
    let legal = large(&modelled(AppendList::new(), false, &plain), true);
    let late = plain.iter().rposition(|call| call.output.is_some() && call.happened());
    let late = late.expect("there are reads");
    plain[late].output.as_mut().expect("a read").pop();
    plain[late].output.as_mut().expect("a read").pop();
    let last = plain[late].invoked;
    plain.push(Made { input: None, output: Some(vec![]), invoked: last, returned: last + 9 });
    let illegal = large(&modelled(AppendList::new(), false, &plain), false);
    println!("append of 100,000 calls: legal {legal} ms, with one stale read {illegal} ms");
}

/// Ten thousand appends, each followed by a read of everything: what the model keeps of fifty million
/// elements read is the longest list.
#[test]
fn reads_of_a_growing_list_take_the_room_of_the_longest() {
    let many: i64 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    let mut model = AppendList::new();
    let mut list = Vec::new();
    let mut calls = Vec::new();
    for (element, at) in (0..many).zip((0_u64..).step_by(4)) {
        list.push(Value::Int(element));
        let append = AppendAction::Append(model.element(&Value::Int(element)));
        let seen = model.seen(&Value::Vector(list.clone())).expect("a list");
        for (action, output, at) in [(append, None, at), (AppendAction::Read, Some(seen), at + 2)] {
            let input = AppendInput { key: Datum::NIL, action };
            calls.push(Made { input, output, invoked: at, returned: at + 1 });
        }
    }
    let milliseconds = large(&Told { model, calls, covered: true }, true);
    println!("append, {many} reads of all: {milliseconds} ms");
}

#[test]
fn single_transactions_are_read_and_others_are_sent_to_elle() {
    let append = |key: &str, element: i64| {
        let micro = [Value::Keyword("append".into()), Value::from(key), Value::Int(element)];
        Value::Vector(vec![Value::Vector(micro.to_vec())])
    };
    let read = |key: &str, seen: Value| {
        let micro = [Value::Keyword("r".into()), Value::from(key), seen];
        Value::Vector(vec![Value::Vector(micro.to_vec())])
    };
    let mut model = AppendList::new();
    let mut told = |input: &Value, value: &Value, outcome| {
        model.read(&Action { f: "txn", input, value, outcome })
    };
    let (one, same) = (append("x", 1), append("x", 1));
    let (input, output) = told(&one, &same, Outcome::Ok).expect("an append");
    assert_eq!(output, None);
    let ones = Value::Vector(vec![Value::Int(1)]);
    let (asked, answered) = (read("x", Value::Nil), read("x", ones));
    let (reading, seen) = told(&asked, &answered, Outcome::Ok).expect("a read");
    assert_eq!(input.key, reading.key);
    assert!(seen.is_some_and(|seen| seen != Prefix::EMPTY));
    let other = read("y", Value::Nil);
    let (empty, nothing) = told(&other, &other, Outcome::Ok).expect("a read");
    assert_ne!(empty.key, reading.key);
    assert_eq!(nothing, Some(Prefix::EMPTY));
    let both =
        Value::Vector([one, asked].iter().flat_map(|txn| txn.items().unwrap()).cloned().collect());
    assert!(told(&both, &both, Outcome::Ok).unwrap_err().contains("Elle"));
    assert_eq!(model.key_words(&reading.key).as_deref(), Some("\"x\""));
}

/// Whether `ab` was appended at once, which nobody knows, or letter by letter.
#[test]
fn a_string_that_falls_into_elements_in_two_ways_is_left_to_the_search() {
    let mut model = AppendList::text();
    let mut append = |text: &str, invoked, returned| {
        let action = AppendAction::Append(model.element(&Value::Text(text.to_owned())));
        Made { input: AppendInput { key: Datum::NIL, action }, output: None, invoked, returned }
    };
    let appends = [append("ab", 0, NEVER), append("a", 1, 2), append("b", 3, 4)];
    let output = Some(model.seen(&Value::Text("ab".to_owned())).expect("text"));
    let input = AppendInput { key: Datum::NIL, action: AppendAction::Read };
    let read = Made { input, output, invoked: 5, returned: 6 };
    let calls = [&appends[..], &[read]].concat();
    assert!(judge::possible(&model, &object(&calls).calls));
    assert_eq!(model.decide(&object(&calls)), None);
}
