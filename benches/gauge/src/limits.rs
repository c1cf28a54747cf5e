//! What of a node's configuration a bench sets.
//!
//! Owns [`Limits`]. In: a few numbers, or their text. Out: the configuration of a node. Invariant: what is not
//! set is the default, so that a bench that sets nothing measures what a user gets.
//!
//! Does not: check; the node does.

use std::{fmt, str::FromStr};

use sixbells::Config;

/// Limits that differ from the default. Each is the field of `Config` with its name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Sessions remembered.
    pub sessions_max: Option<u64>,
    /// Entries between two snapshots.
    pub snapshot_entries: Option<u64>,
    /// Bytes of commands between two snapshots.
    pub snapshot_bytes: Option<u64>,
    /// Entries kept behind a snapshot.
    pub log_keep_entries: Option<u64>,
}

/// The text of limits of which none is set.
const NONE: &str = "default";

impl Limits {
    /// No snapshot but on order.
    pub fn snapshots_on_order() -> Self {
        // Not the largest number there is, for a distance is added to an index.
        let never = Some(1 << 50);
        Self { snapshot_entries: never, snapshot_bytes: never, ..Self::default() }
    }

    pub(crate) fn config(&self) -> Config {
        let default = Config::default();
        Config {
            sessions_max: self.sessions_max.unwrap_or(default.sessions_max),
            snapshot_entries: self.snapshot_entries.unwrap_or(default.snapshot_entries),
            snapshot_bytes: self.snapshot_bytes.unwrap_or(default.snapshot_bytes),
            log_keep_entries: self.log_keep_entries.unwrap_or(default.log_keep_entries),
            ..default
        }
    }

    fn fields(&mut self) -> [(&'static str, &mut Option<u64>); 4] {
        [
            ("sessions_max", &mut self.sessions_max),
            ("snapshot_entries", &mut self.snapshot_entries),
            ("snapshot_bytes", &mut self.snapshot_bytes),
            ("log_keep_entries", &mut self.log_keep_entries),
        ]
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut own = *self;
        let set = own.fields().into_iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(if set.is_empty() { NONE.into() } else { set.join(",") }.as_str())
    }
}

impl FromStr for Limits {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut limits = Self::default();
        for part in text.split(',').filter(|part| *part != NONE) {
            let wrong = || anyhow::anyhow!("not a limit and its value: {part:?}");
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let mut fields = limits.fields().into_iter();
            let (_, field) = fields.find(|(known, _)| *known == name).ok_or_else(wrong)?;
            *field = Some(value.parse()?);
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit that is lost on the way to a node would be measured as if it had been set.
    #[test]
    fn limits_survive_the_command_line() {
        let some = Limits { sessions_max: Some(7), ..Limits::snapshots_on_order() };
        for limits in [Limits::default(), some] {
            assert_eq!(limits.to_string().parse::<Limits>().unwrap(), limits);
        }
        assert_eq!(some.config().sessions_max, 7);
        assert!("sessions=7".parse::<Limits>().is_err());
    }
}
