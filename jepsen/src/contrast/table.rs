//! The table of a contrast: what each mode kept, and what it cost, side by side.
//!
//! In: a [`Contrast`]. Out: text; the README's table of the two modes is made of it.
//!
//! Does not: judge.

use std::fmt::Write;

use sixbells_checker::faults::Band;

use super::{Bill, Contrast, Side, side::percentile};
use crate::{
    checker::{Verdict, moment::duration},
    workload::Workload,
};

/// One row: what, and what is to be said of each side.
pub type Row = (String, [String; 2]);

fn time(time: std::time::Duration) -> String {
    duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// All rows. The words say also what was expected.
pub fn rows(contrast: &Contrast) -> Vec<Row> {
    let sides = [&contrast.strong, &contrast.eventual];
    let commutes = contrast.setting.workload.commutes();
    let row = |what: &str, say: &dyn Fn(&Side) -> String| (what.to_owned(), sides.map(say));
    let expected = if commutes { "expected: also linearizable" } else { "expected: to be caught" };
    let mut rows = vec![
        ("expectation".to_owned(), ["must be linearizable".to_owned(), expected.to_owned()]),
        row("linearizable", &|side| linearizable(&side.linearizable)),
        row("what it promises", &promises),
        row("operations", &|side| {
            let (during, outside) = side.bills();
            (during.attempts + outside.attempts).to_string()
        }),
        row("available, while broken", &|side| available(&side.bills().0)),
        row("latency p50 / p99, while broken", &|side| latency(&side.bills().0)),
        row("available, while whole", &|side| available(&side.bills().1)),
        row("latency p50 / p99, while whole", &|side| latency(&side.bills().1)),
        row("answers revoked", &|side| {
            format!("{} of {}", side.revoked.len(), side.acknowledged())
        }),
        row("money overspent", &|side| side.overspent().to_string()),
        row("stale reads", &|side| {
            let (stale, all) = (side.staleness.stale(), side.staleness.ages.len());
            let worst = side.staleness.worst().map_or(0, |age| age.missed);
            if all == 0 {
                "-".to_owned()
            } else {
                format!("{stale} of {all}, {worst} behind at most")
            }
        }),
        row("orders that changed", &|side| side.reordered.len().to_string()),
        row("others see a write p50 / p99", &|side| {
            let (p50, p99) = (percentile(&side.visible, 50), percentile(&side.visible, 99));
            match side.visible.is_empty() {
                true => "-".to_owned(),
                false => format!("{} / {}", time(p50), time(p99)),
            }
        }),
        row("equal after healing", &|side| side.converged.map_or("-".to_owned(), time)),
    ];
    for (at, who) in ["without a token", "with a token"].into_iter().enumerate() {
        let say = |side: &Side| {
            let judged = &side.sessions[at];
            format!("{} of {} reads", judged.lapses.len(), judged.judged)
        };
        rows.push(row(&format!("own or seen writes missed, {who}"), &say));
    }
    let workload = contrast.setting.workload;
    rows.retain(|(what, said)| match what.as_str() {
        "money overspent" => workload == Workload::Bank,
        "orders that changed" => workload == Workload::Append,
        // What a workload's reads do not say is not worth a line.
        _ => said.iter().any(|said| said != "-" && said != "0 of 0 reads"),
    });
    rows
}

/// What clients had to live with during each fault that hit both sides.
pub fn faults(contrast: &Contrast) -> Vec<Row> {
    let Contrast { strong, eventual, .. } = contrast;
    let during = |side: &Side, band: &Band| {
        let bill = side.bill(band.from, band.to.unwrap_or(side.healed));
        format!("{}, p99 {}", available(&bill), time(bill.p99))
    };
    let mut left: Vec<&Band> = eventual.bands.iter().collect();
    let mut rows = Vec::new();
    for band in &strong.bands {
        let Some(at) = left.iter().position(|other| other.detail == band.detail) else { continue };
        let other = left.remove(at);
        let seconds = |time: u64| time as f64 / 1e9;
        let (from, to) = (seconds(band.from), seconds(band.to.unwrap_or(strong.healed)));
        let what = format!("{from:.1} to {to:.1} s, {}", band.detail);
        rows.push((what, [during(strong, band), during(eventual, other)]));
    }
    rows
}

fn linearizable(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Valid { .. } => "yes".to_owned(),
        Verdict::Invalid { .. } => "no".to_owned(),
        Verdict::Unknown { .. } => "unknown".to_owned(),
    }
}

fn promises(side: &Side) -> String {
    match (&side.promises, side.mode) {
        (Err(_), _) => "BROKEN".to_owned(),
        (Ok(()), sixbells::Mode::Strong) => "kept: safety at every instant".to_owned(),
        (Ok(()), sixbells::Mode::Eventual) => "kept: converged, none lost, none twice".to_owned(),
    }
}

fn available(bill: &Bill) -> String {
    format!("{} % of {}", bill.available(), bill.attempts)
}

fn latency(bill: &Bill) -> String {
    format!("{} / {}", time(bill.p50), time(bill.p99))
}

/// The table, as text.
pub fn text(contrast: &Contrast) -> String {
    let mut out = format!("{:<46} {:<32} {}\n", "", "strong", "eventual");
    for (what, [strong, eventual]) in rows(contrast) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{what:<46} {strong:<32} {eventual}");
    }
    out
}
