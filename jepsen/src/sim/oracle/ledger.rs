//! Ledger: what all logs of a cluster hold, and what they have agreed on.
//!
//! Owns an [`Account`] per node (what its log holds, what of it a power loss would leave, what the
//! node may rely on), the entries found committed, every membership ever written, and the
//! [`Order`] of the commands.
//!
//! In: observations, each after the oracles have judged it. So an oracle sees the ledger as it was
//! just before, and may compare. Out: all of the above, by node and index.
//!
//! Invariants:
//! - what a node's disk holds for sure follows what its log holds through the same writes, until both
//!   say the same of themselves; if they never would, the observations contradict each other, and
//!   that is an error;
//! - the first who finds an entry committed says what it is;
//! - what a process found on its disk when it began is durable, and the node relies on it as if it had
//!   been promised;
//! - committed entries and memberships are kept to the end: a late node is judged by them.
//!
//! Does not: judge.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sixbells::storage::{LogId, LogState, Vote};

use super::{
    super::observation::{Host, Logged, Observation},
    image::{Held, Image, Write, later},
    order::Order,
};

/// An entry that a node found committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its position.
    pub id: LogId,
    /// A hash of what it says.
    pub hash: u64,
    /// The term in which it was committed, or a later one: the vote of the node that said so. Not the
    /// term of the entry, for a leader commits what its predecessors left.
    pub in_term: u64,
}

/// What is known of one node.
#[derive(Clone, Debug, Default)]
pub struct Account {
    alive: bool,
    log: Image,
    durable: Image,
    unsynced: VecDeque<Write>,
    promised: LogState,
    committed: Option<LogId>,
    relics: BTreeMap<u64, Held>,
}

impl Account {
    /// Whether its process runs.
    pub fn alive(&self) -> bool {
        self.alive
    }

    /// What its log holds; what its last process left there, if none runs.
    pub fn log(&self) -> &Image {
        &self.log
    }

    /// What a power loss would leave of its log.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// The highest vote that the node may rely on, since its disk was new.
    pub fn promised_vote(&self) -> Option<Vote> {
        self.promised.vote
    }

    /// The last entry that the node may rely on, and has not truncated itself.
    pub fn promised_last(&self) -> Option<LogId> {
        self.promised.last
    }

    /// The last entry that the node found committed, since its disk was new.
    pub fn committed(&self) -> Option<LogId> {
        self.committed
    }

    /// Whether the entry is durable here, or was so on a disk that was thrown away. A leader may
    /// count an answer after the disk behind it is gone: that is no fault of the leader.
    fn vouches(&self, id: LogId, hash: u64) -> bool {
        self.durable.covers_content(id, hash)
            || self.relics.get(&id.index) == Some(&Held { term: id.term, hash })
    }

    fn write(&mut self, write: Write) {
        self.log.write(write);
        self.unsynced.push_back(write);
    }

    fn start(&mut self, state: &LogState, log: &[Logged]) {
        self.alive = true;
        self.log = Image::found(state, log);
        self.durable = self.log.clone();
        self.unsynced.clear();
        self.promised = LogState { vote: later_vote(self.promised.vote, state.vote), ..*state };
    }

    /// A new disk knows nothing. What counted as agreement on the old one is kept apart.
    fn wipe(&mut self, frontier: Option<u64>) {
        let mut relics = std::mem::take(&mut self.relics);
        let beyond = frontier.map_or(0, |frontier| frontier.saturating_add(1));
        let lost = self.durable.upto(u64::MAX).rev().take_while(|(id, _)| id.index >= beyond);
        relics.extend(lost.map(|(id, held)| (id.index, held)));
        *self = Self { relics, ..Self::default() };
    }

    fn truncate(&mut self, last: Option<LogId>) {
        self.write(Write::Truncate(last));
        // What the node takes back itself, nobody has to keep for it.
        let keep = self.log.state().last;
        if self.promised.last.map(|id| id.index) > keep.map(|id| id.index) {
            self.promised.last = keep;
        }
    }

    /// A promise may be told after a later truncation: then what it says of entries is out of date.
    fn promise(&mut self, state: &LogState) {
        self.promised.vote = later_vote(self.promised.vote, state.vote);
        let higher = state.last.map(|id| id.index) > self.promised.last.map(|id| id.index);
        if higher && state.last.is_some_and(|last| self.log.covers(last)) {
            self.promised.last = state.last;
        }
    }

