//! A bank: the model that a user would write, without any help for the checker.
//!
//! Transfers between five accounts, which are refused where an account would be overdrawn, and reads
//! of all balances. Neither a key that sets parts of it apart nor a rule of its own: what decides it
//! is search.
//!
//! [`calls`] makes histories of a bank that works, or of one that answered a late read with balances
//! that an earlier read saw before money was moved.

use rand::RngExt;
use rand::rngs::SmallRng;
use sixbells_checker::call::Call;
use sixbells_checker::model::Model;

use crate::simulation::Size;

const ACCOUNTS: usize = 5;

pub(crate) type Balances = [u32; ACCOUNTS];

/// What every account holds at first.
const OPENING: Balances = [10; ACCOUNTS];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    Transfer { from: usize, to: usize, amount: u32 },
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Done,
    Insufficient,
    Balances(Balances),
}

/// The model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bank;

fn answer(balances: &mut Balances, ask: &Ask) -> Answer {
    match *ask {
        Ask::Read => Answer::Balances(*balances),
        Ask::Transfer { from, amount, .. } if balances[from] < amount => Answer::Insufficient,
        Ask::Transfer { from, to, amount } => {
            balances[from] -= amount;
            balances[to] += amount;
            Answer::Done
        }
    }
}

impl Model for Bank {
    type Input = Ask;
    type Output = Answer;
    type State = Balances;
    type Key = ();

    fn name(&self) -> &'static str {
        "bank"
    }

    fn initial(&self) -> Balances {
        OPENING
    }

    fn step(&self, balances: &Balances, ask: &Ask, seen: Option<&Answer>) -> Option<Balances> {
        let mut next = *balances;
        let answer = answer(&mut next, ask);
        seen.is_none_or(|seen| *seen == answer).then_some(next)
    }

    fn key(&self, _ask: &Ask) {}

    fn read_only(&self, ask: &Ask) -> bool {
        matches!(ask, Ask::Read)
    }
}

fn ask(rng: &mut SmallRng) -> Ask {
    if rng.random_bool(0.4) {
        return Ask::Read;
    }
    let from = rng.random_range(0..ACCOUNTS);
    let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
    Ask::Transfer { from, to, amount: rng.random_range(1..8) }
}

/// A history, with one late read that is stale if that is wanted.
pub(crate) fn calls(size: Size, stale: bool) -> Vec<Call<Ask, Answer>> {
    let mut calls = size.simulate(OPENING, ask, |balances, ask| Some(answer(balances, ask)));
    if stale {
        let reads: Vec<usize> =
            (0..calls.len()).filter(|at| calls[*at].input == Ask::Read).collect();
        // A dozen reads are longer than all calls at once, so money was moved in between.
        let late = reads.len() * 19 / 20;
        let old = late.saturating_sub(12 + usize::try_from(size.clients).unwrap_or(0));
        calls[reads[late]].output = calls[reads[old]].output;
    }
    calls
}
