//! What stands below streams and chat: members, routes and placement, and what is derived from them as
//! a whole.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{NodeId, RouteHasher};
use crate::proto::membership::{self, Membership, State};
use crate::proto::placement::Placement;
use crate::proto::routes::Routes;
use crate::proto::view::View;
use crate::time::Now;

/// A member that is down for longer no longer makes presence uncertain.
const DOWN_UNCERTAIN: Duration = Duration::from_secs(600);

/// What the layers above may ask through a [`View`].
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) membership: Membership,
    pub(super) routes: Routes,
    pub(super) placement: Placement,
    /// The members' generation that `placement` was made from.
    pub(super) generation: u64,
    pub(super) hasher: RouteHasher,
    pub(super) sets_missing: bool,
    /// Members that are told of this node's routes and asked for theirs: all that can be reached.
    pub(super) fed: BTreeSet<NodeId>,
}

impl Ground {
    pub(super) fn new(
        membership: Membership,
        routes: Routes,
        hasher: RouteHasher,
        now: Now,
    ) -> Self {
        let mut ground = Self {
            generation: membership.generation(),
            placement: Placement::new(membership.storing(now)),
            routes,
            membership,
            hasher,
            sets_missing: false,
            fed: BTreeSet::new(),
        };
        ground.refresh_sets(now);
        ground
    }

    pub(super) fn view(&self, now: Now) -> View<'_> {
        View {
            membership: &self.membership,
            routes: &self.routes,
            placement: &self.placement,
            hasher: &self.hasher,
            sets_missing: self.sets_missing,
            now,
        }
    }

    /// Works out anew what depends on the members as a whole.
    pub(super) fn refresh(&mut self, now: Now) {
        self.generation = self.membership.generation();
        self.placement = Placement::new(self.membership.storing(now));
        self.refresh_sets(now);
    }

    pub(super) fn refresh_sets(&mut self, now: Now) {
        self.sets_missing = self.membership.lives().any(|(node, life)| {
            let down_for = self.membership.down_for(now, node);
            let long_down = down_for.is_some_and(|down| down > DOWN_UNCERTAIN);
            let counts = life.state != State::Left && !long_down;
            counts && !self.routes.is_complete(node, life.epoch)
        });
    }

    /// How many members are alive whose sets are not here.
    pub(super) fn alive_without_set(&self) -> usize {
        let lacks = |(node, life): &(NodeId, membership::Life)| {
            life.state == State::Alive && !self.routes.is_complete(*node, life.epoch)
        };
        self.membership.lives().filter(lacks).count()
    }
}
