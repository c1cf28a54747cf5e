//! A Jepsen-style test kit.
