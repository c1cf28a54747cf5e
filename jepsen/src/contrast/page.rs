//! The page of a contrast: one file that needs nothing else.
//!
//! In: a [`Contrast`]. Out: the text of a file: the verdict, the example in words, the table, a timeline of
//! both sides with what was broken, what was answered and what of it was revoked or old, and the curves of
//! staleness and of visibility.
//!
//! Invariants: no script, no request; the same contrast is the same text, byte by byte; what clients sent
//! is escaped.
//!
//! Does not: judge.

use std::{collections::BTreeSet, fmt::Write};

use sixbells_checker::page::escape;

use super::{Contrast, Outcome, Side, table};
use crate::sim::End;

/// How it looks.
const STYLE: &str = include_str!("page.css");
/// Sizes of a picture, in its own units.
const WIDTH: f64 = 1_100.0;
const LEFT: f64 = 70.0;
const ROW: f64 = 16.0;
/// How many revocations are told one by one.
const TOLD_MAX: usize = 12;

/// The file.
pub fn html(contrast: &Contrast, replay: &str) -> String {
    let setting = &contrast.setting;
    let title = format!("{} in both modes, seed {}", setting.workload, setting.seed);
    let outcome = contrast.outcome();
    let class = if outcome == Outcome::AsExpected { "good" } else { "bad" };
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"verdict {class}\">{}</p>\n<p>{}</p>\n",
        escape(&title),
        escape(&outcome.to_string()),
        escape(&sentence(&contrast.example())),
    );
    body += "<p>The same machine, commands, clients, faults and checkers. Strong mode agrees on the order, \
             then applies; eventual mode applies, then agrees on the order. Neither comes for free.</p>\n";
    body += &rows(table::rows(contrast));
    for side in [&contrast.strong, &contrast.eventual] {
        body += &format!("<h2>{} mode, client by client</h2>\n{}", side.mode, timeline(side));
    }
    body += KEY;
    body += "<h2>During each fault</h2>\n";
    body += &rows(table::faults(contrast));
    body += &curves(contrast);
    body += &revocations(&contrast.eventual);
    let _ = writeln!(body, "<p>To see it again: <code>{}</code></p>", escape(replay));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body class=\"contrast\">\n{body}</body>\n</html>\n",
        escape(&title)
    )
}

const KEY: &str = "<p><span class=\"key ok\"></span>answered \
<span class=\"key revoked\"></span>answered, then revoked \
<span class=\"key stale\"></span>a stale read \
<span class=\"key fail\"></span>refused \
<span class=\"key info\"></span>unknown; shaded: something was broken</p>\n";

/// With a capital letter and a full stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn rows(rows: Vec<table::Row>) -> String {
    let mut out = "<table>\n<tr><th></th><th>strong</th><th>eventual</th></tr>\n".to_owned();
    for (what, [strong, eventual]) in rows {
        let cells = [what, strong, eventual].map(|cell| escape(&cell));
        let _ = writeln!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{}</td></tr>",
            cells[0], cells[1], cells[2]
        );
    }
    out + "</table>\n"
}

/// Where a time stands in a picture that goes up to `end`.
fn x(time: u64, end: u64) -> f64 {
    LEFT + (WIDTH - LEFT) * time as f64 / end as f64
}

/// When something was broken.
fn shades(side: &Side, end: u64, height: f64) -> String {
    let mut out = String::new();
    for band in &side.bands {
        let (from, to) = (x(band.from, end), x(band.to.unwrap_or(end).min(end), end));
        let _ = writeln!(
            out,
            "<rect class=\"band\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{height}\"><title>{}\
             </title></rect>",
            (to - from).max(1.0),
            escape(&format!("{}: {}", band.name, band.detail)),
        );
    }
    out
}

