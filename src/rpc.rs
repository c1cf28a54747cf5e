//! What the bodies of messages mean.
//!
//! Owns the pairing of a request's kind with the types of its body and of its reply.
//!
//! | kind | body | reply |
//! |---|---|---|
//! | `Propose` | the bytes of a `Proposal` | `Result<Outcome, Error>` |
//! | `Read`, `ReadLocal` | an encoded query | `Result<Bytes, Error>`, the encoded answer |
//! | `ReadIndex` | nothing | `Result<ReadPoint, Error>` |
//! | `Probe` | nothing | `Result<Probe, Error>` |
//! | `Status` | nothing, or the [`Mode`] whose status is meant | `Result<Status or EventualStatus, Error>` |
//! | `ReadStable` | an encoded query | `Result<Bytes, Error>`, the encoded answer |
//! | `ProposeAfter` | a `Token` and a `Proposal` | `Result<(Outcome, Token), Error>` |
//! | `ReadAfter` | a `Token` and an encoded query | `Result<(Bytes, Token), Error>` |
//! | `Admin` | [`Admin`] | `Result<(), Error>` |
//! | `Snapshot` | [`Chunk`] | `Result<SnapshotReply, Error>` |
//! | `Sync` | what a replica tells in eventual mode | `Result<_, Error>`, what the other says of itself |
//! | `Append`, `Vote`, `PreVote`, `Transfer` | consensus's own | `Result<_, Error>` |
//!
//! Every reply is a `Result` whose error says first whether anything may have happened.
//!
//! Does not: send or serve.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    codec,
    error::Error,
    mode::Mode,
    plant::{Bug, planted},
    storage::LogId,
    transport::{CallError, Kind, Message},
};

/// Who answers, and whether it was ever part of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) disk: u64,
    /// Whether its log holds anything.
    pub(crate) initialized: bool,
    /// The last entry in its state.
    pub(crate) applied: Option<LogId>,
    /// Hashes of its state, by the entry after which it was that.
    pub(crate) hashes: BTreeMap<u64, u64>,
}

/// A piece of a snapshot file. The pieces of one transfer come in order, from offset 0; the last is
/// empty, at offset `total`, and is answered when the snapshot is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) from: u64,
    /// The sender's vote, encoded by the consensus adapter.
    pub(crate) vote: Bytes,
    pub(crate) offset: u64,
    pub(crate) total: u64,
    pub(crate) bytes: Bytes,
}

/// An order that only the leader can carry out, or that is meant for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Admin {
    Add { node: u64, addr: String },
    Remove { node: u64 },
    Replace { lost: u64, node: u64, addr: String },
    TransferLeadership { to: u64 },
}

/// What a node in this mode says to a request that only the other mode knows.
pub(crate) fn other_mode(mine: Mode, kind: Kind) -> Error {
    Error::Refused(format!(
        "this node is in {mine} mode, where {kind:?} means nothing: set ClientConfig::mode to {mine}"
    ))
}

/// Whether a request for a status means the one that a node in this mode has.
pub(crate) fn asks_for(mine: Mode, body: &[u8]) -> Result<(), Error> {
    let asked = match body {
        [] => Mode::Strong,
        body => codec::decode(body).map_err(|e| Error::Refused(e.to_string()))?,
    };
    match (asked == mine, mine) {
        (true, _) => Ok(()),
        (false, Mode::Strong) => {
            Err(Error::Refused("this node is in strong mode: ask for its status".into()))
        }
        (false, Mode::Eventual) => {
            Err(Error::Refused("this node is in eventual mode: ask for its eventual_status".into()))
        }
    }
}

/// The reply to a request of `request`.
pub(crate) fn reply<T: Serialize>(request: u128, result: &Result<T, Error>) -> Message {
    Message { kind: Kind::Reply, request, body: codec::encode(result).into() }
}

/// What a reply says. A reply that cannot be read is `Unknown`: the request was served, but how?
pub(crate) fn read_reply<T: DeserializeOwned>(reply: &Message) -> Result<T, Error> {
    match codec::decode::<Result<T, Error>>(&reply.body) {
        Ok(result) => result,
        Err(e) => Err(Error::Unknown(format!("unreadable reply: {e}"))),
    }
}

/// What a failed call means for a command: not sent is definite, lost is not.
impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent { .. } => Error::NotLeader { leader: None },
            CallError::Lost { .. } if planted(Bug::UnknownAsDefinite) => {
                Error::Overloaded(error.to_string())
            }
            CallError::Lost { .. } => Error::Unknown(error.to_string()),
        }
    }
}
