//! The group commit over an engine that can be held, made to fail, and counted.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    super::front::{QUEUE_WRITES, RECENT_BYTES},
    *,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    FailSync,
    FailWrite,
    PanicWrite,
}

/// An engine in memory. Its gate stops syncs, and its fault strikes once.
struct Fake {
    written: Mutex<Vec<Op>>,
    syncs: AtomicU64,
    fault: Mutex<Fault>,
    gate: Mutex<mpsc::Receiver<()>>,
    gated: AtomicBool,
}

impl Fake {
    fn put(&self, ops: &[Op]) -> io::Result<u64> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::FailWrite => return Err(io::Error::other("no space")),
            Fault::PanicWrite => panic!("a fault in the engine"),
            Fault::None | Fault::FailSync => {}
        }
        self.written.lock().unwrap().extend_from_slice(ops);
        Ok(1)
    }

    fn sync(&self) -> io::Result<()> {
        if self.gated.load(SeqCst) {
            self.gate.lock().unwrap().recv().unwrap();
        }
        self.syncs.fetch_add(1, SeqCst);
        let mut fault = self.fault.lock().unwrap();
        if *fault == Fault::FailSync {
            *fault = Fault::None;
            return Err(io::Error::other("the device is gone"));
        }
        Ok(())
    }
}

impl Engine for Arc<Fake> {
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<u64> {
        let bytes = self.put(ops)?;
        if sync {
            self.sync()?;
        }
        Ok(bytes)
    }

    fn read(&self, range: Range<u64>, _bytes_max: u64) -> io::Result<Vec<Record>> {
        let mut records: Vec<Record> = Vec::new();
        for op in self.written.lock().unwrap().iter() {
            match op {
                Op::Append(appended) => records.extend_from_slice(appended),
                Op::TruncateAfter(last) => {
                    let end = last.map_or(0, |last| last.index + 1);
                    records.retain(|r| r.id.index < end);
                }
                Op::SaveVote(_) | Op::SaveCommitted(_) | Op::Purge(_) => {}
            }
        }
        records.retain(|r| range.contains(&r.id.index));
        Ok(records)
    }
}

struct Bench {
    fake: Arc<Fake>,
    log: Option<GroupCommit<Arc<Fake>>>,
    gate: mpsc::Sender<()>,
    calls: mpsc::Receiver<(u64, Option<String>)>,
    call: mpsc::Sender<(u64, Option<String>)>,
}

impl Bench {
    fn new(fault: Fault) -> Self {
        let ((gate, gate_rx), (call, calls)) = (mpsc::channel(), mpsc::channel());
        let fake = Arc::new(Fake {
            written: Mutex::default(),
            syncs: AtomicU64::new(0),
            fault: Mutex::new(fault),
            gate: Mutex::new(gate_rx),
            gated: AtomicBool::new(false),
        });
        let opened = Opened { engine: fake.clone(), state: LogState::default(), first: 0 };
        let log = Some(GroupCommit::start(opened).unwrap());
        Self { fake, log, gate, calls, call }
    }

    fn log(&self) -> &GroupCommit<Arc<Fake>> {
        self.log.as_ref().unwrap()
    }

    fn done(&self, n: u64) -> Done {
        let call = self.call.clone();
        Box::new(move |result| call.send((n, result.err().map(|e| e.to_string()))).unwrap())
    }

    fn append(&self, n: u64) {
        self.log().append(vec![record(n)], self.done(n));
    }

    fn next(&self) -> (u64, Option<String>) {
        self.calls.recv_timeout(Duration::from_secs(30)).expect("a Done was never called")
    }
}

fn record(index: u64) -> Record {
    Record { id: LogId { term: 1, index }, payload: Bytes::from(index.to_string()) }
}

/// 64 callers at once must not cost 64 syncs; and while the disk is busy, what was written is
/// readable and not acknowledged.
#[test]
fn writes_that_wait_share_a_sync() {
    let bench = Bench::new(Fault::None);
    bench.fake.gated.store(true, SeqCst);
    for n in 0..64 {
        bench.append(n);
    }
    assert_eq!(bench.log().read(0..99, u64::MAX).unwrap().len(), 64);
    assert_eq!(bench.log().state().last.unwrap().index, 63);
    assert!(bench.calls.try_recv().is_err(), "acknowledged before a sync");
    bench.fake.gated.store(false, SeqCst);
    bench.gate.send(()).unwrap();
    for n in 0..64 {
        assert_eq!(bench.next(), (n, None));
    }
    assert!(bench.fake.syncs.load(SeqCst) <= 3, "{} syncs", bench.fake.syncs.load(SeqCst));
}

