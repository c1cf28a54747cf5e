//! A strongly consistent replicated state machine for your service.

mod admission;
mod applier;
mod client;
mod codec;
mod config;
mod error;
mod handle;
mod machine;
mod node;
mod observe;
mod proposal;
mod rpc;
pub mod runtime;
mod sequencer;
mod session;
mod status;
pub mod storage;
mod strong;
pub mod transport;

pub use client::{Client, ClientConfig};
pub use config::Config;
pub use error::{Error, StartError};
pub use handle::Handle;
pub use machine::StateMachine;
pub use node::{Builder, Doors, Node};
pub use status::{Member, Role, Status};