/// One row for each client, from the first operation to the last.
fn timeline(side: &Side) -> String {
    let clients: Vec<u64> = side
        .attempts
        .iter()
        .map(|attempt| attempt.client)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let end = side.attempts.iter().filter_map(|attempt| attempt.ended).max().unwrap_or(1);
    let height = ROW * (clients.len() as f64 + 1.5);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n");
    out += &shades(side, end, height);
    let revoked: BTreeSet<u64> = side.revoked.iter().map(|r| r.number).collect();
    let stale = side.staleness.ages.iter().filter(|age| age.missed > 0);
    let stale: BTreeSet<u64> = stale.map(|age| side.operations[age.read].number).collect();
    let words = |number: u64| {
        let operation = side.operations.iter().find(|operation| operation.number == number);
        operation.map(|operation| format!("{operation:?}")).unwrap_or_default()
    };
    for attempt in &side.attempts {
        let row = clients.binary_search(&attempt.client).unwrap_or(0) as f64;
        let class = match attempt.end {
            _ if revoked.contains(&attempt.number) => "revoked",
            _ if stale.contains(&attempt.number) => "stale",
            End::Ok => "ok",
            End::Fail => "fail",
            End::Info => "info",
        };
        let (from, to) = (x(attempt.invoked, end), x(attempt.ended.unwrap_or(end), end));
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}\
             </title></rect>",
            row * ROW + 2.0,
            (to - from).max(1.5),
            ROW - 4.0,
            escape(&words(attempt.number)),
        );
    }
    for (row, client) in clients.iter().enumerate() {
        let y = (row as f64 + 0.75) * ROW;
        let _ = writeln!(out, "<text x=\"0\" y=\"{y:.1}\">client {client}</text>");
    }
    for tenth in 0..=10_u64 {
        let time = end / 10 * tenth;
        let seconds = time as f64 / 1e9;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{height}\" text-anchor=\"end\">{seconds:.1} s</text>",
            x(time, end)
        );
    }
    out + "</svg>\n"
}

/// The probability that a read is stale, by the time since the newest write was acknowledged; and that a
/// write is not yet seen elsewhere.
fn curves(contrast: &Contrast) -> String {
    let mut out = "<h2>How long others do not see a write</h2>\n".to_owned();
    let sides = [&contrast.strong, &contrast.eventual];
    let longest =
        sides.iter().filter_map(|side| side.visible.last()).max().copied().unwrap_or_default();
    let longest = longest.as_secs_f64().max(0.001);
    let height = 200.0;
    let _ = writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", height + 20.0);
    let _ = writeln!(
        out,
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT},0 V{height} H{WIDTH}\"/><text x=\"0\" y=\"12\">not \
         seen</text><text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{longest:.3} s after the \
         acknowledgement</text>",
        height + 15.0
    );
    for side in sides {
        let all = side.visible.len().max(1) as f64;
        let mut path = format!("M{LEFT},0");
        for (seen, delay) in side.visible.iter().enumerate() {
            let x = LEFT + (WIDTH - LEFT) * delay.as_secs_f64() / longest;
            let y = height * (seen as f64 + 1.0) / all;
            let _ = write!(path, " H{x:.1} V{y:.1}");
        }
        let _ = writeln!(
            out,
            "<path class=\"{}\" d=\"{path}\"><title>{}</title></path>",
            side.mode, side.mode
        );
    }
    out += "</svg>\n<table>\n<tr><th>since the newest write was acknowledged</th><th>reads that missed it, \
            strong</th><th>eventual</th></tr>\n";
    let [strong, eventual] = sides.map(|side| side.staleness.curve());
    let marks: BTreeSet<u64> = strong.iter().chain(&eventual).map(|(mark, _)| *mark).collect();
    for mark in marks {
        let share = |curve: &[(u64, f64)]| {
            let found = curve.iter().find(|(at, _)| *at == mark);
            found.map_or("-".to_owned(), |(_, share)| format!("{:.1} %", share * 100.0))
        };
        let (strong, eventual) = (share(&strong), share(&eventual));
        let _ =
            writeln!(out, "<tr><td>from {mark} ms</td><td>{strong}</td><td>{eventual}</td></tr>");
    }
    out + "</table>\n"
}

fn revocations(side: &Side) -> String {
    if side.revoked.is_empty() {
        return String::new();
    }
    let mut out = "<h2>What was revoked</h2>\n<ul>\n".to_owned();
    for revocation in side.revoked.iter().take(TOLD_MAX) {
        let _ = writeln!(out, "<li>{}</li>", escape(&format!("{revocation:?}")));
    }
    if let Some(more) = side.revoked.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "<li>and {more} more</li>");
    }
    out + "</ul>\n"
}
