//! The records of the write-ahead log: how its crate's types are filled, and what they say in a row.
//!
//! Owns [`Format`], and [`Replay`], which follows the records of a scan and judges them before the crate
//! reads them. Invariant: what is decoded was encoded here, or is an error; a bad length costs no memory.
//!
//! The committed position travels as the crate's user data: its own commit record refuses
//! a position beyond the last entry, and truncation below it, which is not for a log to judge.
//!
//! Does not: open, write or sync.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use bytes::Bytes;
use raft_log::{
    Callback, RaftLogAction, RaftLogRecord, RaftWalTypes, Types, WALRecord, WalTypes,
    codeq::{Decode, Encode},
};

use super::{
    LogId, LogState, Vote,
    commit::{Then, count_sync},
    home::Witness,
};
use crate::runtime::Stopwatch;

pub(super) fn decode(bytes: &[u8]) -> io::Result<(RaftLogRecord<Format>, usize)> {
    // Record types are 0 to 5. Said early, for this is tried at every offset behind a torn record.
    if bytes.first_chunk().is_some_and(|kind| u32::from_be_bytes(*kind) > 5) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a record"));
    }
    let mut rest = bytes;
    let record = RaftLogRecord::<Format>::decode(&mut rest)?;
    Ok((record, bytes.len() - rest.len()))
}

/// The state after each record of the scan, and whether the entries it speaks of were there.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) state: LogState,
    begun: bool,
    /// All entries from here to the last one were seen.
    pub(super) first: u64,
    /// The first file speaks of entries before it.
    headless: bool,
}

impl Replay {
    pub(super) fn apply(&mut self, record: RaftLogRecord<Format>) -> Result<(), String> {
        let state = &mut self.state;
        match record {
            WALRecord::Checkpoint(checkpoint) => {
                let told = state_from(&checkpoint);
                let expected = LogState { committed: told.committed, ..*state };
                if self.begun && expected != told {
                    return Err(format!("expected {state:?}, found a checkpoint of {told:?}"));
                }
                if !self.begun {
                    self.first = told.end();
                    self.headless = told.last != told.purged;
                }
                *state = told;
            }
            WALRecord::Action(RaftLogAction::Append(id, _)) => {
                let id = LogId { term: id.0, index: id.1 };
                match state.last {
                    Some(last) if last.index + 1 != id.index || last.term > id.term => {
                        return Err(format!("after entry {last} follows {id}"));
                    }
                    Some(_) => {}
                    None => (self.first, self.headless) = (id.index, false),
                }
                state.last = Some(id);
            }
            WALRecord::Action(RaftLogAction::SaveVote(vote)) => state.vote = Some(vote.0),
            WALRecord::Action(RaftLogAction::TruncateAfter(last)) => {
                state.last = last.map(|(term, index)| LogId { term, index });
                self.first = self.first.min(state.end());
            }
            WALRecord::Action(RaftLogAction::PurgeUpto((term, index))) => {
                let upto = LogId { term, index };
                state.purged = state.purged.max(Some(upto));
                state.last = state.last.max(Some(upto));
                self.first = self.first.min(state.end());
            }
            WALRecord::Action(RaftLogAction::Commit(id)) => {
                return Err(format!("a record {id:?} that this release does not write"));
            }
        }
        self.begun = true;
        Ok(())
    }

    /// Which entries should be there and are not.
    pub(super) fn missing(&self) -> Option<String> {
        let missing = match self.state.purged {
            Some(_) => self.first > self.state.floor(),
            None => self.headless && self.state.last.is_some(),
        };
        let (from, to) = (self.state.floor(), self.first);
        missing.then(|| format!("entries {from}..{to} are missing before this file"))
    }
}

pub(super) fn ids(id: &LogId) -> (u64, u64) {
    (id.term, id.index)
}

type Checkpoint = <RaftWalTypes<Format> as WalTypes>::Checkpoint;

pub(super) fn state_from(state: &Checkpoint) -> LogState {
    let id = |id: &(u64, u64)| LogId { term: id.0, index: id.1 };
    LogState {
        vote: state.vote().map(|vote| vote.0),
        committed: state.user_data.as_ref().map(id),
        purged: state.purged().map(id),
        last: state.last().map(id),
    }
}

/// How the crate's types are filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Format;

impl Types for Format {
    /// Term, then index: their order is that of log ids.
    type LogId = (u64, u64);
    type LogPayload = Payload;
    type Vote = Ballot;
    type Callback = Synced;
    /// The committed position.
    type UserData = (u64, u64);

    fn log_index(id: &(u64, u64)) -> u64 {
        id.1
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

/// What the crate's thread calls after a sync. Where it failed before, it drops it uncalled.
pub(super) struct Synced {
    pub(super) then: Then,
    pub(super) bytes: u64,
    pub(super) end: u64,
    pub(super) witness: Arc<Witness>,
    pub(super) watch: Stopwatch,
}

impl Callback for Synced {
    fn send(self, result: io::Result<()>) {
        count_sync(self.watch);
        let promised = result.and_then(|()| self.witness.promise(self.end));
        self.then.call(promised.map(|()| self.bytes));
    }
}

/// Length, then bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload(pub(super) Bytes);

impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        let n = length.encode(&mut w)?;
        w.write_all(&self.0)?;
        Ok(n + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(r: R) -> io::Result<Self> {
        // Grows as it reads, so a bad length costs no memory.
        Vec::<u8>::decode(r).map(|bytes| Payload(bytes.into()))
    }
}

/// The crate refuses a vote that is less than the one it has, by this order: that of votes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Ballot(pub(super) Vote);

impl Encode for Ballot {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let Vote { term, voted_for, committed } = &self.0;
        Ok(term.encode(&mut w)? + voted_for.encode(&mut w)? + committed.encode(&mut w)?)
    }
}

impl Decode for Ballot {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        Ok(Ballot(Vote {
            term: u64::decode(&mut r)?,
            voted_for: u64::decode(&mut r)?,
            committed: bool::decode(&mut r)?,
        }))
    }
}
