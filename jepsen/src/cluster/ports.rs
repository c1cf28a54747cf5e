//! Ports for nodes, below those that the system gives to outgoing connections.
//!
//! A node that was killed must find its port free when it starts again. A port out of the system's
//! own range could meanwhile become the near end of any connection on the machine, and the node
//! could not listen: a fault that nobody asked for. In goes a count, out come addresses.
//!
//! Invariants:
//! - the ports were free a moment ago, and all differ;
//! - harnesses that run at the same time begin at different ports, as their process ids differ.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below the lowest port that common systems give to outgoing connections (32,768 on Linux).
const FIRST: u32 = 10_240;
const COUNT: u32 = 22_016;
/// How far the starting points of two harnesses are apart: more than a cluster has nodes.
const STEP: u32 = 16;

/// As many free addresses on the loopback interface.
pub(super) fn free(count: usize) -> io::Result<Vec<SocketAddr>> {
    let start = std::process::id() % (COUNT / STEP) * STEP;
    let ports = (0..COUNT).map(|offset| FIRST + (start + offset) % COUNT);
    let addresses = ports.filter_map(|port| u16::try_from(port).ok());
    let addresses = addresses.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let free: Vec<_> = addresses.filter(|a| TcpListener::bind(a).is_ok()).take(count).collect();
    match free.len() == count {
        true => Ok(free),
        false => Err(io::Error::new(io::ErrorKind::AddrInUse, "there are not enough free ports")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_none_that_is_taken() {
        let first = free(3).unwrap();
        let _taken = TcpListener::bind(first[1]).unwrap();
        let second = free(3).unwrap();
        assert!(!second.contains(&first[1]));
        assert!(second[0] != second[1] && second[1] != second[2]);
    }
}
