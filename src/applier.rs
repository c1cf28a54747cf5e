//! The applier: the one place where a command meets state, in both modes.
//!
//! Owns the machine and the session table, which change together and are saved together. Were they
//! saved apart, a node restored from a snapshot would apply a retry that another one recognises.
//!
//! In: proposals in their agreed order. Out: an [`Outcome`] each.
//!
//! Invariants
//! - The outcome and the next state depend on the earlier proposals alone.
//! - A duplicate never reaches the machine.
//!
//! Does not: decide the order, hold locks, or touch the disk.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    checksummed::Checksummed,
    codec::{self, CodecError},
    error::Error,
    machine::Machine,
    plant::{Bug, planted},
    proposal::{Origin, Proposal},
    session::{Sessions, Verdict},
};

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The machine's response, now or when the command was first applied.
    Response(Bytes),
    /// A session was opened.
    Opened(u64),
    /// Not applied: the session is not remembered.
    Expired,
    /// Not applied: too many commands of this session are under way.
    WindowFull,
    /// There is no outcome.
    Nothing,
}

impl Outcome {
    /// The response, or the error that the outcome stands for.
    pub(crate) fn into_response(self) -> Result<Bytes, Error> {
        match self {
            Outcome::Response(bytes) => Ok(bytes),
            Outcome::Expired => Err(Error::SessionExpired),
            Outcome::WindowFull => {
                Err(Error::Overloaded("too many commands of this session under way".into()))
            }
            Outcome::Opened(_) | Outcome::Nothing => {
                Err(Error::Unknown(format!("a command was answered with {self:?}")))
            }
        }
    }
}

/// What to say to the author of a machine whose states differ after the same commands.
pub(crate) const DIVERGED: &str = "apply must depend on the commands alone, and equal states must be \
                                   serialized alike";

/// A machine with its sessions.
#[derive(Debug)]
pub(crate) struct Applier {
    machine: Box<dyn Machine>,
    sessions: Sessions,
    duplicates: u64,
}

impl Applier {
    pub(crate) fn new(machine: Box<dyn Machine>) -> Self {
        Self { machine, sessions: Sessions::default(), duplicates: 0 }
    }

    /// Applies the proposal that stands at position `at` of the order.
    ///
    /// # Errors
    /// The command cannot be decoded: another release wrote it. The state is unchanged; the node has
    /// to stop, for others may have understood it.
    pub(crate) fn apply(&mut self, at: u64, proposal: &Proposal) -> Result<Outcome, CodecError> {
        self.apply_opening(at, at, proposal)
    }

    /// The same where `at` may change until the order is final: a session that the proposal opens is
    /// called `session`, which does not.
    pub(crate) fn apply_opening(
        &mut self,
        at: u64,
        session: u64,
        proposal: &Proposal,
    ) -> Result<Outcome, CodecError> {
        let origin = proposal.origin();
        let verdict = match self.sessions.check(at, origin) {
            Verdict::Duplicate(_) if planted(Bug::NoDedup) => Verdict::Apply,
            verdict => verdict,
        };
        match verdict {
            Verdict::Duplicate(response) => {
                self.duplicates += 1;
                metrics::counter!("sixbells_session_dedup_hits_total").increment(1);
                Ok(Outcome::Response(response))
            }
            Verdict::Expired => Ok(Outcome::Expired),
            Verdict::WindowFull => Ok(Outcome::WindowFull),
            Verdict::Apply => {
                if let Origin::Open { sessions_max } = origin {
                    return Ok(Outcome::Opened(self.sessions.open(at, session, sessions_max)));
                }
                let response = Bytes::from(self.machine.apply(proposal.command())?);
                self.sessions.record(at, origin, response.clone());
                Ok(Outcome::Response(response))
            }
        }
    }

    pub(crate) fn query(&self, query: &[u8]) -> Result<Vec<u8>, CodecError> {
        self.machine.query(query)
    }

    /// The state as of now, to be saved elsewhere. Quick.
    pub(crate) fn capture(&self) -> Self {
        Self {
            machine: self.machine.capture(),
            sessions: self.sessions.clone(),
            duplicates: self.duplicates,
        }
    }

    /// Writes the state out: first the sessions, then the machine.
    pub(crate) fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        match planted(Bug::SnapshotWithoutSessions) {
            true => codec::write(&Sessions::default(), out)?,
            false => codec::write(&self.sessions, out)?,
        }
        self.machine.save(out)
    }

    /// A number that is the same for equal states, if they are written alike. Slow, as `save` is.
    pub(crate) fn hash(&self) -> io::Result<u64> {
        let mut out = Checksummed::buffered(io::sink());
        self.save(&mut out)?;
        let (_, bytes, crc) = Checksummed::finish(out)?;
        Ok(bytes << 32 | u64::from(crc))
    }

    /// Replaces the state with one that [`Applier::save`] wrote. On error the state is unchanged.
    pub(crate) fn load(&mut self, input: &mut dyn io::Read) -> io::Result<()> {
        let sessions = codec::read(input)?;
        self.machine.load(input)?;
        self.sessions = sessions;
        Ok(())
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Retries recognised since this process started.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machine::Typed, sum::Sum};

    fn add(session: u64, sequence: u64, n: u64) -> Proposal {
        let origin = Origin::Session { session, sequence, floor: 0 };
        Proposal::new(1, origin, &codec::encode(&n))
    }

    fn response(n: u64) -> Outcome {
        Outcome::Response(codec::encode(&n).into())
    }

    /// A payment is charged, the reply is lost, the node restarts from a snapshot, and the client
    /// retries. Sessions outside the snapshot would charge twice.
    #[test]
    fn a_retry_after_a_restored_snapshot_is_recognised() {
        let mut before = Applier::new(Typed::<Sum>::boxed());
        let open = Proposal::new(0, Origin::Open { sessions_max: 8 }, &[]);
        assert_eq!(before.apply(3, &open).unwrap(), Outcome::Opened(3));
        assert_eq!(before.apply(4, &add(3, 0, 10)).unwrap(), response(10));

        let mut saved = Vec::new();
        before.capture().save(&mut saved).unwrap();
        let mut after = Applier::new(Typed::<Sum>::boxed());
        after.load(&mut &saved[..]).unwrap();

        assert_eq!(after.apply(5, &add(3, 0, 10)).unwrap(), response(10));
        assert_eq!(after.apply(6, &add(3, 1, 5)).unwrap(), response(15));
        assert_eq!(after.duplicates(), 1);
    }

    #[test]
    fn an_undecodable_command_changes_nothing() {
        let mut applier = Applier::new(Typed::<Sum>::boxed());
        let bad = Proposal::new(1, Origin::Once { key: b"k", keys_max: 9 }, b"not a u64");
        assert!(Typed::<Sum>::accepts(bad.command()).is_err());
        assert!(applier.apply(1, &bad).is_err());
        assert_eq!(applier.query(&[]).unwrap(), codec::encode(&0_u64));
        assert_eq!(applier.sessions().keys(), 0);
    }

    #[test]
    fn loading_damage_leaves_the_state_alone() {
        let mut applier = Applier::new(Typed::<Sum>::boxed());
        let once =
            Proposal::new(1, Origin::Once { key: b"k", keys_max: 9 }, &codec::encode(&7_u64));
        applier.apply(1, &once).unwrap();
        let mut saved = Vec::new();
        applier.save(&mut saved).unwrap();
        for cut in 0..saved.len() {
            assert!(applier.load(&mut &saved[..cut]).is_err(), "cut at {cut}");
            assert_eq!(applier.apply(2, &once).unwrap(), response(7));
        }
    }
}
