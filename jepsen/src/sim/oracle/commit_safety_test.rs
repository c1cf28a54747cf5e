//! Tests of [`CommitSafety`]: quorums through crashes, changes of the membership and lost disks.

use super::{super::fixture::*, *};

/// Nodes with these voters in entry 0, on every disk.
fn stage(nodes: &[Host], voters: &[&[Host]]) -> Stage {
    let mut stage = Stage::new(CommitSafety::default());
    stage.begin(nodes);
    for node in nodes {
        stage.store(*node, &[change(0, 0, voters)]);
    }
    stage
}

#[test]
fn an_entry_on_the_disks_of_a_quorum_may_be_committed_by_all() {
    let mut stage = stage(&[1, 2, 3], &[&[1, 2, 3]]);
    stage.store(1, &[entry(1, 1)]);
    stage.store(2, &[entry(1, 1)]);
    stage.fine(&committed(1, id(1, 1)));
    stage.fine(&appended(3, &[entry(1, 1)]));
    stage.fine(&committed(3, id(1, 1)));
    stage.fine(&snapshot(1, id(1, 1), 5));
    stage.fine(&purged(1, id(1, 1)));
    assert_eq!(stage.looked(), 1);
}

#[test]
fn an_entry_on_one_disk_of_three_is_not_committed() {
    let mut stage = stage(&[1, 2, 3], &[&[1, 2, 3]]);
    stage.store(1, &[entry(1, 1)]);
    stage.fine(&appended(2, &[entry(1, 1)]));
    stage.breaks(&committed(1, id(1, 1)), "1.1 committed, but it is on the disks of {1} only");
}

#[test]
fn half_of_the_voters_are_no_quorum() {
    let mut stage = stage(&[1, 2, 3, 4], &[&[1, 2, 3, 4]]);
    stage.store(1, &[entry(1, 1)]);
    stage.store(2, &[entry(1, 1)]);
    stage.breaks(&committed(1, id(1, 1)), "no quorum of [{1, 2, 3, 4}]");
}

#[test]
fn a_learner_does_not_count() {
    let mut stage = stage(&[1, 2, 3, 4], &[&[1, 2, 3]]);
    stage.store(1, &[entry(1, 1)]);
    stage.store(4, &[entry(1, 1)]);
    stage.breaks(&committed(1, id(1, 1)), "on the disks of {1, 4} only");
}

#[test]
fn a_joint_membership_needs_a_quorum_of_both_sets() {
    let mut stage = stage(&[1, 2, 3, 4], &[&[1, 2, 3], &[2, 3, 4]]);
    for node in [1, 2] {
        stage.store(node, &[entry(1, 1)]);
    }
    stage.breaks(&committed(1, id(1, 1)), "no quorum of [{1, 2, 3}, {2, 3, 4}]");
    stage.store(3, &[entry(1, 1)]);
    stage.fine(&committed(1, id(1, 1)));
}

/// The leader has left the joint membership in its own log, commits the entry before that by the
/// new voters alone, and crashes; a follower tells first.
#[test]
fn a_follower_may_tell_of_a_quorum_of_a_membership_it_has_not_heard_of() {
    let mut stage = stage(&[1, 2, 3, 4, 5], &[&[1, 2, 3], &[3, 4, 5]]);
    stage.fine(&appended(3, &[entry(1, 1), change(1, 2, &[&[3, 4, 5]])]));
    stage.store(4, &[entry(1, 1)]);
    stage.store(5, &[entry(1, 1)]);
    stage.fine(&ended(3));
    stage.fine(&started(3, None, &[change(0, 0, &[&[1, 2, 3], &[3, 4, 5]])]));
    stage.fine(&committed(4, id(1, 1)));
}

/// The membership was in the entries that a follower cut off: the one before is in force again.
#[test]
fn a_truncated_membership_is_not_in_force() {
    let mut stage = stage(&[1, 2, 3], &[&[1]]);
    stage.store(1, &[change(1, 1, &[&[1, 2, 3]])]);
    stage.fine(&truncated(1, Some(id(0, 0))));
    stage.store(1, &[entry(2, 1)]);
    stage.fine(&committed(1, id(2, 1)));
}

