//! Which of the two modes.
//!
//! Owns [`Mode`], by the name that configurations, command lines and error messages use.
//!
//! Does not: decide anything. A node's mode is how it was started (`Builder`), a client's is in its
//! configuration.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// When the order of commands is agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// First: agree on the order, then apply. Started by [`Builder::start`](crate::Builder::start).
    #[default]
    Strong,
    /// Later: apply, then agree on the order. Started by
    /// [`Builder::start_eventual`](crate::Builder::start_eventual).
    Eventual,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Strong => "strong",
            Mode::Eventual => "eventual",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "strong" => Ok(Mode::Strong),
            "eventual" => Ok(Mode::Eventual),
            _ => Err(format!("no mode {name:?}; there are \"strong\" and \"eventual\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_one_name() {
        for mode in [Mode::Strong, Mode::Eventual] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("Eventual".parse::<Mode>().unwrap_err().contains("\"eventual\""));
        assert_eq!(Mode::default(), Mode::Strong);
    }
}
