//! What this layer asks of those below it.

use crate::id::{NodeId, RouteKey, UserName};
use crate::proto::view::{Sight, View};
use crate::time::Now;

/// The questions of this layer, answered by the machine's [`View`]; its tests answer from plain tables.
pub trait Facts {
    /// The moment.
    fn now(&self) -> Now;

    /// The route key of a user.
    fn key(&self, user: &UserName) -> RouteKey;

    /// Whether somebody with this key is there.
    fn sight(&self, key: RouteKey) -> Sight;

    /// Visits the nodes, this one included, that have a session for a key and can be reached.
    fn each_node_with(&self, key: RouteKey, visit: &mut dyn FnMut(NodeId));
}

impl Facts for View<'_> {
    fn now(&self) -> Now {
        self.now
    }

    fn key(&self, user: &UserName) -> RouteKey {
        View::key(self, user)
    }

    fn sight(&self, key: RouteKey) -> Sight {
        View::sight(self, key)
    }

    fn each_node_with(&self, key: RouteKey, visit: &mut dyn FnMut(NodeId)) {
        self.nodes_with(key).for_each(visit);
    }
}
