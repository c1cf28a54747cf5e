//! How long the checker takes, beside the published checkers in Rust, as a table.
//!
//! ```text
//! cargo bench -p sixbells-checker --bench checker                    ours alone
//! cargo bench -p sixbells-checker --bench checker -- --peers         beside the others
//! cargo bench -p sixbells-checker --bench checker -- --only bank     rows whose name has that word
//! ```
//! Each row makes a history from a seed and checks it several times: checking alone, unless the row
//! says that it reads as well. Rows of many seeds show the quickest, the median and the slowest seed.
//! The bytes are what a check allocates at most. Nothing here is a test: quote it with the machine, and
//! whether that was busy.
//!
//! The peers get what they need to do their best: keys apart, since they do not set them apart
//! themselves, and a large stack. Of rows with many seeds they get the first.

mod bank;
mod measure;
mod objects;
mod peers;
mod rows;
mod simulation;

use std::error::Error;
use std::time::Duration;

use sixbells_checker::budget::Budget;
use sixbells_checker::generate::Shape;
use sixbells_checker::history::pairing::pair;
use sixbells_checker::history::{Format, Operation, Operations, file};
use sixbells_checker::linearizable::{check, check_operations};
use sixbells_checker::model::{HistoryModel, Keyed, Queue, Register, Set};

use measure::{Measured, Word, measure, measure_with, shown, shown_bytes};
use peers::Peers;
use rows::{Kind, Row, arguments};
use simulation::Size;

/// How many seeds a row of many has.
const SEEDS: usize = 20;

type Failure = Box<dyn Error>;

/// What a row found.
struct Found {
    results: Vec<(u64, Measured)>,
    /// The history that peers are asked about, in their words.
    question: Option<String>,
}

/// For the verdict alone: a short explanation may take longer than it, and nobody waits for one here.
fn budget() -> Budget {
    Budget::new(Duration::from_secs(60), 1 << 30).explaining_for(Duration::ZERO)
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)).map_or("", String::as_str);
    let peers = arguments.iter().any(|argument| argument == "--peers");
    let peers = peers.then(Peers::build).transpose()?;
    println!(
        "{:<52} {:<22} {:<17} {:>9} {:>9} {:>9} {:>8}  {:<12}  {:<12}  {:<12}",
        "history",
        "verdict",
        "method",
        "min",
        "median",
        "max",
        "memory",
        "target",
        "stateright",
        "todc-utils"
    );
    for row in rows::rows().iter().filter(|row| row.name.contains(only)) {
        let found = found(&row.kind)?;
        print(row, &found, peers.as_ref());
    }
    Ok(())
}

