//! The state machine that the workloads run against: one of each kind of object, replicated by sixbells.
//!
//! Owns [`Workbench`]. In go the commands and queries of all workloads, out come their answers.
//!
//! Invariants:
//! - a compare-and-set that finds another value changes nothing and says what it found;
//! - every command counts, also one without an effect: two replicas that hold the same have applied as
//!   many commands;
//! - registers and sets are judged by specifications of their own, since one that replays the machine
//!   cannot see a bug in it; the other objects by the machine itself, so a bug in here goes unseen there.

use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};
use sixbells::StateMachine;

use crate::bank::{self, Bank};

/// Registers, counters, lists and locks by key, a set and a bank.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Workbench {
    registers: OrdMap<i64, i64>,
    counters: OrdMap<i64, i64>,
    lists: OrdMap<i64, Vector<i64>>,
    locks: OrdMap<i64, i64>,
    set: OrdSet<i64>,
    bank: Bank,
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
    /// Adds to a counter. Answers nothing of it, so that the order does not matter.
    Increment {
        /// The counter.
        key: i64,
        /// How much.
        by: i64,
    },
    /// Appends to a list.
    Append {
        /// The list.
        key: i64,
        /// The element.
        value: i64,
    },
    /// Takes a lock that nobody holds.
    Acquire {
        /// The lock.
        key: i64,
        /// Who holds it from now on.
        owner: i64,
    },
    /// Gives a lock back.
    Release {
        /// The lock.
        key: i64,
        /// Who must hold it.
        owner: i64,
    },
    /// Does something at the bank.
    Bank(bank::Command),
}

/// What a [`Command`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It was done.
    Done,
    /// A compare-and-set, or who wanted a lock, found this instead, and changed nothing.
    Found(Option<i64>),
    /// What the bank says.
    Bank(bank::Response),
}

impl Response {
    /// Whether it was done: money was paid, a lock or a name was got.
    pub fn is_done(&self) -> bool {
        matches!(self, Response::Done | Response::Bank(bank::Response::Done))
    }
}

/// Asks a [`Workbench`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// What a register holds.
    Register(i64),
    /// The elements of the set.
    Set,
    /// What a counter counted to.
    Count(i64),
    /// The elements of a list.
    List(i64),
    /// Who holds a lock.
    Holder(i64),
    /// Something about the bank.
    Bank(bank::Query),
}

/// What a [`Query`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What a register holds; `None` if it was never written.
    Register(Option<i64>),
    /// The elements, ascending.
    Set(Vec<i64>),
    /// What a counter counted to.
    Count(i64),
    /// The elements, in the order of their appends.
    List(Vec<i64>),
    /// Who holds a lock.
    Holder(Option<i64>),
    /// How much money.
    Money(u64),
}

impl Workbench {
    /// The bank, for what must hold of it.
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// Takes a lock, or gives it back, if `before` holds it.
    fn hand_over(&mut self, key: i64, before: Option<i64>, after: Option<i64>) -> Response {
        let found = self.locks.get(&key).copied();
        if found != before {
            return Response::Found(found);
        }
        match after {
            Some(owner) => self.locks.insert(key, owner),
            None => self.locks.remove(&key),
        };
        Response::Done
    }
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
            Command::Increment { key, by } => *self.counters.entry(key).or_insert(0) += by,
            Command::Append { key, value } => self.lists.entry(key).or_default().push_back(value),
            Command::Acquire { key, owner } => return self.hand_over(key, None, Some(owner)),
            Command::Release { key, owner } => return self.hand_over(key, Some(owner), None),
            Command::Bank(command) => return Response::Bank(self.bank.apply(command)),
        }
        Response::Done
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Register(key) => Answer::Register(self.registers.get(&key).copied()),
            Query::Set => Answer::Set(self.set.iter().copied().collect()),
            Query::Count(key) => Answer::Count(self.counters.get(&key).copied().unwrap_or(0)),
            Query::List(key) => {
                Answer::List(self.lists.get(&key).into_iter().flatten().copied().collect())
            }
            Query::Holder(key) => Answer::Holder(self.locks.get(&key).copied()),
            Query::Bank(query) => Answer::Money(self.bank.query(query)),
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

    /// Replicas are compared as they are encoded: a difference that is not would call diverged ones equal.
    #[test]
    fn an_encoding_tells_states_apart() {
        let encoded = |commands: &[Command]| {
            let mut bench = Workbench::default();
            for command in commands {
                bench.apply(command.clone());
            }
            sixbells::encode(&bench)
        };
        let write = |value| Command::Write { key: 1, value };
        assert_eq!(encoded(&[write(1), write(2)]), encoded(&[write(3), write(2)]));
        assert_ne!(encoded(&[write(1), write(2)]), encoded(&[write(2), write(1)]));
        assert_ne!(encoded(&[write(1)]), encoded(&[write(1), write(1)]));
        assert_ne!(encoded(&[Command::Add(1)]), encoded(&[Command::Add(2)]));
        assert_ne!(encoded(&[Command::Nothing]), encoded(&[]));
        let append = |key| Command::Append { key, value: 1 };
        assert_ne!(encoded(&[append(1)]), encoded(&[append(2)]));
    }

    #[test]
    fn a_lock_has_one_holder_who_alone_gives_it_back() {
        let mut bench = Workbench::default();
        let (acquire, release) = (
            |owner| Command::Acquire { key: 1, owner },
            |owner| Command::Release { key: 1, owner },
        );
        assert_eq!(bench.apply(acquire(7)), Response::Done);
        assert_eq!(bench.apply(acquire(8)), Response::Found(Some(7)));
        assert_eq!(bench.apply(release(8)), Response::Found(Some(7)));
        assert_eq!(bench.query(Query::Holder(1)), Answer::Holder(Some(7)));
        assert_eq!(bench.apply(release(7)), Response::Done);
        assert_eq!(bench.apply(acquire(8)), Response::Done);
    }

    #[test]
    fn counters_add_up_and_lists_keep_their_order() {
        let mut bench = Workbench::default();
        for (by, value) in [(2, 9), (3, 8)] {
            bench.apply(Command::Increment { key: 1, by });
            bench.apply(Command::Append { key: 1, value });
        }
        assert_eq!(bench.query(Query::Count(1)), Answer::Count(5));
        assert_eq!(bench.query(Query::List(1)), Answer::List(vec![9, 8]));
        assert_eq!(bench.query(Query::List(2)), Answer::List(vec![]));
    }
}
