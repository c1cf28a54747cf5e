//! Clients that go from replica to replica, with crashes, lost replies and clocks that differ on the way:
//! what they were answered is in the final order, once.
//!
//! Each client does what the real one does (`client::following`): one number for a command however
//! often it is sent, a clock that it takes along, and another session only if no attempt had an effect.

use std::collections::BTreeMap;

use rand::RngExt;

use super::log::Operation;
use super::session::Token;
use super::suite::{World, initial};
use crate::applier::Outcome;
use crate::codec;
use crate::proposal::{Origin, Proposal};

#[derive(Default)]
struct Client {
    session: Option<u64>,
    next: u64,
    clock: Token,
    /// The command under way, and where it was accepted.
    command: Option<(Proposal, Vec<(u64, Operation)>)>,
}

/// What happened to all of them.
#[derive(Default)]
struct Told {
    commands: u64,
    acknowledged: Vec<Operation>,
    unknown: u64,
    renumbered: u64,
}

impl Client {
    /// The command under way, or a new one.
    fn command(&mut self, told: &mut Told) -> Proposal {
        if let Some((proposal, _)) = &self.command {
            return proposal.clone();
        }
        told.commands += 1;
        let request = u128::from(told.commands);
        let proposal = match self.session {
            None => Proposal::new(request, Origin::Open { sessions_max: 1_000 }, &[]),
            Some(session) => {
                let (sequence, floor) = (self.next, self.next);
                self.next += 1;
                let origin = Origin::Session { session, sequence, floor };
                Proposal::new(request, origin, &codec::encode(&told.commands))
            }
        };
        self.command = Some((proposal.clone(), Vec::new()));
        proposal
    }

    fn ask(&mut self, world: &mut World, told: &mut Told) {
        let proposal = self.command(told);
        let id = world.rng.random_range(1..=world.nodes.len() as u64);
        let wall = world.wall(id);
        let node = world.nodes.get_mut(&id).unwrap();
        let attempts = self.command.as_mut().map(|(_, attempts)| attempts).unwrap();
        if !node.replica.knows_session(&proposal) {
            if attempts.is_empty() {
                told.renumbered += 1;
                (self.session, self.next, self.command) = (None, 0, None);
            }
            return;
        }
        if self.clock.missing(&node.replica, wall, 500).is_none() {
            self.clock.shown_to(&mut node.replica);
            if let Ok(operation) = node.replica.accept(proposal, wall).unwrap() {
                node.disk.unsynced.push(operation.clone());
                attempts.push((id, operation));
            }
        }
    }

    /// Hears from a node that has synced what it accepted.
    fn hear(&mut self, world: &World, told: &mut Told) {
        let Some((proposal, attempts)) = &self.command else { return };
        let durable =
            |(id, operation): &&(u64, Operation)| world.nodes[id].disk.synced.contains(operation);
        let Some((id, operation)) = attempts.iter().find(durable) else { return };
        let mut token = Token::default();
        token.grow(&world.nodes[id].replica);
        self.clock.follow(&token);
        match proposal.origin() {
            Origin::Open { .. } => self.session = u64::try_from(proposal.request()).ok(),
            _ => told.acknowledged.push(operation.clone()),
        }
        self.command = None;
    }

    /// Waits no longer: nobody knows what becomes of the command.
    fn give_up(&mut self, told: &mut Told) {
        if self.command.take().is_some() {
            told.unknown += 1;
        }
    }
}

/// Runs one seed; the command that runs it alone is `SEED=n cargo test -p sixbells --lib clients`.
fn run(seed: u64, told: &mut Told) {
    let mut world = World::new(seed, 2 + seed % 4);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::default()).collect();
    for _ in 0..2_000 {
        world.step();
        let client = &mut clients[world.rng.random_range(0..3)];
        match world.rng.random_range(0..40) {
            0..20 => client.ask(&mut world, told),
            20..39 => client.hear(&world, told),
            _ => client.give_up(told),
        }
    }
    world.heal();

    let operations = world.nodes.values().flat_map(|node| node.disk.synced.iter().cloned());
    let order: BTreeMap<_, _> = operations.map(|o| ((o.stamp, o.author), o)).collect();
    let (mut state, _) = initial();
    let mut outcomes = BTreeMap::new();
    for (place, operation) in order {
        state.count += 1;
        let proposal = Proposal::from_bytes(operation.payload).unwrap();
        let session = u64::try_from(proposal.request()).unwrap();
        let outcome = state.applier.apply_opening(state.count, session, &proposal).unwrap();
        outcomes.insert(place, outcome);
    }
    for operation in told.acknowledged.drain(..) {
        let outcome = &outcomes[&(operation.stamp, operation.author)];
        assert!(
            matches!(outcome, Outcome::Response(_)),
            "seed {seed}: {operation:?} was acknowledged, and in the end it is {outcome:?}"
        );
    }
}

#[test]
fn what_a_client_was_answered_is_in_the_final_order() {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    let mut told = Told::default();
    for seed in only.map_or(0..30, |seed: u64| seed..seed + 1) {
        println!("SEED={seed} cargo test -p sixbells --lib clients");
        run(seed, &mut told);
    }
    let hard = told.unknown > 0 && told.renumbered > 0;
    assert!(hard || only.is_some(), "no run was hard enough");
    println!("{} commands, {} renumbered", told.commands, told.renumbered);
}
