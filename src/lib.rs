//! A strongly consistent replicated state machine for your service.

mod applier;
mod codec;
mod error;
mod machine;
mod proposal;
pub mod runtime;
mod session;
pub mod storage;

pub use error::{Error, StartError};
pub use machine::StateMachine;

/// placeholder
#[derive(Debug)]
pub struct Client;
