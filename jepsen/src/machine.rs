//! The state machine that the workloads run against: registers and one set, replicated by sixbells.
//!
//! Owns [`Workbench`]. In go the commands and queries of all workloads, out come their answers, and
//! a [`Digest`] by which replicas are compared after a run.
//!
//! Invariants:
//! - a compare-and-set that finds another value changes nothing and says what it found;
//! - every command counts, also one without an effect: two replicas with the same digest have
//!   applied as many commands and hold the same state;
//! - no model looks in here: the checkers judge by specifications of their own, since one that
//!   replays the machine cannot see a bug in it.

use std::hash::{DefaultHasher, Hash, Hasher};

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use sixbells::StateMachine;

/// Registers by key, and a set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Workbench {
    registers: OrdMap<i64, i64>,
    set: OrdSet<i64>,
    applied: u64,
}

/// Changes a [`Workbench`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Changes nothing: shows that the cluster commits.
    Nothing,
    /// Sets a register.
    Write {
        /// The register.
        key: i64,
        /// What it holds from now on.
        value: i64,
    },
    /// Sets a register if it holds what is expected.
    Cas {
        /// The register.
        key: i64,
        /// What it must hold; `None` is a register that was never written.
        from: Option<i64>,
        /// What it holds from then on.
        to: i64,
    },
    /// Adds an element to the set.
    Add(i64),
}

/// What a [`Command`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It was done.
    Done,
    /// A compare-and-set found this instead, and changed nothing.
    Found(Option<i64>),
}

/// Asks a [`Workbench`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// What a register holds.
    Register(i64),
    /// The elements of the set.
    Set,
    /// All of the state, in short.
    Digest,
}

/// What a [`Query`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What a register holds; `None` if it was never written.
    Register(Option<i64>),
    /// The elements, ascending.
    Set(Vec<i64>),
    /// All of the state, in short.
    Digest(Digest),
}

/// A replica's state, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest {
    /// How many commands it has applied.
    pub applied: u64,
    /// A hash of what it holds. Comparable within one build of this program only.
    pub hash: u64,
}

impl StateMachine for Workbench {
    type Command = Command;
    type Response = Response;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, command: Command) -> Response {
        self.applied += 1;
        match command {
            Command::Nothing => {}
            Command::Write { key, value } => {
                self.registers.insert(key, value);
            }
            Command::Cas { key, from, to } => {
                let found = self.registers.get(&key).copied();
                if found != from {
                    return Response::Found(found);
                }
                self.registers.insert(key, to);
            }
            Command::Add(element) => {
                self.set.insert(element);
            }
        }
        Response::Done
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Register(key) => Answer::Register(self.registers.get(&key).copied()),
            Query::Set => Answer::Set(self.set.iter().copied().collect()),
            Query::Digest => {
                // Not `RandomState`: the hasher's keys must be the same in every process.
                let mut hasher = DefaultHasher::new();
                self.registers.hash(&mut hasher);
                self.set.hash(&mut hasher);
                Answer::Digest(Digest { applied: self.applied, hash: hasher.finish() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cas_that_finds_something_else_says_so_and_changes_nothing() {
        let mut bench = Workbench::default();
        let cas = |from, to| Command::Cas { key: 1, from, to };
        assert_eq!(bench.apply(cas(Some(1), 2)), Response::Found(None));
        assert_eq!(bench.apply(cas(None, 2)), Response::Done);
        assert_eq!(bench.apply(cas(None, 3)), Response::Found(Some(2)));
        assert_eq!(bench.query(Query::Register(1)), Answer::Register(Some(2)));
    }

    /// A digest that misses a difference would call diverged replicas equal.
    #[test]
    fn a_digest_tells_states_apart() {
        let digest = |commands: &[Command]| {
            let mut bench = Workbench::default();
            for command in commands {
                bench.apply(command.clone());
            }
            bench.query(Query::Digest)
        };
        let write = |value| Command::Write { key: 1, value };
        assert_eq!(digest(&[write(1), write(2)]), digest(&[write(3), write(2)]));
        assert_ne!(digest(&[write(1), write(2)]), digest(&[write(2), write(1)]));
        assert_ne!(digest(&[write(1)]), digest(&[write(1), write(1)]));
        assert_ne!(digest(&[Command::Add(1)]), digest(&[Command::Add(2)]));
        assert_ne!(digest(&[Command::Nothing]), digest(&[]));
    }
}
