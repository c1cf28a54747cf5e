//! The queue alone: what is cut into a batch when, and who gets which outcome.

use super::*;
use crate::proposal::Origin;

fn proposal(n: u64, bytes: usize) -> Proposal {
    let origin = Origin::Session { session: 1, sequence: n, floor: 0 };
    Proposal::new(u128::from(n), origin, &vec![0; bytes])
}

fn submit(queue: &Arc<Proposals>, numbers: &[u64]) -> oneshot::Receiver<Written> {
    queue.submit(numbers.iter().map(|n| proposal(*n, 8)).collect())
}

fn numbers(answering: &Answering) -> Vec<u128> {
    answering.batch().proposals().map(|proposal| proposal.request()).collect()
}

const ID: LogId = LogId { term: 1, index: 7 };

/// A lone proposal waits for nobody; those that come while a batch is under way become one.
#[test]
fn what_waits_is_proposed_together_and_in_order() {
    let queue = Arc::new(Proposals::default());
    let mut lone = submit(&queue, &[1]);
    let first = queue.cut(false).unwrap();
    let (mut pair, mut last) = (submit(&queue, &[3, 4]), submit(&queue, &[5]));
    assert!(queue.cut(false).is_none(), "one is under way");
    assert_eq!(numbers(&first), [1]);
    first.answer(Ok((ID, vec![Outcome::Opened(1)])));
    let rest = queue.cut(false).unwrap();
    assert_eq!(numbers(&rest), [3, 4, 5]);
    let mut hurried = submit(&queue, &[6]);
    let early = queue.cut(true).unwrap();
    assert_eq!(numbers(&early), [6], "it has waited for long");
    rest.answer(Ok((ID, (3..6).map(Outcome::Opened).collect())));
    let opened = |numbers: &[u64]| numbers.iter().copied().map(Outcome::Opened).collect::<Vec<_>>();
    for (written, expected) in [(&mut lone, &[1][..]), (&mut pair, &[3, 4]), (&mut last, &[5])] {
        assert_eq!(written.try_recv().unwrap(), Ok((ID, opened(expected))));
    }
    assert_eq!(hurried.try_recv(), Err(oneshot::error::TryRecvError::Empty), "not answered");
}

/// What is submitted together was admitted together, and is answered together.
#[test]
fn a_submission_is_not_torn_apart_and_a_full_batch_does_not_wait() {
    let queue = Arc::new(Proposals::default());
    let half = BATCH_BYTES / 2 + 1;
    let _written: Vec<_> = (0..4).map(|n| queue.submit(vec![proposal(n, half)])).collect();
    let mut under_way = Vec::new();
    for n in 0..3 {
        let full = queue.cut(false).unwrap();
        assert_eq!(numbers(&full), [n], "two do not fit");
        under_way.push(full);
    }
    assert!(queue.cut(false).is_none(), "what is left does not fill one");
    assert_eq!(numbers(&queue.cut(true).unwrap()), [3], "it has waited for long");
    let _more_than_full = queue.submit(vec![proposal(8, half), proposal(9, half)]);
    drop(queue.submit(vec![proposal(10, half)]));
    drop(under_way);
    assert_eq!(numbers(&queue.cut(false).unwrap()), [8, 9]);
    assert!(queue.cut(true).is_none(), "nobody waits for it any more");
}

/// An engine that ends drops what it was given: nobody may wait for ever, or be told a definite error.
#[test]
fn what_is_dropped_is_answered_with_nothing() {
    let queue = Arc::new(Proposals::default());
    let mut first = submit(&queue, &[1]);
    drop(queue.cut(false).unwrap());
    assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    let mut waiting = submit(&queue, &[2]);
    queue.close();
    let mut late = submit(&queue, &[3]);
    for written in [&mut waiting, &mut late] {
        assert_eq!(written.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
    assert!(queue.cut(false).is_none());
}
