//! The switch for planted bugs: a test kit that has never found one proves nothing.
//!
//! Owns [`Bug`], the list of what can be planted, and `planted`, which the one line that carries a
//! bug asks. Each bug is planted in one place: one that somebody has made before, and that is
//! easily made again there.
//!
//! Invariants
//! - Without the cargo feature `plant`, which no ordinary build has, `planted` is a constant `false`,
//!   and what it guards is not in the program.
//! - With it, a bug is planted for the current thread alone, for one simulated cluster lives in one
//!   thread, and many of them side by side in one process.
//!
//! Does not: plant what lies behind a door (a log that does not sync, a network that lies) or in the
//! user's machine. Whoever brings those plants there.

/// What can be planted. Each says what goes wrong, and so what has to be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Bug {
    /// A write counts as replicated to a node that was asked and did not answer.
    AckBeforeQuorum,
    /// In eventual mode, a write is acknowledged before it is durable.
    AckBeforeSync,
    /// A restarted node takes its whole log for committed, and applies what never was.
    CommittedTooFar,
    /// A command of a session that the cluster has forgotten is applied, perhaps again.
    ExpiredSessionApplies,
    /// A copy of a command that its sender will not ask for again is applied again.
    FloorIgnored,
    /// Each attempt of a client's command has a number of its own, so a retry is a second effect.
    FreshRetry,
    /// In eventual mode, an operation that comes late takes its place, and nothing is applied again.
    LateApplied,
    /// A leader that restarts goes on in its old term: openraft's default.
    LeaderRestore,
    /// A leader answers reads for as long as it believes in its lease, and asks nobody.
    LeaseRead,
    /// A linearizable read is answered at once, from the state as it is here.
    LocalRead,
    /// A snapshot takes its name, but the directory is not synced.
    NamesUnsynced,
    /// A retry is not recognised, and applied again.
    NoDedup,
    /// A change of the members counts as replicated to a member that was asked and did not answer, so
    /// that one side of it decides alone.
    OneSidedQuorum,
    /// In eventual mode, a promise counts although operations are missing that were given before it.
    PromiseTooEarly,
    /// The log is purged for a snapshot that does not have its name yet, and so is not one after a
    /// restart.
    PurgeEarly,
    /// A read learns how far the leader had committed, but does not wait until the state is there.
    ReadPointSkipped,
    /// The reply to entries vouches for the news that were handed out after them, sent or not, so that
    /// an old one proves that a leader still leads.
    ReplyPassesForFresh,
    /// In eventual mode, a restarted node numbers operations as the one that it was before the crash.
    SameIncarnation,
    /// A snapshot takes its name before its bytes are synced, whether it was built or received.
    SnapshotUnsynced,
    /// A snapshot claims to hold entries that came after the state in it was captured.
    SnapshotWithoutLastEntry,
    /// A snapshot does not say who the members are.
    SnapshotWithoutMembership,
    /// A snapshot holds the machine, but not the table of what was answered.
    SnapshotWithoutSessions,
    /// In eventual mode, a node answers whether or not it holds what a session has seen.
    TokenIgnored,
    /// Who is to take the leadership over is not asked to.
    TransferForgotten,
    /// A command whose reply was lost is called definitely not executed.
    UnknownAsDefinite,
    /// A restarted node does not remember for whom it voted.
    VoteForgotten,
    /// A node that has lost its disk is taken for the one it was, and votes again.
    WipedVotes,
}

#[cfg(any(test, feature = "plant"))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for everything that the current thread runs from now on, in the place of the last one.
/// `None` plants nothing.
#[cfg(any(test, feature = "plant"))]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether the bug is planted.
#[cfg(any(test, feature = "plant"))]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether the bug is planted: never, in this build.
#[cfg(not(any(test, feature = "plant")))]
pub(crate) const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Simulated clusters run side by side, most of them without a bug: one that leaks would accuse
    /// the library of what the kit has done.
    #[test]
    fn nothing_is_planted_unless_asked_for_in_this_thread() {
        assert!(!planted(Bug::NoDedup));
        plant(Some(Bug::NoDedup));
        assert!(planted(Bug::NoDedup) && !planted(Bug::LocalRead));
        let elsewhere = thread::spawn(|| planted(Bug::NoDedup)).join().unwrap();
        assert!(!elsewhere);
        plant(None);
        assert!(!planted(Bug::NoDedup));
    }
}
