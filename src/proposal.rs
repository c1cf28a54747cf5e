//! What is proposed, logged and sent: a command with its origin, as one run of bytes.
//!
//! Owns the layout. A proposal is encoded once, where it is made, and the same bytes stand in the
//! client's frame, the leader's log, the followers' logs and the state machine's hands.
//!
//! ```text
//! format u8 | kind u8 | request u128 | a u64 | b u64 | c u64 | key | command     (little-endian)
//!   open     a = sessions kept          -                    -            -      -
//!   session  a = session                b = sequence         c = floor    -      command
//!   once     a = keys kept              b = key bytes        -            key    command
//! ```
//!
//! Invariants
//! - [`Proposal::from_bytes`] is the only way in from outside; a `Proposal` is always well formed.
//! - The limits that shape the replicated session table (`a` of open and once) travel in the log,
//!   so nodes with different configurations still compute the same table.
//!
//! Does not: know the command's type, or whether the machine can decode it.

use std::fmt;

use bytes::Bytes;
use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    codec::{CodecError, FORMAT},
    runtime::Runtime,
};

/// Names one request of a user, from the client's first attempt to the log entry: 128 random bits.
pub(crate) type RequestId = u128;

/// A new request's name.
pub(crate) fn request_id<R: Runtime>() -> RequestId {
    let mut rng = R::thread_rng();
    (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())
}

/// Longest idempotency key, in bytes. Keys are kept in memory on every node.
pub(crate) const KEY_BYTES_MAX: usize = 256;

const HEADER_BYTES: usize = 42;
const OPEN: u8 = 0;
const SESSION: u8 = 1;
const ONCE: u8 = 2;

/// Who asks, so that a retry is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    /// Opens a session; the answer is its id. `sessions_max` sessions are kept. The limits, here and
    /// below, are set by the node that proposes.
    Open { sessions_max: u64 },
    /// The `sequence`-th command of a session. Answers below `floor` will not be asked for again.
    Session { session: u64, sequence: u64, floor: u64 },
    /// A command under the application's own key. `keys_max` keys are kept.
    Once { key: &'a [u8], keys_max: u64 },
}

/// A well-formed proposal. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(Bytes);

impl Proposal {
    pub(crate) fn new(request: RequestId, origin: Origin<'_>, command: &[u8]) -> Self {
        let (kind, a, b, c, key): (u8, u64, u64, u64, &[u8]) = match origin {
            Origin::Open { sessions_max } => (OPEN, sessions_max, 0, 0, &[]),
            Origin::Session { session, sequence, floor } => {
                (SESSION, session, sequence, floor, &[])
            }
            Origin::Once { key, keys_max } => (ONCE, keys_max, key.len() as u64, 0, key),
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + key.len() + command.len());
        bytes.extend_from_slice(&[FORMAT, kind]);
        bytes.extend_from_slice(&request.to_le_bytes());
        for word in [a, b, c] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(command);
        Self(bytes.into())
    }

    /// Checks bytes from outside.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Self, CodecError> {
        Self::check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Whether these bytes are those of a proposal.
    pub(crate) fn check(bytes: &[u8]) -> Result<(), CodecError> {
        let malformed = |reason: &str| CodecError::Malformed {
            expected: "proposal",
            reason: reason.to_owned(),
        };
        match bytes.first() {
            Some(&FORMAT) => {}
            Some(&found) => return Err(CodecError::Format { found }),
            None => return Err(malformed("no bytes")),
        }
        if bytes.len() < HEADER_BYTES {
            return Err(malformed("shorter than its header"));
        }
        match bytes[1] {
            OPEN | SESSION => Ok(()),
            ONCE if word(bytes, 1) > KEY_BYTES_MAX as u64 => Err(malformed("key too long")),
            ONCE if HEADER_BYTES + key_bytes(bytes) > bytes.len() => {
                Err(malformed("shorter than its key"))
            }
            ONCE => Ok(()),
            kind => Err(malformed(&format!("unknown kind {kind}"))),
        }
    }

