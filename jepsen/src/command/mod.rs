//! The subcommands, one file each.
//!
//! A command takes its parsed arguments, prints to standard output, and returns how it ended. An
//! error it returns is bad input if it is an [`InputError`], and a failure of the harness otherwise.
//!
//! [`InputError`]: sixbells_jepsen::history::InputError

pub(crate) mod check;
