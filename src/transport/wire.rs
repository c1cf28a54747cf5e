//! Frames: how messages look on a byte stream.
//!
//! Owns the layout of a frame and of the two handshake messages.
//!
//! ```text
//! length u32 | crc32 u32 | version u8 | kind u8 | 0 u16 | call u64 | remaining ms u32 | request u128 | body
//!              \_________________________ length counts from here to the end ______________________/
//! ```
//! Little-endian. The crc covers everything behind it. `call` pairs a reply with its request on one
//! connection; `request` names the user's request across retries and nodes; `remaining` is what is
//! left of the deadline, relative, because clocks differ.
//!
//! Invariants
//! - A frame with a wrong version, kind, length or crc is an error, and the connection ends there:
//!   behind a bad frame nothing on a stream can be trusted.
//! - No length is believed beyond the limit given; memory grows with bytes that arrived.
//! - Bodies share the memory they were read into.
//!
//! Does not: know sockets, or what bodies mean.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Lane, Message};
use crate::config::PAYLOAD_BYTES_MAX;

/// The protocol this release speaks.
pub(crate) const VERSION: u8 = 1;

/// Longest frame: the largest payload, doubled for what is around it in a batch of entries.
pub(crate) const FRAME_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// Longest frame before the handshake is done.
pub(crate) const HELLO_BYTES_MAX: usize = 1 << 12;

/// Room made for the rest of a frame when little of it has arrived.
const RESERVE_BYTES: usize = 1 << 14;

const LENGTH_BYTES: usize = 4;
/// What `length` counts beside the body.
pub(crate) const HEADER_BYTES: usize = 36;
const CRC_BYTES: usize = 4;

/// What a message is. Stable numbers: they are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// First message of a connection: who calls, and whom.
    Hello = 1,
    /// The handshake is done.
    Welcome = 2,
    /// The handshake failed; the body is the reason, as text.
    Refused = 3,
    /// The reply to a request.
    Reply = 4,
    /// Log entries or a heartbeat.
    Append = 10,
    /// A request for a vote.
    Vote = 11,
    /// A question whether a request for a vote would be granted.
    PreVote = 12,
    /// A piece of a snapshot.
    Snapshot = 13,
    /// The leader hands its leadership over.
    Transfer = 14,
    /// Which index a linearizable read has to wait for.
    ReadIndex = 15,
    /// Who is there, and has it ever been part of a cluster.
    Probe = 16,
    /// A change of membership or of leadership.
    Admin = 17,
    /// What a replica in eventual mode tells another.
    Sync = 18,
    /// A command.
    Propose = 30,
    /// A linearizable query.
    Read = 31,
    /// A query of this node's own state, as old as it may be.
    ReadLocal = 32,
    /// How the node is.
    Status = 33,
    /// A query of the state that nothing will revoke, in eventual mode.
    ReadStable = 34,
    /// A command in eventual mode, to come after what its sender has seen.
    ProposeAfter = 35,
    /// A query in eventual mode, of a state with what its sender has seen.
    ReadAfter = 36,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 20] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Refused,
        Kind::Reply,
        Kind::Append,
        Kind::Vote,
        Kind::PreVote,
        Kind::Snapshot,
        Kind::Transfer,
        Kind::ReadIndex,
        Kind::Probe,
        Kind::Admin,
        Kind::Sync,
        Kind::Propose,
        Kind::Read,
        Kind::ReadLocal,
        Kind::Status,
        Kind::ReadStable,
        Kind::ProposeAfter,
        Kind::ReadAfter,
    ];

    /// The name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Hello => "hello",
            Kind::Welcome => "welcome",
            Kind::Refused => "refused",
            Kind::Reply => "reply",
            Kind::Append => "append",
            Kind::Vote => "vote",
            Kind::PreVote => "pre_vote",
            Kind::Snapshot => "snapshot",
            Kind::Transfer => "transfer",
            Kind::ReadIndex => "read_index",
            Kind::Probe => "probe",
            Kind::Admin => "admin",
            Kind::Sync => "sync",
            Kind::Propose => "propose",
            Kind::Read => "read",
            Kind::ReadLocal => "read_local",
            Kind::Status => "status",
            Kind::ReadStable => "read_stable",
            Kind::ProposeAfter => "propose_after",
            Kind::ReadAfter => "read_after",
        }
    }

    fn from_byte(byte: u8) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A message with what pairs and bounds it on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) call: u64,
    pub(crate) remaining: Duration,
    pub(crate) message: Message,
}

/// Why a byte stream is not a sequence of frames.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("frame of {found} bytes, the limit is {limit}")]
    Length { found: usize, limit: usize },
    #[error("protocol version {found}, this release speaks {VERSION}")]
    Version { found: u8 },
    #[error("unknown kind of message {0}")]
    Kind(u8),
    #[error("checksum does not match")]
    Crc,
}

