//! Linearizability: is there one order that explains every answer?

mod object;

pub use object::{Contradiction, Decision, NEVER, Object, ObjectCall, Piece};
