//! What is counted: the list of scenarios, and those that need no node.
//!
//! Owns [`SCENARIOS`]. Each prepares, calls [`measured`](crate::measured) once, and looks whether the work was
//! done: a path that fails early is cheap.
//!
//! Invariant: the same work in every run, in one thread, unless it is a part of the work to hand it to others.

use std::{hint::black_box, sync::mpsc, time::Duration};

use anyhow::{Context, ensure};
use bytes::Bytes;
use sixbells::{
    LogEngine,
    storage::{LogId, Record, open_log},
};
use sixbells_checker::{
    budget::Budget,
    generate::Shape,
    history::pairing::pair,
    linearizable::{Verdict, check},
    model::{HistoryModel, Keyed, Register},
};

use crate::{calls, measured, nodes};

/// What is counted of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What happens below `measured`, in its thread.
    Measured,
    /// The whole process, where the work is that of other threads.
    Process,
}

/// One path.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) operations: u64,
    pub(crate) scope: Scope,
    pub(crate) run: fn() -> anyhow::Result<()>,
}

/// Every scenario, in the order of the table.
pub(crate) const SCENARIOS: &[Scenario] = &[
    one("write: one node, 64 at once", nodes::WRITES, || nodes::writes(1)),
    one("write: three nodes, entries 64 at a time", nodes::WRITES, || nodes::writes(3)),
    one("write: three nodes, one at a time", nodes::LONE_WRITES, nodes::lone_writes),
    one("write once: one node, keys instead of a session", nodes::WRITES, nodes::writes_once),
    one("apply: a node's log, after a restart", nodes::WRITES, nodes::replay),
    one("read: linearizable, one node, 64 at once", nodes::WRITES, nodes::reads),
    one("client: writes, answered at once", nodes::WRITES, calls::client),
    one("frames: requests and replies over TCP", calls::CALLS, calls::frames),
    Scenario {
        scope: Scope::Process,
        ..one("log: appends, 64 entries at a time", RECORDS, appends)
    },
    one("checker: register, unique values", Shape::UNIQUE.operations as u64, || {
        checked(&mut Register::with_cas(), &Shape::UNIQUE)
    }),
    one("checker: kv, 100 keys", KV.operations as u64, || checked(&mut Keyed::kv(), &KV)),
    one("checker: register, 5 values, compare-and-set", Shape::FIVE.operations as u64, || {
        checked(&mut Register::with_cas(), &Shape::FIVE)
    }),
];

const fn one(name: &'static str, operations: u64, run: fn() -> anyhow::Result<()>) -> Scenario {
    Scenario { name, operations, scope: Scope::Measured, run }
}

const KV: Shape = Shape { operations: 10_000, clients: 50, keys: 100, ..Shape::UNIQUE };

/// Checks a history that is linearizable by construction.
fn checked<M: HistoryModel>(model: &mut M, shape: &Shape) -> anyhow::Result<()> {
    let events = shape.events().map_err(anyhow::Error::msg)?;
    let (_, operations) = pair(&events).map_err(|error| anyhow::anyhow!(error.reason))?;
    let (calls, _) =
        model.calls(&operations).map_err(|error| anyhow::anyhow!(error.to_string()))?;
    let mut budget = Budget::new(Duration::from_secs(600), 1 << 30).explaining_for(Duration::ZERO);
    let mut verdict = None;
    measured(&mut || verdict = Some(check(black_box(&calls), model, &mut budget)));
    let legal = matches!(verdict, Some(Verdict::Linearizable { .. }));
    ensure!(legal, "not found to be linearizable");
    Ok(())
}

const RECORDS: u64 = 12_800;
const BATCH: u64 = 64;

/// Appends to the log on disk, one group after the other. Its threads do the work, so the process is counted;
/// what the disk takes is no instruction of it.
fn appends() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let log = open_log(LogEngine::Wal, dir.path())?;
    let payload = Bytes::from_static(&[7; 128]);
    let (tx, done) = mpsc::channel();
    for first in (0..RECORDS).step_by(usize::try_from(BATCH)?) {
        let id = |index| LogId { term: 1, index };
        let record = |index| Record { id: id(index), payload: payload.clone() };
        let tx = tx.clone();
        let tell = move |written| drop(tx.send(written));
        log.append((first..first + BATCH).map(record).collect(), Box::new(tell));
        done.recv().context("the log ended")??;
    }
    ensure!(log.state().last.is_some_and(|last| last.index == RECORDS - 1), "entries are missing");
    Ok(())
}
