//! The links between the nodes, each through a proxy of this process, so that they can be cut.

use std::{collections::BTreeMap, net::SocketAddr};

use sixbells_jepsen::proxy::{Mode, Proxy};

/// For each pair of nodes, who dials and who is dialled.
#[derive(Default)]
pub(crate) struct Links(BTreeMap<(u64, u64), Proxy>);

impl Links {
    pub(crate) async fn open(
        ids: impl Iterator<Item = u64> + Clone,
        addr: impl Fn(u64) -> String,
    ) -> anyhow::Result<Self> {
        let mut links = BTreeMap::new();
        for from in ids.clone() {
            for to in ids.clone().filter(|to| *to != from) {
                links.insert((from, to), Proxy::listen(addr(to).parse()?).await?);
            }
        }
        Ok(Self(links))
    }

    /// Where one node reaches another, if not at its own address.
    pub(crate) fn between(&self, from: u64, to: u64) -> Option<SocketAddr> {
        self.0.get(&(from, to)).map(Proxy::address)
    }

    /// Cuts a node off from the others; clients still reach it.
    pub(crate) fn cut(&self, node: u64) {
        for ((from, to), link) in &self.0 {
            if node == *from || node == *to {
                link.set_mode(Mode::Blackhole);
            }
        }
    }

    pub(crate) fn heal(&self) {
        self.0.values().for_each(|link| link.set_mode(Mode::Pass));
    }
}