#[test]
fn a_committed_position_alone_needs_no_sync() {
    let mut bench = Bench::new(Fault::None);
    bench.append(0);
    assert_eq!(bench.next(), (0, None));
    let syncs = bench.fake.syncs.load(SeqCst);
    bench.log().save_committed(LogId { term: 1, index: 0 });
    bench.log = None;
    let written = bench.fake.written.lock().unwrap();
    assert!(matches!(written.last(), Some(Op::SaveCommitted(_))), "dropping writes what is queued");
    assert_eq!(bench.fake.syncs.load(SeqCst), syncs);
}

/// After a failed sync nothing may be acknowledged again, whatever later syncs say: the kernel may
/// have dropped the pages.
#[test]
fn the_first_failure_is_final() {
    for fault in [Fault::FailSync, Fault::FailWrite, Fault::PanicWrite] {
        let bench = Bench::new(fault);
        for n in 0..10 {
            bench.append(n);
        }
        for n in 0..10 {
            let (m, error) = bench.next();
            assert_eq!(m, n, "Dones out of order");
            assert!(error.is_some(), "write {n} was acknowledged after a failure");
        }
        *bench.fake.fault.lock().unwrap() = Fault::None;
        let syncs = bench.fake.syncs.load(SeqCst);
        bench.log().save_vote(Vote::default(), bench.done(10));
        assert!(bench.next().1.is_some());
        assert_eq!(bench.fake.syncs.load(SeqCst), syncs, "a failed sync was retried");
    }
}

/// A barrier waits for what came before it, even for what needed no sync then.
#[test]
fn a_barrier_syncs_what_came_before() {
    let bench = Bench::new(Fault::None);
    bench.log().append(Vec::new(), bench.done(1));
    assert_eq!(bench.next(), (1, None));
    assert_eq!(bench.fake.syncs.load(SeqCst), 0, "nothing was written yet");
    bench.log().save_committed(LogId::default());
    bench.log().append(Vec::new(), bench.done(2));
    assert_eq!(bench.next(), (2, None));
    assert_eq!(bench.fake.syncs.load(SeqCst), 1);
}

/// Entries that were cut and written anew must not be served as they were.
#[test]
fn reads_see_the_newest_entry_of_an_index() {
    let bench = Bench::new(Fault::None);
    let wide = |index, byte: u8| Record {
        id: LogId { term: u64::from(byte), index },
        payload: Bytes::from(vec![byte; RECENT_BYTES / 4]),
    };
    for index in 0..12 {
        bench.log().append(vec![wide(index, 1)], bench.done(index));
        assert_eq!(bench.next().0, index);
    }
    bench.log().truncate_after(Some(LogId { term: 1, index: 1 }), bench.done(20));
    bench.log().append(vec![wide(2, 2)], bench.done(21));
    let records = bench.log().read(0..99, u64::MAX).unwrap();
    assert_eq!(records.iter().map(|r| r.id.term).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(bench.log().read(0..99, 1).unwrap().len(), 1);
    assert!(bench.log().shared.lock().front.recent_bytes <= RECENT_BYTES);
}

/// The last handle may go away in a `Done`, on the writer thread itself.
#[test]
fn the_last_handle_may_be_dropped_by_a_done() {
    let mut bench = Bench::new(Fault::None);
    let log = Arc::new(bench.log.take().unwrap());
    bench.fake.gated.store(true, SeqCst);
    let (held, call) = (log.clone(), bench.call.clone());
    let done = Box::new(move |result: io::Result<()>| {
        drop(held);
        call.send((7, result.err().map(|e| e.to_string()))).unwrap();
    });
    log.append(vec![record(0)], done);
    drop(log);
    bench.gate.send(()).unwrap();
    assert_eq!(bench.next(), (7, None));
}

/// A disk that stands still must not let the queue grow without end; callers wait instead.
#[test]
fn callers_wait_for_a_disk_that_is_far_behind() {
    let bench = Bench::new(Fault::None);
    bench.fake.gated.store(true, SeqCst);
    // The group that is stuck may itself be as large as the queue.
    let count = 2 * QUEUE_WRITES as u64 + 200;
    thread::scope(|scope| {
        let bench = &bench;
        let (log, call) = (bench.log(), bench.call.clone());
        let caller = scope.spawn(move || {
            for n in 0..count {
                let call = call.clone();
                log.append(vec![record(n)], Box::new(move |_| call.send((n, None)).unwrap()));
            }
        });
        while bench.log().shared.lock().front.queued() < QUEUE_WRITES {
            thread::yield_now();
        }
        assert!(!caller.is_finished());
        bench.fake.gated.store(false, SeqCst);
        bench.gate.send(()).unwrap();
        for n in 0..count {
            assert_eq!(bench.next().0, n);
        }
    });
}
