//! Members come, go and are replaced, while the cluster goes on.

use sixbells::{Config, Error, Role};

use crate::cluster::{Cluster, addr, eventually, pass};

fn small_logs() -> Config {
    Config { snapshot_entries: 50, log_keep_entries: 5, ..Config::default() }
}

/// A node that votes before it holds the state makes the majority smaller than it looks. So the one
/// that is added votes only after its own word that it has caught up, whoever is asked to add it.
#[tokio::test(start_paused = true)]
async fn a_node_is_added_by_leader_or_follower() {
    let mut cluster = Cluster::start(3, small_logs()).await;
    let leader = cluster.leader().await;
    for n in 0..120 {
        cluster.add(leader, n, 1).await.unwrap();
    }
    for newcomer in [4, 5] {
        cluster.start_newcomer(newcomer).await;
        let asked = if newcomer == 4 { leader } else { cluster.others(leader)[0] };
        cluster.node(asked).add(newcomer, addr(newcomer)).await.unwrap();
        assert!(cluster.status(leader).voters.contains_key(&newcomer));
        let own = cluster.node(newcomer).handle().read_local(119).await;
        assert_eq!(own, Ok(1), "node {newcomer} votes, so it has caught up");
    }
    for asked in 1..=5 {
        cluster.node(asked).add(4, addr(4)).await.expect("asking again is harmless");
    }
    assert_eq!(cluster.status(leader).voters.len(), 5);
    for dead in cluster.others(4).into_iter().take(2) {
        cluster.crash(dead).await;
    }
    assert_eq!(cluster.add(4, 0, 1).await, Ok(2), "three of five are a majority");
    cluster.agree(0).await;
}

/// As long as the newcomer's disk hangs it has caught up with nothing, and must not vote.
#[tokio::test(start_paused = true)]
async fn a_newcomer_that_lags_does_not_vote() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.start_newcomer(4).await;
    cluster.remains[&4].log.hold();
    let adding = cluster.node(leader).add(4, addr(4));
    let release = async {
        eventually("node 4 learns", || cluster.status(leader).learners.contains_key(&4)).await;
        pass(5).await;
        assert!(!cluster.status(leader).voters.contains_key(&4));
        cluster.remains[&4].log.release();
    };
    let (added, ()) = futures_util::future::join(adding, release).await;
    added.unwrap();
    assert!(cluster.status(leader).voters.contains_key(&4));
}

/// The learner was added, and then the majority was lost. "Definitely not executed" would be a lie: the
/// newcomer is a member.
#[tokio::test(start_paused = true)]
async fn half_a_change_is_not_called_undone() {
    let config =
        Config { snapshot_timeout: std::time::Duration::from_secs(20), ..Config::default() };
    let mut cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.start_newcomer(4).await;
    cluster.remains[&4].log.hold();
    let adding = cluster.node(leader).add(4, addr(4));
    let cut = async {
        eventually("node 4 learns", || cluster.status(leader).learners.contains_key(&4)).await;
        cluster.isolate(leader);
        cluster.remains[&4].log.release();
    };
    let (added, ()) = futures_util::future::join(adding, cut).await;
    let error = added.unwrap_err();
    assert!(!error.is_definite(), "{error}");
    cluster.network.heal();
    let leader = cluster.leader().await;
    cluster.node(leader).add(4, addr(4)).await.expect("asking again goes on from there");
    assert!(cluster.status(leader).voters.contains_key(&4));
}

/// The members shrink to one, the leader among those that go; the last one stays. A removed leader
/// that went on calling itself one would take writes that nobody commits.
#[tokio::test(start_paused = true)]
async fn followers_and_the_leader_itself_are_removed() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    let (follower, last) = (cluster.others(leader)[0], cluster.others(leader)[1]);
    cluster.node(last).remove(follower).await.unwrap();
    cluster.node(leader).remove(follower).await.expect("it is gone already: harmless");
    cluster.node(leader).remove(77).await.expect("there never was a 77: harmless");
    cluster.node(leader).remove(leader).await.unwrap();
    eventually("the last one leads", || cluster.status(last).role == Role::Leader).await;
    eventually("the old leader knows", || cluster.status(leader).role != Role::Leader).await;
    assert_eq!(cluster.add(last, 1, 1).await, Ok(2));
    let voters: Vec<u64> = cluster.status(last).voters.into_keys().collect();
    assert_eq!(voters, [last]);
    assert!(cluster.status(last).learners.is_empty(), "{}", cluster.status(last));
    let refused = cluster.node(last).remove(last).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(reason) if reason.contains("last")), "{refused}");
    assert_eq!(cluster.add(last, 1, 1).await, Ok(3), "and still serves");
}

