//! What an observer outside may read of the machine's inside: for oracles that check it after every
//! step, and for reports. Nothing here changes anything, and the machine itself asks none of it.

use super::Mesh;
use crate::id::{NodeId, RouteKey};
use crate::proto::membership::{self, Life, Reach};
use crate::proto::routes::{self, Route, Summary};

/// How much the machine keeps besides the routing table: everything here has a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loads {
    /// Of the routes layer.
    pub routes: routes::Loads,
    /// Of the membership layer.
    pub membership: membership::Loads,
}

/// Read-only, each O(log N) unless it says otherwise.
impl Mesh {
    /// The set of another node's routes that is shown here, as of which of its batches.
    pub fn held(&self, node: NodeId) -> Option<Summary> {
        self.ground.routes.held(node)
    }

    /// Rises whenever [`Mesh::held`] of some node changes. O(1).
    pub fn held_changes(&self) -> u64 {
        self.ground.routes.held_changes()
    }

    /// All shown routes of a key, whatever the state of their nodes.
    pub fn lookup(&self, key: RouteKey) -> impl Iterator<Item = Route> + '_ {
        self.ground.routes.lookup(key)
    }

    /// The nodes with a shown route for a key that frames can be sent to, this one included.
    pub fn found(&self, key: RouteKey) -> impl Iterator<Item = NodeId> + '_ {
        let membership = &self.ground.membership;
        let reachable =
            |node: &NodeId| *node == membership.me() || membership.reach(*node) != Reach::None;
        self.lookup(key).map(|route| route.node).filter(reachable)
    }

    /// All shown routes in no particular order: O(table).
    pub fn shown(&self) -> impl Iterator<Item = (RouteKey, Route)> + '_ {
        self.ground.routes.shown()
    }

    /// This node's own keys as of its last batch, ascending: O(set).
    pub fn announced(&self) -> Vec<RouteKey> {
        self.ground.routes.announced()
    }

    /// What is known of a member's life; `None`: it is not known, or was forgotten.
    pub fn life(&self, node: NodeId) -> Option<Life> {
        self.ground.membership.member(node)
    }

    /// The lives of all other members: O(N).
    pub fn lives(&self) -> impl Iterator<Item = (NodeId, Life)> + '_ {
        self.ground.membership.lives()
    }

    /// Whether there is a direct link to a node.
    pub fn is_linked(&self, node: NodeId) -> bool {
        matches!(self.ground.membership.reach(node), Reach::Direct(_))
    }

    /// Bytes of the routing table's cells. O(1) in routes.
    pub fn table_bytes(&self) -> u64 {
        self.ground.routes.table_bytes()
    }

    /// What is kept besides: O(N).
    pub fn loads(&self) -> Loads {
        Loads {
            routes: self.ground.routes.loads(),
            membership: self.ground.membership.loads(),
        }
    }
}
