//! scratch
use sixbells_checker::{
    budget::Budget, generate::Shape, history::pairing::pair, linearizable::*, model::*,
};
use std::time::{Duration, Instant};
fn main() {
    let rows: Vec<(&str, Shape)> = vec![
        ("uniq n=1000 c=20", Shape { clients: 20, ..Shape::default() }),
        ("uniq n=1000 c=20 stale", Shape { clients: 20, stale: true, ..Shape::default() }),
        ("uniq 100k c=5", Shape { operations: 100_000, ..Shape::default() }),
        ("uniq 100k c=5 stale", Shape { operations: 100_000, stale: true, ..Shape::default() }),
        ("KV 1M", Shape { operations: 1_000_000, clients: 50, keys: 1000, ..Shape::default() }),
        ("v5cas n=1000 c=5", Shape { values: Some(5), mix: [40, 30, 30], ..Shape::default() }),
        (
            "v5cas n=1000 c=20",
            Shape { values: Some(5), mix: [40, 30, 30], clients: 20, ..Shape::default() },
        ),
        (
            "v5cas n=10k c=20",
            Shape {
                operations: 10_000,
                values: Some(5),
                mix: [40, 30, 30],
                clients: 20,
                ..Shape::default()
            },
        ),
        (
            "v5cas n=10k c=20 stale",
            Shape {
                operations: 10_000,
                values: Some(5),
                mix: [40, 30, 30],
                clients: 20,
                stale: true,
                ..Shape::default()
            },
        ),
        (
            "v20 200 20% stale",
            Shape {
                operations: 200,
                values: Some(20),
                mix: [40, 40, 20],
                crash: 0.2,
                stale: true,
                ..Shape::default()
            },
        ),
        (
            "v20 1000 10% legal",
            Shape {
                operations: 1000,
                values: Some(20),
                mix: [40, 40, 20],
                crash: 0.1,
                ..Shape::default()
            },
        ),
        (
            "v20 1000 10% stale",
            Shape {
                operations: 1000,
                values: Some(20),
                mix: [40, 40, 20],
                crash: 0.1,
                stale: true,
                ..Shape::default()
            },
        ),
        (
            "v5cas 1000 5% legal",
            Shape {
                operations: 1000,
                values: Some(5),
                mix: [40, 30, 30],
                crash: 0.05,
                ..Shape::default()
            },
        ),
        (
            "v5cas 1000 20% legal",
            Shape {
                operations: 1000,
                values: Some(5),
                mix: [40, 30, 30],
                crash: 0.2,
                ..Shape::default()
            },
        ),
    ];
    let only = std::env::args().nth(1);
    let seeds: u64 = std::env::args().nth(2).map_or(1, |s| s.parse().unwrap());
    for (name, shape) in rows {
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        for seed in 1..=seeds {
            let shape = Shape { seed, ..shape.clone() };
            let Ok(events) = shape.events() else {
                println!("{name}: no stale");
                continue;
            };
            let (_, ops) = pair(&events).unwrap();
            macro_rules! go {
                ($model:expr) => {{
                    let mut model = $model;
                    let t = Instant::now();
                    let (calls, _) = model.calls(&ops).unwrap();
                    let read = t.elapsed();
                    let t = Instant::now();
                    let mut budget = Budget::new(Duration::from_secs(20), 4 << 30);
                    let v = check(&calls, &model, &mut budget);
                    let text = match v {
                        Verdict::Linearizable { witness } => format!("ok {:?}", witness.methods()),
                        Verdict::Violation { explanation, method } => format!(
                            "bad {method:?} {} {}",
                            explanation.operations.len(),
                            explanation.sentence
                        ),
                        Verdict::Unknown { why } => format!("unknown {why}"),
                    };
                    println!("{name} seed {seed}: {:?} (read {:?}) {text}", t.elapsed(), read);
                }};
            }
            if shape.keys > 1 { go!(Keyed::kv()) } else { go!(Register::with_cas()) }
        }
    }
}
