//! Eventual mode: apply, then agree on the order.

mod replica;
mod stamp;
mod tail;
#[cfg(test)]
mod suite;
