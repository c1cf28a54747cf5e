//! Generators: what clients do, decided by a seed.
//!
//! A [`RegisterWorkload`] or [`SetWorkload`] is shared by all clients; each client task takes the
//! generator of its worker number and asks it for one operation after the other.
//!
//! Registers: the workers are divided into groups. A group works on one key until each of its
//! workers has done its share of the operations, then goes to its next key. Keys are short lived,
//! because the cost of checking grows steeply with the operations of a key, and with those of its
//! operations that nobody knows about. Sets: each worker adds elements that nobody else adds.
//!
//! Invariants:
//! - a worker's sequence of keys, functions and written values depends on seed and worker number
//!   alone, not on timing or on other workers. One thing follows the answers: a compare-and-set
//!   expects what its worker saw last on that key, since blind guesses would all fail;
//! - written values are unique per key, so a read says whose write it saw;
//! - a key belongs to one group, and a group leaves it for good.
//!
//! It neither waits nor sends: rate and clients are the runner's part.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::history::Value;

/// An operation to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The function.
    pub f: &'static str,
    /// The key, for workloads of many objects.
    pub key: Option<i64>,
    /// The argument: a value, or a pair for a compare-and-set.
    pub argument: Value,
}

impl Invocation {
    /// The value to record: `[key argument]` if there is a key.
    pub fn value(&self) -> Value {
        self.keyed(self.argument.clone())
    }

    /// A result in the form in which it is recorded.
    pub fn keyed(&self, result: Value) -> Value {
        match self.key {
            Some(key) => Value::pair(key, result),
            None => result,
        }
    }
}

/// How often each operation is drawn, relative to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Reads.
    pub read: u32,
    /// Writes of a fresh value.
    pub write: u32,
    /// Compare-and-sets to a fresh value.
    pub cas: u32,
}

/// Read, write and compare-and-set on many registers.
#[derive(Clone, Copy, Debug)]
pub struct RegisterWorkload {
    /// The run's seed.
    pub seed: u64,
    /// How many workers there are in all.
    pub concurrency: u64,
    /// How many of them share a key. The last group may be smaller.
    pub group: u64,
    /// How many operations a full group does on a key, before it goes to the next.
    pub operations_per_key: u64,
    /// What they do.
    pub mix: Mix,
}

impl RegisterWorkload {
    /// Groups of five, 150 operations a key, and the mix of Jepsen's etcd test.
    pub fn new(seed: u64, concurrency: u64) -> Self {
        let mix = Mix { read: 2, write: 2, cas: 1 };
        Self { seed, concurrency, group: 5, operations_per_key: 150, mix }
    }

    /// The generator of one worker, counted from 0.
    ///
    /// # Panics
    ///
    /// If there is no such worker, or a size or the whole mix is zero.
    pub fn worker(&self, number: u64) -> RegisterWorker {
        assert!(number < self.concurrency, "worker {number} of {}", self.concurrency);
        assert!(self.group > 0, "a group without workers does nothing");
        assert!(self.mix.read + self.mix.write + self.mix.cas > 0, "the mix has no operations");
        let share = (self.operations_per_key / self.group).max(1);
        RegisterWorker {
            workload: *self,
            number,
            share,
            done: 0,
            seen: None,
            rng: rng(self.seed, number),
        }
    }
}

/// Generates the operations of one worker of a [`RegisterWorkload`], without end.
#[derive(Debug)]
pub struct RegisterWorker {
    workload: RegisterWorkload,
    number: u64,
    share: u64,
    done: u64,
    /// What was last seen on the present key.
    seen: Option<i64>,
    rng: SmallRng,
}

impl RegisterWorker {
    /// The next operation.
    pub fn next_operation(&mut self) -> Invocation {
        let RegisterWorkload { concurrency, group, mix, .. } = self.workload;
        let (round, step) = (self.done / self.share, self.done % self.share);
        self.done += 1;
        if step == 0 {
            self.seen = None;
        }
        let groups = concurrency.div_ceil(group);
        let key = Some(number(round * groups + self.number / group));
        // From 1, and in steps of the group's size: no two workers of a group share a value.
        let fresh = number(step * group + self.number % group + 1);
        let draw = self.rng.random_range(0..mix.read + mix.write + mix.cas);
        if draw < mix.read {
            Invocation { f: "read", key, argument: Value::Nil }
        } else if draw < mix.read + mix.write {
            Invocation { f: "write", key, argument: fresh.into() }
        } else {
            Invocation { f: "cas", key, argument: Value::pair(self.seen, fresh) }
        }
    }

    /// Tells the generator what its worker now knows to be, or to have been, in the register: the
    /// result of a read, or the value of a write or compare-and-set that succeeded.
    pub fn observe(&mut self, value: Option<i64>) {
        self.seen = value;
    }
}

