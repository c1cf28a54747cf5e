//! Histories made up: of a register or a map that works, by clients that call without pause.
//!
//! In go sizes, a mix and a seed; out come events. Each call takes effect at a random instant within its
//! interval, so the history is linearizable by construction. Crashed ones take effect with probability
//! one half, some time after they began, and their client goes on under a fresh process id (Jepsen's
//! rule: its old id plus the number of clients). With [`Shape::stale`], one late read is made to see a
//! value that was overwritten before it began: where values repeat, another write may have brought that
//! value back, so such a history *may* be linearizable still.
//!
//! Invariants: the same shape gives the same history, on every machine; times rise along it.
//!
//! For benchmarks and tests of checkers. It says nothing of any real system.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::history::{Event, EventType, Process, Value};

/// What to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// How many operations.
    pub operations: usize,
    /// How many clients call at once.
    pub clients: u64,
    /// How many objects; with more than one, values are `[key value]`.
    pub keys: u32,
    /// How many different values are written; `None`: each value once.
    pub values: Option<u32>,
    /// Weights of reads, writes and compare-and-sets.
    pub mix: [u32; 3],
    /// Which part of the operations crashes.
    pub crash: f64,
    /// Whether one read is made stale.
    pub stale: bool,
    /// Decides everything random.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            operations: 1000,
            clients: 5,
            keys: 1,
            values: None,
            mix: [50, 50, 0],
            crash: 0.0,
            stale: false,
            seed: 1,
        }
    }
}

/// Everything that is made is in memory: what no machine can hold should be refused, not tried.
const OPERATIONS_MAX: usize = 100_000_000;
const CLIENTS_MAX: u64 = 1_000_000;
const KEYS_MAX: u32 = 10_000_000;
/// The mean length of a call in nanoseconds; a crashed one takes effect within a few of them.
const LENGTH: f64 = 1_000_000.0;
/// How much later than its call a crashed one takes effect, in lengths.
const LATE: f64 = 3.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write(i64),
    Cas(Option<i64>, i64),
}

#[derive(Clone, Debug)]
struct Attempt {
    process: u64,
    key: u32,
    kind: Kind,
    /// What a read saw, and whether a compare-and-set succeeded.
    saw: Option<i64>,
    succeeded: bool,
    invoked: u64,
    returned: u64,
    crashed: bool,
}

/// What happens next to an attempt. At one time, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Start { client: u64 },
    Effect { attempt: usize },
    End { attempt: usize, client: u64 },
}

/// A history that was made, before it is written down as events.
#[derive(Clone, Debug)]
pub struct Made {
    keyed: bool,
    attempts: Vec<Attempt>,
    /// Begins and ends, in order.
    line: Vec<(u64, usize, bool)>,
}

struct Maker<'a> {
    shape: &'a Shape,
    rng: SmallRng,
    agenda: BinaryHeap<Reverse<(u64, u64, Moment)>>,
    scheduled: u64,
    attempts: Vec<Attempt>,
    processes: Vec<u64>,
    states: Vec<Option<i64>>,
    written: Vec<i64>,
    /// Begins and ends, in order.
    line: Vec<(u64, usize, bool)>,
}

impl Shape {
    /// A thousand reads and writes of one register by twenty clients; no value is written twice.
    pub const UNIQUE: Self = Self {
        operations: 1_000,
        clients: 20,
        keys: 1,
        values: None,
        mix: [50, 50, 0],
        crash: 0.0,
        stale: false,
        seed: 1,
    };

    /// The same by five clients with five values, and compare-and-set.
    pub const FIVE: Self = Self { values: Some(5), mix: [40, 30, 30], clients: 5, ..Self::UNIQUE };

    /// The events of a history of this shape.
    ///
    /// # Errors
    /// If the shape makes no sense: the reason.
    pub fn events(&self) -> Result<Vec<Event>, String> {
        Ok(self.make()?.events().collect())
    }

    /// A history of this shape.
    ///
    /// # Errors
    /// If the shape makes no sense: the reason.
    pub fn make(&self) -> Result<Made, String> {
        self.sensible()?;
        let keys = usize::try_from(self.keys).map_err(|error| error.to_string())?;
        let mut maker = Maker {
            shape: self,
            rng: SmallRng::seed_from_u64(self.seed),
            agenda: BinaryHeap::new(),
            scheduled: 0,
            attempts: Vec::with_capacity(self.operations),
            processes: (0..self.clients).collect(),
            states: vec![None; keys],
            written: vec![0; keys],
            line: Vec::with_capacity(2 * self.operations),
        };
        for client in 0..self.clients {
            let at = maker.length(1.0);
            maker.schedule(at, Moment::Start { client });
        }
        maker.run();
        if self.stale {
            maker.make_stale()?;
        }
        let Maker { attempts, line, .. } = maker;
        Ok(Made { keyed: self.keys > 1, attempts, line })
    }

