//! Long work on a state, which lets others have the processor now and then.
//!
//! Owns [`Turns`], through which a state is written or read.
//!
//! In: bytes, in pieces of any length. Out: the same bytes, in pieces of 64 KiB or less, and a rest after as many.
//!
//! Does not: rest for a disk; who sends or removes a snapshot does.

use std::io::{self, Read, Write};

use crate::runtime::give_way;

/// A turn: so many bytes of a state take a few hundred microseconds.
pub(crate) const TURN_BYTES: usize = 1 << 16;

/// See the module.
pub(crate) struct Turns<T> {
    inner: T,
    /// In this turn.
    bytes: usize,
}

impl<T> Turns<T> {
    pub(crate) fn of(inner: T) -> Self {
        Self { inner, bytes: 0 }
    }

    pub(crate) fn into_inner(self) -> T {
        self.inner
    }

    fn passed(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= TURN_BYTES {
            self.bytes -= TURN_BYTES;
            give_way();
        }
    }
}

impl<W: Write> Write for Turns<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(&bytes[..bytes.len().min(TURN_BYTES)])?;
        self.passed(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Turns<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = bytes.len().min(TURN_BYTES);
        let read = self.inner.read(&mut bytes[..most])?;
        self.passed(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::WAYS_GIVEN;

    static STATE: [u8; 1 << 20] = [7; 1 << 20];

    /// A state of a million keys was hashed beside a load that left half of the processors idle, and the longest
    /// writes took 60 ms: the kernel's worker that begins a sync waited for its turn on the same processor.
    #[test]
    fn others_have_their_turn_however_it_passes() {
        for piece in [100, 1 << 16, 1 << 20] {
            let before = WAYS_GIVEN.get();
            let mut out = Turns::of(Vec::new());
            for piece in STATE.chunks(piece) {
                out.write_all(piece).unwrap();
            }
            assert_eq!(out.into_inner(), STATE);
            assert_eq!(WAYS_GIVEN.get() - before, 16, "written in pieces of {piece} bytes");

            let before = WAYS_GIVEN.get();
            let (mut input, mut read) = (Turns::of(&STATE[..]), vec![0; STATE.len()]);
            for piece in read.chunks_mut(piece) {
                input.read_exact(piece).unwrap();
            }
            assert_eq!(read, STATE);
            assert_eq!(WAYS_GIVEN.get() - before, 16, "read in pieces of {piece} bytes");
        }
    }
}
