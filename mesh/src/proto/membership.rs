//! Who is alive, and who can be reached by whom.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, LinkId, NodeId};
use crate::proto::input::DialFailure;
use crate::proto::outbox::Outbox;
use crate::proto::output::{Contact, DialId, KeptMember, PeerAddress};
use crate::proto::routes;
use crate::time::{Instant, Now, Stamp};

/// Tuning of this layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A silent link sends a heartbeat that often.
    pub heartbeat: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
        }
    }
}

/// What a node says of itself to every member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who.
    pub node: NodeId,
    /// Which life of it.
    pub epoch: Epoch,
    /// Raised to refute a suspicion within that life.
    pub incarnation: u64,
    /// Where it listens for peers.
    pub addresses: Vec<PeerAddress>,
    /// The client URL that other nodes put into `bye.try`.
    pub url: Option<String>,
    /// Its share of slots.
    pub weight: u32,
    /// The version of its program.
    pub version: String,
}

/// A member's state in one node's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// Alive, also where only a helper reaches it, and while it is stopping.
    Alive,
    /// Somebody could not reach it by any way.
    Suspect,
    /// Dead as far as is known, or stopped.
    Down,
    /// It has left for good.
    Left,
}

/// How a node can be reached from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Over a link of its own.
    Direct(LinkId),
    /// Through this helper, to which there is a link.
    Through(NodeId, LinkId),
    /// Not at all.
    None,
}

/// What the layers above need to know of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The highest epoch known.
    pub epoch: Epoch,
    /// Its state here.
    pub state: State,
    /// It has said that it is stopping: no new appends go there, deliveries still do.
    pub stopping: bool,
    /// Since when it has been down, where it is.
    pub down_since: Option<Instant>,
}

/// A member as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it says of itself.
    pub record: Record,
    /// Its state here.
    pub state: State,
    /// It has said that it is stopping.
    pub stopping: bool,
    /// There is a direct link.
    pub link: bool,
    /// Round trip of the direct link, where it was measured.
    pub rtt: Option<Duration>,
}

/// What members say to each other about members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A sign of life of a link that has nothing else to say.
    Heartbeat {
        /// The sender's own set of routes.
        routes: routes::Summary,
    },
}

/// What this layer tells the facade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A greeted link to this life of a node is there, where there was none before.
    Linked {
        /// Who.
        node: NodeId,
        /// Which life.
        epoch: Epoch,
    },
    /// The last greeted link to a node is gone. It may still be reached through a helper.
    Unlinked(NodeId),
    /// A member's state, life, reachability or weight changed: views that depend on it are stale.
    Changed {
        /// Who.
        node: NodeId,
        /// Its life, the highest known.
        epoch: Epoch,
        /// Its state now.
        state: State,
    },
    /// A member said which set of routes it has.
    Summary {
        /// Who.
        node: NodeId,
        /// Of its own set.
        routes: routes::Summary,
    },
    /// A member that was down for too long, or has left, is forgotten.
    Forgotten(NodeId),
}

/// The layer.
#[derive(Debug)]
pub struct Membership {}

/// What this node says of itself, and what it knows at its start.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its own record; `incarnation` 0.
    pub me: Record,
    /// Members known from an earlier life.
    pub kept: Vec<KeptMember>,
    /// Nodes that the operator named.
    pub contacts: Vec<Contact>,
    /// Seed of all random choices of this layer.
    pub seed: u64,
}

#[allow(unused_variables, reason = "signatures only")]
impl Membership {
    /// A node at its start. Dials its contacts and the kept members at the first tick.
    pub fn new(config: Config, start: Start, now: Now) -> Self {
        unimplemented!()
    }

    /// A connection is open. Greets the peer; nothing else is taken from it before its greeting.
    pub fn on_link_up(
        &mut self,
        now: Now,
        link: LinkId,
        peer: NodeId,
        dial: Option<DialId>,
        remote: PeerAddress,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// A connection is gone.
    pub fn on_link_down(&mut self, now: Now, link: LinkId, out: &mut Outbox) {
        unimplemented!()
    }

    /// A frame came over a link: the sign of life is noted. Whose link it is, where the peer was
    /// greeted and its frames count; `None` otherwise (only messages of this layer are then handled,
    /// and of those only the greeting).
    pub fn on_frame(&mut self, now: Now, link: LinkId) -> Option<NodeId> {
        unimplemented!()
    }

    /// A relayed frame of this node came: it lives.
    pub fn on_relayed(&mut self, now: Now, from: NodeId) {
        unimplemented!()
    }

    /// A message of this layer came, over this link.
    pub fn on_message(&mut self, now: Now, link: LinkId, message: Message, out: &mut Outbox) {
        unimplemented!()
    }

    /// A message of this layer came through a helper.
    pub fn on_relayed_message(
        &mut self,
        now: Now,
        from: NodeId,
        message: Message,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// A frame was handed to a link: a heartbeat is not needed there for a while.
    pub fn on_sent(&mut self, now: Now, link: LinkId) {
        unimplemented!()
    }

    /// A dial led nowhere.
    pub fn on_dial_failed(
        &mut self,
        now: Now,
        dial: DialId,
        failure: DialFailure,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// Somebody was found on the local network.
    pub fn on_discovered(&mut self, now: Now, address: PeerAddress) {
        unimplemented!()
    }

    /// Timers. `routes` is this node's own set, for heartbeats.
    pub fn on_tick(&mut self, now: Now, routes: routes::Summary, out: &mut Outbox) {
        unimplemented!()
    }

    /// When [`Membership::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// The next fact for the facade.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    /// Says *stopping* to all: no new sessions or appends here, but it is still delivered to.
    pub fn stopping(&mut self, now: Now, out: &mut Outbox) {
        unimplemented!()
    }

    /// Says *stopped* to all: down without suspicion.
    pub fn stopped(&mut self, now: Now, out: &mut Outbox) {
        unimplemented!()
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        unimplemented!()
    }

    /// The present life of this node.
    pub fn epoch(&self) -> Epoch {
        unimplemented!()
    }

    /// What is known of a member's life; this node's own too. `None`: never heard of, or forgotten.
    pub fn member(&self, node: NodeId) -> Option<Life> {
        unimplemented!()
    }

    /// How a node can be reached. This node itself: `None`.
    pub fn reach(&self, node: NodeId) -> Reach {
        unimplemented!()
    }

    /// All members in the order of their ids, this node among them.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        std::iter::empty()
    }

    /// A counter that rises whenever the set of members, a weight or a state changed: what was
    /// derived from an older one is stale.
    pub fn generation(&self) -> u64 {
        unimplemented!()
    }

    /// Members that keep slots (weight > 0, not left, not down for longer than ten minutes), with
    /// their weights: what placement is made from. This node among them where it keeps slots.
    pub fn storing(&self, now: Now) -> Vec<(NodeId, u32)> {
        unimplemented!()
    }

    /// Why clients are not yet welcome as far as membership goes: no peer admitted although some are
    /// known and 10 s have not gone by, or a contact that answers and refuses. `None`: ready.
    pub fn unready(&self, now: Now) -> Option<String> {
        unimplemented!()
    }

    /// A member's newest stamp does not matter here; kept for the clock check of a later stage.
    pub fn observe(&mut self, node: NodeId, stamp: Stamp) {}
}
