//! Keeps your state machine alive at three in the morning: replicated by Raft, exactly-once,
//! linearizable, and tested the way Jepsen would.
//!
//! You write a [`StateMachine`]: two methods, plain Rust. You get a replicated log with leader
//! election, snapshots, sessions that make a retry harmless, and reads that are never stale.
//!
//! ```no_run
#![doc = include_str!("../examples/embed.rs")]
//! ```
//!
//! # What you can rely on
//!
//! - **Acknowledged means durable on a majority**: synced, not only written. A sync that fails stops
//!   the node and is never retried.
//! - **A read is never stale** ([`Handle::read`]); the one that may be is called
//!   [`read_local`](Handle::read_local).
//! - **A retry is never a second effect**: every command carries a session and a sequence, or your own
//!   idempotency key ([`Handle::write_once`]). The table of what was answered is replicated and
//!   part of the snapshot.
//! - **An error first says whether anything may have happened** ([`Error::is_definite`]).
//! - **Damage stops the node** with the file and the offset; nothing is repaired by forgetting.
//! - **Everything has a limit** ([`Config`]); beyond it is a typed error at once.
//!
//! # Code map, in the order in which a write passes
//!
//! | where | what |
//! |---|---|
//! | `handle`, [`Client`] | types in front, bytes behind; the client retries within its deadline |
//! | `proposal`, `sequencer` | a command with its origin, encoded once |
//! | `admission`, `places` | what a node takes on at once |
//! | `batch` | what one log entry carries: proposals that waited together |
//! | [`transport`] | frames, lanes, the network door |
//! | `eventual`, [`Mode`] | the other mode: apply first, agree on the order later |
//! | `strong` | who leads, proposing, the read barrier; openraft is named here alone |
//! | [`storage`] | the log door and its engines, snapshot files, identity |
//! | `applier` = `machine` + `session` | the one place where a command meets state |
//! | `hashes` | whether the members' states are equal, in both modes |
//! | `builder`, `setup`, `recovery`, `node` | the wiring, what the disk must hold, a running node |
//! | [`runtime`] | time, tasks, randomness: the door that makes simulation possible |
//! | [`inspect`] | what a log record says, for tools |
//!
//! Dependencies run one way: machine, session, applier, codec, wire, transport and storage, strong,
//! handle, node and client.
//!
//! # Invariants of the whole
//!
//! - No user type goes further in than `handle` and `machine`.
//! - No clock, task or random number but through [`runtime`].
//! - No state outside `applier` depends on the order of commands.

mod admission;
mod applier;
mod ascending;
mod batch;
mod builder;
mod checksummed;
mod client;
mod codec;
mod config;
mod error;
mod eventual;
mod handle;
mod hashes;
pub mod inspect;
mod machine;
mod mode;
mod node;
mod places;
#[doc(hidden)]
pub mod plant;
mod proposal;
mod recovery;
mod rpc;
pub mod runtime;
mod sequencer;
mod session;
mod setup;
mod status;
pub mod storage;
mod strong;
#[cfg(test)]
mod sum;
mod transfer;
pub mod transport;
mod turns;

pub use builder::Builder;
pub use client::{Client, ClientConfig};
#[doc(hidden)]
pub use codec::encode;
pub use config::Config;
pub use error::{Damage, Error, StartError};
pub use eventual::{Author, EventualNode, EventualSession, EventualStatus, Token, Vector};
pub use handle::Handle;
pub use machine::StateMachine;
pub use mode::Mode;
pub use node::Node;
pub use setup::{Doors, MakeTransport};
pub use status::{Member, Role, Status};
pub use storage::LogEngine;
