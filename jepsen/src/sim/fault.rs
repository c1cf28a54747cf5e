//! Faults: what can break, or be asked for, in a simulated cluster.
//!
//! Owns [`Fault`], one thing that happens, with its size; [`Kind`], its name; and [`Whom`], whom it
//! hits. In: a kind and a random source. Out: a fault.
//!
//! Invariant: a fault is data. Carrying it out is the [`nemesis`](super::nemesis)'s part.
//!
//! Does not: know when. That is the [`plan`](super::plan)'s part.

use std::{fmt, str::FromStr, time::Duration};

use rand::{RngExt, rngs::SmallRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

/// Whom a fault hits, decided when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// The leader of that moment.
    Leader,
    /// One of the others, counted round.
    Follower(u64),
}

/// How a network falls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    /// One node alone, both ways.
    Alone(Whom),
    /// One node is not heard by the others.
    Mute(Whom),
    /// One node does not hear the others.
    Deaf(Whom),
    /// Two halves, by a number that shuffles the nodes.
    Halves(u64),
    /// Two halves that both see one node, and each other not.
    Bridge(u64),
    /// Every node sees a majority, but no two see the same one.
    Ring(u64),
    /// Only the link between two nodes.
    Pair(u64),
    /// A node is cut off from all clients.
    Clients(Whom),
}

/// Something that happens to the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// kill -9; restarted at its end. What the process wrote, the system keeps.
    Kill(Whom),
    /// Power loss of one host: what was not synced is lost, or torn.
    Power(Whom),
    /// Power loss in the middle of what the disk does, after so many operations of it.
    PowerDuring(Whom, u32),
    /// Power loss of the whole cluster.
    Blackout,
    /// SIGSTOP, SIGCONT.
    Pause(Whom),
    /// Some links are cut.
    Partition(Cut),
    /// Messages are lost, with this probability.
    Loss(f64),
    /// Messages arrive twice, with this probability; the second one perhaps much later.
    Duplicates(f64),
    /// All messages of one host take up to this long.
    SlowLinks(Whom, Duration),
    /// Connections of one host break, again and again.
    Resets(Whom),
    /// A host's clock runs at this rate.
    ClockRate(Whom, f64),
    /// A host's clock jumps forward.
    ClockJump(Whom, Duration),
    /// The leader's clock is slow, all others are fast, and the leader is cut off from the others,
    /// but not from the clients: what a lease cannot survive.
    Skew,
    /// The next sync fails.
    SyncFails(Whom),
    /// The disk is full after so many more bytes, until its end.
    DiskFull(Whom, u64),
    /// Syncs take this many times as long.
    SlowDisk(Whom, u32),
    /// The disk answers nobody.
    Stall(Whom),
    /// A bit of what is on a host's disk flips while it is down; it must refuse to start, and is
    /// replaced.
    Rot(Whom),
    /// A host loses its disk and comes back empty under its old name; it must be refused, and is
    /// replaced.
    LostDisk(Whom),
    /// A node joins.
    Add,
    /// A node leaves.
    Remove(Whom),
    /// The leadership is handed over.
    Transfer(u64),
    /// Every node takes a snapshot.
    Snapshots,
    /// A node is shut down in good order and started again.
    Restart(Whom),
    /// All nodes are, one after the other.
    RollingRestart,
}

macro_rules! kinds {
    ($($kind:ident $name:literal),* $(,)?) => {
        /// The name of a [`Fault`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = concat!("See [`Fault::", stringify!($kind), "`].")] $kind),* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// The word for it.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),* }
            }

            /// What a run counts when it was carried out.
            pub fn reached(self) -> &'static str {
                match self { $(Kind::$kind => concat!("fault: ", $name)),* }
            }
        }
    };
}

kinds! {
    Kill "kill", Power "power", PowerDuring "power-during", Blackout "blackout", Pause "pause",
    Partition "partition", Loss "loss", Duplicates "duplicates", SlowLinks "slow-links",
    Resets "resets", ClockRate "clock-rate", ClockJump "clock-jump", Skew "skew",
    SyncFails "sync-fails", DiskFull "disk-full", SlowDisk "slow-disk", Stall "stall", Rot "rot",
    LostDisk "lost-disk", Add "add", Remove "remove", Transfer "transfer", Snapshots "snapshots",
    Restart "restart", RollingRestart "rolling-restart",
}

impl Kind {
    /// What may also be asked of a healthy cluster: it must not need luck.
    pub const CALM: &[Kind] = &[
        Kind::Transfer,
        Kind::Snapshots,
        Kind::Add,
        Kind::Remove,
        Kind::LostDisk,
        Kind::RollingRestart,
    ];

