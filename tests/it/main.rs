//! The library's stories, one a file, in one binary.

mod cluster;
mod lost_disk;
mod membership;
mod one_thread;
