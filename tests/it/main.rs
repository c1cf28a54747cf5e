//! The library's stories, one a file, in one binary.

mod cluster;
mod one_thread;
mod tidy;
