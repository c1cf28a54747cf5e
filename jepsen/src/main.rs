//! The command line of the test kit: `sixbells-jepsen run`, `check`, `sim`, `contrast`, `bugs` and
//! `gen`.
//!
//! It parses arguments, hands them to the subcommand's own file under `command/`, and turns the
//! result into an exit code: 0 valid, 1 invalid, 2 unknown, 254 bad arguments or bad input, 255
//! failure of the harness. Reports go to standard output, errors to standard error.
//!
//! It decides nothing else.

mod command;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sixbells_jepsen::history::InputError;
use sixbells_jepsen::report::Exit;

use command::BadArguments;

/// A Jepsen-style test kit: faults, recorded histories, and a verdict.
///
/// Exit codes: 0 valid, 1 invalid, 2 unknown, 254 bad arguments or input, 255 harness failure.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(command::run::RunArgs),
    Check(command::check::CheckArgs),
    Sim(command::sim::SimArgs),
    Contrast(command::contrast::ContrastArgs),
    Bugs(command::bugs::BugsArgs),
    Gen(command::generate::GenArgs),
    #[command(hide = true)]
    Node(command::node::NodeArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is the only way this can fail, and leaves nobody to tell.
            let _unheard = error.print();
            // Asking for help is no mistake.
            let exit = if error.use_stderr() { Exit::BadArguments } else { Exit::Valid };
            return exit.into();
        }
    };
    let run = || match &cli.command {
        Command::Run(args) => command::run::run(args),
        Command::Check(args) => command::check::run(args),
        Command::Sim(args) => command::sim::run(args),
        Command::Contrast(args) => command::contrast::run(args),
        Command::Bugs(args) => command::bugs::run(args),
        Command::Gen(args) => command::generate::run(args),
        Command::Node(args) => command::node::run(args),
    };
    // A panic has been reported by now. Its own exit code would stand for nothing here.
    let Ok(result) = std::panic::catch_unwind(run) else {
        return Exit::HarnessFailure.into();
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("{error:#}");
            let input = error.is::<InputError>() || error.is::<BadArguments>();
            ExitCode::from(if input { Exit::BadArguments } else { Exit::HarnessFailure })
        }
    }
}
