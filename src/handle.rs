//! The verbs: write, read, read locally. Types in front, bytes behind.
//!
//! Owns [`Handle`], which encodes once and hands bytes to an [`Engine`]: this node's own consensus, or,
//! inside a [`Client`](crate::Client), connections to a cluster.
//!
//! In: commands and queries of the user's machine. Out: its responses and answers, or an
//! [`Error`] that says first whether anything may have happened.
//!
//! Invariants: a command is encoded once, here, and its response decoded once, here.
//!
//! Does not: retry, queue, or know which engine it has.

use std::{fmt, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec, error::Error, machine::StateMachine, proposal::KEY_BYTES_MAX, transport::BoxFuture,
};

/// What carries the verbs out, without types.
pub(crate) trait Engine: Send + Sync + fmt::Debug + 'static {
    /// Carries out a command, under the engine's session or the application's `key`.
    fn write(&self, key: Option<Bytes>, command: Vec<u8>) -> BoxFuture<'_, Result<Bytes, Error>>;

    /// Answers a query with a state at least as new as every write that was acknowledged before.
    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>>;

    /// Answers a query with a state that may be old.
    fn read_local(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, Error>>;
}

/// Reads and writes through a node of this process. Clones are cheap and share the node's session.
///
/// On a node that does not lead, writes are forwarded to the leader, one hop, within the deadline
/// `Config::request_timeout`. While no leader is known, they wait for one.
pub struct Handle<S> {
    engine: Arc<dyn Engine>,
    machine: PhantomData<fn() -> S>,
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self::new(self.engine.clone())
    }
}

impl<S> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.engine).finish()
    }
}

impl<S> Handle<S> {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, machine: PhantomData }
    }
}

impl<S: StateMachine> Handle<S> {
    /// Carries out a command, exactly once if it returns `Ok`: it is then durable on a majority and
    /// applied.
    ///
    /// # Errors
    /// After a definite error ([`Error::is_definite`]) it was not carried out; after any other it
    /// may have been, or may yet be.
    pub async fn write(&self, command: S::Command) -> Result<S::Response, Error> {
        decode(&self.engine.write(None, codec::encode(&command)).await?)
    }

    /// Carries out a command under the application's own name for the request, such as a payment's
    /// number or a queue's message id. However often the same `key` is written, by whichever
    /// process, within the last `Config::keys_max` keys of the whole cluster, the command of the
    /// first is carried out and all get its response.
    ///
    /// # Errors
    /// As [`write`](Self::write), but writing the same key again is safe after any error.
    /// [`Error::TooLarge`] for a key over 256 bytes.
    pub async fn write_once(
        &self,
        key: impl AsRef<[u8]>,
        command: S::Command,
    ) -> Result<S::Response, Error> {
        let key = key.as_ref();
        if key.len() > KEY_BYTES_MAX {
            let reason = format!("key of {} bytes, the limit is {KEY_BYTES_MAX}", key.len());
            return Err(Error::TooLarge(reason));
        }
        let key = Some(Bytes::copy_from_slice(key));
        decode(&self.engine.write(key, codec::encode(&command)).await?)
    }

    /// Answers a query, linearizably: the answer reflects every write that was acknowledged, by
    /// any node to anybody, before this call. Raft's ReadIndex (Ongaro's dissertation, section 6.4);
    /// no clock is trusted.
    ///
    /// # Errors
    /// No error of a read has an effect on the state.
    pub async fn read(&self, query: S::Query) -> Result<S::Answer, Error> {
        decode(&self.engine.read(encoded(&query)).await?)
    }

    /// Answers a query from one replica's state, which **may be old, by an unbounded time**, and may be
    /// older than what the same caller saw before on another node.
    ///
    /// # Errors
    /// No error of a read has an effect on the state.
    pub async fn read_local(&self, query: S::Query) -> Result<S::Answer, Error> {
        decode(&self.engine.read_local(encoded(&query)).await?)
    }
}

fn encoded<T: Serialize>(value: &T) -> Bytes {
    codec::encode(value).into()
}

/// A response that this release cannot read: the command was carried out all the same.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    codec::decode(bytes).map_err(|e| Error::Unknown(format!("unreadable response: {e}")))
}
