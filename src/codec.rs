//! The one encoding, and the only file that names `bincode`.
//!
//! In: serde values. Out: bytes, and back. Integers are fixed-width little-endian, so the bytes of a
//! value depend on the value alone and equal states have equal snapshots.
//!
//! Invariants
//! - Decoding refuses trailing bytes and lengths that the input cannot hold, so hostile input costs
//!   no more memory than its own size.
//! - [`encode_tagged`] starts with [`FORMAT`]; [`decode_tagged`] refuses any other first byte. All
//!   that is stored or sent on its own is tagged; a part inside a tagged whole is not tagged again.
//!
//! Does not: checksum (frames and files do), compress, or migrate between formats.

use std::io;

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

/// The format of everything this release writes. A reader of another format refuses it by name.
pub(crate) const FORMAT: u8 = 1;

/// Why bytes could not be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// Written by a release with another format.
    #[error("format version {found}, but this release reads {FORMAT}")]
    Format { found: u8 },
    /// Not the bytes of the expected type.
    #[error("not decodable as {expected}: {reason}")]
    Malformed { expected: &'static str, reason: String },
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_no_limit().reject_trailing_bytes()
}

/// Appends the bytes of `value` to `out`.
///
/// # Panics
/// When the type's `Serialize` returns an error, which is a fault of the type, not of its value.
pub(crate) fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    options()
        .serialize_into(out, value)
        .expect("invariant: Serialize of commands, queries and states does not fail in memory");
}

/// The bytes of `value`. Public for the test kit, which tells the states of a machine apart by what a
/// snapshot would hold of them; not part of the API.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    sized(value, &[])
}

/// [`FORMAT`], then the bytes of `value`.
pub(crate) fn encode_tagged<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    sized(value, &[FORMAT])
}

/// The bytes of `value` behind others. Counted first: to grow as they come costs more, for small values a
/// handful of allocations and for large ones a copy of all and fresh pages.
fn sized<T: Serialize + ?Sized>(value: &T, before: &[u8]) -> Vec<u8> {
    let size = options().serialized_size(value).unwrap_or(0);
    let mut out = Vec::with_capacity(before.len() + usize::try_from(size).unwrap_or(0));
    out.extend_from_slice(before);
    encode_into(value, &mut out);
    out
}

/// The value whose bytes these are, all of them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    options().deserialize(bytes).map_err(|e| CodecError::Malformed {
        expected: std::any::type_name::<T>(),
        reason: e.to_string(),
    })
}

/// The value written by [`encode_tagged`].
pub(crate) fn decode_tagged<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => decode(rest),
        Some((&found, _)) => Err(CodecError::Format { found }),
        None => Err(CodecError::Malformed {
            expected: std::any::type_name::<T>(),
            reason: "no bytes".into(),
        }),
    }
}

/// Writes the bytes of `value`, for states too big to hold twice in memory.
pub(crate) fn write<T: Serialize>(value: &T, out: &mut dyn io::Write) -> io::Result<()> {
    options().serialize_into(out, value).map_err(|e| io_error(*e))
}

/// Reads a value that [`write`] wrote. Only for input whose checksum was verified: lengths are
/// believed. What follows the value is left unread.
pub(crate) fn read<T: DeserializeOwned>(input: &mut dyn io::Read) -> io::Result<T> {
    options().deserialize_from(input).map_err(|e| io_error(*e))
}

fn io_error(error: bincode::ErrorKind) -> io::Error {
    match error {
        bincode::ErrorKind::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs and snapshots outlive releases: these bytes may change only together with `FORMAT`.
    #[test]
    fn golden_bytes() {
        assert_eq!(
            encode_tagged(&(7_u16, Some("ab"))),
            [1, 7, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']
        );
    }

    #[test]
    fn refuses_other_formats_trailing_bytes_and_hostile_lengths() {
        let bytes = encode_tagged(&5_u32);
        assert_eq!(decode_tagged::<u32>(&bytes).unwrap(), 5);
        let foreign = [&[9], &bytes[1..]].concat();
        assert!(decode_tagged::<u32>(&foreign).unwrap_err().to_string().contains("version 9"));
        assert!(decode_tagged::<u32>(&[&bytes[..], &[0]].concat()).is_err());
        assert!(decode_tagged::<u32>(&[]).is_err());
        // A vector that claims 2^60 elements in 8 bytes of input.
        assert!(decode::<Vec<u64>>(&(1_u64 << 60).to_le_bytes()).is_err());
    }
}
