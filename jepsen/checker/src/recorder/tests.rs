//! Tests of the recorder: threads, panics, dropped calls, and what it never invents.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::linearizable::Verdict;
use crate::model::Spec;

fn counter() -> impl Model<Input = (), Output = u64> {
    Spec::new(0, |count: &u64, (): &(), answer: Option<&u64>| {
        answer.is_none_or(|answer| answer == count).then_some(count + 1)
    })
}

fn verdict(recorder: &Recorder<(), u64>) -> Verdict {
    check(&recorder.calls(), &counter(), &mut Budget::new(ASSERT_TIME, ASSERT_BYTES))
}

/// Snapshots of a history that grows are histories, too: a read never stands without its write.
#[test]
fn many_threads_leave_one_history_at_every_instant() {
    let (recorder, number, done) = (Recorder::new(), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|threads| {
        let clients: Vec<_> = (0..8).map(|_| recorder.client()).collect();
        let work = clients.into_iter().map(|mut client| {
            let number = &number;
            threads.spawn(move || {
                for _ in 0..200 {
                    client.call((), || number.fetch_add(1, Ordering::Relaxed));
                }
            })
        });
        let work: Vec<_> = work.collect();
        let watch = threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if !recorder.calls().is_empty() {
                    assert!(!matches!(verdict(&recorder), Verdict::Violation { .. }));
                }
            }
        });
        work.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap();
    });
    let calls = recorder.calls();
    assert_eq!(calls.len(), 1600);
    assert!(calls.windows(2).all(|pair| pair[0].invoked < pair[1].invoked));
    assert!(calls.iter().all(|call| call.returned.is_some_and(|end| end > call.invoked)));
    recorder.assert_linearizable(&counter());
}

#[test]
fn what_nobody_knows_may_have_happened_and_its_client_is_a_fresh_process() {
    let recorder = Recorder::new();
    let (mut one, mut other) = (recorder.client(), recorder.client());
    drop(one.invoke(()));
    one.invoke(()).info();
    let _forgotten = one.invoke(());
    one.invoke(()).fail();
    one.invoke(()).ok(3);
    one.invoke(()).ok_at(4, 17);
    let _under_way = other.invoke(());
    let calls = recorder.calls();
    let seen: Vec<_> = calls.iter().map(|call| (call.process, call.output)).collect();
    let expected = [(0, None), (2, None), (3, None), (4, Some(3)), (4, Some(4)), (1, None)];
    assert_eq!(seen, expected);
    assert_eq!(calls[4].log_index, Some(17));
    assert!(calls[3].returned < Some(calls[4].invoked));
    recorder.assert_linearizable(&counter());
}

#[test]
fn a_thread_that_panics_leaves_its_call_unknown() {
    let recorder = Recorder::new();
    let mut client = recorder.client();
    let panicked = std::thread::scope(|threads| {
        let call = || client.call((), || std::panic::panic_any("the power is out"));
        threads.spawn(call).join()
    });
    assert!(panicked.is_err());
    recorder.client().call((), || 1);
    assert_eq!(recorder.calls()[0].returned, None);
    recorder.assert_linearizable(&counter());
}

#[test]
fn an_error_is_a_failure_only_if_it_is_definite() {
    let recorder = Recorder::new();
    let mut client = recorder.client();
    for error in ["refused", "timed out"] {
        let result = client.try_call((), || Err(error), |error| *error == "refused");
        assert_eq!(result, Err(error));
    }
    assert_eq!(client.try_call((), || Ok::<_, ()>(1), |()| false), Ok(1));
    let outputs: Vec<_> = recorder.calls().into_iter().map(|call| call.output).collect();
    assert_eq!(outputs, [None, Some(1)]);
}

/// A task whose call is cancelled goes on, as tasks with a timeout do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_record_across_awaits_and_a_cancelled_call_is_unknown() {
    let (recorder, number) = (Recorder::new(), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (mut client, number) = (recorder.client(), Arc::clone(&number));
        tasks.spawn(async move {
            for round in 0..20 {
                let request = async {
                    let call = client.invoke(());
                    let answer = number.fetch_add(1, Ordering::Relaxed);
                    if round % 10 == 3 {
                        std::future::pending::<()>().await;
                    }
                    call.ok(answer);
                };
                let _cancelled = tokio::time::timeout(Duration::from_millis(5), request).await;
            }
        });
    }
    tasks.join_all().await;
    let calls = recorder.calls();
    assert_eq!(calls.iter().filter(|call| call.returned.is_none()).count(), 8);
    recorder.assert_linearizable(&counter());
}

#[test]
#[should_panic(expected = "not linearizable: ")]
fn a_lost_update_fails_the_test() {
    let recorder = Recorder::new();
    recorder.client().call((), || 0);
    recorder.client().call((), || 0);
    recorder.assert_linearizable(&counter());
}

/// Times follow the counter even where threads were paused between the two.
#[test]
fn times_say_what_the_counter_says() {
    let stamp = |count, time| Stamp { count, time };
    let entry = |process, invoked, returned| Entry {
        process,
        input: (),
        invoked,
        answer: Some(Answer { output: 0, returned, log_index: None }),
    };
    // The first was paused after it returned, the last before it began.
    let entries = vec![
        entry(0, stamp(0, 10), stamp(0, 900)),
        entry(1, stamp(1, 20), stamp(1, 30)),
        entry(2, stamp(2, 5), stamp(2, 40)),
    ];
    let times: Vec<_> = timed(entries).iter().map(|call| (call.invoked, call.returned)).collect();
    assert_eq!(times, [(10, Some(30)), (31, Some(32)), (33, Some(40))]);
}
