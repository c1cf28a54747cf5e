//! Stories about the log on disk, each told for both engines: what it keeps, what a killed process
//! leaves, and what it says of a damaged directory.
//!
//! `cfg(test)` holds for all of it. Said here, it lets clippy know that functions that are not
//! themselves tests may unwrap.

#[cfg(test)]
mod cut;
#[cfg(test)]
mod flip;
#[cfg(test)]
mod home;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod script;
#[cfg(test)]
mod support;