    /// What means something in strong mode alone.
    pub const STRONG: &[Kind] =
        &[Kind::Rot, Kind::LostDisk, Kind::Add, Kind::Remove, Kind::Transfer, Kind::Snapshots];

    /// A fault of this kind.
    pub fn draw(self, rng: &mut SmallRng, nodes: u64) -> Fault {
        let number = rng.random_range(0..1_000);
        let whom = match rng.random_bool(0.5) {
            true => Whom::Leader,
            false => Whom::Follower(rng.random_range(0..nodes)),
        };
        match self {
            Kind::Kill => Fault::Kill(whom),
            Kind::Power => Fault::Power(whom),
            Kind::PowerDuring => Fault::PowerDuring(whom, rng.random_range(1..60)),
            Kind::Blackout => Fault::Blackout,
            Kind::Pause => Fault::Pause(whom),
            Kind::Partition => Fault::Partition(draw_cut(rng, whom, number)),
            Kind::Loss => Fault::Loss(rng.random_range(0.01..0.4)),
            Kind::Duplicates => Fault::Duplicates(rng.random_range(0.05..0.5)),
            Kind::SlowLinks => {
                Fault::SlowLinks(whom, Duration::from_millis(rng.random_range(20..800)))
            }
            Kind::Resets => Fault::Resets(whom),
            Kind::ClockRate => {
                Fault::ClockRate(whom, *[0.3, 0.7, 1.4, 3.0].choose(rng).unwrap_or(&2.0))
            }
            Kind::ClockJump => {
                Fault::ClockJump(whom, Duration::from_millis(rng.random_range(10..60_000)))
            }
            Kind::Skew => Fault::Skew,
            Kind::SyncFails => Fault::SyncFails(whom),
            Kind::DiskFull => Fault::DiskFull(whom, rng.random_range(0..4_000)),
            Kind::SlowDisk => Fault::SlowDisk(whom, rng.random_range(5..100)),
            Kind::Stall => Fault::Stall(whom),
            Kind::Rot => Fault::Rot(whom),
            Kind::LostDisk => Fault::LostDisk(whom),
            Kind::Add => Fault::Add,
            Kind::Remove => Fault::Remove(whom),
            Kind::Transfer => Fault::Transfer(number),
            Kind::Snapshots => Fault::Snapshots,
            Kind::Restart => Fault::Restart(whom),
            Kind::RollingRestart => Fault::RollingRestart,
        }
    }
}

fn draw_cut(rng: &mut SmallRng, whom: Whom, number: u64) -> Cut {
    let cuts = [
        Cut::Alone(whom),
        Cut::Mute(whom),
        Cut::Deaf(whom),
        Cut::Halves(number),
        Cut::Bridge(number),
        Cut::Ring(number),
        Cut::Pair(number),
        Cut::Clients(whom),
    ];
    *cuts.choose(rng).unwrap_or(&Cut::Alone(whom))
}

impl Fault {
    /// Its name.
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Kill(_) => Kind::Kill,
            Fault::Power(_) => Kind::Power,
            Fault::PowerDuring(..) => Kind::PowerDuring,
            Fault::Blackout => Kind::Blackout,
            Fault::Pause(_) => Kind::Pause,
            Fault::Partition(_) => Kind::Partition,
            Fault::Loss(_) => Kind::Loss,
            Fault::Duplicates(_) => Kind::Duplicates,
            Fault::SlowLinks(..) => Kind::SlowLinks,
            Fault::Resets(_) => Kind::Resets,
            Fault::ClockRate(..) => Kind::ClockRate,
            Fault::ClockJump(..) => Kind::ClockJump,
            Fault::Skew => Kind::Skew,
            Fault::SyncFails(_) => Kind::SyncFails,
            Fault::DiskFull(..) => Kind::DiskFull,
            Fault::SlowDisk(..) => Kind::SlowDisk,
            Fault::Stall(_) => Kind::Stall,
            Fault::Rot(_) => Kind::Rot,
            Fault::LostDisk(_) => Kind::LostDisk,
            Fault::Add => Kind::Add,
            Fault::Remove(_) => Kind::Remove,
            Fault::Transfer(_) => Kind::Transfer,
            Fault::Snapshots => Kind::Snapshots,
            Fault::Restart(_) => Kind::Restart,
            Fault::RollingRestart => Kind::RollingRestart,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("no fault {name:?}; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_kind_draws_a_fault_of_its_own_and_is_known_by_its_name() {
        let mut rng = SmallRng::seed_from_u64(1);
        for kind in Kind::ALL {
            assert_eq!(kind.draw(&mut rng, 3).kind(), *kind);
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
        assert!("fire".parse::<Kind>().unwrap_err().contains("kill, power"));
    }
}
