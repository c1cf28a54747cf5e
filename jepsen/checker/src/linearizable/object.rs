//! One object's calls, as the algorithms see them, and what an algorithm may find.
//!
//! Invariants:
//! - the calls stand by invocation, those of one process in the order in which it made them;
//! - one call precedes another exactly if it returned *before* the other was invoked: where a clock
//!   was too coarse to tell, its times are replaced by ranks that can.

/// The end of a call that nobody knows about: it is concurrent with everything after its start.
pub const NEVER: u64 = u64::MAX;

/// The calls of one object.
#[derive(Clone, Debug)]
pub struct Object<'a, I, O> {
    /// By invocation.
    pub calls: Vec<ObjectCall<'a, I, O>>,
}

/// One call of an object.
#[derive(Debug)]
pub struct ObjectCall<'a, I, O> {
    /// What was asked.
    pub input: &'a I,
    /// What was answered, where it counts.
    pub output: Option<&'a O>,
    /// When it began.
    pub invoked: u64,
    /// When it ended; [`NEVER`] if nobody knows whether it happened.
    pub returned: u64,
}

impl<I, O> Clone for ObjectCall<'_, I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for ObjectCall<'_, I, O> {}

impl<I, O> ObjectCall<'_, I, O> {
    /// Whether it is known to have happened.
    pub fn happened(&self) -> bool {
        self.returned != NEVER
    }

    /// Whether it had ended when the other began.
    pub fn precedes<J, P>(&self, other: &ObjectCall<'_, J, P>) -> bool {
        self.returned < other.invoked
    }
}

impl<'a, I, O> Object<'a, I, O> {
    /// The same calls, each with another view of its input.
    pub fn map<J>(&self, view: impl Fn(&'a I) -> &'a J) -> Object<'a, J, O> {
        let calls = self.calls.iter().map(|call| ObjectCall {
            input: view(call.input),
            output: call.output,
            invoked: call.invoked,
            returned: call.returned,
        });
        Object { calls: calls.collect() }
    }
}

/// What an algorithm finds. Calls are meant by their position in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This order explains every answer. It holds every call that is known to have happened, and
    /// may leave out the others.
    Order(Vec<u32>),
    /// No order does.
    Contradiction(Contradiction),
}

/// Calls that cannot be ordered, whatever the others did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The calls.
    pub calls: Vec<u32>,
    /// Why not, as a sentence in pieces; empty if there is nothing more to say than that.
    pub argument: Vec<Piece>,
}

/// A piece of a sentence about calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Said as it is.
    Text(String),
    /// "process 4 read 17 (node 2, 12.204 s to 12.206 s)".
    Subject(u32),
    /// "process 2's write of 18".
    Noun(u32),
    /// "12 ms": from the end of the first call to the start of the second.
    Gap(u32, u32),
}

impl From<&str> for Piece {
    fn from(text: &str) -> Self {
        Piece::Text(text.to_owned())
    }
}

impl From<String> for Piece {
    fn from(text: String) -> Self {
        Piece::Text(text)
    }
}
