//! Which node something is due for when: the moments that cursors and origins keep, in order.

use std::collections::BTreeSet;

use crate::id::NodeId;
use crate::time::Instant;

/// At most one moment per node. Who keeps it tells the one before: looking at a node's own takes no
/// search.
#[derive(Debug, Default)]
pub(super) struct Due(BTreeSet<(Instant, NodeId)>);

impl Due {
    /// A node's moment changes.
    pub(super) fn change(&mut self, node: NodeId, before: Option<Instant>, after: Option<Instant>) {
        if let Some(before) = before {
            self.0.remove(&(before, node));
        }
        if let Some(after) = after {
            self.0.insert((after, node));
        }
    }

    /// Takes the first node whose moment has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<NodeId> {
        self.0.first().filter(|(at, _)| *at <= now)?;
        self.0.pop_first().map(|(_, node)| node)
    }

    /// When the next one comes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// None is left.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