    fn sensible(&self) -> Result<(), String> {
        let total: u64 = self.mix.iter().map(|weight| u64::from(*weight)).sum();
        let wrong = [
            (self.clients == 0, "there must be at least one client"),
            (self.keys == 0, "there must be at least one key"),
            (self.values == Some(0), "there must be at least one value"),
            (total == 0, "the mix must have a weight above 0"),
            (u32::try_from(total).is_err(), "the weights of the mix must add up to less than 2^32"),
            (self.operations > OPERATIONS_MAX, "there may be 100 million operations at most"),
            (self.clients > CLIENTS_MAX, "there may be a million clients at most"),
            (self.keys > KEYS_MAX, "there may be ten million keys at most"),
            (!(0.0..=1.0).contains(&self.crash), "the part that crashes lies between 0 and 1"),
        ];
        match wrong.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) => Err(why.to_owned()),
            None => Ok(()),
        }
    }
}

impl Maker<'_> {
    fn schedule(&mut self, at: u64, moment: Moment) {
        self.scheduled += 1;
        self.agenda.push(Reverse((at, self.scheduled, moment)));
    }

    /// A random length of time with this mean.
    fn length(&mut self, mean: f64) -> u64 {
        let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
        nanoseconds(-uniform.ln() * mean * LENGTH) + 1000
    }

    fn run(&mut self) {
        while let Some(Reverse((now, _, moment))) = self.agenda.pop() {
            match moment {
                Moment::Start { client } => self.start(now, client),
                Moment::Effect { attempt } => self.effect(attempt),
                Moment::End { attempt, client } => {
                    self.line.push((now, attempt, true));
                    if self.attempts[attempt].crashed {
                        let place = usize::try_from(client).unwrap_or(0);
                        self.processes[place] += self.shape.clients;
                    }
                    self.schedule(now + 1, Moment::Start { client });
                }
            }
        }
    }

    fn start(&mut self, now: u64, client: u64) {
        let attempt = self.attempts.len();
        if attempt >= self.shape.operations {
            return;
        }
        let key = self.rng.random_range(0..self.shape.keys);
        let kind = self.kind(key);
        let length = self.length(1.0);
        let crashed = self.rng.random_bool(self.shape.crash);
        let process = self.processes[usize::try_from(client).unwrap_or(0)];
        let returned = now + length;
        let (saw, succeeded) = (None, true);
        self.attempts.push(Attempt {
            process,
            key,
            kind,
            saw,
            succeeded,
            invoked: now,
            returned,
            crashed,
        });
        self.line.push((now, attempt, false));
        if !crashed {
            let at = now + self.rng.random_range(0..length);
            self.schedule(at, Moment::Effect { attempt });
        } else if self.rng.random_bool(0.5) {
            let at = now + self.length(LATE);
            self.schedule(at, Moment::Effect { attempt });
        }
        self.schedule(returned, Moment::End { attempt, client });
    }

    fn kind(&mut self, key: u32) -> Kind {
        let [reads, writes, swaps] = self.shape.mix;
        let at = self.rng.random_range(0..reads + writes + swaps);
        let state = self.states[key as usize];
        if at < reads {
            return Kind::Read;
        }
        if at < reads + writes {
            return Kind::Write(self.value(key));
        }
        // Mostly what is there, so that many succeed.
        let current = state.is_some() && self.rng.random_bool(0.7);
        let from = if current { state } else { Some(self.guess(key)) };
        Kind::Cas(from, self.value(key))
    }

    fn value(&mut self, key: u32) -> i64 {
        match self.shape.values {
            Some(values) => i64::from(self.rng.random_range(0..values)),
            None => {
                self.written[key as usize] += 1;
                self.written[key as usize]
            }
        }
    }

    fn guess(&mut self, key: u32) -> i64 {
        match self.shape.values {
            Some(values) => i64::from(self.rng.random_range(0..values)),
            None => (self.written[key as usize] - self.rng.random_range(0..3)).max(0),
        }
    }

    fn effect(&mut self, attempt: usize) {
        let attempt = &mut self.attempts[attempt];
        let state = &mut self.states[attempt.key as usize];
        match attempt.kind {
            Kind::Read => attempt.saw = *state,
            Kind::Write(value) => *state = Some(value),
            Kind::Cas(from, to) => {
                attempt.succeeded = *state == from;
                if attempt.succeeded {
                    *state = Some(to);
                }
            }
        }
    }

    /// Lets a read of the last tenth see what was overwritten before it began.
    fn make_stale(&mut self) -> Result<(), String> {
        let [reads, writes, _] = self.shape.mix;
        if reads == 0 || writes == 0 {
            return Err("no read can be stale: the mix has no reads, or no writes".to_owned());
        }
        let mut writes: BTreeMap<u32, Vec<(u64, u64, i64)>> = BTreeMap::new();
        for attempt in self.attempts.iter().filter(|attempt| !attempt.crashed) {
            if let Kind::Write(value) = attempt.kind {
                let write = (attempt.returned, attempt.invoked, value);
                writes.entry(attempt.key).or_default().push(write);
            }
        }
        writes.values_mut().for_each(|writes| writes.sort_unstable());
        let late = self.attempts.len() - self.attempts.len() / 10;
        let read = |attempt: &Attempt| attempt.kind == Kind::Read && !attempt.crashed;
        let mut candidates: Vec<usize> =
            (late..self.attempts.len()).filter(|at| read(&self.attempts[*at])).collect();
        while !candidates.is_empty() {
            let at = self.rng.random_range(0..candidates.len());
            let candidate = &mut self.attempts[candidates.swap_remove(at)];
            let Some(writes) = writes.get(&candidate.key) else { continue };
            let over = writes.partition_point(|(returned, ..)| *returned < candidate.invoked);
            let Some(&(_, invoked, last)) = writes[..over].last() else { continue };
            let before = writes[..over].iter().rev();
            let old = before.filter(|(returned, _, value)| *returned < invoked && *value != last);
            if let Some(&(_, _, old)) = old.take(200).last() {
                candidate.saw = Some(old);
                return Ok(());
            }
        }
        Err("no read of the last tenth could be made stale: more operations are needed".to_owned())
    }
}

