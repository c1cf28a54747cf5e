//! Platter: what is on a simulated disk, in the eyes of its host and after a power loss.
//!
//! Owns [`Platter`]: files, their names, and for both what is there for sure. In: single operations,
//! the ends of processes and power losses. Out: their effect, or the error that a system returns.
//!
//! Invariants: those of the [`disk`](super), which hold here.
//!
//! Does not: know what a log or a snapshot is, or when the power fails.

use std::{collections::BTreeMap, io, mem};

use rand::{RngExt, seq::IndexedRandom};

use crate::sim::world::{self, Stream};

#[derive(Debug, Default)]
pub(super) struct Platter {
    files: BTreeMap<u64, Content>,
    /// What processes see, and what a power loss leaves for sure.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// The changes in between.
    changes: Vec<Change>,
    created: u64,
    pub(super) off: bool,
    pub(super) sync_fails: bool,
    /// How many bytes it still takes.
    pub(super) room: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// How many of them are on the disk for sure.
    pub(super) synced: usize,
    /// A sync has failed: what comes behind `synced` will never be on the disk.
    dropped: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Set(String, u64),
    Rename(String, String, u64),
    Remove(String),
}

impl Change {
    fn carry_out(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Set(name, file) => drop(names.insert(name, file)),
            Change::Rename(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
            Change::Remove(name) => drop(names.remove(&name)),
        }
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

/// A number up to and including this one.
pub(super) fn part(of: usize) -> usize {
    world::draw(Stream::Disk, |rng| rng.random_range(0..=of))
}

fn chance(probability: f64) -> bool {
    world::draw(Stream::Disk, |rng| rng.random_bool(probability))
}

impl Content {
    fn lose_power(&mut self) {
        let tail = self.bytes.len() - self.synced;
        let kept = if self.dropped { 0 } else { part(tail) };
        self.bytes.truncate(self.synced + kept);
        if kept > 0 && chance(0.2) {
            // The file's length was written, some of its blocks were not.
            let from = self.bytes.len() - part(kept);
            self.bytes[from..].fill(0);
        }
        self.dropped = false;
    }

    pub(super) fn cut(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.synced = self.synced.min(length);
    }
}

impl Platter {
    /// A disk with one file on it, which was there from the beginning.
    pub(super) fn with(file: &str) -> Self {
        let mut platter = Self::default();
        platter.wipe(file);
        platter
    }

    /// Loses everything but the file that was there from the beginning, which is empty. Whether there
    /// is power stays as it is, and no file gets the number of one that is lost.
    pub(super) fn wipe(&mut self, file: &str) {
        let (off, created) = (self.off, self.created);
        *self = Self { off, created, ..Self::default() };
        self.create(file);
        self.sync_names();
    }

    /// A file by its name; its number stays, whatever its name becomes.
    pub(super) fn file(&mut self, name: &str) -> io::Result<(u64, &mut Content)> {
        let id = *self.names.get(name).ok_or_else(|| missing(name))?;
        Ok((id, self.files.get_mut(&id).ok_or_else(|| missing(name))?))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    fn change(&mut self, change: Change) {
        change.clone().carry_out(&mut self.names);
        self.changes.push(change);
    }

    pub(super) fn create(&mut self, name: &str) -> u64 {
        self.created += 1;
        self.files.insert(self.created, Content::default());
        self.change(Change::Set(name.to_owned(), self.created));
        self.created
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (file, _) = self.file(from)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    pub(super) fn sync_names(&mut self) {
        for change in mem::take(&mut self.changes) {
            change.carry_out(&mut self.durable_names);
        }
    }

    /// Writes at the end of a file, as much as there is room for.
    pub(super) fn write(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let content = self.files.get_mut(&file).ok_or_else(|| missing("of this number"))?;
        let room = self.room.unwrap_or(u64::MAX);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        content.bytes.extend_from_slice(&bytes[..fits]);
        if let Some(room) = &mut self.room {
            *room -= fits as u64;
        }
        match fits == bytes.len() {
            true => Ok(()),
            false => {
                world::reach("a disk was full");
                Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
            }
        }
    }

    pub(super) fn sync(&mut self, file: u64) -> io::Result<()> {
        let fails = mem::take(&mut self.sync_fails);
        let content = self.files.get_mut(&file).ok_or_else(|| missing("of this number"))?;
        content.dropped |= fails;
        if fails {
            world::reach("a sync failed");
            return Err(io::Error::other("input/output error while syncing"));
        }
        if !content.dropped {
            content.synced = content.bytes.len();
        }
        Ok(())
    }

    /// The end of a process.
    pub(super) fn exit(&mut self) {
        for content in self.files.values_mut().filter(|content| content.dropped) {
            content.bytes.truncate(content.synced);
            content.dropped = false;
        }
    }

    pub(super) fn lose_power(&mut self) {
        self.off = true;
        for change in mem::take(&mut self.changes) {
            if chance(0.5) {
                change.carry_out(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let kept: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| kept.contains(file));
        self.files.values_mut().for_each(Content::lose_power);
    }

    /// Flips a bit that was synced, in a file that `may` rot.
    pub(super) fn rot(&mut self, may: impl Fn(&str) -> bool) -> Option<String> {
        let mut names: Vec<String> = self.names.keys().filter(|name| may(name)).cloned().collect();
        names.retain(|name| self.file(name).is_ok_and(|(_, content)| content.synced > 0));
        let name = world::draw(Stream::Disk, |rng| names.choose(rng).cloned())?;
        let (_, content) = self.file(&name).ok()?;
        let at = part(content.synced - 1);
        content.bytes[at] ^= 1 << part(7);
        Some(name)
    }
}
