//! The subcommands, one file each.
//!
//! A command takes its parsed arguments, prints to standard output, and returns how it ended. An
//! error it returns is the user's if it is an [`InputError`] or [`BadArguments`], and a failure of
//! the harness otherwise.
//!
//! [`InputError`]: sixbells_jepsen::history::InputError

use std::fmt;

use tokio::signal::unix::{SignalKind, signal};

pub(crate) mod bugs;
pub(crate) mod check;
pub(crate) mod contrast;
mod follow;
pub(crate) mod generate;
mod judge;
pub(crate) mod node;
pub(crate) mod run;
pub(crate) mod sim;

/// Arguments that can be parsed, but not be carried out.
#[derive(Debug)]
pub(crate) struct BadArguments(pub(crate) String);

impl fmt::Display for BadArguments {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BadArguments {}

/// Waits for a signal that asks this process to end.
pub(crate) fn interruption() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
