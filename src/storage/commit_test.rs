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
    fn write(&self, ops: &[Op], sync: bool, then: Then) {
        let bytes = self.put(ops);
        then.call(
            bytes.and_then(|bytes| if sync { self.sync().map(|()| bytes) } else { Ok(bytes) }),
        );
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
    assert!(bench.log().shared.lock().recent_bytes <= RECENT_BYTES);
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
        while bench.log().shared.lock().queued() < QUEUE_WRITES {
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

/// An engine with a thread of its own, like that of the write-ahead log: a group that need not wait begins where
/// its call came from, and the next one where it ended.
struct Prompt {
    fake: Arc<Fake>,
    orders: mpsc::Sender<(bool, Then)>,
    begun_on: Mutex<Vec<thread::ThreadId>>,
    ended_on: mpsc::Sender<thread::ThreadId>,
}

impl Drop for Prompt {
    fn drop(&mut self) {
        self.ended_on.send(thread::current().id()).unwrap();
    }
}

impl Engine for Prompt {
    fn write(&self, ops: &[Op], sync: bool, then: Then) {
        self.begun_on.lock().unwrap().push(thread::current().id());
        match self.fake.put(ops) {
            Ok(_) => self.orders.send((sync, then)).unwrap(),
            Err(error) => then.call(Err(error)),
        }
    }

    fn try_write(&self, ops: &[Op], sync: bool, then: Then) -> Option<Then> {
        let appends = ops.iter().all(|op| matches!(op, Op::Append(_)));
        if !appends {
            return Some(then);
        }
        self.write(ops, sync, then);
        None
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        self.fake.read(range, bytes_max)
    }
}

/// The log, the engine's own thread, and where the engine is dropped.
struct Running {
    log: Arc<GroupCommit<Prompt>>,
    own: JoinHandle<()>,
    ended_on: mpsc::Receiver<thread::ThreadId>,
}

fn prompt(bench: &Bench) -> Running {
    let (orders, taken) = mpsc::channel::<(bool, Then)>();
    let fake = bench.fake.clone();
    let own = thread::spawn(move || {
        for (sync, then) in taken {
            then.call(if sync { fake.sync().map(|()| 1) } else { Ok(1) });
        }
    });
    let (end, ended_on) = mpsc::channel();
    let begun_on = Mutex::default();
    let engine = Prompt { fake: bench.fake.clone(), orders, begun_on, ended_on: end };
    let opened = Opened { engine, state: LogState::default(), first: 0 };
    Running { log: Arc::new(GroupCommit::start(opened).unwrap()), own, ended_on }
}

impl Running {
    /// Until no group is out.
    fn settle(&self) {
        while self.log.shared.lock().busy {
            thread::yield_now();
        }
    }

    /// Lets go of the log, and sees its engine end, but not on its own thread, which it would wait for.
    fn end(self) {
        drop(self.log);
        let own = self.own.thread().id();
        assert_ne!(self.ended_on.recv_timeout(Duration::from_secs(30)).unwrap(), own);
        self.own.join().unwrap();
    }
}

#[test]
fn a_lone_write_wakes_nobody_but_the_engine() {
    let bench = Bench::new(Fault::None);
    let running = prompt(&bench);
    let log = &running.log;
    log.append(vec![record(0)], bench.done(0));
    assert_eq!(bench.next(), (0, None));
    assert_eq!(*log.engine.begun_on.lock().unwrap(), [thread::current().id()]);
    running.settle();

    // What gathers behind it goes on from the engine's thread, and the rest is for the writer's.
    bench.fake.gated.store(true, SeqCst);
    for n in 1..9 {
        log.append(vec![record(n)], bench.done(n));
    }
    log.save_vote(Vote::default(), bench.done(9));
    assert!(bench.calls.try_recv().is_err(), "acknowledged before a sync");
    bench.fake.gated.store(false, SeqCst);
    bench.gate.send(()).unwrap();
    for n in 1..10 {
        assert_eq!(bench.next(), (n, None));
    }
    let writer = log.writer.as_ref().unwrap().thread().id();
    assert_eq!(*log.engine.begun_on.lock().unwrap().last().unwrap(), writer);
    assert_eq!(bench.fake.syncs.load(SeqCst), 3);
    running.end();
}

/// A group may be out on the engine's thread when the store goes away, or even be what lets go of it.
#[test]
fn an_engine_outlives_what_runs_on_its_thread() {
    for inside in [false, true] {
        let bench = Bench::new(Fault::None);
        let Running { log, own, ended_on } = prompt(&bench);
        bench.fake.gated.store(true, SeqCst);
        let (held, call) = (inside.then(|| log.clone()), bench.call.clone());
        let done = Box::new(move |result: io::Result<()>| {
            drop(held);
            call.send((7, result.err().map(|e| e.to_string()))).unwrap();
        });
        log.append(vec![record(0)], done);
        log.append(vec![record(1)], bench.done(8));
        // Inside, the `Done` now holds the last handle; otherwise dropping waits for both groups.
        let open = || (0..2).for_each(|_| bench.gate.send(()).unwrap());
        if inside {
            drop(log);
            open();
        } else {
            open();
            drop(log);
        }
        assert_eq!((bench.next(), bench.next()), ((7, None), (8, None)));
        let ended_on = ended_on.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_ne!(ended_on, own.thread().id());
        own.join().unwrap();
    }
}

/// The first write strikes on the caller's thread, a later one on the engine's.
#[test]
fn a_failure_is_final_on_whichever_thread_it_is_met() {
    for fault in [Fault::FailSync, Fault::FailWrite, Fault::PanicWrite] {
        for later in [false, true] {
            let bench = Bench::new(if later { Fault::None } else { fault });
            let running = prompt(&bench);
            bench.fake.gated.store(later, SeqCst);
            for n in 0..10 {
                running.log.append(vec![record(n)], bench.done(n));
            }
            if later {
                // The sync of the first group has begun, and is good unless it is what fails.
                bench.fake.gated.store(false, SeqCst);
                *bench.fake.fault.lock().unwrap() = fault;
                bench.gate.send(()).unwrap();
            }
            let good = u64::from(later && fault != Fault::FailSync);
            for n in 0..10 {
                let (m, error) = bench.next();
                assert_eq!(m, n, "Dones out of order");
                assert_eq!(error.is_none(), n < good, "write {n}: {error:?}");
            }
            running.end();
        }
    }
}
