//! The state machine: the user's side ([`StateMachine`]) and the engine's side ([`Machine`]).
//!
//! Owns the one trait a user implements, and its erasure to bytes. Types stop here: a command is
//! encoded once at the edge, and log, wire and snapshot carry bytes.
//!
//! In: encoded commands and queries. Out: encoded responses and answers, and a capture of the state
//! that can be written out elsewhere while commands go on.
//!
//! Invariants
//! - `apply` runs alone; `query` may run beside other queries.
//! - A capture is the state between two commands, never in the middle of one.
//!
//! Does not: know about sessions, positions in the log, or which mode it runs in.

use std::{fmt, io};

use serde::{Serialize, de::DeserializeOwned};

use crate::codec::{self, CodecError};

/// What your service replicates. One implementation serves three uses: strong mode replicates it,
/// eventual mode replicates it, and the checker replays it as the sequential specification.
///
/// # What you promise
/// - **Deterministic**: the same commands in the same order give the same state and the same
///   responses, on every node and in every later release. No clock, no randomness, no IO, no
///   iteration over a `HashMap` in [`apply`](Self::apply). Time and random values go into the
///   command, from whoever sends it.
/// - **Equal states encode equally**: a snapshot has the same bytes on every node, and the nodes compare
///   them (see [`Config::state_hash_entries`](crate::Config::state_hash_entries)): one that differs
///   from the others stops. A `HashMap` in the state breaks that; a `BTreeMap` does not.
/// - **`Default`** is the state before the first command, the same on every node.
/// - **`Clone`** captures the state for a snapshot while commands wait: keep it under about a
///   millisecond. Put big parts behind a persistent map (such as `imbl`) or an `Arc`; large values in such
///   a map, too, for the first write after a clone to each of its leaves copies all that are there.
/// - **Commands live in the log** and are read by later releases: add enum variants at the end, never
///   reorder or remove them.
///
/// # What you get
/// `apply` is never run concurrently with itself, with `query` or with `clone`. A node's state is a
/// snapshot plus the commands behind it, so after a restart commands are applied again: side effects
/// in `apply` would happen again, too.
///
/// A panic in `apply` stops the node, and the command does not count as applied. But it is in the log
/// by then: **every** node comes to it, panics and stops, and does so again after a restart, until it
/// runs a release whose `apply` carries the command out. So refuse with a response, and panic only
/// where going on would be worse than an outage.
pub trait StateMachine:
    Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Changes the state.
    type Command: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What a command answers. A refusal ("insufficient funds") is a response like any other.
    type Response: Clone
        + fmt::Debug
        + PartialEq
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// Asks about the state.
    type Query: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What a query answers.
    type Answer: Clone
        + fmt::Debug
        + PartialEq
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// Carries out a command.
    fn apply(&mut self, command: Self::Command) -> Self::Response;

    /// Answers a query. Commands wait meanwhile, and so does the thread: keep it under about a
    /// millisecond.
    fn query(&self, query: Self::Query) -> Self::Answer;
}

/// A [`StateMachine`] without its types: bytes in, bytes out. The engine holds this.
pub(crate) trait Machine: Send + Sync + fmt::Debug {
    /// Applies an encoded command and returns the encoded response.
    fn apply(&mut self, command: &[u8]) -> Result<Vec<u8>, CodecError>;

    /// Answers an encoded query.
    fn query(&self, query: &[u8]) -> Result<Vec<u8>, CodecError>;

    /// The state as of now, to be written out elsewhere. Quick.
    fn capture(&self) -> Box<dyn Machine>;

    /// Writes the state out. Slow; equal states give equal bytes if the user's `Serialize` does.
    fn save(&self, out: &mut dyn io::Write) -> io::Result<()>;

    /// Replaces the state with one that `save` wrote. On error the state is unchanged.
    fn load(&mut self, input: &mut dyn io::Read) -> io::Result<()>;
}

/// Whether bytes are a command of a machine. Asked before a command is proposed, for one that cannot
/// be decoded would stop every node.
pub(crate) type Accepts = fn(&[u8]) -> Result<(), CodecError>;

/// A [`StateMachine`] before its first command, without its types: how it is made, and what its commands are.
#[derive(Clone, Copy)]
pub(crate) struct Erased {
    pub(crate) boxed: fn() -> Box<dyn Machine>,
    pub(crate) accepts: Accepts,
}

/// The erasure of `S`.
pub(crate) struct Typed<S>(S);

impl<S: StateMachine> Typed<S> {
    pub(crate) const ERASED: Erased = Erased { boxed: Self::boxed, accepts: Self::accepts };

    pub(crate) fn boxed() -> Box<dyn Machine> {
        Box::new(Self(S::default()))
    }

    pub(crate) fn accepts(command: &[u8]) -> Result<(), CodecError> {
        codec::decode::<S::Command>(command).map(drop)
    }
}

impl<S> fmt::Debug for Typed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<S>())
    }
}

impl<S: StateMachine> Machine for Typed<S> {
    fn apply(&mut self, command: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(codec::encode(&self.0.apply(codec::decode(command)?)))
    }

    fn query(&self, query: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(codec::encode(&self.0.query(codec::decode(query)?)))
    }

    fn capture(&self) -> Box<dyn Machine> {
        Box::new(Self(self.0.clone()))
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        codec::write(&self.0, out)
    }

    fn load(&mut self, input: &mut dyn io::Read) -> io::Result<()> {
        self.0 = codec::read(input)?;
        Ok(())
    }
}
