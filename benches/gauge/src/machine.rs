//! The machine under load: values by number.
//!
//! Owns [`Values`]. Does not: do more than any store does, so that what is measured is everything else.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sixbells::StateMachine;

/// Values by number, on a persistent map.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Values(OrdMap<u64, Blob>);

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blob(#[serde(with = "serde_bytes")] pub Vec<u8>);

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
