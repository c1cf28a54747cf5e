//! Money: refusals are responses, and a payment that is sent twice is made once.
//!
//! `cargo run --release --example bank` runs one node and shows
//! - a refusal ("insufficient funds"), which is a successful answer, not an error;
//! - a payment form that is submitted twice under one payment number;
//! - the whole as one linearizable view: the total never changes.
//!
//! `cargo test --example bank` simulates whole clusters of it under faults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sixbells::{Node, StateMachine};

type Account = u64;
type Cents = u64;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Bank {
    balances: BTreeMap<Account, Cents>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Command {
    Open { account: Account, deposit: Cents },
    Transfer { from: Account, to: Account, amount: Cents },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Refusal {
    AccountExists,
    NoSuchAccount(Account),
    InsufficientFunds { balance: Cents },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Query {
    Balance(Account),
    Total,
}

impl StateMachine for Bank {
    type Command = Command;
    type Response = Result<(), Refusal>;
    type Query = Query;
    type Answer = Option<Cents>;

    fn apply(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Open { account, .. } if self.balances.contains_key(&account) => {
                Err(Refusal::AccountExists)
            }
            Command::Open { account, deposit } => {
                self.balances.insert(account, deposit);
                Ok(())
            }
            Command::Transfer { from, to, amount } => self.transfer(from, to, amount),
        }
    }

    fn query(&self, query: Query) -> Option<Cents> {
        match query {
            Query::Balance(account) => self.balances.get(&account).copied(),
            Query::Total => Some(self.balances.values().sum()),
        }
    }
}

impl Bank {
    /// All checks come before the first change: a refused transfer changes nothing.
    fn transfer(&mut self, from: Account, to: Account, amount: Cents) -> Result<(), Refusal> {
        let balance = *self.balances.get(&from).ok_or(Refusal::NoSuchAccount(from))?;
        if !self.balances.contains_key(&to) {
            return Err(Refusal::NoSuchAccount(to));
        }
        let rest = balance.checked_sub(amount).ok_or(Refusal::InsufficientFunds { balance })?;
        self.balances.insert(from, rest);
        *self.balances.entry(to).or_default() += amount;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::<Bank>::builder(1)
        .data_dir(dir.path())
        .peers([(1, "127.0.0.1:7011")])
        .start()
        .await?;
    let bank = node.handle();

    for (account, deposit) in [(1, 10_000), (2, 500)] {
        let opened = bank.write(Command::Open { account, deposit }).await?;
        println!("open account {account} with {deposit}: {opened:?}");
    }
    let too_much = Command::Transfer { from: 2, to: 1, amount: 600 };
    println!("pay 600 from account 2: {:?}", bank.write(too_much).await?);

    // The customer clicks twice; the browser sends the form twice; the queue delivers twice.
    let payment = Command::Transfer { from: 1, to: 2, amount: 2_500 };
    for attempt in 1..=3 {
        let paid = bank.write_once("payment-4711", payment.clone()).await?;
        let balance = bank.read(Query::Balance(1)).await?;
        println!("payment 4711, sent for the {attempt}. time: {paid:?}; account 1 has {balance:?}");
    }
    let total = bank.read(Query::Total).await?;
    println!("total: {total:?}");
    anyhow::ensure!(total == Some(10_500), "money was made or lost");
    anyhow::ensure!(bank.read(Query::Balance(1)).await? == Some(7_500), "paid more than once");

    node.shutdown().await;
    Ok(())
}

/// Hundreds of clusters, each from one seed, under every fault there is. What fails is replayed with
/// `SIXBELLS_SEED`, and made smaller by itself.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sixbells_jepsen::{
        rand::RngExt,
        sim::{Op, Test},
    };

    use super::*;

    #[test]
    fn no_fault_makes_or_loses_money() {
        Test::<Bank>::new(|rng| {
            let (from, to) = (rng.random_range(1..4), rng.random_range(1..4));
            match rng.random_range(0..4) {
                0 => Op::Read(Query::Balance(from)),
                1 => Op::Read(Query::Total),
                _ => Op::Write(Command::Transfer { from, to, amount: rng.random_range(1..80) }),
            }
        })
        .setup((1..4).map(|account| Command::Open { account, deposit: 100 }))
        .invariant("money is neither made nor lost", |bank| {
            bank.balances.values().sum::<Cents>() == 100 * bank.balances.len() as u64
        })
        .lasting(Duration::from_secs(5))
        .simulate(0..100);
    }
}