    /// The same with the limits of the node that proposes it: a sender cannot shape the table of all.
    pub(crate) fn limited(self, sessions_max: u64, keys_max: u64) -> Self {
        let origin = match self.origin() {
            Origin::Open { .. } => Origin::Open { sessions_max },
            Origin::Once { key, .. } => Origin::Once { key, keys_max },
            Origin::Session { .. } => return self,
        };
        if origin == self.origin() {
            return self;
        }
        Self::new(self.request(), origin, self.command())
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    pub(crate) fn request(&self) -> RequestId {
        let bytes = self.0[2..18].try_into().expect("invariant: the header is complete");
        RequestId::from_le_bytes(bytes)
    }

    pub(crate) fn origin(&self) -> Origin<'_> {
        match self.0[1] {
            OPEN => Origin::Open { sessions_max: word(&self.0, 0) },
            SESSION => Origin::Session {
                session: word(&self.0, 0),
                sequence: word(&self.0, 1),
                floor: word(&self.0, 2),
            },
            _ => Origin::Once {
                key: &self.0[HEADER_BYTES..HEADER_BYTES + key_bytes(&self.0)],
                keys_max: word(&self.0, 0),
            },
        }
    }

    pub(crate) fn command(&self) -> &[u8] {
        &self.0[HEADER_BYTES + key_bytes(&self.0)..]
    }
}

fn word(proposal: &[u8], n: usize) -> u64 {
    let at = 18 + 8 * n;
    let bytes = proposal[at..at + 8].try_into().expect("invariant: the header is complete");
    u64::from_le_bytes(bytes)
}

fn key_bytes(proposal: &[u8]) -> usize {
    if proposal[1] == ONCE { usize::try_from(word(proposal, 1)).unwrap_or(usize::MAX) } else { 0 }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} {:?} {} bytes", self.request(), self.origin(), self.command().len())
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Proposal::from_bytes(Bytes::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_each_origin() {
        for origin in [
            Origin::Open { sessions_max: 9 },
            Origin::Session { session: 1, sequence: 2, floor: 3 },
            Origin::Once { key: b"order-17", keys_max: 5 },
        ] {
            let made = Proposal::new(77, origin, b"command");
            let read = Proposal::from_bytes(made.bytes().clone()).unwrap();
            assert_eq!(
                (read.request(), read.origin(), read.command()),
                (77, origin, &b"command"[..])
            );
        }
    }

    /// A client that asked for one session only would end those of everybody else.
    #[test]
    fn the_proposing_node_sets_the_limits() {
        let open = Proposal::new(7, Origin::Open { sessions_max: 1 }, b"");
        assert_eq!(open.limited(100, 50).origin(), Origin::Open { sessions_max: 100 });
        let once = Proposal::new(7, Origin::Once { key: b"k", keys_max: 1 }, b"c").limited(100, 50);
        assert_eq!(once, Proposal::new(7, Origin::Once { key: b"k", keys_max: 50 }, b"c"));
        let session = Origin::Session { session: 1, sequence: 2, floor: 3 };
        let command = Proposal::new(7, session, b"c");
        assert_eq!(command.clone().limited(100, 50), command);
    }

    /// Logs outlive releases: these bytes may change only together with `FORMAT`.
    #[test]
    fn golden_bytes() {
        let made = Proposal::new(0x0102, Origin::Once { key: b"k", keys_max: 3 }, b"c");
        let mut expected = vec![1, 2, 2, 1];
        expected.extend([0; 14]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0; 8]);
        expected.extend(b"kc");
        assert_eq!(made.bytes()[..], expected);
    }

    #[test]
    fn refuses_what_is_not_a_proposal() {
        let good =
            Proposal::new(1, Origin::Once { key: b"abc", keys_max: 1 }, b"").bytes().to_vec();
        for cut in 0..good.len() {
            assert!(Proposal::from_bytes(good[..cut].to_vec().into()).is_err(), "cut at {cut}");
        }
        let mut kind = good.clone();
        kind[1] = 7;
        assert!(Proposal::from_bytes(kind.into()).is_err());
        let mut hostile_key = good.clone();
        hostile_key[26..34].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Proposal::from_bytes(hostile_key.into()).is_err());
    }
}