/// Appends a frame to `out`.
pub(crate) fn write_frame(frame: &Frame, out: &mut Vec<u8>) {
    let Frame { call, remaining, message } = frame;
    let start = out.len();
    let length = u32::try_from(HEADER_BYTES + message.body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; CRC_BYTES]);
    out.extend_from_slice(&[VERSION, message.kind as u8, 0, 0]);
    out.extend_from_slice(&call.to_le_bytes());
    let remaining = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
    out.extend_from_slice(&remaining.to_le_bytes());
    out.extend_from_slice(&message.request.to_le_bytes());
    out.extend_from_slice(&message.body);
    let framed = &mut out[start + LENGTH_BYTES..];
    let crc = crc32fast::hash(&framed[CRC_BYTES..]);
    framed[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Takes the next whole frame from the front of `input`; `None` if more bytes are needed.
pub(crate) fn read_frame(input: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some(length) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if !(HEADER_BYTES..=limit).contains(&length) {
        return Err(FrameError::Length { found: length, limit });
    }
    if let Some(&version) = input.get(LENGTH_BYTES + CRC_BYTES)
        && version != VERSION
    {
        return Err(FrameError::Version { found: version });
    }
    if input.len() < LENGTH_BYTES + length {
        // What a length promises is not memory yet: the buffer doubles as bytes arrive.
        let missing = LENGTH_BYTES + length - input.len();
        input.reserve(missing.min(input.len().max(RESERVE_BYTES)));
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    let mut framed = input.split_to(length).freeze();
    let crc = framed.get_u32_le();
    if crc32fast::hash(&framed) != crc {
        return Err(FrameError::Crc);
    }
    let kind = Kind::from_byte(framed[1]).ok_or(FrameError::Kind(framed[1]))?;
    framed.advance(4);
    let call = framed.get_u64_le();
    let remaining = Duration::from_millis(u64::from(framed.get_u32_le()));
    let request = framed.get_u128_le();
    Ok(Some(Frame { call, remaining, message: Message { kind, request, body: framed } }))
}

/// The first message on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: String,
    /// The calling node; `None` for a client.
    pub(crate) from: Option<u64>,
    /// The node meant; `None` if any will do.
    pub(crate) node: Option<u64>,
    pub(crate) disk: Option<u64>,
    pub(crate) lane: u8,
}

/// The answer to [`Hello`], if the right node was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) node: u64,
    pub(crate) disk: u64,
}

impl Lane {
    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Lane> {
        [Lane::Control, Lane::Log, Lane::Snapshot, Lane::Client]
            .into_iter()
            .find(|lane| *lane as u8 == byte)
    }
}

/// A message of the protocol's own, outside any user's request.
pub(crate) fn bare(kind: Kind, body: impl Into<Bytes>) -> Message {
    Message { kind, request: 0, body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &'static [u8]) -> Frame {
        let message = Message { kind: Kind::Propose, request: 5, body: Bytes::from_static(body) };
        Frame { call: 9, remaining: Duration::from_millis(1_500), message }
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(frame, &mut out);
        out
    }

    #[test]
    fn frames_follow_each_other_and_may_arrive_in_pieces() {
        let stream = [bytes(&frame(b"one")), bytes(&frame(b""))].concat();
        let (mut input, mut found) = (BytesMut::new(), Vec::new());
        for byte in stream {
            input.extend_from_slice(&[byte]);
            found.extend(read_frame(&mut input, 100).unwrap());
        }
        assert_eq!(found, [frame(b"one"), frame(b"")]);
    }

    /// Nodes of two releases talk to each other: these bytes may change only with `VERSION`.
    #[test]
    fn golden_bytes() {
        let mut expected = vec![37, 0, 0, 0];
        expected.extend(0x0d10_f194_u32.to_le_bytes());
        expected.extend([1, 30, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 220, 5, 0, 0]);
        expected.extend([5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'x']);
        assert_eq!(bytes(&frame(b"x")), expected);
    }

    #[test]
    fn every_flipped_bit_is_an_error_or_a_longer_wait() {
        let good = bytes(&frame(b"body"));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = read_frame(&mut BytesMut::from(&bad[..]), 1 << 10);
            assert!(!matches!(read, Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_hostile_length_is_refused_before_memory_is_taken() {
        let mut input = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        let error = read_frame(&mut input, 1 << 20).unwrap_err();
        assert_eq!(error, FrameError::Length { found: u32::MAX as usize, limit: 1 << 20 });
    }

    /// Guards against a header of 4 bytes that makes thousands of connections take 32 MiB each.
    #[test]
    fn a_promised_length_takes_no_memory_until_bytes_arrive() {
        let length = u32::try_from(FRAME_BYTES_MAX).unwrap();
        let mut input = BytesMut::from(&length.to_le_bytes()[..]);
        assert_eq!(read_frame(&mut input, FRAME_BYTES_MAX), Ok(None));
        assert!(input.capacity() <= 2 * RESERVE_BYTES, "{}", input.capacity());
    }
}
