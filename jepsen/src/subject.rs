//! The machine under test, with a witness inside.
//!
//! Owns [`Subject`]: any user's machine, as the nodes replicate it, simulated or real. Each command carries
//! a number, and the state carries how many commands made it and a hash of all of them, so that whoever
//! judges can say which command was applied where, how often, and in which order.
//!
//! In: numbered commands. Out: the machine's own responses; what a [`Witness`] is told of each command
//! applied and of each state restored; and where it sees no log, the order of the commands.
//!
//! Invariants: the machine itself sees nothing of it; what is added is part of the snapshot.
//!
//! Does not: judge, or know what kind of node it is on.

use std::{fmt, marker::PhantomData};

use imbl::Vector;
use serde::{Deserialize, Serialize};
use sixbells::{Error, StateMachine};

use crate::digest::digest;

/// Whoever looks on from outside, if anybody does.
pub trait Witness: Clone + Default + Send + Sync + 'static {
    /// A command was applied: this number, as the one at this position. `chain` is a hash of all commands
    /// and responses so far, in order.
    fn applied(number: u64, position: u64, chain: u64);

    /// The state was replaced by one that so many commands made.
    fn restored(position: u64, chain: u64);

    /// Whether it sees the order of the commands by itself. Otherwise the state keeps it.
    fn sees_order() -> bool;

    /// Whether the machine is to apply this command twice, by mistake.
    fn repeats(number: u64) -> bool;
}

/// Nobody: a node in a process of its own is asked what it holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unseen;

impl Witness for Unseen {
    fn applied(_number: u64, _position: u64, _chain: u64) {}

    fn restored(_position: u64, _chain: u64) {}

    fn sees_order() -> bool {
        false
    }

    fn repeats(_number: u64) -> bool {
        false
    }
}

/// A command and the number of the operation it belongs to.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Numbered<S: StateMachine> {
    /// Unique in the run.
    pub number: u64,
    /// The machine's own command.
    pub command: S::Command,
}

/// A machine that says what happens to it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(bound = "", from = "Saved<S>")]
pub struct Subject<S: StateMachine, W: Witness = Unseen> {
    machine: S,
    position: u64,
    chain: u64,
    /// The numbers of all commands, in order, where no witness sees it.
    order: Vector<u64>,
    #[serde(skip)]
    witness: PhantomData<W>,
}

#[derive(Deserialize)]
#[serde(bound = "")]
struct Saved<S: StateMachine> {
    machine: S,
    position: u64,
    chain: u64,
    order: Vector<u64>,
}

impl<S: StateMachine, W: Witness> From<Saved<S>> for Subject<S, W> {
    fn from(saved: Saved<S>) -> Self {
        let Saved { machine, position, chain, order } = saved;
        W::restored(position, chain);
        Self { machine, position, chain, order, witness: PhantomData }
    }
}

impl<S: StateMachine, W: Witness> fmt::Debug for Subject<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("position", &self.position).finish_non_exhaustive()
    }
}

/// Asks a [`Subject`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Question<S: StateMachine> {
    /// What the machine knows.
    Machine(S::Query),
    /// All of the state, in short.
    Summary,
    /// The numbers of all commands, in their order.
    Order,
}

/// What a [`Question`] is answered.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Answer<S: StateMachine> {
    /// What the machine said.
    Machine(S::Answer),
    /// All of the state, in short.
    Summary {
        /// How many commands made it.
        position: u64,
        /// A hash of all commands and responses so far, in order.
        chain: u64,
        /// The machine, encoded: the same bytes for the same state.
        machine: Vec<u8>,
    },
    /// The numbers of all commands, in their order.
    Order(Vec<u64>),
}

impl<S: StateMachine> Answer<S> {
    /// What the machine said.
    ///
    /// # Errors
    /// If this answers another question. Then nobody knows what the machine would have said.
    pub fn of_machine(self) -> Result<S::Answer, Error> {
        match self {
            Answer::Machine(answer) => Ok(answer),
            Answer::Summary { .. } | Answer::Order(_) => {
                Err(Error::Unknown("a strange answer".to_owned()))
            }
        }
    }
}

// Derived, these would ask for `S: Debug` and `S: PartialEq`.

impl<S: StateMachine> fmt::Debug for Numbered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {:?}", self.number, self.command)
    }
}

impl<S: StateMachine> fmt::Debug for Question<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Machine(query) => query.fmt(f),
            Question::Summary => f.write_str("Summary"),
            Question::Order => f.write_str("Order"),
        }
    }
}

impl<S: StateMachine> fmt::Debug for Answer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Machine(answer) => answer.fmt(f),
            Answer::Summary { position, .. } => write!(f, "Summary at {position}"),
            Answer::Order(order) => order.fmt(f),
        }
    }
}

impl<S: StateMachine> PartialEq for Answer<S> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Answer::Machine(one), Answer::Machine(other)) => one == other,
            (
                Answer::Summary { position, chain, machine },
                Answer::Summary { position: p, chain: c, machine: m },
            ) => (position, chain, machine) == (p, c, m),
            (Answer::Order(one), Answer::Order(other)) => one == other,
            _ => false,
        }
    }
}

impl<S: StateMachine, W: Witness> StateMachine for Subject<S, W> {
    type Command = Numbered<S>;
    type Response = S::Response;
    type Query = Question<S>;
    type Answer = Answer<S>;

    fn apply(&mut self, numbered: Numbered<S>) -> S::Response {
        let Numbered { number, command } = numbered;
        if W::repeats(number) {
            self.machine.apply(command.clone());
        }
        let response = self.machine.apply(command);
        self.position += 1;
        if !W::sees_order() {
            self.order.push_back(number);
        }
        self.chain = digest((self.chain, number, format!("{response:?}")));
        W::applied(number, self.position, self.chain);
        response
    }

    fn query(&self, question: Question<S>) -> Answer<S> {
        match question {
            Question::Machine(query) => Answer::Machine(self.machine.query(query)),
            Question::Summary => Answer::Summary {
                position: self.position,
                chain: self.chain,
                machine: sixbells::encode(&self.machine),
            },
            Question::Order => Answer::Order(self.order.iter().copied().collect()),
        }
    }
}
