//! A slot: several entries as one run of bytes that knows when it was changed. And the [`Meta`]: all
//! that a log is beside its entries, with the sum of its slots.
//!
//! In: records. Out: bytes, and back.
//!
//! Format, all little-endian: checksum `u32`, length of the rest `u64`, then for each entry its term,
//! index and length, `u64` each, and its payload. The checksum covers the rest and the index of the
//! first entry, so a slot in another's place does not pass for it.
//!
//! Does not: know where slots are kept, or in how many pieces.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{LogId, LogState, Record, Vote, state::Op};

/// Checksum and length.
const HEADER: usize = 12;

/// All but the entries.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Counts atomic steps.
    pub(super) step: u64,
    /// Exclusive or of the checksums of all slots.
    pub(super) slots: u32,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
}

impl Meta {
    pub(super) fn state(&self) -> LogState {
        let Meta { vote, committed, purged, last, .. } = *self;
        LogState { vote, committed, purged, last }
    }

    pub(super) fn apply(&mut self, op: &Op) {
        let mut state = self.state();
        state.apply(op);
        let LogState { vote, committed, purged, last } = state;
        *self = Meta { vote, committed, purged, last, ..*self };
    }
}

/// The checksum of a slot, and its bytes.
pub(super) fn pack(records: &[Record]) -> (u32, Bytes) {
    let mut whole = BytesMut::zeroed(HEADER);
    for Record { id, payload } in records {
        whole.put_u64_le(id.term);
        whole.put_u64_le(id.index);
        whole.put_u64_le(payload.len() as u64);
        whole.extend_from_slice(payload);
    }
    let crc = checksum(records.first().map_or(0, |record| record.id.index), &whole[HEADER..]);
    let length = (whole.len() - HEADER) as u64;
    whole[..4].copy_from_slice(&crc.to_le_bytes());
    whole[4..HEADER].copy_from_slice(&length.to_le_bytes());
    (crc, whole.freeze())
}

/// Whether these are too few bytes for a whole slot.
pub(super) fn lacks_bytes(mut whole: &[u8]) -> bool {
    let Ok(_) = whole.try_get_u32_le() else { return true };
    let Ok(length) = whole.try_get_u64_le() else { return true };
    (whole.len() as u64) < length
}

/// The checksum and the records of the slot that begins with entry `first`; or what is wrong.
pub(super) fn unpack(first: u64, mut whole: Bytes) -> Result<(u32, Vec<Record>), &'static str> {
    let header = whole.try_get_u32_le().and_then(|crc| Ok((crc, whole.try_get_u64_le()?)));
    let Ok((crc, length)) = header else { return Err("has no header") };
    if whole.len() as u64 != length || checksum(first, &whole) != crc {
        return Err("does not fit its checksum");
    }
    let mut records = Vec::new();
    while !whole.is_empty() {
        records.push(unpack_record(&mut whole).ok_or("cannot be decoded")?);
    }
    if records.first().is_none_or(|record| record.id.index != first) {
        return Err("does not begin with that entry");
    }
    Ok((crc, records))
}

fn unpack_record(bytes: &mut Bytes) -> Option<Record> {
    let term = bytes.try_get_u64_le().ok()?;
    let index = bytes.try_get_u64_le().ok()?;
    let length = usize::try_from(bytes.try_get_u64_le().ok()?).ok()?;
    let payload = (length <= bytes.len()).then(|| bytes.split_to(length))?;
    Some(Record { id: LogId { term, index }, payload })
}

fn checksum(first: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&first.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_with_any_bit_flipped_or_byte_missing_is_refused() {
        let record = |index, payload: &'static [u8]| Record {
            id: LogId { term: 3, index },
            payload: Bytes::from_static(payload),
        };
        let records = [record(7, b"one"), record(8, b""), record(9, b"three")];
        let (crc, bytes) = pack(&records);
        assert_eq!(unpack(7, bytes.clone()), Ok((crc, records.to_vec())));
        assert!(unpack(8, bytes.clone()).is_err(), "a slot in another's place");
        for i in 0..bytes.len() {
            assert!(lacks_bytes(&bytes[..i]));
            assert!(unpack(7, bytes.slice(..i)).is_err());
            let mut flipped = bytes.to_vec();
            flipped[i] ^= 1 << (i % 8);
            assert!(unpack(7, flipped.into()).is_err(), "bit {} of byte {i}", i % 8);
        }
    }
}
