//! What a state passes through when it is saved or hashed, on the side.
//!
//! Owns [`Checksummed`], which counts and checksums, in [`Turns`].
//!
//! In: a state, in pieces of any length. Out: the same bytes; their number and CRC-32.
//!
//! Does not: make anything durable.

use std::io::{self, BufWriter, Write};

use crate::turns::{TURN_BYTES, Turns};

/// See the module.
pub(crate) struct Checksummed<W> {
    inner: Turns<W>,
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl<W: Write> Checksummed<W> {
    /// Behind a buffer, for a machine writes in small pieces.
    pub(crate) fn buffered(inner: W) -> BufWriter<Self> {
        let this = Self { inner: Turns::of(inner), crc: crc32fast::Hasher::new(), bytes: 0 };
        BufWriter::with_capacity(TURN_BYTES, this)
    }

    /// All has passed: where it went, its length and its CRC-32.
    pub(crate) fn finish(buffered: BufWriter<Self>) -> io::Result<(W, u64, u32)> {
        let this = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((this.inner.into_inner(), this.bytes, this.crc.finalize()))
    }
}

impl<W: Write> Write for Checksummed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::WAYS_GIVEN;

    #[test]
    fn what_passes_is_counted_in_turns() {
        for piece in [100, 1 << 20] {
            let before = WAYS_GIVEN.get();
            let mut out = Checksummed::buffered(Vec::new());
            for piece in vec![7; 1 << 20].chunks(piece) {
                out.write_all(piece).unwrap();
            }
            let (all, bytes, crc) = Checksummed::finish(out).unwrap();
            assert_eq!((bytes, crc), (1 << 20, crc32fast::hash(&all)));
            assert_eq!(WAYS_GIVEN.get() - before, 16, "in pieces of {piece} bytes");
        }
    }
}
