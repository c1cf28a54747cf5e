//! What a node takes on at once.
//!
//! Owns the bounds on requests and bytes under way, and on the size of each. Beyond them a request is refused at once, with a
//! definite error: a queue would only make everybody wait until their deadlines pass.
//!
//! Invariant: what is admitted never exceeds `Config::in_flight_max` requests and
//! `Config::in_flight_bytes_max` bytes, the latter counted in whole KiB.
//!
//! Does not: order or delay anything.

use crate::{
    config::Config,
    error::Error,
    machine::Accepts,
    places::{Places, Taken},
    proposal::{Origin, Proposal},
};

#[derive(Debug)]
pub(crate) struct Admission {
    requests: Places,
    kib: Places,
    command_bytes_max: usize,
    sessions_max: u64,
    keys_max: u64,
}

/// The place that an admitted request takes until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    _request: Taken<'a>,
    _kib: Taken<'a>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            requests: Places::new(config.in_flight_max),
            kib: Places::new(kib(config.in_flight_bytes_max)),
            command_bytes_max: config.command_bytes_max,
            sessions_max: config.sessions_max,
            keys_max: config.keys_max,
        }
    }

    /// Refuses what is over the limit.
    pub(crate) fn fits(&self, what: &str, bytes: &[u8]) -> Result<(), Error> {
        let (found, limit) = (bytes.len(), self.command_bytes_max);
        match found <= limit {
            true => Ok(()),
            false => Err(Error::TooLarge(format!("{what} of {found} bytes, the limit is {limit}"))),
        }
    }

    /// Takes a proposal on, with the limits of this node, if it can be carried out.
    pub(crate) fn take_on(
        &self,
        proposal: Proposal,
        accepts: Accepts,
    ) -> Result<(Proposal, Permit<'_>), Error> {
        self.fits("command", proposal.command())?;
        let proposal = proposal.limited(self.sessions_max, self.keys_max);
        if !matches!(proposal.origin(), Origin::Open { .. }) {
            accepts(proposal.command())
                .map_err(|e| Error::Refused(format!("not a command of this machine: {e}")))?;
        }
        let permit = self.admit(proposal.command().len())?;
        Ok((proposal, permit))
    }

    pub(crate) fn admit(&self, bytes: usize) -> Result<Permit<'_>, Error> {
        let full = |what: &'static str| {
            metrics::counter!("sixbells_shed_total", "reason" => what).increment(1);
            Error::Overloaded(format!("too many {what} under way"))
        };
        let request = self.requests.take(1).ok_or_else(|| full("requests"))?;
        let kib = self.kib.take(kib(bytes)).ok_or_else(|| full("bytes"))?;
        Ok(Permit { _request: request, _kib: kib })
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_refused_and_admitted_once_another_left() {
        let config = Config { in_flight_max: 2, in_flight_bytes_max: 3 << 10, ..Config::default() };
        let admission = Admission::new(&config);
        let first = admission.admit(2_000).unwrap();
        let refused = admission.admit(2_000).unwrap_err();
        assert!(refused.is_definite() && refused.to_string().contains("bytes"), "{refused}");
        let _second = admission.admit(1).unwrap();
        assert!(admission.admit(0).unwrap_err().to_string().contains("requests"));
        drop(first);
        admission.admit(2_000).unwrap();
    }
}
