//! The second log engine, and the only file that names the crate `sled`.
//!
//! Owns the `Engine` over that store. Entries are packed into slots, one for each batch as far as
//! it fits; a slot is cut into values of at most [`VALUE_BYTES`]. Beside them is one value, the
//! [`Meta`], rewritten in the same atomic step as the slots it speaks of.
//!
//! The store treats damage in the middle as the end of its log, or panics, and its `flush` does not
//! reach the device. So, on top of it:
//! - a sync is `flush` and then `sync_data` on a handle of our own;
//! - every slot has a checksum with its place; the meta has the exclusive or of all of them, so
//!   a slot that is missing, stale or too many is found, and the number of its step, which is the
//!   [`Home`]'s witness, so a lost end is found;
//! - the calls that open and walk the store are guarded against its panics, which are damage.
//!
//! Leaves of the store's tree hold up to 17 values and are rewritten whole; what is larger than
//! 128 KiB goes to files of its own that nobody syncs. Hence the small values.
//!
//! Does not: give space back at once after a purge.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ::sled::{Batch, Config, Db, IVec};
use bytes::BytesMut;

use super::{
    LogId, Record,
    commit::{Engine, Opened, count_sync, guard},
    home::{Home, sync_dir},
    lock,
    slot::{self, Meta},
    state::Op,
};
use crate::{
    codec,
    error::{Damage, StartError},
    runtime::Stopwatch,
};

/// 17 values and their keys stay below the 128 KiB of which the module speaks.
const VALUE_BYTES: usize = 7 << 10;
/// Payload of a slot that holds more than one entry.
const SLOT_BYTES: usize = 64 << 10;
/// Payload of one atomic step, which the store keeps in memory.
const STEP_BYTES: usize = 4 << 20;
/// Values that one atomic step removes: the store keeps the pages of a bulk purge in memory.
const STEP_REMOVES: usize = 1000;
/// Pages that the store keeps in memory.
const CACHE_BYTES: u64 = 64 << 20;
const META: &[u8] = b"m";
const SLOT: u8 = b's';

/// See the module.
pub(super) struct Sled {
    // Dropped before the home, which holds the lock of the directory.
    db: Db,
    file: File,
    index: Mutex<Index>,
    home: Home,
}

/// What the store holds, so that no key is ever searched for.
#[derive(Clone, Debug, Default)]
struct Index {
    meta: Meta,
    slots: BTreeMap<u64, Slot>,
}

/// Where the entries from a first index on are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    last: u64,
    crc: u32,
    values: u16,
}

/// Opens the store in `home` and reads all of it.
pub(super) fn open(mut home: Home) -> Result<Opened<Sled>, StartError> {
    let dir = home.log_dir();
    let path = dir.join("db");
    let damaged = |reason: String| Damage { file: path.clone(), offset: 0, reason };
    let db = open_db(&dir)?;
    let context = |e| StartError::io(format!("open log {}", path.display()), e);
    let file = File::open(&path).map_err(context)?;
    // What is found may be promised again, so it is made durable first.
    file.sync_all().map_err(context)?;
    let index = if home.is_new() {
        let index = Index::default();
        let step = Step::new(index).finish(&db).and_then(|index| {
            db.flush().map_err(io_error)?;
            file.sync_all()?;
            File::open(dir.join("conf"))?.sync_all()?;
            sync_dir(&dir.join("blobs"))?;
            Ok(index)
        });
        let index = step.map_err(context)?;
        home.establish(index.meta.step)?;
        index
    } else {
        let index = guard(|| load(&db)).map_err(|e| damaged(e.to_string()))?;
        let (found, promised) = (index.meta.step, home.promised());
        if found < promised {
            let reason = format!(
                "the log was acknowledged up to step {promised}, and ends at step {found}, entry {:?}",
                index.meta.last
            );
            return Err(damaged(reason).into());
        }
        home.promise(found).map_err(context)?;
        index
    };
    let state = index.meta.state();
    let first = index.slots.keys().next().map_or(state.end(), |first| *first).max(state.floor());
    Ok(Opened { engine: Sled { db, file, index: Mutex::new(index), home }, state, first })
}

fn open_db(dir: &Path) -> Result<Db, StartError> {
    let path = dir.join("db");
    let config = Config::new().path(dir).flush_every_ms(None).cache_capacity(CACHE_BYTES);
    let opened = lock::patiently(
        || match guard(|| Ok(config.open())) {
            Ok(opened) => opened.map_err(Ok),
            Err(panic) => Err(Err(panic)),
        },
        |error| error.as_ref().is_ok_and(held),
    );
    let error = match opened {
        Ok(db) => return Ok(db),
        Err(Ok(error)) => error,
        Err(Err(panic)) => {
            return Err(Damage { file: path, offset: 0, reason: panic.to_string() }.into());
        }
    };
    let text = error.to_string();
    Err(match error {
        _ if held(&error) => StartError::Locked(dir.to_owned()),
        ::sled::Error::Io(source)
            if source.kind() != io::ErrorKind::UnexpectedEof
                && source.kind() != io::ErrorKind::InvalidData =>
        {
            StartError::io(format!("open log {}", path.display()), source)
        }
        ::sled::Error::Unsupported(reason) => {
            StartError::Foreign { file: dir.join("conf"), reason }
        }
        ::sled::Error::Corruption { at, .. } => {
            let offset = at.map_or(0, |at| at.lid());
            Damage { file: path, offset, reason: text }.into()
        }
        _ => Damage { file: path, offset: 0, reason: text }.into(),
    })
}

