//! A strongly consistent replicated state machine for your service.
