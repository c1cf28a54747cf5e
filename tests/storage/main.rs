//! Stories about the log on disk, each told for both engines: what it keeps, what a killed process
//! leaves, and what it says of a damaged directory.

mod cut;
mod flip;
mod home;
mod kill;
mod script;
mod support;