/// Whether another handle has the store's lock, which it says in words alone.
fn held(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(_)) && error.to_string().contains("could not acquire lock")
}

/// Reads all of the store and compares it with what its meta says.
fn load(db: &Db) -> io::Result<Index> {
    let meta = db.get(META).map_err(io_error)?.ok_or_else(|| bad("its meta record is missing"))?;
    let (crc, body) = meta.split_first_chunk().ok_or_else(|| bad("its meta record is short"))?;
    if crc32fast::hash(body).to_le_bytes() != *crc {
        return Err(bad("the checksum of its meta record does not fit"));
    }
    let mut index = Index { meta: codec::decode_tagged(body)?, slots: BTreeMap::new() };
    let state = index.meta.state();
    let mut xor = 0;
    let (mut first, mut previous) = (None, None::<LogId>);
    for entry in db.scan_prefix([SLOT]) {
        let (key, _) = entry.map_err(io_error)?;
        let (start, value) = split_key(&key).ok_or_else(|| bad("a key that is not ours"))?;
        if value > 0 {
            continue;
        }
        let (slot, records) = read_slot(db, start)?;
        xor ^= slot.crc;
        index.slots.insert(start, slot);
        // What a purge in several steps has yet to remove.
        if slot.last < state.floor() {
            continue;
        }
        first.get_or_insert(start);
        for record in records {
            if let Some(last) = previous
                && (last.index + 1 != record.id.index || last.term > record.id.term)
            {
                return Err(bad(format!("after entry {last} follows {}", record.id)));
            }
            previous = Some(record.id);
        }
    }
    if xor != index.meta.slots
        || previous.or(state.purged) != state.last
        || (state.purged.is_some() && first.is_some_and(|first| first > state.floor()))
    {
        let found = first.zip(previous);
        let reason = format!("its entries are not those of its meta {state:?}: found {found:?}");
        return Err(bad(reason));
    }
    Ok(index)
}

/// Changes on their way to one atomic step of the store.
struct Step {
    index: Index,
    batch: Batch,
    bytes: usize,
    removed: usize,
}

impl Step {
    fn new(index: Index) -> Self {
        Step { index, batch: Batch::default(), bytes: 0, removed: 0 }
    }

    fn put(&mut self, records: &[Record]) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let (crc, whole) = slot::pack(records);
        let mut values: u16 = 0;
        for part in whole.chunks(VALUE_BYTES) {
            self.batch.insert(&slot_key(first.id.index, values), part);
            values += 1;
        }
        self.bytes += whole.len();
        self.index.meta.slots ^= crc;
        let slot = Slot { last: last.id.index, crc, values };
        let replaced = self.index.slots.insert(first.id.index, slot);
        assert!(replaced.is_none(), "slot {} is in use: {replaced:?}", first.id.index);
    }

    fn remove(&mut self, first: u64) {
        let slot = self.index.slots.remove(&first);
        let slot = slot.expect("invariant: only slots of the index are removed");
        self.index.meta.slots ^= slot.crc;
        for value in 0..slot.values {
            self.batch.remove(&slot_key(first, value));
        }
        self.removed += usize::from(slot.values);
    }

    fn append(mut self, db: &Db, mut records: &[Record]) -> io::Result<Self> {
        while !records.is_empty() {
            let mut bytes = 0;
            let fits = records.iter().take_while(|record| {
                bytes += record.payload.len();
                bytes <= SLOT_BYTES
            });
            let (slot, rest) = records.split_at(fits.count().max(1));
            if self.bytes > STEP_BYTES {
                self = Step::new(self.finish(db)?);
            }
            self.put(slot);
            self.index.meta.last = slot.last().map(|record| record.id);
            records = rest;
        }
        Ok(self)
    }

    fn apply(mut self, db: &Db, op: &Op) -> io::Result<Self> {
        match op {
            Op::Append(records) => self = self.append(db, records)?,
            Op::TruncateAfter(_) => self = self.truncate(db, op)?,
            Op::Purge(_) => {
                self.index.meta.apply(op);
                let floor = self.index.meta.state().floor();
                while let Some((first, _)) =
                    self.index.slots.first_key_value().filter(|(_, slot)| slot.last < floor)
                {
                    let first = *first;
                    self.remove(first);
                    if self.removed >= STEP_REMOVES {
                        self = Step::new(self.finish(db)?);
                    }
                }
            }
            Op::SaveVote(_) | Op::SaveCommitted(_) => self.index.meta.apply(op),
        }
        Ok(self)
    }

    /// Removes all beyond the new end, which may be in the middle of a slot.
    fn truncate(mut self, db: &Db, op: &Op) -> io::Result<Self> {
        let mut meta = self.index.meta;
        meta.apply(op);
        let (floor, end) = (meta.state().floor(), meta.state().end());
        let cut = self.index.slots.range(..end).next_back().filter(|(_, slot)| slot.last >= end);
        let cut = cut.map(|(first, _)| *first);
        let mut kept = Vec::new();
        if let Some(first) = cut {
            // The slot may be part of this very step: then it has to be in the store to be read.
            self = Step::new(self.finish(db)?);
            kept = read_slot(db, first)?.1;
            kept.retain(|record| (floor..end).contains(&record.id.index));
        }
        self.index.meta.apply(op);
        while let Some((first, _)) =
            self.index.slots.last_key_value().filter(|(_, slot)| slot.last >= end)
        {
            let first = *first;
            self.remove(first);
        }
        self.put(&kept);
        Ok(self)
    }

    fn finish(mut self, db: &Db) -> io::Result<Index> {
        self.index.meta.step += 1;
        let body = codec::encode_tagged(&self.index.meta);
        let value = [&crc32fast::hash(&body).to_le_bytes()[..], &body[..]].concat();
        self.batch.insert(META, value);
        db.apply_batch(self.batch).map_err(io_error)?;
        Ok(self.index)
    }
}