/// Adds unique elements to one set; everybody reads it in the end.
#[derive(Clone, Copy, Debug)]
pub struct SetWorkload {
    /// The run's seed.
    pub seed: u64,
    /// How many workers there are in all.
    pub concurrency: u64,
    /// Of a hundred operations, how many are reads on the way.
    pub reads_percent: u32,
}

impl SetWorkload {
    /// Adds, and a read now and then.
    pub fn new(seed: u64, concurrency: u64) -> Self {
        Self { seed, concurrency, reads_percent: 2 }
    }

    /// The generator of one worker, counted from 0.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub fn worker(&self, number: u64) -> SetWorker {
        assert!(number < self.concurrency, "worker {number} of {}", self.concurrency);
        SetWorker { workload: *self, number, done: 0, rng: rng(self.seed, number) }
    }

    /// What every worker does once the adds are over and the faults are healed. It is repeated until
    /// it succeeds: without a final read there is no verdict.
    pub fn final_read() -> Invocation {
        Invocation { f: "read", key: None, argument: Value::Nil }
    }
}

/// Generates the operations of one worker of a [`SetWorkload`], without end.
#[derive(Debug)]
pub struct SetWorker {
    workload: SetWorkload,
    number: u64,
    done: u64,
    rng: SmallRng,
}

impl SetWorker {
    /// The next operation.
    pub fn next_operation(&mut self) -> Invocation {
        if self.rng.random_range(0..100) < self.workload.reads_percent {
            return SetWorkload::final_read();
        }
        let element = number(self.done * self.workload.concurrency + self.number);
        self.done += 1;
        Invocation { f: "add", key: None, argument: element.into() }
    }
}

/// A stream of its own for each worker, so that none depends on how fast another is.
pub(crate) fn rng(seed: u64, worker: u64) -> SmallRng {
    let mut of_run = SmallRng::seed_from_u64(seed);
    SmallRng::seed_from_u64(of_run.random::<u64>().wrapping_add(worker))
}

/// Keys and values are counted: no test lives long enough to reach 2^63 of them.
fn number(counted: u64) -> i64 {
    i64::try_from(counted).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn operations(seed: u64, number: u64) -> Vec<Invocation> {
        let mut worker = RegisterWorkload::new(seed, 12).worker(number);
        (0..300).map(|_| worker.next_operation()).collect()
    }

    #[test]
    fn a_worker_repeats_itself_and_nobody_else() {
        assert_eq!(operations(7, 3), operations(7, 3));
        assert_ne!(operations(7, 3), operations(8, 3));
        assert_ne!(operations(7, 3), operations(7, 4));
    }

    #[test]
    fn keys_are_short_and_belong_to_one_group_and_values_are_written_once() {
        let mut workers: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
        let mut written: BTreeSet<(i64, Value)> = BTreeSet::new();
        let mut count: BTreeMap<i64, u64> = BTreeMap::new();
        for worker in 0..12 {
            for Invocation { f, key, argument } in operations(7, worker) {
                let key = key.unwrap();
                workers.entry(key).or_default().insert(worker);
                *count.entry(key).or_default() += 1;
                let value = match (f, argument.as_pair()) {
                    ("cas", Some((_, to))) => to.clone(),
                    ("write", _) => argument,
                    _ => continue,
                };
                assert!(written.insert((key, value.clone())), "{value} twice at {key}");
            }
        }
        assert_eq!(count.len(), 30);
        assert!(count.values().all(|operations| *operations <= 150));
        let groups: BTreeSet<_> = workers.into_values().collect();
        assert_eq!(groups.iter().map(BTreeSet::len).collect::<Vec<_>>(), [5, 5, 2]);
    }

    #[test]
    fn a_cas_expects_what_its_worker_saw_on_that_key() {
        let mix = Mix { read: 0, write: 0, cas: 1 };
        let workload =
            RegisterWorkload { mix, operations_per_key: 15, ..RegisterWorkload::new(1, 5) };
        let mut worker = workload.worker(2);
        assert_eq!(worker.next_operation().value(), Value::pair(0, Value::pair(Value::Nil, 3)));
        worker.observe(Some(3));
        assert_eq!(worker.next_operation().value(), Value::pair(0, Value::pair(3, 8)));
        worker.next_operation();
        // The next key is new: nothing was seen there.
        assert_eq!(worker.next_operation().value(), Value::pair(1, Value::pair(Value::Nil, 3)));
    }

    #[test]
    fn no_element_is_added_twice() {
        let workload = SetWorkload::new(3, 4);
        let mut added = BTreeSet::new();
        for number in 0..4 {
            let mut worker = workload.worker(number);
            for _ in 0..500 {
                let operation = worker.next_operation();
                assert!(operation.f == "read" || added.insert(operation.argument));
            }
        }
        assert!(added.len() > 1800);
    }
}
