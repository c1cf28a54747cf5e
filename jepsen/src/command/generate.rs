//! `gen`: makes a history up, for trying and timing checkers.
//!
//! In go sizes, a mix and a seed; out comes, on standard output, the history of a register (or of
//! many, under keys) that works, in any form that checkers read. With `--stale 1` one read is wrong.
//! The making itself is [`sixbells_checker::generate`]'s part.
//!
//! Invariants:
//! - the same arguments give the same bytes, on every machine;
//! - a reader that has seen enough and closes the pipe is no error;
//! - a shape that makes no sense is the user's mistake (254), with the reason, before any output.

use std::io::{self, BufWriter, Write};

use clap::{Args, ValueEnum};
use sixbells_checker::generate::{Made, Shape};
use sixbells_jepsen::history::{Event, Format, Process, file};
use sixbells_jepsen::report::Exit;

use super::BadArguments;

/// How many events are made before they are written: they need not be in memory all at once.
const EVENTS_AT_ONCE: usize = 4096;

/// Make a history up, on standard output: of a register that works, or almost.
#[derive(Debug, Args)]
pub(crate) struct GenArgs {
    /// How many operations.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    ops: usize,
    /// How many clients call at once, without pause.
    #[arg(long, value_name = "N", default_value_t = 5)]
    clients: u64,
    /// How many registers; with more than one, values are [key value].
    #[arg(long, value_name = "N", default_value_t = 1)]
    keys: u32,
    /// How many different values are written, or `unique`: each once.
    #[arg(long, value_name = "unique|N", default_value = "unique", value_parser = values)]
    values: Values,
    /// Weights of reads, writes and compare-and-sets.
    #[arg(long, value_name = "R,W,C", default_value = "50,50,0", value_parser = mix)]
    mix: Mix,
    /// Which part of the operations crashes, from 0 to 1.
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    crash: f64,
    /// Whether one read of the last tenth sees a value that was overwritten before.
    #[arg(long, value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    stale: u8,
    /// Decides everything random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How it is written.
    #[arg(long, value_enum, default_value = "edn")]
    format: FormatName,
}

#[derive(Clone, Copy, Debug)]
struct Values(Option<u32>);

#[derive(Clone, Copy, Debug)]
struct Mix([u32; 3]);

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    /// Jepsen's history.edn.
    Edn,
    /// One JSON object a line.
    Jsonl,
    /// Jepsen's log: the lines of jepsen.util. They have no times.
    Log,
    /// EDN with each operation as a transaction, for Elle.
    Elle,
}

/// Runs the command.
pub(crate) fn run(args: &GenArgs) -> anyhow::Result<Exit> {
    let shape = Shape {
        operations: args.ops,
        clients: args.clients,
        keys: args.keys,
        values: args.values.0,
        mix: args.mix.0,
        crash: args.crash,
        stale: args.stale == 1,
        seed: args.seed,
    };
    let made = shape.make().map_err(BadArguments)?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut out, &made, args.format).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Valid),
    }
}

fn write(out: &mut impl Write, made: &Made, format: FormatName) -> io::Result<()> {
    let format = match format {
        FormatName::Edn => Format::Edn,
        FormatName::Jsonl => Format::Jsonl,
        FormatName::Log => return made.events().try_for_each(|event| log_line(out, &event)),
        // Whether a history has keys, Elle's writer sees by the whole of it.
        FormatName::Elle => {
            let events: Vec<Event> = made.events().collect();
            return file::write(out, &events, Format::Elle);
        }
    };
    let mut events = made.events().peekable();
    while events.peek().is_some() {
        let some: Vec<Event> = events.by_ref().take(EVENTS_AT_ONCE).collect();
        file::write(out, &some, format)?;
    }
    Ok(())
}

/// An event as Jepsen logs it. It says less than other forms, so nothing but this command writes it.
fn log_line(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let Event { process, event_type, f, value, .. } = event;
    debug_assert_ne!(*process, Process::Nemesis, "nothing breaks where nothing runs");
    writeln!(out, "INFO  jepsen.util - {process}\t:{}\t:{f}\t{value}", event_type.name())
}

fn values(text: &str) -> Result<Values, String> {
    match (text, text.parse()) {
        ("unique", _) => Ok(Values(None)),
        (_, Ok(count)) => Ok(Values(Some(count))),
        (_, Err(_)) => Err("`unique` or a number is expected".to_owned()),
    }
}

fn mix(text: &str) -> Result<Mix, String> {
    let weights: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
    let three = weights.ok().and_then(|weights| <[u32; 3]>::try_from(weights).ok());
    three.map(Mix).ok_or_else(|| "three weights are expected, such as 40,30,30".to_owned())
}
