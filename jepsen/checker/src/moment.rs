//! Times of a history, in words.

use crate::history::Clock;

/// A time of a history, in words.
pub fn moment(clock: Clock, time: u64) -> String {
    match clock {
        Clock::Positions => format!("event {time}"),
        Clock::Nanoseconds if time < 1_000_000_000 => duration(time),
        Clock::Nanoseconds => {
            format!("{}.{:03} s", time / 1_000_000_000, time / 1_000_000 % 1000)
        }
    }
}

/// What lies between two times of a history, in words.
pub fn gap(clock: Clock, from: u64, to: u64) -> String {
    match (clock, to.saturating_sub(from)) {
        (Clock::Positions, 1) => "one event".to_owned(),
        (Clock::Positions, gap) => format!("{gap} events"),
        (Clock::Nanoseconds, gap) => duration(gap),
    }
}

/// A length of time in the largest unit that leaves a whole number, to three digits or so.
pub fn duration(nanoseconds: u64) -> String {
    match nanoseconds {
        0..10_000 => format!("{nanoseconds} ns"),
        10_000..10_000_000 => format!("{} µs", nanoseconds / 1000),
        10_000_000..10_000_000_000 => format!("{} ms", nanoseconds / 1_000_000),
        _ => format!("{} s", nanoseconds / 1_000_000_000),
    }
}
