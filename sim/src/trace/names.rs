//! Short names: hosts by number instead of keys, lives by number instead of milliseconds.

use std::collections::BTreeMap;
use std::fmt;

use mesh::id::{Epoch, NodeId};

use crate::world::HostId;

/// The most epochs that have a number; later ones are shown without. More than any run restarts nodes.
const EPOCHS_MAX: usize = 65_536;

/// A node in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) host: HostId,
    /// Which, from 1; `None`: not known, or never started.
    pub(super) number: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: BTreeMap<NodeId, HostId>,
    epochs: BTreeMap<(HostId, Epoch), u32>,
    /// By the number of the host: its present life.
    lives: Vec<u32>,
}

impl Names {
    /// The next life of a host begins. Where two hosts run one identity, it is called by the first.
    pub(super) fn start(&mut self, host: HostId, node: NodeId, epoch: Epoch) {
        let index = usize::from(host.0);
        if self.lives.len() <= index {
            self.lives.resize(index + 1, 0);
        }
        self.lives[index] = self.lives[index].saturating_add(1);
        self.nodes.entry(node).or_insert(host);
        self.raise(host, epoch);
    }

    /// Another epoch of a host's present life.
    pub(super) fn raise(&mut self, host: HostId, epoch: Epoch) {
        if let Some(life) = self.life(host).number
            && self.epochs.len() < EPOCHS_MAX
        {
            self.epochs.insert((host, epoch), life);
        }
    }

    /// A host in its present life.
    pub(super) fn life(&self, host: HostId) -> Life {
        let number = self.lives.get(usize::from(host.0)).copied();
        Life {
            host,
            number: number.filter(|number| *number > 0),
        }
    }

    /// A host in the life of an epoch.
    pub(super) fn at(&self, host: HostId, epoch: Epoch) -> Life {
        let number = self.epochs.get(&(host, epoch)).copied();
        Life { host, number }
    }

    /// The host of a node.
    pub(super) fn host(&self, node: NodeId) -> Option<HostId> {
        self.nodes.get(&node).copied()
    }

    /// A node, whichever life of it.
    pub(super) fn node(&self, node: NodeId) -> String {
        match self.host(node) {
            Some(host) => format!("h{}", host.0),
            None => format!("{node:?}"),
        }
    }

    /// A node in the life of an epoch; 0 is no life.
    pub(super) fn node_at(&self, node: NodeId, epoch: Epoch) -> String {
        match self.host(node) {
            Some(host) => self.at(host, epoch).to_string(),
            None => format!("{node:?}.?"),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "h{}.{number}", self.host.0),
            None => write!(f, "h{}.?", self.host.0),
        }
    }
}
