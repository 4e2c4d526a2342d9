//! What an observer outside may read of this layer, see [`Mesh`](crate::proto::Mesh).

use super::{Route, Routes, Summary};
use crate::id::{NodeId, RouteKey};

/// How much this layer keeps besides the shown routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loads {
    /// Operations in the log of this node's own batches, at most [`Config::log_ops`](super::Config).
    pub log_ops: usize,
    /// Peers with a cursor into that log.
    pub feeds: usize,
    /// Different snapshots of this node's own set that are being sent.
    pub snapshots: usize,
    /// Other nodes that are kept track of, marks of purged ones included.
    pub origins: usize,
    /// Requests planned or under way: at most one for each of those.
    pub asks: usize,
    /// Slots of the table ever used at the same time.
    pub slots: usize,
    /// Routes in the table, also those being built or swept.
    pub table: u64,
    /// Routes that snapshots under way have still to bring.
    pub reserved: u64,
}

impl Routes {
    /// The shown set of another node.
    pub fn held(&self, node: NodeId) -> Option<Summary> {
        self.origins.held(node)
    }

    /// Rises whenever [`Routes::held`] of some node changes.
    pub fn held_changes(&self) -> u64 {
        self.stats.batches_applied + self.stats.snapshots_received + self.stats.sets_purged
    }

    /// All shown routes.
    pub fn shown(&self) -> impl Iterator<Item = (RouteKey, Route)> + '_ {
        self.sets.all_shown()
    }

    /// This node's own keys as of its last batch, ascending.
    pub fn announced(&self) -> Vec<RouteKey> {
        let chunks = self.own.share();
        chunks
            .iter()
            .flat_map(|chunk| chunk.iter().copied())
            .collect()
    }

    /// Bytes of the table's cells.
    pub fn table_bytes(&self) -> u64 {
        self.sets.bytes() as u64
    }

    /// What is kept besides.
    pub fn loads(&self) -> Loads {
        Loads {
            log_ops: self.own.log().ops(),
            feeds: self.feeds.len(),
            snapshots: self.feeds.snapshots(),
            origins: self.origins.len(),
            asks: self.origins.asks(),
            slots: self.sets.slots(),
            table: self.sets.len(),
            reserved: self.origins.reserved(),
        }
    }
}