fn print(row: &Row, found: &Found, peers: Option<&Peers>) {
    let results = &found.results;
    let mut times: Vec<Duration> = match &results[..] {
        [(_, only)] => only.times.clone(),
        many => many.iter().map(|(_, measured)| measured.median()).collect(),
    };
    times.sort_unstable();
    let mut methods: Vec<&str> = results.iter().map(|(_, each)| each.methods.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    let bytes = results.iter().map(|(_, measured)| measured.bytes).max().unwrap_or(0);
    let [min, median, max] = [0, times.len() / 2, times.len() - 1].map(|at| shown(times[at]));
    let ours = results[0].1.word;
    let theirs = peers::NAMES.map(|name| match (peers, &found.question) {
        (Some(peers), Some(question)) => peers.ask(name, question, ours),
        _ => "-".to_owned(),
    });
    println!(
        "{:<52} {:<22} {:<17} {min:>9} {median:>9} {max:>9} {:>8}  {:<12}  {:<12}  {:<12}",
        row.name,
        verdicts(results),
        methods.join("; "),
        shown_bytes(bytes),
        row.target,
        theirs[0],
        theirs[1],
    );
    let slow = |measured: &Measured| measured.median() > Duration::from_secs(1);
    for (seed, each) in results.iter().filter(|(_, each)| results.len() > 1 && slow(each)) {
        println!("    seed {seed}: {:?}, {}, {}", each.word, each.methods, shown(each.median()));
    }
}

fn verdicts(results: &[(u64, Measured)]) -> String {
    let words = [
        (Word::Linearizable, "linearizable"),
        (Word::Violation, "violation"),
        (Word::Undecided, "undecided"),
    ];
    let counted = words.iter().filter_map(|(word, name)| {
        let count = results.iter().filter(|(_, measured)| measured.word == *word).count();
        match (count, results.len()) {
            (0, _) => None,
            (_, 1) => Some((*name).to_owned()),
            _ => Some(format!("{count} {name}")),
        }
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn found(kind: &Kind) -> Result<Found, Failure> {
    let one = |seed, measured, question| Found { results: vec![(seed, measured)], question };
    Ok(match kind {
        Kind::Calls(shape) => one(shape.seed, registers(shape)?, Some(arguments(shape))),
        Kind::Text(shape) => {
            let text = edn(shape)?;
            let read = || Operations::parse("made.edn", &text, Format::Edn).map_err(Failure::from);
            one(shape.seed, read_and_judged(read)?, None)
        }
        Kind::File(shape) => {
            let path = tempfile::NamedTempFile::new()?;
            std::fs::write(&path, edn(shape)?)?;
            let read = || Operations::read(path.path(), Format::Edn).map_err(Failure::from);
            one(shape.seed, read_and_judged(read)?, None)
        }
        Kind::Seeds(shape) => seeds(shape)?,
        Kind::Bank(size, stale) => {
            let calls = bank::calls(*size, *stale);
            let limited = || {
                let budget = Budget::new(Duration::from_secs(60), 256 << 20);
                budget.explaining_for(Duration::ZERO)
            };
            let measured = measure(|| check(&calls, &bank::Bank, &mut limited()));
            let Size { operations, clients, seed } = size;
            let question = format!("bank {operations} {clients} {} {seed}", u8::from(*stale));
            one(*seed, measured, Some(question))
        }
        Kind::Queue(size) => {
            let calls = objects::queue(*size);
            one(size.seed, measure(|| check(&calls, &Queue::new(), &mut budget())), None)
        }
        Kind::Set(size) => {
            let calls = objects::set(*size);
            one(size.seed, measure(|| check(&calls, &Set::whole(), &mut budget())), None)
        }
    })
}

/// Many seeds of one shape: with a stale read, the first that make it a violation, or undecided.
fn seeds(shape: &Shape) -> Result<Found, Failure> {
    let mut results = Vec::new();
    let mut question = None;
    for seed in 1.. {
        let shape = Shape { seed, ..shape.clone() };
        let measured = registers(&shape)?;
        if shape.stale && measured.word == Word::Linearizable {
            continue;
        }
        question.get_or_insert_with(|| arguments(&shape));
        results.push((seed, measured));
        if results.len() == SEEDS {
            break;
        }
    }
    Ok(Found { results, question })
}

fn operations(shape: &Shape) -> Result<Vec<Operation>, Failure> {
    let (_, operations) = pair(&shape.events()?).map_err(|error| error.reason)?;
    Ok(operations)
}

fn registers(shape: &Shape) -> Result<Measured, Failure> {
    let operations = operations(shape)?;
    match shape.keys {
        1 => judged(Register::with_cas(), &operations),
        _ => judged(Keyed::kv(), &operations),
    }
}

fn judged<M: HistoryModel>(mut model: M, operations: &[Operation]) -> Result<Measured, Failure> {
    let (calls, _) = model.calls(operations)?;
    Ok(measure(|| check(&calls, &model, &mut budget())))
}

fn edn(shape: &Shape) -> Result<String, Failure> {
    let mut text = Vec::new();
    file::write(&mut text, &shape.events()?, Format::Edn)?;
    Ok(String::from_utf8(text)?)
}

/// A check of operations from their text.
fn read_and_judged(read: impl Fn() -> Result<Operations, Failure>) -> Result<Measured, Failure> {
    // That it can be read is tried beforehand.
    read()?;
    Ok(measure_with(|| {
        let read = read().expect("it could be read before");
        let mut model = Keyed::kv();
        let (operations, clock) = (&read.operations, read.clock);
        let verdict = check_operations(&mut model, operations, clock, &[], &mut budget());
        (verdict.expect("what is made, a map of registers can read"), read)
    }))
}
