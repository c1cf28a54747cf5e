//! The machine under load: values by number.
//!
//! Owns [`Values`]. Invariant: a clone shares its values, as its nodes, with the original. Else each write to a
//! part of the map that a snapshot still holds would copy the dozens of values beside its own.
//!
//! Does not: do more than any store does, so that what is measured is everything else.

use std::{fmt, sync::Arc};

use imbl::OrdMap;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use sixbells::StateMachine;

/// Values by number, on a persistent map.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Values(OrdMap<u64, Blob>);

/// A value. Clones share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob(Arc<[u8]>);

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl StateMachine for Values {
    type Command = (u64, Blob);
    type Response = ();
    type Query = u64;
    type Answer = Option<Blob>;

    fn apply(&mut self, (key, value): (u64, Blob)) {
        self.0.insert(key, value);
    }

    fn query(&self, key: u64) -> Option<Blob> {
        self.0.get(&key).cloned()
    }
}
