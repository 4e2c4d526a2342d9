//! Who is alive, and who can be reached by whom.
//!
//! Every node is linked to every other. The layer keeps the list of members, dials those that are not
//! linked, notices which link or node is gone, and says so to the layers above as facts about nodes.
//!
//! # How a node is noticed to be gone
//!
//! 1. Every frame is a sign of life; a link with nothing to say sends a heartbeat (`pulse`).
//! 2. A link that is silent or closed without a goodbye is looked at from elsewhere: three others are
//!    asked to reach the node (`probe`). If one does and the link stays silent, only the link is down,
//!    frames go through that helper ([`Reach::Through`]), and nobody else hears of it.
//! 3. If none does, the node is suspected, and all are told (`suspicion`). It is down once enough
//!    observers suspect it, or when it has not refuted the suspicion in time.
//! 4. Down is a view: whatever the node sends later makes it alive again, in the same epoch.
//!
//! # What it does not do
//!
//! It decides nothing for others: no verdict travels, only suspicions, records and goodbyes. It never
//! reads frames of other layers, and it does not send them: the facade asks [`Membership::reach`].
//!
//! Wire: `message`. Links and which of two is kept: `link`. Whom to dial: `dial`. The list itself:
//! `roster`.

mod dial;
mod inspect;
mod link;
mod message;
mod peer;
mod probe;
mod pulse;
mod receive;
mod record;
mod roster;
mod stats;
mod suspicion;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::id::{Epoch, LinkId, NodeId};
use crate::proto::input::DialFailure;
use crate::proto::outbox::Outbox;
use crate::proto::output::{Contact, DialId, KeptMember, PeerAddress};
use crate::proto::routes;
use crate::time::{Instant, Now};

pub use inspect::Loads;
pub use message::{Greeting, MEMBERS_MAX, Message, Vitals, WHY_MAX};
pub use record::{ADDRESSES_MAX, Known, Phase, Record, URL_MAX, VERSION_MAX};

use dial::{Dialer, Whom};
use link::Link;
use peer::Peer;
use probe::Round;
use pulse::{Lateness, Moments};
use roster::{Marks, News};
use stats::Stats;
use timers::{Timer, Timers};

/// How many timers one tick sees to at most; the rest is due at once again. Keeps a tick below 1 ms
/// also when all links of a large mesh fall silent together, where each timer looks at every member.
const TICK_TIMERS_MAX: usize = 32;

/// Tuning of this layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A silent link sends a heartbeat that often. Less notices a death sooner and costs traffic on
    /// every idle pair of nodes; 250 ms as foca and memberlist have it for local networks.
    pub heartbeat: Duration,
    /// A member that is suspected for so long without refuting it is down. 3 s: long enough for the
    /// news to travel there and back over a lossy link, short enough for two nodes that have no
    /// witness.
    pub suspicion: Duration,
    /// The most members, this node included: with more a full mesh of links costs too much. A join
    /// above it is refused.
    pub full_mesh_limit: usize,
    /// How long before a failed dial is tried again; doubled every time.
    pub dial_backoff: Duration,
    /// But never longer than this.
    pub dial_backoff_max: Duration,
    /// The most dials under way at once: a restarted mesh must not fill its sockets' backlogs.
    pub dials_max: usize,
    /// For so long the slots of a member that is down wait for it.
    pub storing_wait: Duration,
    /// After being down for so long a member is forgotten.
    pub forget_after: Duration,
    /// A node that has reached nobody after so long calls itself ready alone.
    pub ready_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            suspicion: Duration::from_secs(3),
            full_mesh_limit: 256,
            dial_backoff: Duration::from_millis(250),
            dial_backoff_max: Duration::from_secs(60),
            dials_max: 32,
            storing_wait: Duration::from_secs(10 * 60),
            forget_after: Duration::from_secs(7 * 24 * 60 * 60),
            ready_after: Duration::from_secs(10),
        }
    }
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
    /// Since when it has been down, where it is; this node's start for one that was down before it.
    /// For how long: [`Membership::down_for`].
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
    Pulse {
        /// Who.
        node: NodeId,
        /// In which life.
        epoch: Epoch,
        /// Of its own set.
        routes: routes::Pulse,
    },
    /// The round trip to a member was measured.
    RoundTrip {
        /// Who.
        node: NodeId,
        /// The longest of late.
        round_trip: Duration,
    },
    /// A member that was down for too long, or has left, is forgotten.
    Forgotten(NodeId),
    /// Peers know of an earlier life with a higher number: this one's was raised, before anybody
    /// accepted a frame of it. What carries the epoch follows.
    Epoch(Epoch),
}

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

