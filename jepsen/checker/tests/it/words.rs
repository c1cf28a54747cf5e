//! That a contradiction is put in words, and not only listed.

use std::time::Duration;

use sixbells_checker::budget::Budget;
use sixbells_checker::generate::Shape;
use sixbells_checker::history::pairing::pair_owned;
use sixbells_checker::linearizable::{Verdict, check_operations};
use sixbells_checker::model::Register;

/// A stale read among unique values, with and without compare-and-sets and crashed calls.
#[test]
fn a_stale_read_of_a_unique_value_is_always_argued() {
    let mixes = [[50, 50, 0], [50, 30, 20]];
    let shapes = (1..=60).flat_map(|seed| mixes.map(|mix| (seed, mix)));
    let mut violations = 0;
    for (seed, mix) in shapes {
        let crash = if seed % 2 == 0 { 0.1 } else { 0.0 };
        let shape = Shape {
            operations: 200,
            clients: 6,
            mix,
            crash,
            stale: true,
            seed,
            ..Shape::default()
        };
        let events = shape.events().expect("a shape that makes sense");
        let (clock, operations) = pair_owned(events).expect("a history");
        let mut budget = Budget::new(Duration::from_secs(60), 64 << 20);
        let mut model = Register::with_cas();
        let verdict = check_operations(&mut model, &operations, clock, &[], &mut budget);
        if let Verdict::Violation { explanation, .. } = verdict.expect("registers") {
            violations += 1;
            assert!(!explanation.sentence.starts_with("no order"), "{shape:?}: {explanation}");
            assert!(explanation.culprits.len() <= 6, "{shape:?}: {explanation}");
        }
    }
    assert!(violations > 100, "only {violations} are violations");
}
