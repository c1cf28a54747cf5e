//! The library's stories, one a file, in one binary.

#![expect(clippy::unwrap_used, reason = "a story that meets what it did not expect ends there")]

mod agreement;
mod cluster;
mod crashes;
mod damage;
mod delegate;
mod eventual;
mod eventual_client;
mod faults;
mod garbage;
mod leadership;
mod lost_disk;
mod membership;
mod one_thread;
mod real;
mod runtime;
mod sessions;
mod snapshots;
mod tap;
mod tidy;
mod trio;
