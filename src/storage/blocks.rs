//! Bytes in memory as a disk takes them past the kernel's cache: whole blocks, at an address that is a multiple
//! of a block.
//!
//! Owns [`Blocks`], which is filled at its end and written as a whole. What fills no block is written with zeros
//! behind it, and again with what follows.
//!
//! Does not: know what the bytes mean, or write them.

/// The unit in which is written. Disks have it, or a smaller one.
pub(super) const BLOCK_BYTES: usize = 4 << 10;

/// See the module.
pub(super) struct Blocks {
    /// Holds some bytes in front of the first one, where its address is no multiple of a block.
    memory: Vec<u8>,
    skipped: usize,
    capacity: usize,
}

impl Blocks {
    /// Empty. More than `capacity` bytes cost a copy.
    pub(super) fn new(capacity: usize) -> Self {
        let mut memory = Vec::with_capacity(capacity + 2 * BLOCK_BYTES);
        let skipped = bytes_to_block(&memory);
        memory.resize(skipped, 0);
        Self { memory, skipped, capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.memory.len() - self.skipped
    }

    /// Where bytes are added, behind others that are not to be touched.
    pub(super) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    /// All bytes, and zeros to the end of the last block.
    pub(super) fn whole(&mut self) -> &[u8] {
        let bytes = self.len().next_multiple_of(BLOCK_BYTES);
        self.memory.resize(self.skipped + bytes, 0);
        if bytes_to_block(&self.memory[self.skipped..]) != 0 {
            // It grew, and moved.
            let grown = std::mem::replace(self, Self::new(bytes));
            self.memory.extend_from_slice(&grown.memory[grown.skipped..]);
            self.capacity = grown.capacity;
        }
        &self.memory[self.skipped..]
    }

    pub(super) fn clear(&mut self) {
        self.memory.truncate(self.skipped);
    }

    /// Forgets `bytes` bytes, all that were written, but for those of the last block that is not full.
    pub(super) fn forget(&mut self, bytes: usize) {
        let kept = self.skipped + bytes / BLOCK_BYTES * BLOCK_BYTES..self.skipped + bytes;
        if self.memory.capacity() > self.capacity + 2 * BLOCK_BYTES {
            let grown = std::mem::replace(self, Self::new(self.capacity));
            self.memory.extend_from_slice(&grown.memory[kept]);
        } else {
            let length = kept.len();
            self.memory.copy_within(kept, self.skipped);
            self.memory.truncate(self.skipped + length);
        }
    }
}

/// From the begin of `memory` to the first byte whose address is a multiple of a block.
fn bytes_to_block(memory: &[u8]) -> usize {
    let address = memory.as_ptr().addr();
    address.next_multiple_of(BLOCK_BYTES) - address
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some bytes again and again, more than there is room for now and then: what is written is always whole
    /// blocks at an address for them, and the end of the last one is written again.
    #[test]
    fn the_last_block_is_kept() {
        let mut blocks = Blocks::new(2 * BLOCK_BYTES);
        let (mut all, mut begin) = (Vec::new(), 0);
        for n in 0..400_usize {
            let bytes = [1, 2, 3, 5, 7, 11, 13].repeat(n * 97 % 4_000);
            blocks.memory().extend_from_slice(&bytes);
            all.extend(bytes);
            let length = blocks.len();
            assert_eq!(length, all.len() - begin);
            let whole = blocks.whole();
            assert_eq!(whole.as_ptr().addr() % BLOCK_BYTES, 0);
            assert_eq!(whole.len() % BLOCK_BYTES, 0);
            assert_eq!(whole[..length], all[begin..]);
            assert!(whole.len() - length < BLOCK_BYTES);
            assert!(whole[length..].iter().all(|byte| *byte == 0));
            blocks.forget(length);
            begin = all.len() / BLOCK_BYTES * BLOCK_BYTES;
            assert!(blocks.memory.capacity() <= 4 * BLOCK_BYTES);
        }
    }
}
