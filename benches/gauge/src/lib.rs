//! What the benches share: clusters of real processes, load on them, and what it cost.
//!
//! | where | what |
//! |---|---|
//! | `system` | the two doors: a [`System`] under test and a [`Connection`] to it |
//! | `sixbells`, `node`, `machine` | the system of this repository, and one node of it in a process |
//! | `limits` | what of a node's configuration is not the default |
//! | `process`, `room` | processes by seat, and what the kernel says they used; what the machine has left |
//! | `load` | closed and open loop, latencies |
//! | `row` | one cell: load between two readings of the counters, alone or while something happens |
//! | `outage` | spawn to first write, failover, transfer of the leadership |
//! | `floor` | the bare disk and network under all of it, once and as three nodes use them |
//! | `plot` | lines as SVG |
//! | `baseline` | counts beside those recorded earlier |
//!
//! Clients run in the process that measures, on the same cores as the nodes, so the figures are those of a
//! whole machine. A latency is corrected for coordinated omission in the open loop only: there it counts
//! from the moment when the request was due, not from when it could be sent.
//!
//! Does not: know any other system; those bring their own [`System`].

#![expect(
    clippy::disallowed_methods,
    reason = "it measures the real world; the doors bind the library"
)]

mod baseline;
mod floor;
mod limits;
mod load;
mod machine;
mod node;
mod outage;
mod plot;
mod process;
mod room;
mod row;
mod sixbells;
mod system;

pub use self::{
    baseline::{Baseline, Count, Report},
    floor::{bare, quorum},
    limits::Limits,
    load::{Keys, Load, Outcome, Plan, Until, Verb, drive, drive_on},
    machine::{Blob, Values},
    node::serve,
    outage::{Spread, failover, first_write, transfer},
    plot::{Line, svg},
    process::{Memory, Processes, Used, ports, store, unless_told},
    room::{Room, open_files_max},
    row::{Row, meanwhile, measure, measure_on, preload},
    sixbells::{CaughtUp, Crowd, Paused, Setup, Sixbells},
    system::{Connection, System, connections},
};
