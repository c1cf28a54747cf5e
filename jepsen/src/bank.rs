//! A bank: the machine in which a wrong order costs money.
//!
//! Owns [`Bank`], accounts with balances. In: payments. Out: whether they were made.
//!
//! Invariants
//! - an account is never overdrawn: a payment that it cannot make is refused, and changes nothing;
//! - a payment leaves the total as it was.
//!
//! Does not: know who pays, or why.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sixbells::StateMachine;

/// Balances by account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bank(OrdMap<u64, u64>);

/// Changes a [`Bank`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Opens an account.
    Open {
        /// Its number.
        account: u64,
        /// What is on it from the beginning.
        deposit: u64,
    },
    /// Moves money.
    Pay {
        /// Whose money.
        from: u64,
        /// Who gets it.
        to: u64,
        /// How much.
        amount: u64,
    },
}

/// What a [`Command`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It was done.
    Done,
    /// There is such an account already, or there is none.
    WrongAccount,
    /// The account holds only this.
    Insufficient(u64),
}

/// Asks a [`Bank`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// What an account holds; 0 if there is none.
    Balance(u64),
    /// What all hold together.
    Total,
}

impl Bank {
    /// What all accounts hold together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> u64 {
        self.0.len() as u64
    }

    fn pay(&mut self, from: u64, to: u64, amount: u64) -> Response {
        let (Some(balance), true) = (self.0.get(&from).copied(), self.0.contains_key(&to)) else {
            return Response::WrongAccount;
        };
        let Some(rest) = balance.checked_sub(amount) else {
            return Response::Insufficient(balance);
        };
        self.0.insert(from, rest);
        *self.0.entry(to).or_insert(0) += amount;
        Response::Done
    }
}

impl StateMachine for Bank {
    type Command = Command;
    type Response = Response;
    type Query = Query;
    type Answer = u64;

    fn apply(&mut self, command: Command) -> Response {
        match command {
            Command::Open { account, .. } if self.0.contains_key(&account) => {
                Response::WrongAccount
            }
            Command::Open { account, deposit } => {
                self.0.insert(account, deposit);
                Response::Done
            }
            Command::Pay { from, to, amount } => self.pay(from, to, amount),
        }
    }

    fn query(&self, query: Query) -> u64 {
        match query {
            Query::Balance(account) => self.0.get(&account).copied().unwrap_or(0),
            Query::Total => self.total(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_keeps_the_total_and_is_refused_before_it_overdraws() {
        let mut bank = Bank::default();
        assert_eq!(bank.apply(Command::Open { account: 1, deposit: 10 }), Response::Done);
        assert_eq!(bank.apply(Command::Open { account: 1, deposit: 5 }), Response::WrongAccount);
        assert_eq!(bank.apply(Command::Open { account: 2, deposit: 0 }), Response::Done);
        let pay = |amount| Command::Pay { from: 1, to: 2, amount };
        assert_eq!(bank.apply(pay(11)), Response::Insufficient(10));
        assert_eq!(bank.apply(pay(7)), Response::Done);
        assert_eq!(bank.apply(Command::Pay { from: 1, to: 1, amount: 3 }), Response::Done);
        assert_eq!(bank.apply(Command::Pay { from: 1, to: 9, amount: 1 }), Response::WrongAccount);
        assert_eq!((bank.query(Query::Balance(2)), bank.query(Query::Total)), (7, 10));
    }
}
