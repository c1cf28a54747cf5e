//! A process killed in mid-write, again and again, on one directory that keeps growing.
//!
//! The test runs this binary once more as a child that writes, saying on its output what it is about
//! to write and what was acknowledged. What is found after the kill must be a prefix of the writes
//! that holds at least the acknowledged ones, exactly.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sixbells::storage::{LogEngine, MemoryLog, Vote};

use crate::support::*;

const ROUNDS: u64 = 30;
const DIR: &str = "SIXBELLS_KILL_DIR";
const ENGINE: &str = "SIXBELLS_KILL_ENGINE";
const SEED: &str = "SIXBELLS_KILL_SEED";

#[test]
fn a_killed_wal_keeps_what_it_acknowledged() {
    kill_again_and_again(LogEngine::Wal);
}

#[test]
fn a_killed_sled_keeps_what_it_acknowledged() {
    kill_again_and_again(LogEngine::Sled);
}

fn kill_again_and_again(engine: LogEngine) {
    let mut rng = seeded("keeps_what_it_acknowledged", 1912);
    let dir = tempfile::tempdir().unwrap();
    let model = MemoryLog::new();
    let mut acked_total = 0;
    for round in 0..ROUNDS {
        let mut child = spawn(engine, dir.path(), rng.random());
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        for _ in 0..rng.random_range(5..300) {
            if output.read_line(&mut text).unwrap() == 0 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        output.read_to_string(&mut text).unwrap();

        let (acked, rest) = parse(&text);
        acked_total += acked.len();
        let log = open(engine, dir.path())
            .unwrap_or_else(|e| panic!("{engine}, round {round}: does not open: {e}"));
        println!("{engine}, round {round}: {} acknowledged, {} not", acked.len(), rest.len());
        match_prefix(&*log, &acked, &rest, &model);
    }
    assert!(acked_total > 200, "only {acked_total} writes were acknowledged: this tested nothing");
}

fn spawn(engine: LogEngine, dir: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ENGINE, engine.to_string())
        .env(SEED, seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The writer, when run with the variables above; otherwise nothing.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let engine: LogEngine = std::env::var(ENGINE).unwrap().parse().unwrap();
    let mut rng = StdRng::seed_from_u64(std::env::var(SEED).unwrap().parse().unwrap());
    let log = open(engine, Path::new(&dir)).unwrap();
    for n in 1.. {
        let step = Step::random(&mut rng, &*log, 200);
        println!("@do {}", format_step(&step));
        let acknowledge = Box::new(move |result: std::io::Result<()>| {
            result.unwrap();
            println!("@ok {n}");
        });
        step.run(&*log, acknowledge);
        // Some writes alone, some many at once.
        if rng.random_range(0..3) == 0 {
            wait(|done| log.append(vec![], done)).unwrap();
        }
    }
}

fn format_step(step: &Step) -> String {
    match step {
        Step::Append(records) => {
            let (id, length) = (records[0].id, records[0].payload.len());
            format!("append {} {} {} {length}", id.term, id.index, records.len())
        }
        Step::Vote(vote) => {
            format!("vote {} {} {}", vote.term, vote.voted_for, u8::from(vote.committed))
        }
        Step::Committed(id) => format!("committed {} {}", id.term, id.index),
        Step::Truncate(id) => {
            let id = id.unwrap();
            format!("truncate {} {}", id.term, id.index)
        }
        Step::Purge(id) => format!("purge {} {}", id.term, id.index),
    }
}

/// The acknowledged steps, and those after them.
fn parse(text: &str) -> (Vec<Step>, Vec<Step>) {
    let (mut steps, mut acked) = (Vec::new(), 0);
    // The last line may be half a line.
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        // The test harness leaves its own words in front of the first line.
        if let Some((_, step)) = line.split_once("@do ") {
            steps.push(parse_step(step));
        } else if let Some((_, n)) = line.split_once("@ok ") {
            let n: usize = n.parse().unwrap();
            assert_eq!(n, acked + 1, "acknowledged out of order");
            acked = n;
        }
    }
    let rest = steps.split_off(acked);
    (steps, rest)
}

fn parse_step(text: &str) -> Step {
    let (name, numbers) = text.split_once(' ').unwrap();
    let n: Vec<u64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
    match (name, &n[..]) {
        ("append", &[term, first, count, length]) => {
            let length = usize::try_from(length).unwrap();
            Step::Append((first..first + count).map(|i| record(term, i, length)).collect())
        }
        ("vote", &[term, node, committed]) => {
            Step::Vote(Vote { term, voted_for: node, committed: committed == 1 })
        }
        ("committed", &[term, index]) => Step::Committed(id(term, index)),
        ("truncate", &[term, index]) => Step::Truncate(Some(id(term, index))),
        ("purge", &[term, index]) => Step::Purge(id(term, index)),
        other => panic!("unknown step {other:?}"),
    }
}