/// The layer.
#[derive(Debug)]
pub struct Membership {
    config: Config,
    started: Instant,
    random: ChaCha8Rng,
    /// This node itself.
    record: Record,
    phase: Phase,
    /// A peer has accepted this life: its epoch does not rise any more, and a higher one is a clone.
    settled: bool,
    /// A clone runs.
    halted: bool,
    /// This node suspects so many that it is probably cut off itself.
    isolated: bool,
    /// All other members.
    peers: BTreeMap<NodeId, Peer>,
    marks: Marks,
    /// XOR of `roster::mix` of all other members.
    digest: u64,
    /// All connections, open or not.
    links: BTreeMap<LinkId, Link>,
    rounds: BTreeMap<u64, Round>,
    next_round: u64,
    dialer: Dialer,
    news: News,
    /// News that is being told on, and who was told last.
    telling: Option<(News, Option<NodeId>)>,
    timers: Timers,
    moments: Moments,
    lateness: Lateness,
    /// Silence before this instant proves nothing: this node itself was not running.
    pardon: Instant,
    generation: u64,
    /// Emptied by the facade after every call.
    events: VecDeque<Event>,
    stats: Stats,
}

impl Membership {
    /// A node at its start. Dials its contacts and the kept members at the first tick.
    pub fn new(config: Config, start: Start, now: Now) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(start.seed);
        let mut this = Self {
            moments: Moments::new(config.heartbeat, random.next_u64()),
            config,
            started: now.at,
            random,
            record: start.me.cut(),
            phase: Phase::Serving,
            settled: false,
            halted: false,
            isolated: false,
            peers: BTreeMap::new(),
            marks: Marks::default(),
            digest: 0,
            links: BTreeMap::new(),
            rounds: BTreeMap::new(),
            next_round: 0,
            dialer: Dialer::new(start.contacts),
            news: News::new(),
            telling: None,
            timers: Timers::default(),
            lateness: Lateness::default(),
            pardon: now.at,
            generation: 0,
            events: VecDeque::new(),
            stats: Stats::default(),
        };
        for contact in 0..this.dialer.contacts() {
            this.dial_in(now, Whom::Contact(contact), Duration::ZERO);
        }
        this.recall(now, start.kept);
        this
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
        self.add_link(now, link, peer, dial, remote, out);
    }

    /// A connection is gone.
    pub fn on_link_down(&mut self, now: Now, link: LinkId, out: &mut Outbox) {
        self.remove_link(now, link, out);
    }

    /// A frame came over a link: the sign of life is noted. Whose link it is, where the peer was
    /// greeted and its frames count; `None` otherwise (only messages of this layer are then handled,
    /// and of those only the greeting and what confirms it).
    pub fn on_frame(&mut self, now: Now, link: LinkId) -> Option<NodeId> {
        self.hear(now, link)
    }

    /// A relayed frame of this node came: it lives.
    pub fn on_relayed(&mut self, now: Now, from: NodeId) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if peer.state != State::Alive && peer.phase != Phase::Stopped {
            self.timers.set(Timer::Resumed(from), now.at);
        }
    }

    /// A frame of another layer came over a link that does not count yet. Who sends one has accepted
    /// this node's greeting, so it does where the peer's was accepted here; as [`Self::on_frame`].
    pub fn on_confirmed(&mut self, now: Now, link: LinkId, out: &mut Outbox) -> Option<NodeId> {
        if self.halted {
            return None;
        }
        self.open(now, link, out);
        let opened = self.links.get(&link).filter(|link| link.is_open())?;
        Some(opened.peer)
    }

    /// A message of this layer came, over this link.
    pub fn on_message(&mut self, now: Now, link: LinkId, message: Message, out: &mut Outbox) {
        self.receive(now, link, message, out);
    }

    /// A message of this layer came through a helper.
    pub fn on_relayed_message(
        &mut self,
        now: Now,
        from: NodeId,
        message: Message,
        out: &mut Outbox,
    ) {
        self.receive_relayed(now, from, message, out);
    }

    /// A frame was handed to a link: a heartbeat is not needed there for a while.
    pub fn on_sent(&mut self, now: Now, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.sent = now.at;
        }
    }

    /// A dial led nowhere.
    pub fn on_dial_failed(
        &mut self,
        now: Now,
        dial: DialId,
        failure: DialFailure,
        out: &mut Outbox,
    ) {
        if let Some(whom) = self.end_dial(now, dial) {
            self.dial_failed(now, whom, failure, out);
        }
    }

    /// Somebody was found on the local network.
    pub fn on_discovered(&mut self, now: Now, address: PeerAddress) {
        self.add_found(now, address);
    }

    /// Timers. `routes` is this node's own set, for heartbeats.
    pub fn on_tick(&mut self, now: Now, routes: routes::Pulse, out: &mut Outbox) {
        self.note_lateness(now);
        for _ in 0..TICK_TIMERS_MAX {
            if self.halted {
                return;
            }
            let Some(timer) = self.timers.pop(now.at) else {
                return;
            };
            match timer {
                Timer::Resumed(node) => self.on_resumed(now, node, out),
                Timer::Heartbeat(link) => self.on_heartbeat_timer(now, link, routes, out),
                Timer::Silence(link) => self.on_silence_timer(now, link, out),
                Timer::Greeting(link) => self.on_greeting_timer(now, link, out),
                Timer::Linger(link) => self.on_linger(now, link, out),
                Timer::Check(node) => self.on_check_timer(now, node, out),
                Timer::Probe(round) => self.on_probe_timer(now, round, out),
                Timer::Suspicion(node) => self.on_suspicion_timer(now, node, out),
                Timer::Down(node) => self.on_down_timer(now, node),
                Timer::Dial(whom) => self.on_dial_timer(now, whom, out),
                Timer::DialTimeout(dial) => self.on_dial_timeout(now, dial, out),
                Timer::Gossip => self.on_gossip_timer(now, out),
                Timer::Keep => self.on_keep_timer(now, out),
            }
        }
    }

    /// When [`Membership::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next().filter(|_| !self.halted)
    }

    /// The next fact for the facade.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Says *stopping* to all: no new sessions or appends here, but it is still delivered to.
    pub fn stopping(&mut self, _now: Now, out: &mut Outbox) {
        if self.phase == Phase::Serving {
            self.phase = Phase::Stopping;
            let epoch = self.record.epoch;
            self.tell_all(&Message::Stopping { epoch }, out);
        }
    }

    /// Says *stopped* to all: down without suspicion. The member list is kept as it is now.
    pub fn stopped(&mut self, now: Now, out: &mut Outbox) {
        if self.phase != Phase::Stopped {
            self.phase = Phase::Stopped;
            let epoch = self.record.epoch;
            self.tell_all(&Message::Stopped { epoch }, out);
            self.keep(now, out);
        }
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.record.node
    }

    /// The present life of this node.
    pub fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    /// What is known of a member's life; this node's own too. `None`: never heard of, or forgotten.
    pub fn member(&self, node: NodeId) -> Option<Life> {
        if node == self.record.node {
            return Some(Life {
                epoch: self.record.epoch,
                state: State::Alive,
                stopping: self.phase != Phase::Serving,
                down_since: None,
            });
        }
        let peer = self.peers.get(&node)?;
        Some(Life {
            epoch: peer.record.epoch,
            state: peer.state,
            stopping: peer.phase != Phase::Serving,
            down_since: peer.down.map(peer::Since::instant),
        })
    }

    /// For how long a member has been down, also where that began before this node's start; `None`:
    /// it is not down.
    pub fn down_for(&self, now: Now, node: NodeId) -> Option<Duration> {
        self.peers.get(&node)?.down_for(now)
    }

    /// How a node can be reached. This node itself: `None`.
    pub fn reach(&self, node: NodeId) -> Reach {
        let Some(peer) = self.peers.get(&node) else {
            return Reach::None;
        };
        if let Some(link) = peer.links.first() {
            return Reach::Direct(*link);
        }
        let through = peer.helper.and_then(|helper| {
            let link = self.link_to(helper)?;
            Some(Reach::Through(helper, link))
        });
        through.unwrap_or(Reach::None)
    }

    /// The lives of all other members, in the order of their ids.
    pub fn lives(&self) -> impl Iterator<Item = (NodeId, Life)> + '_ {
        let nodes = self.peers.keys().copied();
        nodes.filter_map(|node| Some((node, self.member(node)?)))
    }

    /// All members in the order of their ids, this node among them.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        let me = self.record.node;
        let own = Member {
            record: self.record.clone(),
            state: State::Alive,
            stopping: self.phase != Phase::Serving,
            link: false,
            rtt: None,
        };
        let before = self.peers.range(..me).map(|(_, peer)| self.shown(peer));
        let after = self.peers.range(me..).map(|(_, peer)| self.shown(peer));
        before.chain(std::iter::once(own)).chain(after)
    }

    fn shown(&self, peer: &Peer) -> Member {
        let link = peer.links.first().and_then(|id| self.links.get(id));
        Member {
            record: peer.record.clone(),
            state: peer.state,
            stopping: peer.phase != Phase::Serving,
            link: link.is_some(),
            rtt: link.and_then(|link| link.trips.average()),
        }
    }

    /// A counter that rises whenever the set of members, a weight or a state changed: what was
    /// derived from an older one is stale.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Members that keep slots (weight > 0, not left, not down for longer than ten minutes), with
    /// their weights: what placement is made from. This node among them where it keeps slots.
    pub fn storing(&self, now: Now) -> Vec<(NodeId, u32)> {
        let wait = self.config.storing_wait;
        let awaited = |peer: &&Peer| {
            peer.state != State::Left && peer.down_for(now).is_none_or(|down| down < wait)
        };
        let peers = self.peers.values().filter(awaited).map(|peer| &peer.record);
        let mut storing: Vec<_> = peers
            .chain(std::iter::once(&self.record))
            .filter(|record| record.weight > 0)
            .map(|record| (record.node, record.weight))
            .collect();
        storing.sort_unstable();
        storing
    }

    /// Why clients are not yet welcome as far as membership goes: no peer admitted although some are
    /// known and 10 s have not gone by, or a contact that answers and refuses. `None`: ready.
    pub fn unready(&self, now: Now) -> Option<String> {
        self.not_admitted(now)
    }

    /// What was done, refused or dropped since the start.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.stats.list()
    }

    /// This life takes and makes no new links.
    fn is_over(&self) -> bool {
        self.halted || self.phase == Phase::Stopped
    }

    /// A random number below `limit`, which is not 0. The bias of the remainder does not matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }
}