impl Sled {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.home.log_dir().join("db")
    }

    fn put(&self, ops: &[Op]) -> io::Result<u64> {
        // Held throughout: nobody may see an index that is ahead of the store.
        let mut index = self.lock();
        let mut step = Step::new(std::mem::take(&mut *index));
        let mut bytes = 0;
        // Appends that follow each other share slots: the store's cost is by value, not by byte.
        let mut appended = Vec::new();
        for op in ops {
            if let Op::Append(records) = op {
                bytes += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
                appended.extend_from_slice(records);
                continue;
            }
            step = step.append(&self.db, &std::mem::take(&mut appended))?.apply(&self.db, op)?;
        }
        step = step.append(&self.db, &appended)?;
        *index = step.finish(&self.db)?;
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let (watch, step) = (Stopwatch::start(), self.lock().meta.step);
        self.db.flush().map_err(io_error)?;
        self.file.sync_data()?;
        count_sync(watch);
        self.home.promise(step)
    }
}

impl Engine for Sled {
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<u64> {
        let bytes = self.put(ops)?;
        if sync {
            self.sync()?;
        }
        Ok(bytes)
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        let slots: Vec<u64> = {
            let index = self.lock();
            let start = index.slots.range(..=range.start).next_back().map(|(first, _)| *first);
            let start = start.unwrap_or(range.start);
            index.slots.range(start..range.end.max(start)).map(|(first, _)| *first).collect()
        };
        let (mut records, mut bytes) = (Vec::new(), 0_u64);
        for first in slots {
            let (_, slot) = read_slot(&self.db, first).map_err(|e| match e.kind() {
                io::ErrorKind::InvalidData => {
                    Damage { file: self.path(), offset: 0, reason: e.to_string() }.into()
                }
                _ => e,
            })?;
            for record in slot.into_iter().filter(|record| range.contains(&record.id.index)) {
                bytes = bytes.saturating_add(record.payload.len() as u64);
                if bytes > bytes_max && !records.is_empty() {
                    return Ok(records);
                }
                records.push(record);
            }
        }
        Ok(records)
    }
}

impl fmt::Debug for Sled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled").field("home", &self.home).finish_non_exhaustive()
    }
}

/// Big-endian, so that the store's order of keys is that of indices.
fn slot_key(first: u64, value: u16) -> [u8; 11] {
    let mut key = [SLOT; 11];
    key[1..9].copy_from_slice(&first.to_be_bytes());
    key[9..].copy_from_slice(&value.to_be_bytes());
    key
}

fn split_key(key: &IVec) -> Option<(u64, u16)> {
    let (first, value) = key.get(1..)?.split_first_chunk()?;
    let value = value.try_into().ok()?;
    Some((u64::from_be_bytes(*first), u16::from_be_bytes(value)))
}

/// The slot that begins at `first`, checked.
fn read_slot(db: &Db, first: u64) -> io::Result<(Slot, Vec<Record>)> {
    let damaged = |what: &str| bad(format!("the slot of entry {first} {what}"));
    let mut whole = BytesMut::new();
    let mut values: u16 = 0;
    while slot::lacks_bytes(&whole) {
        let value = db.get(slot_key(first, values)).map_err(io_error)?;
        whole.extend_from_slice(&value.ok_or_else(|| damaged("is missing or short"))?);
        values = values.checked_add(1).ok_or_else(|| damaged("does not end"))?;
    }
    let (crc, records) = slot::unpack(first, whole.freeze()).map_err(damaged)?;
    let last = records.last().map_or(first, |record| record.id.index);
    Ok((Slot { last, crc, values }, records))
}

fn bad(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn io_error(error: ::sled::Error) -> io::Error {
    match error {
        ::sled::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

#[cfg(test)]
#[path = "sled_test.rs"]
mod tests;
