//! Whose data directory this is.
//!
//! Owns the file `identity`: the cluster's name, the node's id, the log engine, and the *disk id*, a
//! random number drawn when the directory was first used.
//!
//! The disk id is why a node never comes back under its old id with an empty disk. Members know each
//! other by (node id, disk id), as it stands in the replicated membership; a node whose disk was
//! lost has another disk id, and is refused. Had it been let in, it could vote twice in a term, and
//! a quorum of voters could elect a leader that lacks an acknowledged write.
//!
//! Invariants: written once, synced before the node does anything else, never changed.
//!
//! Does not: hold anything that changes while the node runs.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::Disk;
use crate::{
    codec::{self, CodecError},
    error::{Damage, StartError},
};

const FILE: &str = "identity";
const TEMPORARY: &str = "identity.new";
const BYTES_MAX: u64 = 4096;

/// The content of the identity file: who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's id.
    pub node: u64,
    /// Drawn at random when the directory was first used.
    pub disk: u64,
    /// The log engine's name.
    pub engine: String,
}

impl Identity {
    /// The directory's identity; for a new directory, the one given, which is then written down.
    ///
    /// # Errors
    /// [`StartError::WrongIdentity`] when the directory belongs to another node or cluster, or holds
    /// the log of another engine; [`StartError::Foreign`] for another format.
    pub(crate) fn open(disk: &dyn Disk, new: Identity) -> Result<Identity, StartError> {
        match Self::read(disk)? {
            Some(found) if (&found.cluster, found.node) != (&new.cluster, new.node) => {
                Err(wrong(disk, found.to_string(), new.to_string()))
            }
            Some(found) if found.engine != new.engine => Err(wrong(
                disk,
                format!("a node that uses the {} log engine", found.engine),
                format!("set to use {}", new.engine),
            )),
            Some(found) => Ok(found),
            None => {
                let names = disk.names().map_err(|e| StartError::io("list data directory", e))?;
                if let Some(other) = names.iter().find(|name| *name != TEMPORARY) {
                    return Err(StartError::Foreign {
                        file: disk.path(other),
                        reason: "there are files here, but no identity file".into(),
                    });
                }
                new.write(disk)?;
                Ok(new)
            }
        }
    }

    fn read(disk: &dyn Disk) -> Result<Option<Identity>, StartError> {
        let context = || format!("read {}", disk.path(FILE).display());
        let reader = match disk.open(FILE) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| StartError::io(context(), e))?,
        };
        let mut bytes = Vec::new();
        reader.take(BYTES_MAX).read_to_end(&mut bytes).map_err(|e| StartError::io(context(), e))?;
        let damaged = |offset: usize, reason: &str| {
            let (file, reason) = (disk.path(FILE), reason.to_owned());
            StartError::Damaged(Damage { file, offset: offset as u64, reason })
        };
        let body =
            bytes.len().checked_sub(4).ok_or_else(|| damaged(0, "shorter than its checksum"))?;
        let (body, crc) = bytes.split_at(body);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err(damaged(0, "checksum does not match"));
        }
        match codec::decode_tagged(body) {
            Ok(identity) => Ok(Some(identity)),
            Err(CodecError::Format { .. }) => Err(StartError::Foreign {
                file: disk.path(FILE),
                reason: format!("format version {}, not {}", body[0], codec::FORMAT),
            }),
            Err(e) => Err(damaged(1, &e.to_string())),
        }
    }

    fn write(&self, disk: &dyn Disk) -> Result<(), StartError> {
        let mut bytes = codec::encode_tagged(self);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let write = || {
            let mut file = disk.create(TEMPORARY)?;
            file.write_all(&bytes)?;
            file.sync()?;
            disk.rename(TEMPORARY, FILE)?;
            disk.sync_names()
        };
        write().map_err(|e| StartError::io(format!("write {}", disk.path(FILE).display()), e))
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} of cluster \"{}\"", self.node, self.cluster)
    }
}

fn wrong(disk: &dyn Disk, found: String, expected: String) -> StartError {
    let mut dir = disk.path(FILE);
    dir.pop();
    StartError::WrongIdentity { dir, found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryDisk;

    fn identity(node: u64, disk: u64) -> Identity {
        Identity { cluster: "c".into(), node, disk, engine: "wal".into() }
    }

    #[test]
    fn the_first_one_stays() {
        let disk = MemoryDisk::default();
        assert_eq!(Identity::open(&disk, identity(1, 11)).unwrap().disk, 11);
        assert_eq!(Identity::open(&disk, identity(1, 99)).unwrap().disk, 11);
    }

    #[test]
    fn another_node_engine_or_content_is_refused() {
        let disk = MemoryDisk::default();
        Identity::open(&disk, identity(1, 11)).unwrap();
        let error = Identity::open(&disk, identity(2, 11)).unwrap_err();
        assert!(matches!(error, StartError::WrongIdentity { .. }), "{error}");
        let error = Identity::open(&disk, Identity { engine: "sled".into(), ..identity(1, 11) })
            .unwrap_err();
        assert!(error.to_string().contains("wal log engine"), "{error}");

        let foreign = MemoryDisk::default();
        foreign.create("photos").unwrap();
        let error = Identity::open(&foreign, identity(1, 11)).unwrap_err();
        assert!(matches!(error, StartError::Foreign { .. }), "{error}");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let disk = MemoryDisk::default();
        Identity::open(&disk, identity(1, 11)).unwrap();
        let mut good = Vec::new();
        disk.open(FILE).unwrap().read_to_end(&mut good).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            disk.create(FILE).unwrap().write_all(&bad).unwrap();
            assert!(Identity::open(&disk, identity(1, 11)).is_err(), "bit {bit}");
        }
    }
}
