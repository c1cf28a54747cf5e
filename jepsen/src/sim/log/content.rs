//! Content: what a simulated log holds, by index.
//!
//! In: writes, one after the other. Out: records, and the [`LogState`].
//!
//! Invariants: those of the door: a purge beyond the end leaves an empty log that goes on from there,
//! a truncation beyond the end changes nothing. What no correct node writes is taken as it comes: the
//! oracles are to see it.
//!
//! Does not: know which write is durable.

use std::{collections::BTreeMap, ops::Range};

use sixbells::storage::{LogId, LogState, Record};

use super::frame::Write;

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) state: LogState,
    records: BTreeMap<u64, Record>,
}

fn behind(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

impl Content {
    pub(super) fn carry_out(&mut self, write: &Write) {
        let state = &mut self.state;
        match write {
            Write::Append(records) => {
                for record in records {
                    self.records.insert(record.id.index, record.clone());
                }
                let last = self.records.last_key_value().map(|(_, record)| record.id);
                state.last = last.or(state.last);
            }
            Write::Vote(vote) => state.vote = Some(*vote),
            Write::Committed(upto) => state.committed = Some(*upto),
            Write::Truncate(last) => {
                let keep = if behind(*last) > behind(state.purged) { *last } else { state.purged };
                if behind(keep) < behind(state.last) {
                    state.last = keep;
                    drop(self.records.split_off(&behind(keep)));
                }
            }
            Write::Purge(upto) if behind(state.purged) <= upto.index => {
                state.purged = Some(*upto);
                self.records = self.records.split_off(&(upto.index + 1));
                if behind(state.last) <= upto.index {
                    state.last = Some(*upto);
                }
            }
            Write::Purge(_) => {}
        }
    }

    pub(super) fn read(&self, range: Range<u64>, bytes_max: u64) -> Vec<Record> {
        if range.is_empty() {
            return Vec::new();
        }
        let mut bytes = 0;
        let mut taken = Vec::new();
        for record in self.records.range(range).map(|(_, record)| record) {
            bytes += record.payload.len() as u64;
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.push(record.clone());
        }
        taken
    }
}
