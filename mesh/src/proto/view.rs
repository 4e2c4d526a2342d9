//! Questions that span membership and routes, answered read-only for the layers above.

use crate::id::{NodeId, RouteHasher, RouteKey, Slot, UserName};
use crate::proto::membership::{Membership, Reach, State};
use crate::proto::placement::Placement;
use crate::proto::routes::Routes;
use crate::time::Now;

/// What streams and chat may know of the layers below, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Who is alive.
    pub membership: &'a Membership,
    /// Who serves whom.
    pub routes: &'a Routes,
    /// Who ought to keep what.
    pub placement: &'a Placement,
    /// Makes route keys.
    pub hasher: &'a RouteHasher,
    /// The set of some member that has not left, nor been down for over ten minutes, is not here.
    pub sets_missing: bool,
    /// The moment.
    pub now: Now,
}

/// Whether a user is there, from the last known routes. Ordered from the worst to the best row of the
/// table: of several routes the best counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// The node has left, or came back without the user.
    Gone,
    /// The node that knew is down, or its present set is not here.
    Unknown,
    /// The node is suspected.
    Doubtful,
    /// The node is alive.
    Here,
}

impl Sight {
    /// Has a session, as far as is known.
    pub fn online(self) -> bool {
        self >= Self::Doubtful
    }

    /// False: the node that knew is unreachable, not known dead.
    pub fn certain(self) -> bool {
        matches!(self, Self::Here | Self::Gone)
    }
}

impl View<'_> {
    /// This node.
    pub fn me(&self) -> NodeId {
        self.membership.me()
    }

    /// Whether frames can be sent there now, this node included.
    pub fn reachable(&self, node: NodeId) -> bool {
        node == self.me() || self.membership.reach(node) != Reach::None
    }

    /// The nodes, this one included, that have a session for a key and can be reached.
    pub fn nodes_with(&self, key: RouteKey) -> impl Iterator<Item = NodeId> + '_ {
        let reachable = |node: &NodeId| self.reachable(*node);
        self.routes
            .lookup(key)
            .map(|route| route.node)
            .filter(reachable)
    }

    /// All storing members in the order in which they ought to keep a slot.
    pub fn replicas(&self, slot: Slot) -> impl Iterator<Item = NodeId> + '_ {
        self.placement.order(slot)
    }

    /// The route key of a user.
    pub fn key(&self, user: &UserName) -> RouteKey {
        self.hasher.user(user)
    }

    /// Whether somebody with this key is there.
    pub fn sight(&self, key: RouteKey) -> Sight {
        let unrouted = if self.sets_missing {
            Sight::Unknown
        } else {
            Sight::Gone
        };
        self.routes
            .lookup(key)
            .map(|route| self.sight_through(route.node, route.epoch))
            .max()
            .unwrap_or(unrouted)
    }

    fn sight_through(&self, node: NodeId, epoch: crate::id::Epoch) -> Sight {
        if node == self.me() {
            return Sight::Here;
        }
        match self
            .membership
            .member(node)
            .map(|member| (member.state, member.epoch))
        {
            None | Some((State::Left, _)) => Sight::Gone,
            Some((_, present)) if present > epoch => {
                if self.routes.is_complete(node, present) {
                    Sight::Gone
                } else {
                    Sight::Unknown
                }
            }
            Some((State::Alive, _)) => Sight::Here,
            Some((State::Suspect, _)) => Sight::Doubtful,
            Some((State::Down, _)) => Sight::Unknown,
        }
    }
}
