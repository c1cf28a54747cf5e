//! The sender's half of a session: who numbers commands, and says which it may still ask for.
//!
//! Owns [`SessionSlot`], which a client or a node fills by opening a session when it first needs one,
//! and [`Ticket`], one command's number for as long as it may be sent again.
//!
//! In: the wish to send a command. Out: its [`Origin`], the same for every attempt but for the floor.
//!
//! Invariants
//! - A number is given to one command, ever.
//! - The floor never passes the number of a ticket that still lives.
//! - One session is opened at a time, however many commands wait for it.
//!
//! Does not: send anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    ascending::Ascending,
    error::Error,
    plant::{Bug, planted},
    proposal::Origin,
    session::WINDOW,
};

/// The place of a sender's current session.
#[derive(Debug, Default)]
pub(crate) struct SessionSlot {
    current: tokio::sync::Mutex<Option<Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    id: u64,
    sequencer: Mutex<Sequencer>,
}

/// One command's number. Dropping it says that no attempt of the command will be sent again.
#[derive(Debug)]
pub(crate) struct Ticket {
    session: Arc<Session>,
    sequence: u64,
}

impl SessionSlot {
    /// A number for a new command. `open` opens a session; it runs only if there is none, or if the
    /// current one is full: one command that hangs must not hold up those behind it. Commands that
    /// come meanwhile wait for it.
    ///
    /// # Errors
    /// Whatever `open` says.
    pub(crate) async fn ticket(
        &self,
        open: impl Future<Output = Result<u64, Error>>,
    ) -> Result<Ticket, Error> {
        let mut current = self.current.lock().await;
        if let Some(ticket) = current.as_ref().and_then(Session::ticket) {
            return Ok(ticket);
        }
        let session = Arc::new(Session { id: open.await?, sequencer: Mutex::default() });
        let sequence = session.sequencer().begin().expect("invariant: a new session is not full");
        *current = Some(session.clone());
        Ok(Ticket { session, sequence })
    }

    /// A number for a new command, if there is one without waiting.
    pub(crate) fn ticket_at_hand(&self) -> Option<Ticket> {
        self.current.try_lock().ok()?.as_ref().and_then(Session::ticket)
    }

    /// The cluster does not know the ticket's session any more: the next ticket opens a new one.
    pub(crate) async fn expired(&self, ticket: &Ticket) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|session| session.id == ticket.session.id) {
            *current = None;
        }
    }
}

impl Session {
    /// A number for a new command, unless the session is full.
    fn ticket(self: &Arc<Self>) -> Option<Ticket> {
        let sequence = self.sequencer().begin()?;
        Some(Ticket { session: self.clone(), sequence })
    }

    fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        self.sequencer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// What an attempt says of itself.
    pub(crate) fn origin(&self) -> Origin<'static> {
        let mut sequencer = self.session.sequencer();
        let mut sequence = self.sequence;
        if planted(Bug::FreshRetry) {
            sequence = sequencer.next;
            sequencer.next += 1;
        }
        Origin::Session { session: self.session.id, sequence, floor: sequencer.floor() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.sequencer().end(self.sequence);
    }
}

/// Numbers the commands of one session.
#[derive(Debug, Default)]
struct Sequencer {
    next: u64,
    under_way: Ascending<()>,
}

impl Sequencer {
    /// A number for a new command; `None` while [`WINDOW`] numbers are taken by older ones.
    fn begin(&mut self) -> Option<u64> {
        if self.next - self.floor() >= WINDOW {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.under_way.push(sequence, ());
        Some(sequence)
    }

    /// No attempt of this command will be sent again.
    fn end(&mut self, sequence: u64) {
        self.under_way.take(sequence);
    }

    /// Every number below it is ended.
    fn floor(&self) -> u64 {
        self.under_way.first().unwrap_or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequencer_moves_its_floor_past_what_is_ended() {
        let mut sender = Sequencer::default();
        let numbers: Vec<_> = (0..3).filter_map(|_| sender.begin()).collect();
        assert_eq!((numbers, sender.floor()), (vec![0, 1, 2], 0));
        sender.end(1);
        assert_eq!(sender.floor(), 0);
        sender.end(0);
        assert_eq!(sender.floor(), 2);
        sender.end(2);
        assert_eq!(sender.floor(), 3);
        let held: Vec<_> = std::iter::from_fn(|| sender.begin()).collect();
        assert_eq!(held.len() as u64, WINDOW, "then the window is full");
    }

    /// Ten commands start together; one session is opened, and an expired one is replaced once.
    #[tokio::test]
    async fn one_session_is_opened_for_all_that_wait() {
        let slot = SessionSlot::default();
        let opened = Mutex::new(0);
        let open = async || {
            *opened.lock().unwrap() += 1;
            tokio::task::yield_now().await;
            Ok(*opened.lock().unwrap())
        };
        let (a, b) = tokio::join!(slot.ticket(open()), slot.ticket(open()));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.origin(), Origin::Session { session: 1, sequence: 0, floor: 0 });
        assert_eq!(b.origin(), Origin::Session { session: 1, sequence: 1, floor: 0 });
        slot.expired(&a).await;
        let c = slot.ticket(open()).await.unwrap();
        slot.expired(&b).await;
        let d = slot.ticket(open()).await.unwrap();
        assert_eq!((c.session.id, d.session.id, *opened.lock().unwrap()), (2, 2, 2));
    }
}