    /// Lets the durable image catch up, up to the first write after which it says `state` of itself.
    /// More than one may: then the entries are the same, for the last one is.
    fn sync(&mut self, state: &LogState) -> Result<(), String> {
        let same =
            |at: &LogState| (at.vote, at.purged, at.last) == (state.vote, state.purged, state.last);
        let mut at = *self.durable.state();
        let mut writes = 0;
        let mut found = same(&at);
        for write in &self.unsynced {
            if found {
                break;
            }
            write.step(&mut at);
            writes += 1;
            found = same(&at);
        }
        if !found {
            return Err(format!("{state:?}, which no prefix of its writes amounts to"));
        }
        for write in self.unsynced.drain(..writes) {
            self.durable.write(write);
        }
        Ok(())
    }
}

/// Which vote is newer; the first if they are equal or of one term.
fn later_vote(one: Option<Vote>, other: Option<Vote>) -> Option<Vote> {
    match (one, other) {
        (Some(old), Some(new)) if new > old => Some(new),
        (None, new) => new,
        (old, _) => old,
    }
}

/// What all logs hold, and what they have agreed on.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<Host, Account>,
    settled: BTreeMap<u64, Settled>,
    memberships: BTreeMap<(u64, u64), Vec<BTreeSet<Host>>>,
    order: Order,
}

impl Ledger {
    /// What is known of a node, if anything is.
    pub fn account(&self, node: Host) -> Option<&Account> {
        self.accounts.get(&node)
    }

    /// The entry found committed at an index.
    pub fn settled(&self, index: u64) -> Option<Settled> {
        self.settled.get(&index).copied()
    }

    /// All entries found committed, in order.
    pub fn all_settled(&self) -> impl DoubleEndedIterator<Item = &Settled> {
        self.settled.values()
    }

    /// The last entry found committed by anyone.
    pub fn frontier(&self) -> Option<LogId> {
        self.settled.last_key_value().map(|(_, settled)| settled.id)
    }

    /// The commands that were agreed on.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The nodes on whose disks an entry is for sure, in a snapshot or not.
    pub fn vouchers(&self, id: LogId, hash: u64) -> BTreeSet<Host> {
        let vouches = self.accounts.iter().filter(|(_, account)| account.vouches(id, hash));
        vouches.map(|(node, _)| *node).collect()
    }

    /// The voters in force at `index` in the log of a node: the latest membership up to there that
    /// the log holds, or that it has purged after it was committed.
    pub fn voters(&self, node: Host, index: u64) -> Option<&[BTreeSet<Host>]> {
        let log = self.account(node)?.log();
        let holds = |id: LogId| {
            if log.purged(id.index) {
                self.settled(id.index).is_some_and(|settled| settled.id == id)
            } else {
                log.covers(id)
            }
        };
        let mut before = self.memberships.range(..=(index, u64::MAX)).rev();
        before
            .find(|((index, term), _)| holds(LogId { term: *term, index: *index }))
            .map(|(_, voters)| voters.as_slice())
    }

    /// The voters of every membership that was ever written after `index`, in any log.
    pub fn voters_after(&self, index: u64) -> impl Iterator<Item = &[BTreeSet<Host>]> {
        let after = self.memberships.range((index.saturating_add(1), 0)..);
        after.map(|(_, voters)| voters.as_slice())
    }

    /// Takes note of an observation.
    ///
    /// # Errors
    /// If it contradicts what was observed before; the sentence says how. That is a fault of the
    /// simulated disk or of who observes it.
    pub fn observe(&mut self, seen: &Observation) -> Result<(), String> {
        match seen {
            Observation::Started { node, state, log } => {
                self.remember_voters(log);
                self.open(*node).start(state, log);
            }
            Observation::Ended { node } | Observation::Failed { node, .. } => {
                self.open(*node).alive = false;
            }
            Observation::Wiped { node } => {
                let frontier = self.frontier().map(|id| id.index);
                self.open(*node).wipe(frontier);
            }
            Observation::Synced { node, state } => return self.sync(*node, state),
            Observation::Promised { node, state } => self.open(*node).promise(state),
            Observation::Committed { node, upto } => self.commit(*node, *upto),
            Observation::Applied { position, command, chain, .. } => {
                self.order.apply(*position, *command, *chain);
            }
            Observation::Restored { position, chain, .. } => {
                self.order.restore(*position, *chain);
            }
            Observation::Voted { node, vote } => self.open(*node).write(Write::Vote(*vote)),
            Observation::Appended { node, entries } => self.append(*node, entries),
            Observation::Truncated { node, last } => self.open(*node).truncate(*last),
            Observation::Purged { node, upto } => self.open(*node).write(Write::Purge(*upto)),
            Observation::Snapshot { .. }
            | Observation::Invoked { .. }
            | Observation::Completed { .. } => {}
        }
        Ok(())
    }

    fn open(&mut self, node: Host) -> &mut Account {
        self.accounts.entry(node).or_default()
    }