impl Made {
    /// Its events, in order, each made when it is asked for: a long history takes much less memory
    /// than its events.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event> {
        self.line.iter().enumerate().map(|(index, &(time, attempt, ends))| {
            let event = self.attempts[attempt].event(ends, self.keyed);
            Event { index: index as u64, time: Some(time), ..event }
        })
    }
}

impl Attempt {
    fn event(&self, ends: bool, keyed: bool) -> Event {
        let event_type = match ends {
            false => EventType::Invoke,
            true if self.crashed => EventType::Info,
            true if !self.succeeded => EventType::Fail,
            true => EventType::Ok,
        };
        let (f, value) = match self.kind {
            Kind::Read if event_type == EventType::Ok => ("read", Value::from(self.saw)),
            Kind::Read => ("read", Value::Nil),
            Kind::Write(value) => ("write", Value::Int(value)),
            Kind::Cas(from, to) => ("cas", Value::pair(from, to)),
        };
        let value = if keyed { Value::pair(i64::from(self.key), value) } else { value };
        Event::new(Process::Client(self.process), event_type, f, value)
    }
}

fn nanoseconds(length: f64) -> u64 {
    // From a float that cannot be negative, and is far below 2^64.
    #[expect(clippy::cast_possible_truncation, reason = "whole nanoseconds are meant")]
    #[expect(clippy::cast_sign_loss, reason = "a length is not negative")]
    let whole = length as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::pairing::pair;

    #[test]
    fn a_shape_gives_what_it_says_and_the_same_each_time() {
        let shape = Shape {
            operations: 500,
            clients: 7,
            keys: 3,
            values: Some(4),
            mix: [40, 30, 30],
            crash: 0.1,
            stale: true,
            seed: 5,
        };
        let events = shape.events().unwrap();
        assert_eq!(events, shape.events().unwrap());
        assert!(events.windows(2).all(|pair| pair[0].time <= pair[1].time));
        let (_, operations) = pair(&events).unwrap();
        assert_eq!(operations.len(), 500);
        let count = |f: &str| operations.iter().filter(|o| o.f == f).count();
        assert!(count("read") > 150 && count("write") > 100 && count("cas") > 100);
        let crashed = operations.iter().filter(|o| o.returned.is_none()).count();
        assert!((20..90).contains(&crashed), "{crashed}");
        assert!(Shape { clients: 0, ..shape.clone() }.events().is_err());
        assert!(Shape { crash: 2.0, ..shape }.events().is_err());
    }
}
