//! A key-value store as a state machine, on a persistent map: cloning it for a snapshot is O(1).

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sixbells::StateMachine;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kv(OrdMap<String, String>);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Put(String, String),
    Delete(String),
    /// Puts the value only if there is none: a seat is sold once.
    Claim(String, String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Query {
    Get(String),
    /// Number of keys and a checksum of everything, to compare replicas.
    Digest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Value(Option<String>),
    Digest { keys: usize, crc: u32 },
}

impl StateMachine for Kv {
    type Command = Command;
    /// The value that was there before.
    type Response = Option<String>;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, command: Command) -> Option<String> {
        match command {
            Command::Put(key, value) => self.0.insert(key, value),
            Command::Delete(key) => self.0.remove(&key),
            Command::Claim(key, value) => {
                let before = self.0.get(&key).cloned();
                if before.is_none() {
                    self.0.insert(key, value);
                }
                before
            }
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get(key) => Answer::Value(self.0.get(&key).cloned()),
            Query::Digest => {
                let mut crc = crc32fast::Hasher::new();
                for (key, value) in &self.0 {
                    crc.update(format!("{key:?}={value:?}\n").as_bytes());
                }
                Answer::Digest { keys: self.0.len(), crc: crc.finalize() }
            }
        }
    }
}