    fn append(&mut self, node: Host, entries: &[Logged]) {
        self.remember_voters(entries);
        let account = self.open(node);
        for entry in entries {
            account.write(Write::Entry(entry.id, entry.hash));
        }
    }

    fn remember_voters(&mut self, entries: &[Logged]) {
        for Logged { id, voters, .. } in entries {
            if let Some(voters) = voters {
                self.memberships.entry((id.index, id.term)).or_insert_with(|| voters.clone());
            }
        }
    }

    /// A process that has ended may still have had a sync under way: the next one tells.
    fn sync(&mut self, node: Host, state: &LogState) -> Result<(), String> {
        let account = self.open(node);
        let synced = account.sync(state);
        if account.alive {
            synced.map_err(|what| format!("node {node} is said to have synced {what}"))
        } else {
            Ok(())
        }
    }

    fn commit(&mut self, node: Host, upto: LogId) {
        let beyond = self.frontier().map_or(0, |frontier| frontier.index.saturating_add(1));
        let account = self.accounts.entry(node).or_default();
        account.committed = later(account.committed, Some(upto));
        let in_term = account.log.state().vote.map_or(upto.term, |vote| vote.term.max(upto.term));
        let new = account.log.upto(upto.index).rev().take_while(|(id, _)| id.index >= beyond);
        let new = new.map(|(id, held)| (id.index, Settled { id, hash: held.hash, in_term }));
        self.settled.extend(new);
        for account in self.accounts.values_mut().filter(|account| !account.relics.is_empty()) {
            account.relics = account.relics.split_off(&upto.index.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    fn ledger(seen: &[Observation]) -> Ledger {
        let mut ledger = Ledger::default();
        for seen in seen {
            assert_eq!(ledger.observe(seen), Ok(()), "{seen:?}");
        }
        ledger
    }

    fn synced(node: Host, last: LogId) -> Observation {
        Observation::Synced { node, state: LogState { last: Some(last), ..LogState::default() } }
    }

    /// A sync that was under way while the log was truncated and written again leaves what it was
    /// given, not what is there by now.
    #[test]
    fn a_sync_leaves_what_was_written_when_it_began() {
        let mut ledger = ledger(&[
            started(1, None, &[entry(0, 0)]),
            appended(1, &[entry(1, 1), entry(1, 2)]),
            truncated(1, Some(id(0, 0))),
            appended(1, &[entry(2, 1)]),
            synced(1, id(1, 2)),
        ]);
        let durable = |ledger: &Ledger| ledger.account(1).unwrap().durable().entry(1).unwrap().term;
        assert_eq!(durable(&ledger), 1);
        assert_eq!(ledger.account(1).unwrap().log().entry(1).unwrap().term, 2);
        ledger.observe(&synced(1, id(2, 1))).unwrap();
        assert_eq!(durable(&ledger), 2);
    }

    #[test]
    fn a_sync_may_end_between_the_entries_of_an_append() {
        let ledger = ledger(&[
            started(1, None, &[]),
            appended(1, &[entry(0, 0), entry(1, 1), entry(1, 2)]),
            synced(1, id(1, 1)),
        ]);
        assert_eq!(ledger.vouchers(id(1, 1), entry(1, 1).hash), BTreeSet::from([1]));
        assert_eq!(ledger.vouchers(id(1, 2), entry(1, 2).hash), BTreeSet::new());
    }

    #[test]
    fn a_sync_of_what_was_never_written_is_a_contradiction() {
        let mut ledger = ledger(&[started(1, None, &[]), appended(1, &[entry(0, 0)])]);
        let said = ledger.observe(&synced(1, id(1, 1))).unwrap_err();
        assert!(said.contains("node 1 is said to have synced"), "{said}");
        ledger.observe(&ended(1)).unwrap();
        assert_eq!(ledger.observe(&synced(1, id(1, 1))), Ok(()));
    }

    #[test]
    fn a_membership_is_in_force_from_its_entry_on_until_it_is_cut_off() {
        let mut ledger = ledger(&[
            started(1, None, &[]),
            appended(1, &[change(0, 0, &[&[1]]), entry(1, 1), change(1, 2, &[&[1, 2]])]),
        ]);
        let (old, new) = ([BTreeSet::from([1])], [BTreeSet::from([1, 2])]);
        assert_eq!(ledger.voters(1, 1), Some(old.as_slice()));
        assert_eq!(ledger.voters(1, 2), Some(new.as_slice()));
        assert_eq!(ledger.voters_after(1).count(), 1);
        ledger.observe(&truncated(1, Some(id(1, 1)))).unwrap();
        assert_eq!(ledger.voters(1, 2), Some(old.as_slice()));
    }
}
