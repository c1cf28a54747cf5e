//! The two errors: [`Error`] for an operation, [`StartError`] for a node that cannot start.
//!
//! The first thing an [`Error`] says is whether anything may have happened
//! ([`Error::is_definite`]). The client's retry rule and the test kit's `fail`/`info` mapping come
//! from that answer and from nothing else.
//!
//! Does not: carry an application's refusals. Those are a `Response`, as successful as any other.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Why an operation did not return a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// This node is not the leader, or lost its leadership before it took the command.
    ///
    /// State: unchanged, **definitely not executed**. Ask the leader named here; if none is
    /// named, an election is under way: wait and ask again.
    #[error("not the leader{}", match leader {
        Some((id, addr)) => format!("; node {id} at {addr} is"),
        None => "; no leader is known".into(),
    })]
    NotLeader {
        /// The leader as this node knows it: id and address.
        leader: Option<(u64, String)>,
    },

    /// A limit was reached (requests in flight, their bytes), or the deadline had passed before the
    /// command was proposed. In eventual mode also: this node cannot accept anything now, for its clock
    /// is ahead, or too much is not final yet; the text says which.
    ///
    /// State: unchanged, **definitely not executed**. Back off, then ask again, or another node.
    #[error("overloaded: {0}; not executed")]
    Overloaded(String),

    /// The encoded command, key or query is over a limit of `Config`.
    ///
    /// State: unchanged, **definitely not executed**. It will never be accepted; make it smaller.
    #[error("too large: {0}; not executed")]
    TooLarge(String),

    /// The request was refused because its arguments cannot be carried out, for example adding a
    /// node under an id that was used before.
    ///
    /// State: unchanged, **definitely not executed**.
    #[error("refused: {0}; not executed")]
    Refused(String),

    /// Eventual mode: this node does not hold what the session has seen elsewhere, or not yet durably what
    /// it would answer; the text names what is missing.
    ///
    /// State: unchanged, **definitely not executed**. Wait, or go on where the session was.
    #[error("not here yet: {0}; not executed")]
    NotYet(String),

    /// The deadline passed, or the connection or the leadership was lost, after the command may
    /// have been proposed.
    ///
    /// State: the command **may have been executed, may be executed later, or never**. Only the same
    /// session and sequence (as [`Client`](crate::Client) sends them) or the same idempotency
    /// key can be sent again without the risk of a second effect.
    #[error("outcome unknown: {0}")]
    Unknown(String),

    /// The cluster no longer remembers this session: so many others were used since that it was
    /// dropped.
    ///
    /// State: this attempt was not executed, but an **earlier attempt may have been**; what it
    /// answered is forgotten. The next command opens a new session.
    #[error("session expired; an earlier attempt may have been executed")]
    SessionExpired,

    /// The node is shutting down or has stopped because of a fault, which is in its log and in
    /// `Status`.
    ///
    /// State: the command **may have been executed**.
    #[error("the node has stopped: {0}")]
    Stopped(String),

    /// Nobody who could carry it out was reached in time: no node answered or had room for one connection more, or no
    /// session could be opened, or a node has not heard of the others. The text says which. It is the network, or the
    /// cluster, that has to come back.
    ///
    /// State: unchanged, **definitely not executed**. Wait, then ask again.
    #[error("unavailable: {0}; not executed")]
    Unavailable(String),
}

impl Error {
    /// Whether the command was definitely not executed by this call. `false` means unknown, never
    /// "executed".
    pub fn is_definite(&self) -> bool {
        match self {
            Error::NotLeader { .. }
            | Error::Overloaded(_)
            | Error::Unavailable(_)
            | Error::TooLarge(_)
            | Error::NotYet(_)
            | Error::Refused(_) => true,
            Error::Unknown(_) | Error::SessionExpired | Error::Stopped(_) => false,
        }
    }
}

/// Why a node, or a client, could not start. Nothing was served and nothing on disk was changed,
/// except where a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting contradicts another or is out of range; the text names both.
    #[error("configuration: {0}")]
    Config(String),

    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: String,
        /// What the system said.
        source: io::Error,
    },

    /// Another process uses the data directory. Two nodes on one log would destroy it.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),

    /// The directory was written by a release with another format, or by something else.
    #[error("{}: {reason}", file.display())]
    Foreign {
        /// The file that says so.
        file: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },

    /// The directory belongs to another node or cluster.
    #[error("{} belongs to {found}, but this is {expected}", dir.display())]
    WrongIdentity {
        /// The data directory.
        dir: PathBuf,
        /// Who wrote it.
        found: String,
        /// Who asks for it.
        expected: String,
    },

    /// What is on disk is not what was written. The node does not start, for it might have
    /// forgotten a promise. Replace it under a new id (`Node::replace`) from a healthy majority.
    #[error(transparent)]
    Damaged(#[from] Damage),

    /// The disk failed.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, with the file.
        context: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// An IO error with what was being done; damage inside it comes out as [`StartError::Damaged`].
    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Self {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<Damage>()) {
            Some(damage) => StartError::Damaged(damage.clone()),
            None => StartError::Io { context: context.into(), source },
        }
    }
}

/// Bytes on disk that are not what was written: the node stops and says where.
#[derive(Clone, Debug, thiserror::Error)]
#[error("damaged: {} at byte {offset}: {reason}", file.display())]
pub struct Damage {
    /// The file that holds the damage.
    pub file: PathBuf,
    /// Where in the file the first bad byte or record begins.
    pub offset: u64,
    /// What was expected and what was found.
    pub reason: String,
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of two releases talk to each other: read as another variant, what is unknown would be definite. So new
    /// ones come last.
    #[test]
    fn a_variant_keeps_its_number_on_the_wire() {
        let text = || String::from("x");
        let variants = [
            Error::NotLeader { leader: None },
            Error::Overloaded(text()),
            Error::TooLarge(text()),
            Error::Refused(text()),
            Error::NotYet(text()),
            Error::Unknown(text()),
            Error::SessionExpired,
            Error::Stopped(text()),
            Error::Unavailable(text()),
        ];
        for (number, error) in (0_u32..).zip(variants) {
            let bytes = crate::codec::encode(&error);
            assert_eq!(bytes[..4], number.to_le_bytes(), "{error}: {bytes:?}");
        }
    }
}
