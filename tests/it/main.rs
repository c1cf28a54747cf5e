//! The library's stories, one a file, in one binary.

mod cluster;
mod crashes;
mod damage;
mod faults;
mod leadership;
mod lost_disk;
mod membership;
mod one_thread;
mod sessions;
mod snapshots;
mod tap;