/// An id with another disk behind it could vote twice in a term. So an id that left never comes back,
/// not even when everybody who remembers has restarted from a snapshot.
#[tokio::test(start_paused = true)]
async fn a_removed_id_is_never_taken_in_again() {
    let mut cluster = Cluster::start(4, small_logs()).await;
    let leader = cluster.leader().await;
    let gone = cluster.others(leader)[0];
    cluster.node(leader).remove(gone).await.unwrap();
    cluster.crash(gone).await;
    cluster.start_newcomer(gone).await;
    let refused = cluster.node(leader).add(gone, addr(gone)).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(reason) if reason.contains("never used again")));

    for n in 0..100 {
        cluster.add(leader, n, 1).await.unwrap();
    }
    for id in cluster.others(gone) {
        cluster.node(id).snapshot().await.unwrap();
    }
    eventually("the removal is purged", || {
        cluster
            .others(gone)
            .iter()
            .all(|id| cluster.status(*id).purged.is_some_and(|p| p.index > 50))
    })
    .await;
    cluster.power_cut();
    for id in (1..=4).filter(|id| *id != gone) {
        cluster.start_node(id).await;
    }
    cluster.start_newcomer(gone).await;
    let leader = cluster.leader().await;
    let refused = cluster.node(leader).add(gone, addr(gone)).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(reason) if reason.contains("never used again")));
}

/// A machine dies with its disk. Removing it first would leave two voters that both have to live;
/// replacing does it in one change, while one of three is dead.
#[tokio::test(start_paused = true)]
async fn a_lost_member_is_replaced_while_it_is_dead() {
    let mut cluster = Cluster::start(3, small_logs()).await;
    let leader = cluster.leader().await;
    let lost = cluster.others(leader)[0];
    cluster.add(leader, 1, 1).await.unwrap();
    cluster.crash(lost).await;
    let same = cluster.node(leader).replace(lost, lost, addr(lost)).await.unwrap_err();
    assert!(matches!(same, Error::Refused(_)), "{same}");
    let unknown = cluster.node(leader).replace(77, 78, addr(78)).await.unwrap_err();
    assert!(matches!(unknown, Error::Refused(_)), "{unknown}");

    cluster.start_newcomer(4).await;
    let follower = cluster.others(leader).into_iter().find(|id| *id != 4).unwrap();
    cluster.node(follower).replace(lost, 4, addr(4)).await.unwrap();
    let status = cluster.status(leader);
    let voters: Vec<u64> = status.voters.keys().copied().collect();
    assert!(voters.len() == 3 && voters.contains(&4) && !voters.contains(&lost), "{status}");
    assert!(status.learners.is_empty(), "{status}");
    cluster.node(leader).replace(lost, 4, addr(4)).await.expect("asking again is harmless");

    cluster.crash(leader).await;
    assert_eq!(cluster.add(4, 1, 1).await, Ok(2), "node 4 counts in the new majority");
}

/// Data of another cluster under a member's id would be believed. It is refused, and left alone.
#[tokio::test(start_paused = true)]
async fn a_node_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.start_loner(9).await;
    assert_eq!(cluster.add(9, 1, 50).await, Ok(50), "it is a cluster of its own");
    let refused = cluster.node(leader).add(9, addr(9)).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(reason) if reason.contains("another cluster")));
    let refused = cluster.node(leader).replace(leader, 9, addr(9)).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(_)), "{refused}");
    assert_eq!(cluster.status(leader).voters.len(), 3);
    assert_eq!(cluster.add(9, 1, 1).await, Ok(51));
}

/// A node that was cut off while it was removed still takes itself for a voter. When it comes back,
/// it must neither depose the leader nor get a vote.
#[tokio::test(start_paused = true)]
async fn a_removed_node_that_missed_it_disturbs_nobody() {
    let mut cluster = Cluster::start(4, Config::default()).await;
    let leader = cluster.leader().await;
    let gone = cluster.others(leader)[0];
    cluster.isolate(gone);
    cluster.node(leader).remove(gone).await.unwrap();
    let term = cluster.status(leader).term;
    cluster.network.heal();
    cluster.crash(gone).await;
    cluster.start_node(gone).await;
    pass(30).await;
    assert_eq!((cluster.leader().await, cluster.status(leader).term), (leader, term));
    assert_ne!(cluster.status(gone).role, Role::Leader);
}

/// Nobody listens there: a definite answer, and the members are as before.
#[tokio::test(start_paused = true)]
async fn adding_a_node_that_does_not_run_changes_nothing() {
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let error = cluster.node(leader).add(4, addr(4)).await.unwrap_err();
    assert!(error.is_definite(), "{error}");
    let status = cluster.status(leader);
    assert!(status.voters.len() == 3 && status.learners.is_empty(), "{status}");
}

/// Three operators change the members at once, each through another node. Each change is relative to
/// those before it: none is refused for being second, and none undoes another.
#[tokio::test(start_paused = true)]
async fn changes_at_the_same_time_are_all_carried_out() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    cluster.add(leader, 1, 1).await.unwrap();
    for newcomer in 4..=6 {
        cluster.start_newcomer(newcomer).await;
    }
    let lost = if leader == 3 { 2 } else { 3 };
    let (four, five, six) = futures_util::future::join3(
        cluster.node(1).add(4, addr(4)),
        cluster.node(2).add(5, addr(5)),
        cluster.node(3).replace(lost, 6, addr(6)),
    )
    .await;
    assert_eq!((four, five, six), (Ok(()), Ok(()), Ok(())));
    let expected: Vec<u64> = (1..=6).filter(|id| *id != lost).collect();
    let status = cluster.status(leader);
    assert_eq!(status.voters.keys().copied().collect::<Vec<_>>(), expected, "{status}");
    assert!(status.learners.is_empty(), "{status}");
    assert_eq!(cluster.add(4, 1, 1).await, Ok(2));
}
