//! The rows of the table: which histories are checked, and what is aimed at.
//!
//! Each row is a kind of history that the checker's notes set a target for. Those that depend on luck
//! are checked for many seeds.

use sixbells_checker::generate::Shape;

use crate::simulation::Size;

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) kind: Kind,
}

/// What is checked.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Registers, from calls that were read.
    Calls(Shape),
    /// Registers, from EDN in memory.
    Text(Shape),
    /// Registers, from an EDN file.
    File(Shape),
    /// One register, many seeds. With a stale read, only seeds that make it a violation count.
    Seeds(Shape),
    /// A bank, with a stale read or without.
    Bank(Size, bool),
    /// A queue.
    Queue(Size),
    /// A set that is read as a whole.
    Set(Size),
}

const KV: Shape = Shape { operations: 1_000_000, clients: 50, keys: 1000, ..Shape::UNIQUE };

const TWENTY: Shape = Shape { values: Some(20), mix: [40, 40, 20], clients: 5, ..Shape::UNIQUE };

const BANK: Size = Size { operations: 2000, clients: 10, seed: 1 };

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let row = |name, target, kind| Row { name, target, kind };
    let calls = |name, target, shape| row(name, target, Kind::Calls(shape));
    let seeds = |name, target, shape| row(name, target, Kind::Seeds(shape));
    vec![
        calls("unique, 1,000 ops, 20 clients", "1 ms", Shape::UNIQUE),
        calls(
            "unique, 1,000 ops, 20 clients, stale read",
            "1 ms",
            Shape { stale: true, ..Shape::UNIQUE },
        ),
        calls(
            "unique, 100,000 ops, 5 clients",
            "10 ms, 50 MB",
            Shape { operations: 100_000, clients: 5, ..Shape::UNIQUE },
        ),
        calls("KV, 1,000,000 ops, 50 clients, 1,000 keys", "0.1 s", KV),
        row("the same, from EDN in memory", "0.7 s", Kind::Text(KV)),
        row("the same, from an EDN file", "0.7 s", Kind::File(KV)),
        calls(
            "5 values, cas, 10,000 ops, 20 clients",
            "1 s",
            Shape { operations: 10_000, clients: 20, ..Shape::FIVE },
        ),
        seeds(
            "20 values, cas, 200 ops, 20 % crashed, stale read",
            "2 ms",
            Shape { operations: 200, crash: 0.2, stale: true, ..TWENTY },
        ),
        seeds("20 values, cas, 1,000 ops, 10 % crashed", "10 s", Shape { crash: 0.1, ..TWENTY }),
        seeds(
            "20 values, cas, 1,000 ops, 10 % crashed, stale read",
            "10 s",
            Shape { crash: 0.1, stale: true, ..TWENTY },
        ),
        seeds(
            "5 values, cas, 1,000 ops, 5 % crashed",
            "10 ms",
            Shape { crash: 0.05, ..Shape::FIVE },
        ),
        seeds(
            "5 values, cas, 1,000 ops, 20 % crashed",
            "10 ms",
            Shape { crash: 0.2, ..Shape::FIVE },
        ),
        row("bank (own model), 2,000 ops, 10 clients", "256 MB", Kind::Bank(BANK, false)),
        row("bank (own model), the same, stale read", "256 MB", Kind::Bank(BANK, true)),
        row(
            "queue, 10,000 ops, 20 clients",
            "",
            Kind::Queue(Size { operations: 10_000, clients: 20, seed: 1 }),
        ),
        row(
            "set, 5,000 ops, 20 clients, 5 % reads",
            "",
            Kind::Set(Size { operations: 5000, clients: 20, seed: 1 }),
        ),
    ]
}

/// A shape as the peers' program takes it.
pub(crate) fn arguments(shape: &Shape) -> String {
    let Shape { operations, clients, keys, values, mix: [reads, writes, swaps], .. } = shape;
    let values = values.map_or_else(|| "unique".to_owned(), |values| values.to_string());
    let stale = u8::from(shape.stale);
    let (crash, seed) = (shape.crash, shape.seed);
    format!(
        "register {operations} {clients} {keys} {values} {reads} {writes} {swaps} {crash} {stale} {seed}"
    )
}