#[test]
fn the_membership_in_a_snapshot_is_in_force() {
    let mut stage = stage(&[1, 2, 3], &[&[1, 2, 3]]);
    stage.store(1, &[entry(1, 1)]);
    stage.store(2, &[entry(1, 1)]);
    stage.fine(&committed(1, id(1, 1)));
    stage.fine(&purged(1, id(1, 1)));
    stage.store(1, &[entry(1, 2)]);
    stage.breaks(&committed(1, id(1, 2)), "no quorum of [{1, 2, 3}]");
    stage.store(2, &[entry(1, 2)]);
    stage.fine(&committed(1, id(1, 2)));
    assert_eq!(stage.looked(), 3);
}

/// Node 2 answered, and lost its disk before the leader told: the answer was true.
#[test]
fn a_disk_thrown_away_counts_for_what_it_held() {
    let mut stage = stage(&[1, 2, 3], &[&[1, 2, 3]]);
    stage.store(1, &[entry(1, 1)]);
    stage.store(2, &[entry(1, 1)]);
    stage.fine(&ended(2));
    stage.fine(&Observation::Wiped { node: 2 });
    stage.fine(&committed(1, id(1, 1)));
    stage.store(1, &[entry(1, 2)]);
    stage.breaks(&committed(1, id(1, 2)), "on the disks of {1} only");
}

#[test]
fn what_was_written_but_not_synced_does_not_count_after_a_restart_without_it() {
    let mut stage = stage(&[1, 2, 3], &[&[1, 2, 3]]);
    stage.store(1, &[entry(1, 1)]);
    stage.fine(&appended(2, &[entry(1, 1)]));
    stage.fine(&ended(2));
    stage.fine(&started(2, None, &[change(0, 0, &[&[1, 2, 3]])]));
    stage.breaks(&committed(1, id(1, 1)), "on the disks of {1} only");
}

#[test]
fn two_entries_cannot_be_committed_in_one_place() {
    let mut stage = stage(&[1, 2], &[&[1]]);
    stage.store(1, &[entry(1, 1)]);
    stage.fine(&committed(1, id(1, 1)));
    stage.store(2, &[entry(2, 1), entry(2, 2)]);
    stage.breaks(&committed(2, id(2, 2)), "node 2 found 2.1 with hash 7d1 committed, where 1.1");
}

#[test]
fn a_node_cannot_commit_what_its_log_does_not_hold() {
    let mut stage = stage(&[1], &[&[1]]);
    stage.breaks(&committed(1, id(1, 1)), "node 1 found 1.1 committed, and holds nothing there");
    stage.store(1, &[entry(1, 1)]);
    stage.breaks(&committed(1, id(2, 1)), "node 1 found 2.1 committed, and holds 1.1 there");
}

#[test]
fn what_a_node_found_committed_it_may_not_cut_off() {
    let mut stage = stage(&[1], &[&[1]]);
    stage.store(1, &[entry(1, 1), entry(1, 2)]);
    stage.fine(&committed(1, id(1, 1)));
    stage.breaks(&truncated(1, None), "cut its log back to nothing, and had found 1.1 committed");
    stage.fine(&truncated(1, Some(id(1, 1))));
    stage.breaks(&truncated(1, Some(id(0, 0))), "cut its log back to 0.0");
}

#[test]
fn what_is_not_committed_goes_into_no_snapshot_and_stays_in_the_log() {
    let mut stage = stage(&[1], &[&[1]]);
    stage.store(1, &[entry(1, 1)]);
    stage.breaks(&purged(1, id(1, 1)), "node 1 purged 1.1, which nobody had found committed");
    stage.breaks(&snapshot(1, id(1, 1), 5), "node 1 put into a snapshot 1.1, which nobody");
    stage.fine(&committed(1, id(1, 1)));
    stage.breaks(&purged(1, id(2, 1)), "node 1 purged 2.1, where 1.1 was committed");
}
