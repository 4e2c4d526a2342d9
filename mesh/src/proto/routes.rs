//! Address → nodes: the table of all routes of all nodes, its log of deltas, gossip and repair.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, NodeId, RouteKey};
use crate::proto::membership::State;
use crate::proto::outbox::Outbox;
use crate::time::{Instant, Now};
use crate::wire::Lane;

/// Tuning of this layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Changes of a quiet period go at once, then in windows of this length.
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_millis(20),
        }
    }
}

/// Which set of routes an origin has: after which batch, how many, and their fingerprint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Life of the origin.
    pub epoch: Epoch,
    /// The last batch in the set.
    pub seq: u64,
    /// How many keys are in the set.
    pub count: u64,
    /// Sum modulo 2^64 of a mixed hash of each key.
    pub fingerprint: u64,
}

/// What nodes say to each other about routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// What the sender has of the receiver's set: send the rest.
    Resume(Summary),
}

impl Message {
    /// Snapshots go on the bulk lane, all else on control.
    pub fn lane(&self) -> Lane {
        Lane::Control
    }
}

/// What this layer tells the facade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Keys of another node's set came or went, in slices of bounded size.
    Changed {
        /// Whose.
        node: NodeId,
        /// Newly in its visible set.
        attached: Vec<RouteKey>,
        /// No longer in it.
        detached: Vec<RouteKey>,
    },
    /// The set of a node's present life is all here now.
    Complete(NodeId),
    /// A set disagreed with its origin's fingerprint and is fetched anew.
    Mismatch(NodeId),
}

/// One node that has, or was last known to have, a session for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Which node.
    pub node: NodeId,
    /// The life of it that the route belongs to; older than the node's present life while the new
    /// life's set is not complete here.
    pub epoch: Epoch,
}

/// The layer.
#[derive(Debug)]
pub struct Routes {}

#[allow(unused_variables, reason = "signatures only")]
impl Routes {
    /// An empty set of this node's own in this life, and nothing known of others.
    pub fn new(config: Config, me: NodeId, epoch: Epoch) -> Self {
        unimplemented!()
    }

    /// This node's epoch was raised before its first frame was accepted.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        unimplemented!()
    }

    /// One more session here has this key.
    pub fn attach(&mut self, now: Now, key: RouteKey, out: &mut Outbox) {
        unimplemented!()
    }

    /// One session here less has this key.
    pub fn detach(&mut self, now: Now, key: RouteKey, out: &mut Outbox) {
        unimplemented!()
    }

    /// This node's own set.
    pub fn summary(&self) -> Summary {
        unimplemented!()
    }

    /// A link to this life of a node is there: says what is held of its set.
    pub fn on_linked(&mut self, now: Now, node: NodeId, epoch: Epoch, out: &mut Outbox) {
        unimplemented!()
    }

    /// The link to a node is gone: its cursor into this node's log goes.
    pub fn on_unlinked(&mut self, node: NodeId) {
        unimplemented!()
    }

    /// A member's state or life changed: a set of an older life is superseded once the new one is
    /// known, one of a node that left or was forgotten is purged, by (node, epoch).
    pub fn on_member(&mut self, now: Now, node: NodeId, epoch: Epoch, state: State) {
        unimplemented!()
    }

    /// A member has been forgotten: its set is purged, the mark (node, epoch, seq) stays.
    pub fn on_forgotten(&mut self, now: Now, node: NodeId) {
        unimplemented!()
    }

    /// A member said which set it has: behind, ask for the rest; equal seq but another fingerprint,
    /// a defect.
    pub fn on_summary(&mut self, now: Now, node: NodeId, summary: Summary, out: &mut Outbox) {
        unimplemented!()
    }

    /// A message of this layer came.
    pub fn on_message(&mut self, now: Now, from: NodeId, message: Message, out: &mut Outbox) {
        unimplemented!()
    }

    /// Timers: windows, slices of snapshots and purges.
    pub fn on_tick(&mut self, now: Now, out: &mut Outbox) {
        unimplemented!()
    }

    /// When [`Routes::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// The next fact for the facade.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    /// All nodes that have, or were last known to have, a session for a key, this node included,
    /// whatever their state: the caller knows who is down.
    pub fn lookup(&self, key: RouteKey) -> impl Iterator<Item = Route> + '_ {
        std::iter::empty()
    }

    /// Whether the set of this life of a node is all here.
    pub fn is_complete(&self, node: NodeId, epoch: Epoch) -> bool {
        unimplemented!()
    }

    /// How many routes a node has, as far as is known here.
    pub fn count(&self, node: NodeId) -> u64 {
        unimplemented!()
    }

    /// How many routes of all nodes are in the table.
    pub fn total(&self) -> u64 {
        unimplemented!()
    }
}
