//! How much memory a container takes, for the budget.
//!
//! A container that is full moves into one twice as large, and for that moment holds both. Whoever
//! charges only what is there has overdrawn before it knows: so what the next growth will take is
//! counted as soon as it is near.

/// How many entries may be added between two charges.
const SOON: usize = 1024;

/// What a list holds.
pub(super) fn list<T>(list: &Vec<T>) -> usize {
    grown(list.len(), list.capacity(), list.capacity() * size_of::<T>())
}

/// What a hash table holds, of which a part always stays free: a byte beside each entry says so.
pub(super) fn table<T>(len: usize, capacity: usize) -> usize {
    grown(len, capacity, capacity.div_ceil(7) * 8 * (size_of::<T>() + 1))
}

fn grown(len: usize, capacity: usize, bytes: usize) -> usize {
    if len + SOON > capacity && capacity > 0 { 3 * bytes } else { bytes }
}
