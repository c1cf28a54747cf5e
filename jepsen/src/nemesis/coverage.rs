//! Which faults really happened.
//!
//! In goes each step of a schedule, out come a table and the gaps: faults that were asked for and
//! never fired. A run with a gap is no evidence, however green its verdict.
//!
//! Invariants:
//! - kills and pauses fired if they were installed: the target has seen the process gone;
//! - a partition fired only if its links held something back until they were healed. Cutting links
//!   that nobody uses proves nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Fault;

/// What happened to the faults of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Coverage {
    /// By fault and variant, such as `partition` `bridge`.
    pub rows: Vec<Row>,
    #[serde(skip)]
    requested: Vec<Fault>,
    #[serde(skip)]
    index: BTreeMap<(Fault, &'static str), usize>,
}

/// What happened to one variant of a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The fault.
    pub fault: &'static str,
    /// Its variant: whom it hits, or the shape of a partition.
    pub variant: &'static str,
    /// How often it was installed.
    pub installed: u64,
    /// How often it was healed.
    pub healed: u64,
    /// How often it could not be installed.
    pub skipped: u64,
    /// Bytes and connections that its cuts held back.
    pub held_back: u64,
    /// Why it was last skipped.
    pub why: Option<String>,
}

impl Coverage {
    /// Nothing happened yet, and these faults are asked for.
    pub fn new(requested: &[Fault]) -> Self {
        let mut requested = requested.to_vec();
        requested.sort_unstable();
        requested.dedup();
        Self { requested, ..Self::default() }
    }

    /// The row of a variant, made when it is first met.
    pub fn row(&mut self, fault: Fault, variant: &'static str) -> &mut Row {
        let next = self.rows.len();
        let at = *self.index.entry((fault, variant)).or_insert(next);
        if at == next {
            self.rows.push(Row { fault: fault.name(), variant, ..Row::default() });
        }
        &mut self.rows[at]
    }

    /// The faults that were asked for and never fired, in words.
    pub fn gaps(&self) -> Vec<String> {
        let silent = self.requested.iter().filter(|fault| !self.fired(**fault));
        silent.map(|fault| self.gap(*fault)).collect()
    }

    fn rows_of(&self, fault: Fault) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.fault == fault.name())
    }

    fn fired(&self, fault: Fault) -> bool {
        self.rows_of(fault).any(|row| match fault {
            Fault::Kill | Fault::Pause => row.installed > 0,
            Fault::Partition => row.held_back > 0,
        })
    }

    fn gap(&self, fault: Fault) -> String {
        let why = if self.rows_of(fault).any(|row| row.installed > 0) {
            "its cuts held nothing back".to_owned()
        } else {
            let why = self.rows_of(fault).find_map(|row| row.why.clone());
            why.unwrap_or_else(|| "the run was too short for it".to_owned())
        };
        format!("the fault {fault} was asked for but never fired: {why}")
    }

    /// A line for each variant.
    pub fn table(&self) -> Vec<String> {
        let row = |row: &Row| {
            let Row { fault, variant, installed, healed, skipped, held_back, why } = row;
            let name = format!("{fault} {variant}");
            let mut line = format!("{name:<26} {installed:>4} installed {healed:>4} healed");
            if *held_back > 0 {
                line += &format!(", held back {held_back} bytes and connections");
            }
            if let Some(why) = why {
                line += &format!(", {skipped} skipped ({why})");
            }
            line
        };
        self.rows.iter().map(row).collect()
    }
}
