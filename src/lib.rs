//! A strongly consistent replicated state machine for your service.

mod codec;
mod error;
pub mod runtime;
pub mod storage;

pub use error::{Error, StartError};

/// placeholder
#[derive(Debug)]
pub struct Client;
