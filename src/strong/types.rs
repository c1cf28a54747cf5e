//! openraft's view of our types, and the way between them.
//!
//! Owns the type configuration, which has the runtime as its only parameter (no user type gets
//! here), and the conversions between openraft's and the storage door's vocabulary.
//!
//! Invariants: standard Raft, one leader a term, so that (term, index) names an entry.
//!
//! Does not: decide anything.

use std::{cmp::Ordering, fmt, io, marker::PhantomData};

use bytes::Bytes;
use openraft::{
    EntryPayload,
    alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, StoredMembershipOf, VoteOf},
    impls::{BoxedErrorSource, InlineBatch, leader_id_std},
    vote::RaftLeaderId,
};

use super::propose::Callback;
use crate::{
    applier::Outcome,
    batch::Batch,
    codec::{self, CodecError, FORMAT},
    inspect::Content,
    runtime::Runtime,
    status::Member,
    storage::{LogId, Record, Vote},
};

/// openraft's type configuration.
pub(crate) struct Types<R>(PhantomData<fn() -> R>);

impl<R: Runtime> openraft::RaftTypeConfig for Types<R> {
    type D = Batch;
    type R = Vec<Outcome>;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Batch, u64, Member>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type Responder<T>
        = Callback<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type AsyncRuntime = R;
    type ErrorSource = BoxedErrorSource;
}

// openraft asks for these of the marker; deriving them would ask for them of the runtime, too.
impl<R> Clone for Types<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for Types<R> {}
impl<R> Default for Types<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<R> PartialEq for Types<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R> Eq for Types<R> {}
impl<R> PartialOrd for Types<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for Types<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
impl<R> fmt::Debug for Types<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}

pub(super) fn from_raft<R: Runtime>(id: &LogIdOf<Types<R>>) -> LogId {
    LogId { term: id.leader_id.term, index: id.index }
}

pub(super) fn to_raft<R: Runtime>(id: LogId) -> LogIdOf<Types<R>> {
    LogIdOf::<Types<R>>::new(CommittedLeaderIdOf::<Types<R>>::new(id.term), id.index)
}

pub(super) fn vote_from_raft<R: Runtime>(vote: &VoteOf<Types<R>>) -> Vote {
    Vote {
        term: vote.leader_id.term,
        voted_for: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(super) fn vote_to_raft<R: Runtime>(vote: Vote) -> VoteOf<Types<R>> {
    let mut raft = VoteOf::<Types<R>>::new(vote.term, vote.voted_for);
    raft.committed = vote.committed;
    raft
}

/// Second byte of the records that hold no proposal; that of a batch is below.
const BLANK: u8 = 16;
const MEMBERSHIP: u8 = 17;

/// A log record. A batch's bytes are shared, not copied.
pub(super) fn to_record<R: Runtime>(entry: EntryOf<Types<R>>) -> Record {
    let payload = match entry.payload {
        EntryPayload::Normal(batch) => batch.bytes().clone(),
        EntryPayload::Blank => Bytes::from_static(&[FORMAT, BLANK]),
        EntryPayload::Membership(membership) => {
            let mut bytes = vec![FORMAT, MEMBERSHIP];
            codec::encode_into(&membership, &mut bytes);
            bytes.into()
        }
    };
    Record { id: from_raft::<R>(&entry.log_id), payload }
}

/// The entry that a record holds.
pub(super) fn to_entry<R: Runtime>(record: Record) -> io::Result<EntryOf<Types<R>>> {
    let Record { id, payload } = record;
    let payload = match payload.get(..2) {
        Some([FORMAT, BLANK]) => EntryPayload::Blank,
        Some([FORMAT, MEMBERSHIP]) => EntryPayload::Membership(codec::decode(&payload[2..])?),
        _ => EntryPayload::Normal(Batch::from_bytes(payload).map_err(|e: CodecError| {
            io::Error::new(io::ErrorKind::InvalidData, format!("log entry {id}: {e}"))
        })?),
    };
    Ok(EntryOf::<Types<R>> { log_id: to_raft::<R>(id), payload })
}

/// What a record says, to those who do not know openraft.
pub(crate) fn content<R: Runtime>(record: &Record) -> io::Result<Content> {
    Ok(match to_entry::<R>(record.clone())?.payload {
        EntryPayload::Blank => Content::Blank,
        EntryPayload::Membership(membership) => {
            Content::Membership { voters: membership.get_joint_config().clone() }
        }
        EntryPayload::Normal(batch) => Content::from(&batch),
    })
}

pub(super) fn encode_membership<R: Runtime>(membership: &StoredMembershipOf<Types<R>>) -> Bytes {
    codec::encode_tagged(membership).into()
}

pub(super) fn decode_membership<R: Runtime>(
    bytes: &[u8],
) -> Result<StoredMembershipOf<Types<R>>, CodecError> {
    codec::decode_tagged(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{
        proposal::{Origin, Proposal},
        runtime::TokioRuntime,
    };

    type C = Types<TokioRuntime>;
    type Payload = <C as openraft::RaftTypeConfig>::Payload;

    fn said(payload: Payload) -> Content {
        let log_id = to_raft::<TokioRuntime>(LogId { term: 2, index: 7 });
        let record = to_record::<TokioRuntime>(EntryOf::<C> { log_id, payload });
        crate::inspect::content(&record).unwrap()
    }

    #[test]
    fn a_record_says_what_its_entry_said() {
        assert_eq!(said(Payload::Blank), Content::Blank);

        let open = Proposal::new(8, Origin::Open { sessions_max: 1 }, b"");
        let one = |proposal| Payload::Normal(Batch::of(&[&proposal]));
        assert_eq!(said(one(open.clone())), Content::Open);
        let session = Origin::Session { session: 1, sequence: 2, floor: 0 };
        for origin in [session, Origin::Once { key: b"k", keys_max: 1 }] {
            let command = Proposal::new(9, origin, b"command");
            assert_eq!(said(one(command.clone())), Content::Command { request: 9 });
            let both = Batch::of(&[&open, &command]);
            let contents = vec![Content::Open, Content::Command { request: 9 }];
            assert_eq!(said(Payload::Normal(both)), Content::Batch(contents));
        }

        let voters = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        let member = |id| (id, Member { addr: format!("n{id}"), disk: id });
        let members: BTreeMap<u64, Member> = (1..=5).map(member).collect();
        let changing = openraft::Membership::new(voters.clone(), members).unwrap();
        assert_eq!(said(Payload::Membership(changing)), Content::Membership { voters });
    }

    /// A tool that took an unknown record for an empty one would miss the write in it.
    #[test]
    fn what_no_node_wrote_is_an_error() {
        for bytes in [&b""[..], &[FORMAT, 99], &[FORMAT, MEMBERSHIP, 1], &[FORMAT + 1, BLANK]] {
            let record = Record { id: LogId::default(), payload: Bytes::copy_from_slice(bytes) };
            assert!(crate::inspect::content(&record).is_err(), "{bytes:?}");
        }
    }
}
