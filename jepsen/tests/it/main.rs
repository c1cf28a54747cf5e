//! The harness tested from outside: its nemesis, its command line.
//!
//! One binary, one story a file:
//! - `checking`: what `check` says and does beside the verdict;
//! - `generate`: made-up histories, in every form;
//! - `histories`: recorded histories, from file to exit code;
//! - `nemesis`: schedules against a cluster that only remembers;
//! - `processes`: real runs through the binary, with real processes;
//! - `simulation`: it follows from its seed, finds what is planted, and its kit says so.

#[cfg(test)]
mod checking;
mod contrast;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod nemesis;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod simulation;
