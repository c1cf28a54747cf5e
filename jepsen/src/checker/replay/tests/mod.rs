//! Tests of the replay: machines to judge, and a judge of the judge.
//!
//! - [`differential`] compares it with a walk over all permutations, on random histories;
//! - [`stories`] are histories told by hand, with the sentences that explain them.

mod differential;
mod stories;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sixbells::StateMachine;

use super::{Act, Judgement, Typed, check};
use crate::checker::budget::Budget;
use crate::history::Clock;

thread_local! {
    /// How often this thread asked a [`Register`].
    static QUERIES: Cell<u64> = const { Cell::new(0) };
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Register(Option<u8>);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Change {
    Set(u8),
    Swap(u8),
    Cas(Option<u8>, u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Changed {
    Done,
    Was(Option<u8>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Get;

impl StateMachine for Register {
    type Command = Change;
    type Response = Changed;
    type Query = Get;
    type Answer = Option<u8>;

    fn apply(&mut self, command: Change) -> Changed {
        match command {
            Change::Set(value) => {
                self.0 = Some(value);
                Changed::Done
            }
            Change::Swap(value) => Changed::Was(self.0.replace(value)),
            Change::Cas(from, to) if self.0 == from => {
                self.0 = Some(to);
                Changed::Done
            }
            Change::Cas(..) => Changed::Was(self.0),
        }
    }

    fn query(&self, _query: Get) -> Option<u8> {
        QUERIES.set(QUERIES.get() + 1);
        self.0
    }
}

/// Accounts that may not be overdrawn. Its keys are no strings, and no query shows all of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Bank(BTreeMap<u8, u32>);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    Deposit { to: u8, amount: u32 },
    Move { from: u8, to: u8, amount: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Receipt {
    Balance(u32),
    Insufficient,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ask {
    Balance(u8),
    Total,
}

impl StateMachine for Bank {
    type Command = Order;
    type Response = Receipt;
    type Query = Ask;
    type Answer = u32;

    fn apply(&mut self, command: Order) -> Receipt {
        let (to, amount) = match command {
            Order::Deposit { to, amount } => (to, amount),
            Order::Move { from, to, amount } => {
                let there = self.0.entry(from).or_default();
                let Some(left) = there.checked_sub(amount) else { return Receipt::Insufficient };
                *there = left;
                (to, amount)
            }
        };
        let balance = self.0.entry(to).or_default();
        *balance += amount;
        Receipt::Balance(*balance)
    }

    fn query(&self, query: Ask) -> u32 {
        match query {
            Ask::Balance(account) => self.0.get(&account).copied().unwrap_or(0),
            Ask::Total => self.0.values().sum(),
        }
    }
}

fn judge<S: StateMachine>(operations: &[Typed<S>], order: &[u64]) -> Judgement {
    let mut budget = Budget::new(Duration::from_secs(60), 1 << 30);
    check(operations, order, Clock::Nanoseconds, &mut budget)
}

/// A write of process and number `who`; times in milliseconds.
fn write<S: StateMachine>(
    who: u64,
    (invoked, returned): (u64, u64),
    command: S::Command,
    response: S::Response,
) -> Typed<S> {
    operation(who, (invoked, returned), Act::Write { command, response: Some(response) })
}

/// A read of process and number `who`; times in milliseconds.
fn read<S: StateMachine>(
    who: u64,
    (invoked, returned): (u64, u64),
    query: S::Query,
    answer: S::Answer,
) -> Typed<S> {
    operation(who, (invoked, returned), Act::Read { query, answer: Some(answer) })
}

fn operation<S: StateMachine>(who: u64, (invoked, returned): (u64, u64), act: Act<S>) -> Typed<S> {
    let (invoked, returned) = (invoked * 1_000_000, Some(returned * 1_000_000));
    Typed { process: who, number: who, node: None, invoked, returned, act }
}

/// Nobody knows what became of it.
fn unknown<S: StateMachine>(mut operation: Typed<S>) -> Typed<S> {
    operation.returned = None;
    operation
}
